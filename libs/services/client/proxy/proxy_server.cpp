#include "services/client/proxy/proxy_server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/udp/socket_address.hpp"
#include "services/client/proxy/socket_owner.hpp"

namespace postern::client {

namespace {

constexpr int kBacklog = 512;
constexpr Duration kNoDescriptorPause = std::chrono::milliseconds(200);

class ProxyGreeting final : public StreamGreeting {
 public:
  ProxyGreeting(ProxyHandshake handshake, const SocketAddress& bound)
      : handshake_(std::move(handshake)), bound_(bound) {}
  [[nodiscard]] std::string opened() const override { return handshake_.opened(bound_); }
  [[nodiscard]] std::string refused(const FlowDenial& denial) const override {
    return handshake_.refused(denial, describe(denial, handshake_.destination()));
  }

 private:
  ProxyHandshake handshake_;
  SocketAddress bound_;
};

Problem cannot_listen(const SocketAddress& address) {
  const bool in_use = errno == EADDRINUSE;
  const bool denied = errno == EACCES || errno == EPERM;
  const auto code =
      in_use ? config::ExitCode::AddressInUse : (denied ? config::ExitCode::NotPermitted : config::ExitCode::Failure);
  return {code, "the proxy cannot listen on " + address.to_string() + ": " + std::strerror(errno) +
                    ": name another address with --proxy"};
}

}  // namespace

std::expected<std::unique_ptr<ProxyServer>, Problem> ProxyServer::start(ProxyConfig config, runtime::EventLoop& loop,
                                                                        LocalStreams& streams,
                                                                        UdpAssociations& associations) {
  const runtime::KernelAddress where = runtime::to_kernel(config.listen);
  runtime::Descriptor listener(
      ::socket(where.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!listener || ::bind(listener.get(), where.get(), where.size) != 0 || ::listen(listener.get(), kBacklog) != 0) {
    return std::unexpected(cannot_listen(config.listen));
  }
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  const SocketAddress address = runtime::from_kernel(storage).value_or(config.listen);
  return std::unique_ptr<ProxyServer>(
      new ProxyServer(std::move(config), loop, streams, associations, std::move(listener), address));
}

ProxyServer::ProxyServer(ProxyConfig config, runtime::EventLoop& loop, LocalStreams& streams,
                         UdpAssociations& associations, runtime::Descriptor listener, SocketAddress address)
    : config_(std::move(config)),
      loop_(loop),
      streams_(streams),
      associations_(associations),
      listener_(std::move(listener)),
      address_(address) {
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept(); });
  loop_.add_participant(*this);
}

ProxyServer::~ProxyServer() {
  loop_.remove_participant(*this);
  loop_.remove(listener_.get());
  while (!connections_.empty()) close(connections_.begin()->first);
}

void ProxyServer::accept() {
  while (!accept_again_) {
    runtime::Descriptor fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
      accept_again_ = loop_.now() + kNoDescriptorPause;
      loop_.modify(listener_.get(), 0);
      return;
    }
    if (!fd && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (!fd) return;
    if (connections_.size() >= kHandshakesMax || streams_.size() + connections_.size() >= LocalStreams::kStreamsMax) {
      ++counters_.full;
      continue;
    }
    if (!may_use(fd.get())) {
      ++counters_.foreign;
      continue;
    }
    ++counters_.accepted;
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const ConnectionId id(++numbers_);
    loop_.add(fd.get(), EPOLLIN, [this, id](std::uint32_t) { handle_ready(id); });
    connections_.emplace(id, Connection{std::move(fd), ProxyHandshake(config_.login ? &*config_.login : nullptr)});
    deadlines_.emplace_back(loop_.now() + kHandshakeTime, id);
  }
}

bool ProxyServer::may_use(int fd) const {
  if (config_.login || !config_.owner) return true;
  const auto user = owner_of_peer(fd);
  return user && (*user == *config_.owner || *user == 0);
}

void ProxyServer::handle_ready(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  std::array<std::uint8_t, 4096> bytes;
  const ssize_t size = ::recv(connection.fd.get(), bytes.data(), bytes.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    ++counters_.malformed;
    return close(id);
  }
  const auto step = connection.handshake.feed(ByteView(bytes).first(static_cast<std::size_t>(size)));
  std::string output = connection.handshake.take_output();
  if (step == ProxyHandshake::Step::More) {
    // A few bytes into an empty socket: what does not fit is owed to a program that reads nothing.
    const ssize_t sent = ::send(connection.fd.get(), output.data(), output.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(output.size())) return;
    ++counters_.malformed;
    return close(id);
  }
  loop_.remove(connection.fd.get());
  if (step == ProxyHandshake::Step::Failed) {
    ++counters_.malformed;
    streams_.leave(loop_.now(), std::move(connection.fd), std::move(output));
  } else {
    begin_stream(connection, std::move(output));
  }
  connections_.erase(found);
}

/// `output`: what the handshake still has to say before its answer.
void ProxyServer::begin_stream(Connection& connection, std::string output) {
  if (connection.handshake.command() == ProxyCommand::UdpAssociate) {
    return begin_association(connection, std::move(output));
  }
  LocalStreams::Opening opening;
  opening.fd = std::move(connection.fd);
  opening.destination = connection.handshake.destination();
  opening.early = connection.handshake.take_stream();
  opening.head = std::move(output);
  opening.greeting = std::make_unique<ProxyGreeting>(std::move(connection.handshake), address_);
  streams_.open(loop_.now(), std::move(opening));
}

void ProxyServer::begin_association(Connection& connection, std::string output) {
  // A password stands for its owner, whichever user of the machine has it.
  const auto owner = config_.login ? std::nullopt : config_.owner;
  if (associations_.open(loop_.now(), connection.fd, connection.handshake, output, owner)) return;
  const FlowDenial full{FlowRefusal::TooManyFlows, answer_for(FlowRefusal::TooManyFlows)};
  streams_.leave(loop_.now(), std::move(connection.fd), output + connection.handshake.refused(full, ""));
}

void ProxyServer::close(ConnectionId id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  loop_.remove(found->second.fd.get());
  connections_.erase(found);
}

void ProxyServer::end_turn(Instant now) {
  while (!deadlines_.empty() && deadlines_.front().first <= now) {
    if (connections_.contains(deadlines_.front().second)) {
      ++counters_.malformed;
      close(deadlines_.front().second);
    }
    deadlines_.pop_front();
  }
  if (accept_again_ && now >= *accept_again_) {
    accept_again_.reset();
    loop_.modify(listener_.get(), EPOLLIN);
  }
}

std::optional<Instant> ProxyServer::next_timeout() const {
  std::optional<Instant> next = accept_again_;
  if (!deadlines_.empty()) next = next ? std::min(*next, deadlines_.front().first) : deadlines_.front().first;
  return next;
}

}  // namespace postern::client
