#include "services/client/proxy/udp_associations.hpp"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "client_core/socks_datagram.hpp"
#include "runtime/udp/socket_address.hpp"
#include "services/client/proxy/socket_owner.hpp"

namespace postern::client {

namespace {

constexpr unsigned kReadsPerEvent = 64;
constexpr Duration kLookInterval = std::chrono::seconds(10);

std::optional<SocketAddress> name_of(int fd, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (ask(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return std::nullopt;
  return runtime::from_kernel(storage);
}

/// On the address that the program has connected to, with a port of its own.
runtime::Descriptor bound_socket(const IpAddress& address) {
  const runtime::KernelAddress where = runtime::to_kernel({address, 0});
  runtime::Descriptor fd(::socket(where.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || ::bind(fd.get(), where.get(), where.size) != 0) return {};
  return fd;
}

}  // namespace

UdpAssociations::UdpAssociations(runtime::EventLoop& loop, BlockPool& pool) : loop_(loop), pool_(pool) {
  loop_.add_participant(*this);
}

UdpAssociations::~UdpAssociations() {
  loop_.remove_participant(*this);
  while (!associations_.empty()) close(associations_.begin()->first);
}

bool UdpAssociations::open(Instant now, runtime::Descriptor& connection, const ProxyHandshake& handshake,
                           const std::string& head, std::optional<uid_t> owner) {
  const auto ours = name_of(connection.get(), &::getsockname);
  const auto peer = name_of(connection.get(), &::getpeername);
  runtime::Descriptor socket;
  if (ours && peer && associations_.size() < kAssociationsMax) socket = bound_socket(ours->ip);
  const auto bound = socket ? name_of(socket.get(), &::getsockname) : std::nullopt;
  if (!bound) {
    ++counters_.refused;
    return false;
  }
  const std::string answer = head + handshake.opened(*bound);
  (void)::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL);  // it has heard a few bytes at most
  const std::uint64_t program = ++numbers_;
  loop_.add(connection.get(), EPOLLIN | EPOLLRDHUP, [this, program](std::uint32_t) { handle_connection(program); });
  loop_.add(socket.get(), EPOLLIN, [this, program](std::uint32_t) { handle_datagrams(program); });
  const SocketAddress from{peer->ip, handshake.destination().port.value_or(0)};
  associations_.emplace(program,
                        Association{std::move(connection), std::move(socket), *bound, from, false, owner, now});
  if (!next_look_) next_look_ = now + kLookInterval;
  return true;
}

void UdpAssociations::handle_connection(std::uint64_t program) {
  const auto found = associations_.find(program);
  if (found == associations_.end()) return;
  std::array<char, 512> ignored{};
  const ssize_t size = ::recv(found->second.connection.get(), ignored.data(), ignored.size(), 0);
  if (size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR))) return;
  close(program);
}

bool UdpAssociations::may_send(Association& association, const SocketAddress& source) const {
  if (association.is_known) return source == association.peer;
  if (source.ip != association.peer.ip) return false;
  if (association.peer.port != 0 && source.port != association.peer.port) return false;
  if (association.owner) {
    const auto user = owner_of_datagrams(source, association.bound);
    if (!user || (*user != *association.owner && *user != 0)) return false;
  }
  association.peer = source;
  association.is_known = true;
  return true;
}

void UdpAssociations::handle_datagrams(std::uint64_t program) {
  for (unsigned reads = 0; reads < kReadsPerEvent; ++reads) {
    const auto found = associations_.find(program);
    if (found == associations_.end()) return;
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    const MutableBytes room = buffer_.bytes();
    const ssize_t size = ::recvfrom(found->second.socket.get(), room.data(), room.size(), 0,
                                    reinterpret_cast<sockaddr*>(&storage), &length);
    if (size < 0) return;
    const auto source = runtime::from_kernel(storage);
    if (!source || !may_send(found->second, *source)) {
      ++counters_.foreign;
      continue;
    }
    handle_datagram(program, found->second, ByteView(room).first(static_cast<std::size_t>(size)));
  }
}

void UdpAssociations::handle_datagram(std::uint64_t program, Association& from, ByteView datagram) {
  from.active = loop_.now();
  auto parsed = parse_socks_datagram(datagram);
  if (!parsed) {
    ++(parsed.error() == SocksDatagramError::Fragment ? counters_.fragments : counters_.malformed);
    return;
  }
  Slice payload = pool_.copy(parsed->payload);
  if (outgoing_.size() >= kWaitingMax || (payload.empty() && !parsed->payload.empty())) {
    ++counters_.full;
    return;
  }
  outgoing_.push_back({program, std::move(parsed->to), std::move(payload)});
}

std::optional<UdpAssociations::Outgoing> UdpAssociations::poll_outgoing() {
  if (outgoing_.empty()) return std::nullopt;
  Outgoing next = std::move(outgoing_.front());
  outgoing_.pop_front();
  return next;
}

std::optional<std::uint64_t> UdpAssociations::poll_ended() {
  if (ended_.empty()) return std::nullopt;
  const std::uint64_t program = ended_.front();
  ended_.pop_front();
  return program;
}

void UdpAssociations::deliver(Instant now, const LocalDatagrams& datagrams) {
  const auto found = associations_.find(datagrams.program);
  if (found == associations_.end()) return;
  Association& to = found->second;
  to.active = now;
  std::string header = build_socks_header(datagrams.from);
  const runtime::KernelAddress where = runtime::to_kernel(to.peer);
  const ByteView bytes = datagrams.payload.view();
  std::size_t at = 0;
  do {
    const ByteView payload = bytes.subspan(at, std::min(datagrams.stride, bytes.size() - at));
    std::array<iovec, 2> parts{iovec{header.data(), header.size()},
                               iovec{const_cast<std::uint8_t*>(payload.data()), payload.size()}};
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(where.get());
    message.msg_namelen = where.size;
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    if (::sendmsg(to.socket.get(), &message, MSG_NOSIGNAL) < 0) ++counters_.full;
    at += datagrams.stride;
  } while (at < bytes.size());
}

void UdpAssociations::end_turn(Instant now) {
  if (!next_look_ || now < *next_look_) return;
  std::vector<std::uint64_t> idle;
  for (const auto& [program, association] : associations_) {
    if (now - association.active >= kIdle) idle.push_back(program);
  }
  for (const std::uint64_t program : idle) close(program);
  next_look_.reset();
  if (!associations_.empty()) next_look_ = now + kLookInterval;
}

void UdpAssociations::close(std::uint64_t program) {
  const auto found = associations_.find(program);
  if (found == associations_.end()) return;
  loop_.remove(found->second.connection.get());
  loop_.remove(found->second.socket.get());
  associations_.erase(found);
  ended_.push_back(program);
}

}  // namespace postern::client
