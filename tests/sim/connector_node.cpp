#include "sim/connector_node.hpp"

#include <algorithm>

#include "base/network_time.hpp"
#include "sim/controller_node.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;

// As in services/connector.
constexpr Duration kHeartbeat = 10s;
constexpr Duration kControlRestartPause = 5s;
constexpr std::size_t kPoolMax = 64U << 20;
constexpr std::uint16_t kPort = 40'000;

bool is_stun(ByteView datagram) {
  return !datagram.empty() && datagram[0] <= 3;
}

}  // namespace

/// What ends with the process.
struct ConnectorNode::Process {
  Process(Node& owner, Fabric& fabric, const PrivateNetwork& network, const TargetEvents& events,
          connector::RelayBindings::Callbacks callbacks)
      : key(identity::PrivateKey::generate(fabric.random)),
        core({.software = "postern-sim", .flows = {}}, port, pool),
        targets(owner, fabric, network, core, pool, events),
        relays(fabric.random, std::move(callbacks)) {}

  identity::PrivateKey key;
  BlockPool pool{kPoolMax};
  connector::EndpointPort port;
  connector::Connector core;
  Targets targets;
  connector::RelayBindings relays;
  std::optional<RouteId> route;
  std::unique_ptr<session::Endpoint> endpoint;
  bool control_up = false;
  Instant heartbeat_at{};
  std::optional<Instant> control_restart_at;
};

ConnectorNode::ConnectorNode(Fabric& fabric, ControllerNode& server, LanId lan, const PrivateNetwork& network,
                             TargetEvents events)
    : Node(fabric), server_(server), network_(network), events_(std::move(events)) {
  host_ = fabric_.network.add_host(
      lan, kPort,
      [this](const SocketAddress& from, MutableBytes bytes, std::size_t stride) { receive(from, bytes, stride); });
}

ConnectorNode::~ConnectorNode() {
  stop();
}

void ConnectorNode::start() {
  ++processes_;
  turned_away_ = false;
  process_ = std::make_unique<Process>(
      *this, fabric_, network_, events_,
      connector::RelayBindings::Callbacks{
          .send = [this](const SocketAddress& to,
                         ByteView datagram) { fabric_.network.send(host_, to, datagram, datagram.size()); },
          .changed = [this] { process_->heartbeat_at = fabric_.time.now(); },
          .proven = [this](const SocketAddress& relay) { handle_relay_proven(relay); },
          .ticket_refused = [this] { restart_control(); },
          .note = [](const connector::RelayNote&) {}});
  process_->core.handle_network_time(fabric_.time.now(), server_.wall());
  start_control();
  wake();
}

void ConnectorNode::stop() {
  if (control_) control_->stop();
  control_ = nullptr;
  if (process_) process_->port.attach(nullptr);
  process_ = nullptr;
}

void ConnectorNode::start_control() {
  control_ = std::make_shared<ControlAgent>(
      fabric_, server_, host_, AgentIdentity{wire::AGENT_ROLE_CONNECTOR, process_->key, refresh_token_},
      AgentEvents{[] {}, [this](const Down& down) { handle_down(down); },
                  [this](const wire::ControllerMessage& message) { handle_message(message); }});
  control_->start();
}

void ConnectorNode::restart_control() {
  if (!process_->control_restart_at) process_->control_restart_at = fabric_.time.now() + kControlRestartPause;
}

void ConnectorNode::handle_down(const Down& down) {
  process_->control_up = false;
  if (!down.final) return;
  turned_away_ = true;  // the process ends with the next turn: its objects are in use below this call
  wake();
}

void ConnectorNode::handle_message(const wire::ControllerMessage& message) {
  const Instant now = fabric_.time.now();
  wake();
  if (message.has_welcome()) return handle_welcome(message.welcome());
  if (message.has_relay_up()) return process_->relays.update(now, message.relay_up().relay());
  if (message.has_relay_down()) return process_->relays.remove(now, message.relay_down().name());
  if (message.has_heartbeat_reply()) return handle_server_time(message.heartbeat_reply().server_time_ms());
  if (!message.has_connector_update()) return;
  if (process_->core.handle_update(now, message.connector_update()) == connector::UpdateOutcome::Gap) {
    return restart_control();
  }
  control_->set_known_version(process_->core.policy().version());
}

void ConnectorNode::handle_welcome(const wire::Welcome& welcome) {
  const Instant now = fabric_.time.now();
  process_->control_up = true;
  handle_server_time(welcome.server_time_ms());
  process_->core.handle_welcome(welcome);
  use_route(welcome);
  process_->relays.replace(now, welcome.relays());
  process_->heartbeat_at = process_->relays.is_bound(now) ? now : now + 2s;
}

void ConnectorNode::handle_server_time(std::int64_t server_time_ms) {
  const Instant now = fabric_.time.now();
  process_->core.handle_network_time(now, from_unix_ms(bounded_unix_ms(server_time_ms)));
  process_->relays.set_wall_offset(network_time_offset(server_time_ms, now));
}

void ConnectorNode::use_route(const wire::Welcome& welcome) {
  RouteId route;
  if (welcome.route_id().size() != route.bytes.size()) throw Violation("a connector was given no route");
  std::ranges::copy(as_bytes(welcome.route_id()), route.bytes.begin());
  if (process_->endpoint && route == process_->route) return;
  if (process_->endpoint) {
    process_->core.shut_down(fabric_.time.now());
    pump();
    transmit();
    process_->core.resume();
  }
  process_->route = route;
  session::EndpointConfig config;
  config.role = session::Role::Connector;
  config.credentials = {process_->key.to_pkcs8(), identity::self_signed_certificate(process_->key, server_.wall())};
  config.route = route;
  process_->port.attach(nullptr);
  process_->endpoint =
      std::make_unique<session::Endpoint>(std::move(config), process_->pool, fabric_.random, &process_->core.knocks());
  process_->port.attach(process_->endpoint.get());
}

void ConnectorNode::handle_relay_proven(const SocketAddress& relay) {
  if (process_->endpoint) {
    for (const session::SessionId id : process_->core.sessions().all()) {
      const auto stats = process_->endpoint->stats(id);
      if (!stats || stats->path.remote == relay || process_->relays.is_in_use(stats->path.remote)) continue;
      process_->endpoint->set_remote(id, relay);
    }
    process_->core.ping_all(fabric_.time.now());
    control_->reconnect_now();
  }
}

void ConnectorNode::handle_network_change() {
  if (!process_) return;
  process_->relays.rebind_all(fabric_.time.now(), wire::RebindReason::AddressChanged);
  control_->reconnect_now();
  wake();
}

void ConnectorNode::send_heartbeat() {
  wire::AgentMessage message;
  wire::Heartbeat& heartbeat = *message.mutable_heartbeat();
  heartbeat.set_certificate_digest(std::string(as_text(process_->key.public_key().digest())));
  heartbeat.set_sent_at(to_nanoseconds(fabric_.time.now()));
  for (const std::string& name : process_->relays.bound_names(fabric_.time.now())) heartbeat.add_relays(name);
  control_->send(message);
}

// --- the data plane
// ----------------------------------------------------------------------------------------------------

void ConnectorNode::receive(const SocketAddress& from, MutableBytes bytes, std::size_t stride) {
  if (!process_) return;
  const Instant now = fabric_.time.now();
  wake();
  if (!is_stun(bytes)) {
    if (!process_->endpoint || !process_->relays.is_relay(from)) return;
    return process_->endpoint->handle_train(now, {{0, from}, bytes, stride, 0});
  }
  for (std::size_t at = 0; at < bytes.size(); at += stride) {
    (void)process_->relays.handle_datagram(now, from, bytes.subspan(at, std::min(stride, bytes.size() - at)));
  }
}

void ConnectorNode::pump() {
  for (bool busy = true; busy;) {
    busy = false;
    while (process_->endpoint) {
      const auto event = process_->endpoint->poll_event();
      if (!event) break;
      process_->core.handle_event(fabric_.time.now(), *event);
      busy = true;
    }
    while (const auto request = process_->core.flows().poll_request()) {
      process_->targets.handle(*request);
      busy = true;
    }
  }
}

void ConnectorNode::transmit() {
  while (process_->endpoint) {
    const auto train = process_->endpoint->poll_transmit(fabric_.time.now(), fabric_.buffer);
    if (!train) return;
    fabric_.network.send(host_, train->path.remote, train->bytes, train->stride);
  }
}

void ConnectorNode::turn(Instant now) {
  if (turned_away_) stop();
  if (!process_) return;
  Process& process = *process_;
  if (process.endpoint) {
    if (const auto due = process.endpoint->next_timeout(); due && *due <= now) process.endpoint->handle_timeout(now);
  }
  if (const auto due = process.core.next_timeout(); due && *due <= now) process.core.handle_timeout(now);
  if (const auto due = process.relays.next_timeout(); due && *due <= now) process.relays.handle_timeout(now);
  pump();
  process.targets.pump();
  pump();
  transmit();
  while (const auto report = process.core.flows().poll_report()) {
    if (report->kind == connector::FlowReport::Kind::Refused) {
      last_refusal_ =
          report->target.to_string() + " " + wire::RefusalReason_Name(report->refusal) + " " + report->detail;
    }
    if (report->kind == connector::FlowReport::Kind::Opened || !process.control_up) continue;
    wire::AgentMessage message;
    message.mutable_flow_record()->set_target(report->target.to_string());
    message.mutable_flow_record()->set_refusal(report->refusal);
    control_->send(message);
  }
  while (process.core.sessions().poll_notice()) {
  }
  if (process.control_up && now >= process.heartbeat_at) {
    send_heartbeat();
    process.heartbeat_at = now + kHeartbeat;
  }
  if (process.control_restart_at && now >= *process.control_restart_at) {
    process.control_restart_at.reset();
    control_->stop();
    start_control();
  }
}

std::optional<Instant> ConnectorNode::next_timeout() const {
  if (!process_) return std::nullopt;
  std::optional<Instant> earliest;
  const auto consider = [&earliest](std::optional<Instant> at) {
    if (at) earliest = std::min(earliest.value_or(*at), *at);
  };
  consider(process_->core.next_timeout());
  consider(process_->relays.next_timeout());
  if (process_->endpoint) consider(process_->endpoint->next_timeout());
  if (process_->control_up) consider(process_->heartbeat_at);
  consider(process_->control_restart_at);
  return earliest;
}

std::size_t ConnectorNode::flows() const {
  return process_ ? process_->core.flows().size() : 0;
}
std::size_t ConnectorNode::sessions() const {
  return process_ ? process_->core.sessions().size() : 0;
}
std::size_t ConnectorNode::targets() const {
  return process_ ? process_->targets.size() : 0;
}
std::size_t ConnectorNode::pool_in_use() const {
  return process_ ? process_->pool.bytes_in_use() : 0;
}
std::vector<std::string> ConnectorNode::bound_at() const {
  return process_ ? process_->relays.bound_names(fabric_.time.now()) : std::vector<std::string>{};
}
const connector::Connector* ConnectorNode::core() const {
  return process_ ? &process_->core : nullptr;
}

}  // namespace postern::sim
