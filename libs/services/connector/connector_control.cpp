// What the controller says, and what it is told.
#include <unistd.h>

#include <array>

#include "base/network_time.hpp"
#include "runtime/udp/interface_addresses.hpp"
#include "services/connector/connector_service.hpp"

namespace postern::connector {
namespace {

using config::ExitCode;

/// After a refused ticket or a gap in the updates: not more often than this.
constexpr Duration kControlRestartPause = std::chrono::seconds(5);
/// Frames of a network that carries jumbo packets of UDP; sessions find out whether their path does.
constexpr unsigned kJumboMtu = 9000;

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

ExitCode exit_code_of(std::uint32_t denied) {
  return denied == 410 ? ExitCode::TokensRevoked : ExitCode::BadToken;
}

}  // namespace

void ConnectorService::start_control() {
  runtime::ControlConfig config;
  config.server = settings_.server;
  config.trust = settings_.trust;
  config.role = wire::AGENT_ROLE_CONNECTOR;
  config.key = key_;
  config.expected_network = settings_.token.network;
  config.refresh_token = settings_.refresh_token;
  config.software = software_;
  config.hostname = host_name();
  config.labels = settings_.labels;
  control_ = std::make_unique<runtime::ControlClient>(
      std::move(config), loop_, [this](runtime::ControlEvent event) { handle_control(std::move(event)); });
  control_->start();
}

void ConnectorService::restart_control(const char* why) {
  if (control_restart_at_ || stop_at_) return;
  log_.info("Asking the server for everything again", {{"reason", why}});
  control_restart_at_ = loop_.now() + kControlRestartPause;
}

void ConnectorService::handle_control(runtime::ControlEvent event) {
  if (const auto* message = std::get_if<wire::ControllerMessage>(&event)) return handle_message(loop_.now(), *message);
  if (const auto* down = std::get_if<runtime::ControlDown>(&event)) return handle_down(*down);
}

void ConnectorService::handle_down(const runtime::ControlDown& down) {
  control_up_ = false;
  last_problem_ = down.reason;
  if (down.failure == runtime::ControlFailure::Denied && down.final) {
    return fail(exit_code_of(down.code), "the server lets this connector in no more: " + down.reason +
                                             "; make new tokens on the server and start again with them");
  }
  if (down.failure == runtime::ControlFailure::WrongNetwork) {
    return fail(ExitCode::WrongNetwork, down.reason + "; correct POSTERN_NETWORK or POSTERN_URL");
  }
  if (down.failure == runtime::ControlFailure::PinMismatch && !ever_welcomed_) {
    return fail(ExitCode::ServerNotTrusted,
                down.reason + "; check POSTERN_URL, or make new tokens when the server was set up again");
  }
  if (down.failure == runtime::ControlFailure::PinMismatch) log_.error(down.reason);
  if (down.failure == runtime::ControlFailure::Denied && down.code == 409) {
    log_.warn("The server has no place for this instance; trying again every ten seconds", {{"reason", down.reason}});
  }
  set_state(State::Offline, down.reason);
  log_.debug("The control channel is down", {{"reason", down.reason}, {"code", down.code}});
}

void ConnectorService::handle_message(Instant now, const wire::ControllerMessage& message) {
  switch (message.body_case()) {
    case wire::ControllerMessage::kWelcome:
      return handle_welcome(now, message.welcome());
    case wire::ControllerMessage::kConnectorUpdate:
      return handle_update(now, message.connector_update());
    case wire::ControllerMessage::kHeartbeatReply: {
      const auto sent = from_nanoseconds(message.heartbeat_reply().sent_at());
      const Duration round_trip = now - sent;
      if (round_trip < Duration::zero() || round_trip > std::chrono::minutes(1)) return;
      return handle_server_time(now, message.heartbeat_reply().server_time_ms(), round_trip / 2);
    }
    case wire::ControllerMessage::kRelayUp:
      log_.debug("A relay is up", {{"relay", message.relay_up().relay().name()}});
      return relays_.update(now, message.relay_up().relay());
    case wire::ControllerMessage::kRelayDown:
      log_.info("A relay was taken away", {{"relay", message.relay_down().name()}});
      return relays_.remove(now, message.relay_down().name());
    default:
      return;  // for other roles, or of a later version
  }
}

bool ConnectorService::is_ours(const wire::Welcome& welcome) {
  const identity::AccessToken& token = settings_.token;
  if (welcome.network() != token.network) {
    fail(ExitCode::WrongNetwork, "the server answers for the network \"" + welcome.network() +
                                     "\", but the access token is of \"" + token.network + "\"; correct POSTERN_URL");
    return false;
  }
  if (welcome.connector_id() != token.connector_id || welcome.remote_network_id() != token.remote_network_id) {
    fail(ExitCode::BadToken,
         "access token and refresh token belong to different connectors; use the pair that the server made together");
    return false;
  }
  return true;
}

void ConnectorService::handle_welcome(Instant now, const wire::Welcome& welcome) {
  if (!is_ours(welcome)) return;
  control_up_ = true;
  ever_welcomed_ = true;
  handle_server_time(now, welcome.server_time_ms(), Duration::zero());
  core_.handle_welcome(welcome);
  use_route(now, welcome);
  relays_.replace(now, welcome.relays());
  // Unbound, the first one waits for the relay a moment: it would only say that there is none yet.
  heartbeat_at_ = relays_.is_bound(now) ? now : now + std::chrono::seconds(2);
  const std::string name = welcome.network_name().empty() ? welcome.network() : welcome.network_name();
  if (name != network_announced_) {
    network_announced_ = name;
    log_.raw_line("Connected to Postern network: " + name);
  }
  update_state(now);
}

void ConnectorService::use_route(Instant now, const wire::Welcome& welcome) {
  RouteId route;
  if (welcome.route_id().size() != route.bytes.size()) {
    log_.error("The server gave no usable route id; is it of another version?");
    return;
  }
  std::ranges::copy(as_bytes(welcome.route_id()), route.bytes.begin());
  if (endpoint_ && route == route_) return;
  if (endpoint_) {
    // The controller has forgotten this process: clients can no longer find the sessions' connection ids.
    core_.shut_down(now);
    pump(now);
    transmit(now);
    core_.resume();
  }
  route_ = route;
  session::EndpointConfig config;
  config.role = session::Role::Connector;
  config.credentials = {key_.to_pkcs8(), identity::self_signed_certificate(key_, core_.network_time(now))};
  config.route = route;
  if (runtime::largest_mtu("") >= kJumboMtu) config.udp_payload_max = session::kJumboPayload;
  port_.attach(nullptr);
  endpoint_ = std::make_unique<session::Endpoint>(std::move(config), pool_, random_, &core_.knocks());
  port_.attach(endpoint_.get());
}

void ConnectorService::handle_update(Instant now, const wire::ConnectorUpdate& update) {
  if (core_.handle_update(now, update) == UpdateOutcome::Gap) {
    return restart_control("an update does not continue what is known");
  }
  control_->set_known_version(core_.policy().version());
  log_.debug("Took over an update", {{"version", update.version()},
                                     {"full", update.full() ? "yes" : "no"},
                                     {"resources", core_.policy().table().all().size()}});
}

void ConnectorService::handle_server_time(Instant now, std::int64_t server_time_ms, Duration age) {
  const WallTime wall =
      from_unix_ms(bounded_unix_ms(server_time_ms)) + std::chrono::duration_cast<std::chrono::milliseconds>(age);
  core_.handle_network_time(now, wall);
  relays_.set_wall_offset(network_time_offset(to_unix_ms(wall), now));
}

void ConnectorService::send_heartbeat(Instant now) {
  wire::AgentMessage message;
  wire::Heartbeat& heartbeat = *message.mutable_heartbeat();
  heartbeat.set_certificate_digest(std::string(as_text(key_.public_key().digest())));
  heartbeat.set_sent_at(to_nanoseconds(now));
  heartbeat.set_leaving(stop_at_.has_value());
  heartbeat.set_flows(static_cast<std::uint32_t>(core_.flows().size()));
  for (const std::string& name : relays_.bound_names(now)) heartbeat.add_relays(name);
  control_->send(message);
}

// --- what is told
// ------------------------------------------------------------------------------------------------------

void ConnectorService::tell(Instant now) {
  if (datagrams_.is_ping_forbidden() && !std::exchange(ping_forbidden_told_, true)) {
    log_.warn(
        "This host does not let the connector send ICMP echo requests, so pings to resources are refused: "
        "set the sysctl net.ipv4.ping_group_range to include the connector's group, for example \"0 2147483647\"");
  }
  while (const auto report = core_.flows().poll_report()) {
    if (const auto record = to_flow_record(*report); record && control_up_) {
      wire::AgentMessage message;
      *message.mutable_flow_record() = *record;
      control_->send(message);
    }
    log_report(*report);
    if (settings_.analytics == AnalyticsFormat::Off) continue;
    const AnalyticsContext context{process_, core_.identity(), relays_.bound(now)};
    const std::string line = to_analytics_line(*report, core_.policy().table(), context);
    if (!line.empty()) log_.raw_line(line);
  }
  while (const auto notice = core_.sessions().poll_notice()) {
    const std::string device = notice->lease ? std::to_string(notice->lease->device_id) : "unknown";
    switch (notice->kind) {
      case SessionNotice::Kind::Accepted:
        log_.debug("A client is connected", {{"device", device}});
        break;
      case SessionNotice::Kind::LeaseRefused:
        log_.info("A lease was refused", {{"reason", notice->detail}});
        break;
      case SessionNotice::Kind::Closed:
        log_.debug("A client has gone", {{"device", device}, {"reason", notice->detail}});
        break;
    }
  }
}

void ConnectorService::log_report(const FlowReport& report) {
  if (!log_.is_on(runtime::LogLevel::Debug)) return;
  const std::string target = report.target.to_string();
  switch (report.kind) {
    case FlowReport::Kind::Opened:
      return log_.debug("Flow opened", {{"target", target}, {"address", report.connected.to_string()}});
    case FlowReport::Kind::Closed:
      return log_.debug(
          "Flow closed",
          {{"target", target}, {"to_target", report.bytes_to_target}, {"from_target", report.bytes_from_target}});
    case FlowReport::Kind::Refused:
      return log_.debug(
          "Flow refused",
          {{"target", target}, {"reason", wire::RefusalReason_Name(report.refusal)}, {"detail", report.detail}});
  }
}

}  // namespace postern::connector
