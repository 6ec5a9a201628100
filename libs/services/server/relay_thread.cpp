#include "services/server/relay_thread.hpp"

#include <sys/epoll.h>
#include <sys/mman.h>

#include "relay_core/relay.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/udp/udp_socket.hpp"

namespace postern::server {
namespace {

using runtime::monotonic_now;
using runtime::wall_now;

constexpr std::size_t kBufferSize = 65536;
/// Trains read in one go before tasks and timers get their turn.
constexpr unsigned kTrainsPerTurn = 64;
constexpr std::chrono::milliseconds kHandOverAgain{10};

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

/// Lives on the relay's thread from start() on.
class RelayThread::Worker final : public runtime::TurnParticipant {
 public:
  Worker(runtime::UdpSocket socket, const identity::SealKey& key, RandomSource& random)
      : socket_(std::move(socket)),
        relay_({.name = std::string(kLocalRelayName), .token_key = key}, random),
        buffer_(static_cast<std::uint8_t*>(
            ::mmap(nullptr, kBufferSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    if (buffer_ == MAP_FAILED) throw std::bad_alloc();
  }
  ~Worker() override { ::munmap(buffer_, kBufferSize); }

  void run() {
    loop.add_participant(*this);
    loop.add(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t) { work(); });
    loop.run();
    loop.remove(socket_.fd());
    loop.remove_participant(*this);
  }

  void revoke(const RouteId& route) { relay_.revoke(route, wall_now()); }

  RelaySnapshot snapshot() const {
    const runtime::UdpCounters& udp = socket_.counters();
    return {.epoch = relay_.epoch(),
            .bindings = relay_.binding_count(),
            .stats = relay_.stats(),
            .bytes_received = udp.bytes_received,
            .bytes_sent = udp.bytes_sent,
            .send_dropped = udp.dropped_queue_full + udp.dropped_too_large + udp.dropped_unreachable};
  }

  void end_turn(Instant now) override {
    if (const auto due = relay_.next_timeout(); due && *due <= now) relay_.handle_timeout(now, wall_now());
    if (pending_) work();
  }
  [[nodiscard]] std::optional<Instant> next_timeout() const override {
    if (pending_) return loop.now();
    return relay_.next_timeout();
  }

  runtime::EventLoop loop;
  [[nodiscard]] std::uint64_t epoch() const { return relay_.epoch(); }

 private:
  /// Receives, forwards, until the socket is empty, cannot send any more, or the turn's share is used up.
  void work() {
    pending_ = false;
    if (socket_.is_blocked() && !socket_.flush()) return;  // EPOLLOUT comes
    const WallTime wall = wall_now();
    for (unsigned count = 0; count < kTrainsPerTurn; ++count) {
      const auto received = socket_.receive(MutableBytes(buffer_, kBufferSize));
      if (!received) return;
      relay_.handle_train(loop.now(), wall, received->from, ByteView(buffer_, received->size), received->stride, out_);
      for (const relay_core::OutgoingTrain& train : out_.trains()) {
        static_cast<void>(socket_.send(train.to, train.bytes, train.stride, received->ecn));  // drops are counted there
      }
      out_.clear();
      if (socket_.is_blocked()) return;
    }
    pending_ = true;
  }

  runtime::UdpSocket socket_;
  relay_core::Relay relay_;
  relay_core::RelayOutput out_;
  std::uint8_t* buffer_;
  bool pending_ = false;  // the socket may have more
};

std::expected<std::unique_ptr<RelayThread>, ServerError> RelayThread::open(runtime::IoLoop& controller_loop,
                                                                           const SocketAddress& listen,
                                                                           const identity::SealKey& key,
                                                                           RandomSource& random) {
  auto socket = runtime::UdpSocket::open(listen, {});
  if (!socket) return std::unexpected(udp_error(socket.error(), listen));
  return std::unique_ptr<RelayThread>(
      new RelayThread(controller_loop, std::make_unique<Worker>(std::move(*socket), key, random)));
}

RelayThread::RelayThread(runtime::IoLoop& controller_loop, std::unique_ptr<Worker> worker)
    : controller_loop_(controller_loop), worker_(std::move(worker)), again_(controller_loop) {}

RelayThread::~RelayThread() {
  stop();
}

void RelayThread::start() {
  thread_ = std::thread([this] { worker_->run(); });
}

void RelayThread::stop() {
  if (!thread_.joinable()) return;
  worker_->loop.stop();
  thread_.join();
}

std::uint64_t RelayThread::epoch() const {
  return worker_->epoch();
}

void RelayThread::revoke(const RouteId& route) {
  waiting_.push_back(route);
  hand_over();
}

void RelayThread::hand_over() {
  while (!waiting_.empty()) {
    if (!worker_->loop.post([worker = worker_.get(), route = waiting_.front()] { worker->revoke(route); })) {
      again_.start(kHandOverAgain, [this] { hand_over(); });
      return;
    }
    waiting_.pop_front();
  }
}

void RelayThread::query(std::function<void(std::optional<RelaySnapshot>)> done) {
  const bool asked = worker_->loop.post([this, worker = worker_.get(), done] {
    controller_loop_.post([done, snapshot = worker->snapshot()] { done(snapshot); });
  });
  if (!asked) done(std::nullopt);
}

}  // namespace postern::server
