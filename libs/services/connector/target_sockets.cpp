#include "services/connector/target_sockets.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "runtime/udp/socket_address.hpp"

namespace postern::connector {
namespace {

constexpr Duration kRacePause = std::chrono::milliseconds(250);  // RFC 8305 §5
constexpr std::size_t kReadSize = 64 * 1024;
constexpr std::size_t kPage = 4096;
/// Below it a copy is cheaper than keeping a block for so few bytes.
constexpr std::size_t kCopyMax = 4096;
/// A turn's share: 2 MiB in all and 256 KiB of one flow, then packets get their turn.
constexpr unsigned kReadsPerTurn = 32;
constexpr unsigned kReadsPerFlow = 4;
constexpr std::size_t kPiecesMax = 64;
/// A block is read into while at least this much of it is left.
constexpr std::size_t kRoomMin = 16 * 1024;
constexpr std::uint32_t kEndEvents = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
/// When memory is short: how long until it is asked for again.
constexpr Duration kStarvedPause = std::chrono::milliseconds(5);

void set_options(int fd) {
  const int on = 1;
  const int idle_s = 60;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // A target that vanished without a word is noticed, as it would be on the LAN.
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  // Where the host's default paces by timers (BBR), a LAN connection loses half of its rate (facts/performance.md
  // §0.2).
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

/// The more an error says about the target, the more it counts: refused > timed out > unreachable > our own lack.
int weight_of(int error_code) {
  switch (refusal_of(error_code)) {
    case wire::REFUSAL_CONNECTION_REFUSED:
      return 4;
    case wire::REFUSAL_TIMED_OUT:
      return 3;
    case wire::REFUSAL_HOST_UNREACHABLE:
      return 2;
    case wire::REFUSAL_NETWORK_UNREACHABLE:
      return 1;
    default:
      return 0;
  }
}

}  // namespace

wire::RefusalReason refusal_of(int error_code) {
  switch (error_code) {
    case ECONNREFUSED:
    case ECONNRESET:
      return wire::REFUSAL_CONNECTION_REFUSED;
    case ETIMEDOUT:
      return wire::REFUSAL_TIMED_OUT;
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return wire::REFUSAL_NETWORK_UNREACHABLE;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return wire::REFUSAL_RESOURCES;
    default:
      return wire::REFUSAL_HOST_UNREACHABLE;  // EHOSTUNREACH, EHOSTDOWN, and a firewall's EPERM and EACCES
  }
}

TargetSockets::TargetSockets(runtime::EventLoop& loop, Flows& flows, BlockPool& pool)
    : loop_(loop), flows_(flows), pool_(pool) {}

TargetSockets::~TargetSockets() {
  for (auto& [flow, target] : targets_) {
    for (Attempt& attempt : target.attempts) unwatch(attempt.fd);
    unwatch(target.fd);
  }
}

// --- connecting
// --------------------------------------------------------------------------------------------------------

void TargetSockets::connect(Instant now, const ConnectTcp& request) {
  Target& target = targets_[request.flow];
  target.addresses = request.addresses;
  target.started = now;
  start_attempt(now, request.flow, target);
}

void TargetSockets::start_attempt(Instant now, FlowId flow, Target& target) {
  target.next_attempt.reset();
  const SocketAddress address = target.addresses[target.next_address++];
  if (const int error_code = try_connect(flow, target, address); error_code != 0) {
    return attempt_failed(now, flow, target, error_code);
  }
  if (target.next_address == target.addresses.size()) return;
  target.next_attempt = now + kRacePause;
  races_.emplace_back(*target.next_attempt, flow);
}

int TargetSockets::try_connect(FlowId flow, Target& target, const SocketAddress& address) {
  const int family = address.ip.is_v4() ? AF_INET : AF_INET6;
  runtime::Descriptor fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  set_options(fd.get());
  const runtime::KernelAddress to = runtime::to_kernel(address);
  if (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) return errno;
  watch(fd.get(), flow);  // also a connection that is there at once announces itself as writable
  target.attempts.push_back({std::move(fd), address});
  return 0;
}

void TargetSockets::attempt_failed(Instant now, FlowId flow, Target& target, int error_code) {
  if (target.error_code == 0 || weight_of(error_code) > weight_of(target.error_code)) target.error_code = error_code;
  if (target.next_address < target.addresses.size()) return start_attempt(now, flow, target);
  if (!target.attempts.empty()) return;
  const int code = target.error_code;
  targets_.erase(flow);
  flows_.handle_connect_failed(now, flow, refusal_of(code), std::generic_category().message(code));
}

void TargetSockets::handle_attempt(Instant now, FlowId flow, Target& target, int fd, std::uint32_t events) {
  const auto attempt = std::ranges::find_if(target.attempts, [fd](const Attempt& a) { return a.fd.get() == fd; });
  if (attempt == target.attempts.end()) return;
  int error_code = 0;
  socklen_t size = sizeof error_code;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_code, &size);
  // A target that refuses is ECONNREFUSED. One that accepted and reset the connection before we looked is not refused:
  // what the application sees is a connection that breaks.
  target.broken = error_code == ECONNRESET || error_code == EPIPE;
  if (error_code == 0 || target.broken) {
    target.ended = (events & kEndEvents) != 0;
    return connected(now, flow, target, static_cast<std::size_t>(attempt - target.attempts.begin()));
  }
  unwatch(attempt->fd);
  target.attempts.erase(attempt);
  attempt_failed(now, flow, target, error_code);
}

void TargetSockets::connected(Instant now, FlowId flow, Target& target, std::size_t winner) {
  const SocketAddress address = target.attempts[winner].address;
  target.fd = std::move(target.attempts[winner].fd);
  for (Attempt& loser : target.attempts) unwatch(loser.fd);
  target.attempts = std::vector<Attempt>();  // with their memory: a connected flow may live for days
  target.addresses = std::vector<SocketAddress>();
  target.next_attempt.reset();
  const Duration took = now - target.started;
  make_ready(flow);
  flows_.handle_connected(now, flow, address, took);
}

void TargetSockets::handle_timeout(Instant now) {
  while (!races_.empty() && races_.front().first <= now) {
    const auto [due, flow] = races_.front();
    races_.pop_front();
    const auto found = targets_.find(flow);
    if (found != targets_.end() && found->second.next_attempt == due) start_attempt(now, flow, found->second);
  }
  if (starved_until_ && now >= *starved_until_) starved_until_.reset();
}

std::optional<Instant> TargetSockets::next_timeout() const {
  if (!ring_.empty()) return starved_until_.value_or(Instant{});
  if (!races_.empty()) return races_.front().first;
  return std::nullopt;
}

// --- events
// ------------------------------------------------------------------------------------------------------------

void TargetSockets::watch(int fd, FlowId flow) {
  const auto index = static_cast<std::size_t>(fd);
  if (index >= owners_.size()) owners_.resize(index + 1);
  owners_[index] = flow;
  constexpr std::uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  loop_.add(fd, kEvents, [this, fd](std::uint32_t events) { handle_event(fd, events); });
}

void TargetSockets::unwatch(runtime::Descriptor& fd) {
  if (!fd) return;
  loop_.remove(fd.get());
  fd.reset();
}

void TargetSockets::handle_event(int fd, std::uint32_t events) {
  const FlowId flow = owners_[static_cast<std::size_t>(fd)];
  const auto found = targets_.find(flow);
  if (found == targets_.end()) return;
  Target& target = found->second;
  const Instant now = loop_.now();
  if (!target.fd) return handle_attempt(now, flow, target, fd, events);
  if ((events & (EPOLLIN | kEndEvents)) != 0) {
    target.readable = true;
    target.ended = target.ended || (events & kEndEvents) != 0;
    make_ready(flow);
  }
  if ((events & EPOLLOUT) != 0 && !target.writable) {
    target.writable = true;
    write(now, flow);
  }
}

// --- to the target
// -----------------------------------------------------------------------------------------------------

void TargetSockets::write(Instant now, FlowId flow) {
  std::array<ByteView, kPiecesMax> pieces;
  std::array<iovec, kPiecesMax> parts;
  for (auto found = targets_.find(flow); found != targets_.end() && found->second.writable && found->second.fd;
       found = targets_.find(flow)) {
    const std::size_t count = flows_.gather(flow, pieces);
    if (count == 0) return;
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) {
      parts[i] = {const_cast<std::uint8_t*>(pieces[i].data()), pieces[i].size()};
      size += pieces[i].size();
    }
    const ssize_t put = writev(found->second.fd.get(), parts.data(), static_cast<int>(count));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      found->second.writable = false;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // What the target said before it went away is still to be read; the reading finds the end and reports it.
      found->second.readable = true;
      found->second.ended = true;
      found->second.broken = true;
      return make_ready(flow);
    }
    if (static_cast<std::size_t>(put) < size) found->second.writable = false;
    flows_.handle_written(now, flow, static_cast<std::size_t>(put));
  }
}

void TargetSockets::finish(FlowId flow) {
  const auto found = targets_.find(flow);
  if (found != targets_.end() && found->second.fd) shutdown(found->second.fd.get(), SHUT_WR);
}

void TargetSockets::close(FlowId flow) {
  const auto found = targets_.find(flow);
  if (found != targets_.end()) forget(flow, found->second);
}

void TargetSockets::abort(FlowId flow) {
  const auto found = targets_.find(flow);
  if (found == targets_.end()) return;
  const linger now_with_rst{1, 0};
  if (found->second.fd) setsockopt(found->second.fd.get(), SOL_SOCKET, SO_LINGER, &now_with_rst, sizeof now_with_rst);
  forget(flow, found->second);
}

void TargetSockets::forget(FlowId flow, Target& target) {
  for (Attempt& attempt : target.attempts) unwatch(attempt.fd);
  unwatch(target.fd);
  targets_.erase(flow);
}

// --- from the target
// ---------------------------------------------------------------------------------------------------

void TargetSockets::make_ready(FlowId flow) {
  const auto found = targets_.find(flow);
  if (found == targets_.end() || !found->second.readable || found->second.in_ring || !found->second.fd) return;
  found->second.in_ring = true;
  ring_.push_back(flow);
}

void TargetSockets::read_ready(Instant now) {
  if (starved_until_) return;
  unsigned reads = 0;
  while (!ring_.empty() && reads < kReadsPerTurn) {
    const FlowId flow = ring_.front();
    ring_.pop_front();
    const auto found = targets_.find(flow);
    if (found == targets_.end()) continue;
    found->second.in_ring = false;
    ReadOutcome outcome = ReadOutcome::More;
    for (unsigned i = 0; i < kReadsPerFlow && outcome == ReadOutcome::More; ++i, ++reads) {
      outcome = read_once(now, flow, found->second);
      if (outcome == ReadOutcome::Gone || targets_.find(flow) == targets_.end()) break;
    }
    if (outcome == ReadOutcome::More || outcome == ReadOutcome::Starved) make_ready(flow);
    if (outcome == ReadOutcome::Starved) {
      starved_until_ = now + kStarvedPause;
      return;
    }
  }
}

TargetSockets::ReadOutcome TargetSockets::read_once(Instant now, FlowId flow, Target& target) {
  if (flows_.read_budget(now, flow) == 0) return ReadOutcome::Blocked;  // a ResumeTarget follows
  if (!have_room()) return ReadOutcome::Starved;
  const MutableBytes room = block_.bytes().subspan(used_, std::min(kReadSize, block_.bytes().size() - used_));
  const ssize_t got = recv(target.fd.get(), room.data(), room.size(), 0);
  if (got > 0) {
    const auto size = static_cast<std::size_t>(got);
    flows_.handle_target_bytes(now, flow, take(size));
    if (size == room.size() || target.ended) return ReadOutcome::More;
    target.readable = false;  // a short read emptied the socket: epoll(7), question 9
    return ReadOutcome::Empty;
  }
  if (got < 0 && errno == EINTR) return ReadOutcome::More;
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    target.readable = false;
    return ReadOutcome::Empty;
  }
  target.readable = false;
  if (got == 0 && !target.broken) {
    flows_.handle_target_finished(now, flow);
  } else {
    flows_.handle_target_reset(now, flow);
  }
  return ReadOutcome::Gone;
}

bool TargetSockets::have_room() {
  if (block_ && block_.is_unshared()) used_ = 0;
  if (block_ && used_ + kRoomMin <= block_.bytes().size()) return true;
  block_ = pool_.acquire(BlockClass::Large);
  used_ = 0;
  return static_cast<bool>(block_);
}

Slice TargetSockets::take(std::size_t size) {
  if (size < kCopyMax) {
    Slice copy = pool_.copy(ByteView(block_.bytes()).subspan(used_, size));
    if (!copy.empty()) return copy;
  }
  Slice slice = block_.slice(used_, size);
  used_ += (size + kPage - 1) / kPage * kPage;
  return slice;
}

}  // namespace postern::connector
