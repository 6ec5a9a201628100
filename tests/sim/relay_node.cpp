#include "sim/relay_node.hpp"

#include <algorithm>

#include "base/network_time.hpp"
#include "sim/controller_node.hpp"

namespace postern::sim {
namespace {

constexpr Duration kReportEvery = std::chrono::seconds(10);  // as in services/server/relay_server.cpp
constexpr std::uint16_t kPort = 443;

}  // namespace

RelayNode::RelayNode(Fabric& fabric, ControllerNode* server, LanId lan, std::string name)
    : Node(fabric), server_(server), name_(std::move(name)), key_(identity::PrivateKey::generate(fabric.random)) {
  host_ = fabric_.network.add_host(
      lan, kPort,
      [this](const SocketAddress& from, MutableBytes bytes, std::size_t stride) { receive(from, bytes, stride); });
  if (server_ != nullptr) return;
  seal_key_.emplace();
  seal_key_->fill(7);
}

void RelayNode::enrol(std::string token) {
  token_ = std::move(token);
  key_ = identity::PrivateKey::generate(fabric_.random);
  seal_key_.reset();
}

controller::RelayEndpoint RelayNode::endpoint() const {
  controller::RelayEndpoint endpoint;
  endpoint.name = name_;
  endpoint.addresses = fabric_.network.addresses(host_);
  endpoint.seal_key = *seal_key_;
  endpoint.epoch = relay_->epoch();
  return endpoint;
}

void RelayNode::start() {
  is_running_ = true;
  if (seal_key_) serve();
  wake();
  if (server_ == nullptr) return;
  control_ = std::make_shared<ControlAgent>(
      fabric_, *server_, host_, AgentIdentity{wire::AGENT_ROLE_RELAY, key_, token_},
      AgentEvents{[] {}, [this](const Down&) { report_at_.reset(); },
                  [this](const wire::ControllerMessage& message) { handle_message(message); }});
  control_->start();
}

void RelayNode::stop() {
  is_running_ = false;
  relay_.reset();
  report_at_.reset();
  if (control_) control_->stop();
  control_ = nullptr;
}

void RelayNode::serve() {
  relay_.emplace(relay_core::RelayConfig{.name = name_, .token_key = *seal_key_}, fabric_.random);
}

WallTime RelayNode::wall() const {
  if (!wall_offset_) return host_clock();
  return WallTime{
      std::chrono::duration_cast<std::chrono::milliseconds>(fabric_.time.now().time_since_epoch() + *wall_offset_)};
}

void RelayNode::revoke(const RouteId& route) {
  if (relay_) relay_->revoke(route, wall());
}

void RelayNode::receive(const SocketAddress& from, MutableBytes bytes, std::size_t stride) {
  if (!relay_) return;
  relay_->handle_train(fabric_.time.now(), wall(), from, bytes, stride, output_);
  for (const relay_core::OutgoingTrain& train : output_.trains()) {
    fabric_.network.send(host_, train.to, train.bytes, train.stride);
  }
  output_.clear();
  wake();
}

void RelayNode::handle_message(const wire::ControllerMessage& message) {
  const Instant now = fabric_.time.now();
  if (message.has_welcome()) wall_offset_ = network_time_offset(message.welcome().server_time_ms(), now);
  if (message.has_heartbeat_reply())
    wall_offset_ = network_time_offset(message.heartbeat_reply().server_time_ms(), now);
  if (!message.has_relay_update()) return;
  const wire::RelayUpdate& update = message.relay_update();
  identity::SealKey key{};
  if (update.seal_key().size() == key.size()) {
    std::ranges::copy(as_bytes(update.seal_key()), key.begin());
    const bool is_news = seal_key_ != key;
    seal_key_ = key;
    if (!relay_ || is_news) serve();
  }
  for (const wire::RevokedRoute& revoked : update.revoked_routes()) {
    RouteId route;
    if (revoked.route_id().size() != route.bytes.size()) continue;
    std::ranges::copy(as_bytes(revoked.route_id()), route.bytes.begin());
    revoke(route);
  }
  if (update.full() && relay_) report();
}

void RelayNode::report() {
  report_at_ = fabric_.time.now() + kReportEvery;
  wire::AgentMessage message;
  message.mutable_relay_report()->set_epoch(relay_->epoch());
  message.mutable_relay_report()->set_bindings(relay_->binding_count());
  message.mutable_relay_report()->set_sent_at(to_nanoseconds(fabric_.time.now()));
  control_->send(message);
  wake();
}

void RelayNode::turn(Instant now) {
  if (!relay_) return;
  if (const auto due = relay_->next_timeout(); due && *due <= now) relay_->handle_timeout(now, wall());
  if (report_at_ && now >= *report_at_) report();
}

std::optional<Instant> RelayNode::next_timeout() const {
  if (!relay_) return std::nullopt;
  auto next = relay_->next_timeout();
  if (report_at_ && (!next || *report_at_ < *next)) next = report_at_;
  return next;
}

}  // namespace postern::sim
