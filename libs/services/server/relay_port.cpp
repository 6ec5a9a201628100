#include "services/server/relay_port.hpp"

#include <sys/epoll.h>
#include <sys/mman.h>

#include "base/link_address.hpp"

namespace postern::server {
namespace {

constexpr std::size_t kBufferSize = 65536;
/// Trains read in one go before tasks and timers get their turn.
constexpr unsigned kTrainsPerTurn = 64;

ServerError udp_error(const runtime::UdpError& error, const SocketAddress& listen) {
  switch (error.kind) {
    case runtime::UdpErrorKind::AddressInUse:
      return {config::ExitCode::AddressInUse, "another program listens on " + listen.to_string() +
                                                  "/udp; stop it or choose another address with --listen"};
    case runtime::UdpErrorKind::NoPermission:
      return {config::ExitCode::NotPermitted, error.text};
    default:
      return {config::ExitCode::Failure, error.text};
  }
}

}  // namespace

std::expected<std::unique_ptr<RelayPort>, ServerError> RelayPort::open(runtime::EventLoop& loop,
                                                                       const SocketAddress& listen) {
  auto socket = runtime::UdpSocket::open(listen, {});
  if (!socket) return std::unexpected(udp_error(socket.error(), listen));
  return std::unique_ptr<RelayPort>(new RelayPort(loop, std::move(*socket)));
}

RelayPort::RelayPort(runtime::EventLoop& loop, runtime::UdpSocket socket)
    : loop_(loop),
      socket_(std::move(socket)),
      links_(loop, {},
             {.train = [this](const SocketAddress& from, MutableBytes bytes,
                              std::size_t stride) { forward(from, bytes, stride, 0); },
              .closed =
                  [this](const SocketAddress& from) {
                    if (relay_) relay_->close_source(from);
                  },
              .is_bound =
                  [this](const SocketAddress& from) { return relay_ && relay_->is_bound_source(from, loop_.now()); }}),
      buffer_(static_cast<std::uint8_t*>(
          ::mmap(nullptr, kBufferSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  if (buffer_ == MAP_FAILED) throw std::bad_alloc();
}

RelayPort::~RelayPort() {
  links_.close_all();  // while there is a relay to tell
  ::munmap(buffer_, kBufferSize);
}

void RelayPort::begin(relay_core::RelayConfig config, RandomSource& random) {
  relay_.emplace(std::move(config), random);
}

void RelayPort::attach() {
  loop_.add_participant(*this);
  loop_.add(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t) { work(); });
}

void RelayPort::detach() {
  links_.close_all();
  loop_.remove(socket_.fd());
  loop_.remove_participant(*this);
}

WallTime RelayPort::wall() const {
  if (!wall_offset_) return runtime::wall_now();
  return WallTime{
      std::chrono::duration_cast<std::chrono::milliseconds>(loop_.now().time_since_epoch() + *wall_offset_)};
}

void RelayPort::revoke(const RouteId& route) {
  if (relay_) relay_->revoke(route, wall());
}

RelaySnapshot RelayPort::snapshot() const {
  const runtime::UdpCounters& udp = socket_.counters();
  RelaySnapshot snapshot{
      .bytes_received = udp.bytes_received,
      .bytes_sent = udp.bytes_sent,
      .send_dropped = udp.dropped_queue_full + udp.dropped_too_large + udp.dropped_unreachable,
      .links = links_.stats(),
  };
  snapshot.links.forged = forged_;
  if (!relay_) return snapshot;
  snapshot.epoch = relay_->epoch();
  snapshot.bindings = relay_->binding_count();
  snapshot.stats = relay_->stats();
  return snapshot;
}

void RelayPort::end_turn(Instant now) {
  if (relay_) {
    if (const auto due = relay_->next_timeout(); due && *due <= now) relay_->handle_timeout(now, wall());
  }
  links_.handle_timeout(now);
  if (pending_) work();
}

std::optional<Instant> RelayPort::next_timeout() const {
  if (pending_) return loop_.now();
  const auto relay = relay_ ? relay_->next_timeout() : std::nullopt;
  const auto links = links_.next_timeout();
  return relay && links ? std::min(*relay, *links) : relay ? relay : links;
}

/// Receives, forwards, until the socket is empty, cannot send any more, or the turn's share is used up.
void RelayPort::work() {
  pending_ = false;
  if (socket_.is_blocked() && !socket_.flush()) return;  // EPOLLOUT comes
  for (unsigned count = 0; count < kTrainsPerTurn; ++count) {
    const auto received = socket_.receive(MutableBytes(buffer_, kBufferSize));
    if (!received) return;
    if (is_link_address(received->from)) {
      ++forged_;
      continue;
    }
    forward(received->from, ByteView(buffer_, received->size), received->stride, received->ecn);
    if (socket_.is_blocked()) return;
  }
  pending_ = true;
}

void RelayPort::forward(const SocketAddress& from, ByteView bytes, std::size_t stride, std::uint8_t ecn) {
  if (!relay_) return;
  relay_->handle_train(loop_.now(), wall(), from, bytes, stride, out_);
  for (const relay_core::OutgoingTrain& train : out_.trains()) {
    if (is_link_address(train.to)) {
      links_.send(loop_.now(), train.to, train.bytes, train.stride);
    } else {
      static_cast<void>(socket_.send(train.to, train.bytes, train.stride, ecn));  // drops are counted there
    }
  }
  out_.clear();
}

}  // namespace postern::server
