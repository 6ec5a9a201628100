#include "services/connector/connector_service.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/os/limits.hpp"

namespace postern::connector {
namespace {

/// What may be in flight in all: unread, unwritten and unacknowledged bytes. Mapped as needed, given back when idle.
constexpr std::size_t kPoolMax = 512U << 20;
constexpr Duration kHeartbeat = std::chrono::seconds(10);
/// Descriptors that are not flows: sockets of our own, resolver, control channel, health.
constexpr std::uint64_t kOwnDescriptors = 128;

ConnectorConfig core_config(const std::string& software) {
  ConnectorConfig config;
  config.software = software;
  const std::uint64_t files = runtime::raise_open_files_limit();
  const std::uint64_t usable = files > 2 * kOwnDescriptors ? files - kOwnDescriptors : files / 2;
  config.flows.flows_max = std::min<std::uint64_t>(config.flows.flows_max, usable);
  return config;
}

std::string_view name_of(int state) {
  static constexpr std::array<std::string_view, 4> kNames{"Offline", "Authentication", "Online", "Error"};
  return kNames.at(static_cast<std::size_t>(state));
}

}  // namespace

ConnectorService::ConnectorService(runtime::EventLoop& loop, runtime::Logger& log, ConnectorSettings settings,
                                   std::string software)
    : loop_(loop),
      log_(log),
      settings_(std::move(settings)),
      software_(std::move(software)),
      key_(identity::PrivateKey::generate(random_)),
      pool_(kPoolMax),
      core_(core_config(software_), port_, pool_),
      targets_(loop_, core_.flows(), pool_),
      datagrams_(loop_, core_.flows(), pool_),
      resolver_(loop_, {settings_.dns}),
      relays_(random_, {.send = [this](const SocketAddress& to,
                                       ByteView datagram) { send(loop_.now(), to, datagram, datagram.size(), 0); },
                        .changed = [this] { handle_bindings_changed(); },
                        .proven = [this](const SocketAddress& relay) { handle_relay_proven(relay); },
                        .ticket_refused = [this] { restart_control("a relay refused the ticket"); },
                        .note = [this](const RelayNote& note) { handle_relay_note(note); }}),
      links_(loop_, link_events()),
      network_(loop_, [this] { handle_network_changed(); }),
      started_(loop_.now()),
      memory_(pool_) {
  core_.enable_direct_paths(random_);
  process_ = to_hex(random_.make<std::array<std::uint8_t, 8>>());
  core_.handle_network_time(loop_.now(), runtime::wall_now());
  loop_.add_participant(*this);
}

ConnectorService::~ConnectorService() {
  loop_.remove_participant(*this);
  if (udp_) loop_.remove(udp_->fd());
  port_.attach(nullptr);
}

std::expected<void, Failure> ConnectorService::start() {
  auto socket = runtime::UdpSocket::open({IpAddress::v4(0U), 0}, {});
  if (!socket) return std::unexpected(Failure{config::ExitCode::NotPermitted, socket.error().text});
  udp_.emplace(std::move(*socket));
  if (settings_.maps_port) mapping_.emplace(loop_, random_, [this] { handle_mapping_changed(); });
  look_at_host(loop_.now());
  receive_buffer_ = pool_.acquire(BlockClass::Large);
  send_buffer_ = pool_.acquire(BlockClass::Large);
  loop_.add(udp_->fd(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) (void)udp_->flush();
    if ((events & (EPOLLIN | EPOLLERR)) != 0) receive_packets(loop_.now());
  });
  start_health();
  set_state(State::Authentication, "");
  start_control();
  log_.raw_line("Connector started successfully");
  return {};
}

void ConnectorService::start_health() {
  const auto listen = [this](std::unique_ptr<LocalHttp>& http, std::uint16_t port, LocalHttp::Handler handler) {
    if (port == 0) return;
    http = std::make_unique<LocalHttp>(loop_, std::move(handler));
    for (const char* host : {"127.0.0.1", "::1"}) {
      const SocketAddress at{*IpAddress::parse(host), port};
      const auto problem = http->listen(at);
      // A host without IPv6 is no reason to warn.
      if (problem && at.ip.is_v4()) log_.warn(*problem + "; going on without it");
      if (problem && at.ip.is_v6()) log_.debug(*problem);
    }
  };
  listen(health_http_, settings_.health_port, [this](std::string_view path) { return page(path); });
  listen(metrics_http_, settings_.metrics_port, [this](std::string_view path) -> std::optional<LocalPage> {
    if (path != "/metrics") return std::nullopt;
    return LocalPage{200, metrics(), "text/plain; version=0.0.4; charset=utf-8"};
  });
  health_socket_ = std::make_unique<HealthSocket>(loop_, [this] { return health(); });
  // A read-only file system is fine: the health command then asks the port.
  if (const auto problem = health_socket_->listen(settings_.api_endpoint)) log_.debug(*problem);
}

std::optional<LocalPage> ConnectorService::page(std::string_view path) const {
  if (path != "/healthcheck" && path != "/healthz" && path != "/readyz") return std::nullopt;
  const Health now = health();
  return now.ok ? LocalPage{200, "OK"} : LocalPage{503, now.reason + "\n"};
}

Health ConnectorService::health() const {
  if (!control_up_) return {false, "not connected to the server: " + last_problem_};
  if (!relays_.is_bound(loop_.now())) return {false, "connected to the server, but to no relay"};
  return {true, ""};
}

std::string ConnectorService::metrics() const {
  const FlowCounters& flows = core_.flows().counters();
  const runtime::UdpCounters& udp = udp_->counters();
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(loop_.now() - started_).count();
  std::string text;
  const auto add = [&text](std::string_view name, std::string_view type, std::string_view labels, std::uint64_t value) {
    text += "# TYPE " + std::string(name) + " " + std::string(type) + "\n";
    text += std::string(name) + std::string(labels) + " " + std::to_string(value) + "\n";
  };
  add("postern_connector_uptime_seconds", "gauge", "", static_cast<std::uint64_t>(uptime));
  add("postern_inbound_bytes_total", "counter", "{transport=\"relay\"}", udp.bytes_received);
  add("postern_outbound_bytes_total", "counter", "{transport=\"relay\"}", udp.bytes_sent);
  add("postern_inbound_bytes_total", "counter", "{transport=\"relay_tls\"}", links_.counters().bytes_received);
  add("postern_outbound_bytes_total", "counter", "{transport=\"relay_tls\"}", links_.counters().bytes_sent);
  add("postern_connector_resources", "gauge", "", core_.policy().table().all().size());
  add("postern_connector_sessions", "gauge", "", core_.sessions().size());
  add("postern_connector_flows", "gauge", "", core_.flows().size());
  add("postern_connector_flows_opened_total", "counter", "", flows.opened);
  add("postern_connector_flows_refused_total", "counter", "", flows.refused);
  add("postern_connector_bytes_to_targets_total", "counter", "", flows.bytes_to_targets);
  add("postern_connector_bytes_from_targets_total", "counter", "", flows.bytes_from_targets);
  std::uint64_t dropped =
      dropped_datagrams_ + udp.dropped_queue_full + udp.truncated + links_.counters().dropped_datagrams;
  if (endpoint_) {
    for (const std::uint64_t count : endpoint_->drops()) dropped += count;
    const session::DatagramCounters& queues = endpoint_->datagram_counters();
    dropped += queues.dropped_queue + queues.dropped_unread + queues.dropped_memory + queues.dropped_malformed +
               queues.dropped_partial;
  }
  if (mapping_) {
    add("postern_connector_port_mapped", "gauge", "", mapping_->outside() ? 1 : 0);
    for (std::size_t i = 0; i < mapping_->mapper().drops().size(); ++i) {
      const std::uint64_t count = mapping_->mapper().drops()[i];
      const auto reason = "{reason=\"" + std::string(to_string(static_cast<mapping::MappingDrop>(i))) + "\"}";
      if (count > 0) add("postern_connector_port_mapping_dropped_total", "counter", reason, count);
    }
  }
  const DatagramSockets::Counters& datagrams = datagrams_.counters();
  add("postern_connector_datagrams_to_targets_total", "counter", "", datagrams.sent);
  add("postern_connector_datagrams_from_targets_total", "counter", "", datagrams.received);
  add("postern_connector_ping_forbidden", "gauge", "", datagrams_.is_ping_forbidden() ? 1 : 0);
  dropped += datagrams.not_sent + flows.datagrams_dropped;
  add("postern_connector_datagrams_dropped_total", "counter", "", dropped);
  return text;
}

// --- state
// -------------------------------------------------------------------------------------------------------------

void ConnectorService::set_state(State state, const std::string& reason) {
  if (state == state_ && reason.empty()) return;
  const bool changed = state != state_;
  state_ = state;
  if (!changed) return;
  const std::string line = "State: " + std::string(name_of(static_cast<int>(state)));
  if (reason.empty()) return log_.info(line);
  log_.info(line, {{"reason", reason}});
}

void ConnectorService::update_state(Instant now) {
  if (failure_) return;
  if (!control_up_) return;  // set where it went down, with the reason
  const bool bound = relays_.is_bound(now);
  // Just let in: the relay has not had the time to answer. The next heartbeat looks again.
  if (!bound && state_ == State::Authentication && now < heartbeat_at_) return;
  set_state(bound ? State::Online : State::Offline, bound ? "" : "no relay");
}

void ConnectorService::handle_bindings_changed() {
  heartbeat_at_ = loop_.now();  // the controller tells clients where we are
  look_at_host(loop_.now());
  update_state(loop_.now());
}

void ConnectorService::handle_relay_note(const RelayNote& note) {
  switch (note.kind) {
    case RelayNote::Kind::Bound:
      return log_.debug("Bound at a relay", {{"relay", note.relay}, {"mapped", note.detail}});
    case RelayNote::Kind::AddressMoved:
      return log_.debug("The relay sees another address", {{"relay", note.relay}, {"mapped", note.detail}});
    case RelayNote::Kind::Silent:
      return log_.warn("The relay does not answer", {{"relay", note.relay}});
    case RelayNote::Kind::Refuses:
      return log_.warn("The relay refuses this connector", {{"relay", note.relay}, {"code", note.detail}});
    case RelayNote::Kind::OverLink:
      return log_.warn("The relay is reached over TLS, because UDP to it is not answered",
                       {{"relay", note.relay}, {"udp", note.detail}});
    case RelayNote::Kind::OverUdp:
      return log_.info("The relay is reached over UDP again", {{"relay", note.relay}, {"udp", note.detail}});
    case RelayNote::Kind::Unusable:
      return log_.warn("A relay that the server named cannot be used", {{"relay", note.relay}});
  }
}

void ConnectorService::handle_relay_proven(const SocketAddress& relay) {
  look_at_host(loop_.now());
  if (!endpoint_) return;
  // Sessions live on over a relay's restart or move; a PING on each makes both sides notice at once.
  for (const session::SessionId id : core_.sessions().all()) {
    const auto stats = endpoint_->stats(id);
    if (stats && stats->path.remote != relay && !relays_.is_in_use(stats->path.remote))
      endpoint_->set_remote(id, relay);
  }
  core_.ping_all(loop_.now());
  // The machine that the relay runs on is there again: so may be the controller.
  control_->reconnect_now();
}

void ConnectorService::handle_network_changed() {
  log_.debug("An address or route of this host changed");
  look_at_host(loop_.now());
  relays_.rebind_all(loop_.now(), wire::RebindReason::AddressChanged);
  control_->reconnect_now();
}

void ConnectorService::fail(config::ExitCode code, std::string message) {
  if (failure_) return;
  set_state(State::Error, message);
  failure_ = Failure{code, std::move(message)};
  core_.shut_down(loop_.now());
  stop_at_ = loop_.now();
}

void ConnectorService::stop() {
  const Instant now = loop_.now();
  if (stop_at_) {
    stop_at_ = now;
    return;
  }
  log_.info("Stopping", {{"flows", core_.flows().size()}});
  core_.drain(now);
  if (control_up_) send_heartbeat(now);  // nobody is sent here any more
  stop_at_ = now + settings_.stop_patience;
}

void ConnectorService::stop_when_done(Instant now) {
  if (!stop_at_ || (now < *stop_at_ && core_.flows().size() > 0)) return;
  core_.shut_down(now);
  pump(now);
  transmit(now);
  set_state(State::Offline, "stopped");
  if (mapping_) mapping_->close();
  if (control_) control_->stop();
  loop_.stop();
}

// --- turn
// --------------------------------------------------------------------------------------------------------------

void ConnectorService::end_turn(Instant now) {
  if (packets_waiting_) receive_packets(now);
  if (endpoint_) {
    if (const auto due = endpoint_->next_timeout(); due && *due <= now) endpoint_->handle_timeout(now);
  }
  if (const auto due = core_.next_timeout(); due && *due <= now) core_.handle_timeout(now);
  if (const auto due = relays_.next_timeout(); due && *due <= now) relays_.handle_timeout(now);
  targets_.handle_timeout(now);
  pump(now);
  targets_.read_ready(now);
  datagrams_.read_ready(now);
  pump(now);
  relays_.set_busy(core_.flows().size() > 0);
  follow_links();
  transmit(now);
  tell(now);
  keep_house(now);
  stop_when_done(now);
}

std::optional<Instant> ConnectorService::next_timeout() const {
  if (packets_waiting_ || (packets_to_send_ && !links_.is_blocked(loop_.now()))) return Instant{};
  std::optional<Instant> earliest = housekeeping();
  const auto consider = [&earliest](std::optional<Instant> at) {
    if (at) earliest = std::min(earliest.value_or(*at), *at);
  };
  consider(core_.next_timeout());
  consider(relays_.next_timeout());
  consider(targets_.next_timeout());
  consider(datagrams_.next_timeout());
  if (endpoint_) {
    auto at = endpoint_->next_timeout();
    // While the kernel takes no packet there is no use in waking up to send one; EPOLLOUT does.
    if (at && (udp_->is_blocked() || links_.is_blocked(loop_.now())))
      at = std::max(*at, loop_.now() + std::chrono::milliseconds(2));
    consider(at);
  }
  return earliest;
}

std::optional<Instant> ConnectorService::housekeeping() const {
  std::optional<Instant> earliest = stop_at_;
  const auto consider = [&earliest](Instant at) { earliest = std::min(earliest.value_or(at), at); };
  if (control_up_) consider(heartbeat_at_);
  if (control_restart_at_) consider(*control_restart_at_);
  if (const auto at = memory_.next_timeout()) consider(*at);
  return earliest;
}

void ConnectorService::keep_house(Instant now) {
  if (control_up_ && now >= heartbeat_at_) {
    send_heartbeat(now);
    update_state(now);
    heartbeat_at_ = now + kHeartbeat;
  }
  if (control_restart_at_ && now >= *control_restart_at_) {
    control_restart_at_.reset();
    control_.reset();
    start_control();
  }
  const FlowCounters& flows = core_.flows().counters();
  memory_.observe(now, flows.bytes_to_targets + flows.bytes_from_targets);
}

}  // namespace postern::connector
