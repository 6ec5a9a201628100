#include "services/server/relay_thread.hpp"

#include "runtime/loop/event_loop.hpp"

namespace postern::server {
namespace {

constexpr std::chrono::milliseconds kHandOverAgain{10};

}  // namespace

/// Lives on the relay's thread from start() on.
class RelayThread::Worker {
 public:
  void run() {
    port->attach();
    loop.run();
    port->detach();
  }

  runtime::EventLoop loop;
  std::unique_ptr<RelayPort> port;
};

std::expected<std::unique_ptr<RelayThread>, ServerError> RelayThread::open(runtime::IoLoop& controller_loop,
                                                                           const SocketAddress& listen,
                                                                           const identity::SealKey& key,
                                                                           RandomSource& random) {
  auto worker = std::make_unique<Worker>();
  auto port = RelayPort::open(worker->loop, listen);
  if (!port) return std::unexpected(port.error());
  worker->port = std::move(*port);
  worker->port->begin({.name = std::string(kLocalRelayName), .token_key = key}, random);
  return std::unique_ptr<RelayThread>(new RelayThread(controller_loop, std::move(worker)));
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
  return worker_->port->epoch();
}

void RelayThread::revoke(const RouteId& route) {
  waiting_.push_back(route);
  hand_over();
}

void RelayThread::hand_over() {
  while (!waiting_.empty()) {
    if (!worker_->loop.post([worker = worker_.get(), route = waiting_.front()] { worker->port->revoke(route); })) {
      again_.start(kHandOverAgain, [this] { hand_over(); });
      return;
    }
    waiting_.pop_front();
  }
}

void RelayThread::accept_link(runtime::LinkSocket::Connection connection, const std::string& key) {
  auto shared = std::make_shared<runtime::LinkSocket::Connection>(std::move(connection));
  (void)worker_->loop.post(
      [worker = worker_.get(), shared, key] { worker->port->accept_link(std::move(*shared), key); });
}

void RelayThread::query(std::function<void(std::optional<RelaySnapshot>)> done) {
  const bool asked = worker_->loop.post([this, worker = worker_.get(), done] {
    controller_loop_.post([done, snapshot = worker->port->snapshot()] { done(snapshot); });
  });
  if (!asked) done(std::nullopt);
}

}  // namespace postern::server
