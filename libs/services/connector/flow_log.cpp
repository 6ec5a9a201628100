#include "services/connector/flow_log.hpp"

#include <nlohmann/json.hpp>

#include "base/link_address.hpp"

namespace postern::connector {
namespace {

using nlohmann::json;

std::int64_t in_ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

/// With what is below a millisecond; null for nothing.
json exact_ms(const std::optional<Duration>& duration) {
  if (!duration) return nullptr;
  return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(*duration).count()) / 1000;
}

/// "192.168.1.20:80" where it was connected, else what was asked for.
std::string target_text(const FlowReport& report) {
  if (report.kind == FlowReport::Kind::Refused) return report.target.to_string();
  Target connected = report.target;
  connected.host = report.connected.ip;
  return connected.to_string();
}

json resource_of(const FlowReport& report, const policy::ResourceTable& table) {
  json resource = {{"id", std::to_string(report.target.resource.value)}};
  const model::Resource* found = table.find(report.target.resource);
  if (found == nullptr) return resource;
  resource["address"] = found->address.text();
  if (std::holds_alternative<model::DnsPattern>(found->address.value()))
    resource["applied_rule"] = found->address.text();
  return resource;
}

/// The reasons of schema/session.proto by which the connector decides about people, in contrast to what went wrong.
bool is_denial(wire::RefusalReason reason) {
  return reason >= wire::REFUSAL_NOT_IN_LEASE && reason <= wire::REFUSAL_FORBIDDEN_ADDRESS;
}

std::string_view event_type(const FlowReport& report) {
  switch (report.kind) {
    case FlowReport::Kind::Opened:
      return "established_connection";
    case FlowReport::Kind::Closed:
      return "closed_connection";
    case FlowReport::Kind::Refused:
      break;
  }
  return is_denial(report.refusal) ? "denied_access" : "failed_to_connect";
}

/// "REFUSAL_TIMED_OUT: connect: Connection timed out"
std::string error_message(const FlowReport& report) {
  return wire::RefusalReason_Name(report.refusal) + (report.detail.empty() ? "" : ": " + report.detail);
}

/// The way of the session. Who the client is on the network is known on a direct path only: there its address has
/// answered checks and carries the session. Through a relay nothing but the relay's own address is seen, and what the
/// client says of itself is no evidence.
void add_path(json& connection, const FlowReport& report) {
  const SocketAddress& remote = report.path.remote;
  if (remote == SocketAddress()) return;  // its session had gone before it was open
  connection["tunnel_path"] = report.path.is_direct() ? "direct" : "relayed";
  connection["tunnel_proto"] = is_link_address(remote) ? "quic/tls" : "quic/udp";
  if (report.path.is_direct()) connection["client_ip"] = remote.ip.to_string();
  if (report.round_trip) connection["rtt_ms"] = exact_ms(report.round_trip);
}

/// What the flow has waited for, by the same names as in `postern flows --json`.
void add_times(json& connection, const FlowReport& report) {
  connection["connect_ms"] = exact_ms(report.connect_time);
  if (report.kind != FlowReport::Kind::Closed) return;
  connection["first_byte_ms"] = exact_ms(report.first_byte_time);
  if (report.target.protocol != model::Protocol::Tcp) return;
  for (std::size_t i = 0; i < report.stalls.size(); ++i) {
    const std::string cause(to_string(static_cast<session::StallCause>(i)));
    connection["stalls"][cause + "_ms"] = in_ms(report.stalls[i]);
  }
}

/// The relay that carries the session; none on a direct path, or when it is one no more.
json relays_of(const FlowReport& report, const AnalyticsContext& context) {
  json relays = json::array();
  for (const auto& relay : context.relays) {
    if (report.path.is_direct() || relay.address != report.path.remote) continue;
    relays.push_back(
        {{"name", relay.name}, {"ip", relay.udp_address.ip.to_string()}, {"port", relay.udp_address.port}});
  }
  return relays;
}

json connection_of(const FlowReport& report, const AnalyticsContext& context) {
  json connection = {{"id", context.process + "-" + std::to_string(report.flow.value)},
                     {"resource_port", report.connected.port != 0 ? report.connected.port : report.target.port},
                     {"protocol", std::string(model::to_string(report.target.protocol))}};
  add_path(connection, report);
  const bool is_echo = report.target.protocol == model::Protocol::Icmp && report.kind != FlowReport::Kind::Refused;
  if (report.connected.port != 0 || is_echo) connection["resource_ip"] = report.connected.ip.to_string();
  if (report.kind == FlowReport::Kind::Refused) connection["error_message"] = error_message(report);
  if (report.lease) {
    const std::int64_t age = to_unix_seconds(report.at) - report.lease->issued_at;
    connection["cbct_freshness"] = std::max<std::int64_t>(age, 0);
  }
  if (report.kind != FlowReport::Kind::Refused) add_times(connection, report);
  if (report.kind != FlowReport::Kind::Closed) return connection;
  connection["tx"] = report.bytes_from_target;
  connection["rx"] = report.bytes_to_target;
  connection["duration"] = in_ms(report.duration);
  return connection;
}

}  // namespace

std::optional<wire::FlowRecord> to_flow_record(const FlowReport& report) {
  if (report.kind == FlowReport::Kind::Opened) return std::nullopt;
  wire::FlowRecord record;
  if (report.lease) {
    record.set_user_id(report.lease->user_id);
    record.set_device_id(report.lease->device_id);
    record.set_policy_version(report.lease->policy_version);
  }
  record.set_resource_id(report.target.resource.value);
  record.set_target(target_text(report));
  record.set_refusal(static_cast<std::uint32_t>(report.refusal));
  record.set_bytes_to_target(report.bytes_to_target);
  record.set_bytes_from_target(report.bytes_from_target);
  record.set_duration_ms(static_cast<std::uint64_t>(in_ms(report.duration)));
  record.set_started_at_ms(to_unix_ms(report.at) - in_ms(report.duration));
  record.set_path(report.path.is_direct() ? "direct" : "relay");
  return record;
}

std::string to_analytics_line(const FlowReport& report, const policy::ResourceTable& table,
                              const AnalyticsContext& context) {
  json event = {
      {"event_type", event_type(report)},
      {"timestamp", to_unix_ms(report.at)},
      {"resource", resource_of(report, table)},
      {"connection", connection_of(report, context)},
      {"connector",
       {{"id", std::to_string(context.identity.connector.value)}, {"name", context.identity.connector_name}}},
      {"remote_network",
       {{"id", std::to_string(context.identity.remote_network.value)}, {"name", context.identity.remote_network_name}}},
      {"relays", relays_of(report, context)}};
  if (report.lease) {
    event["user"] = {{"id", std::to_string(report.lease->user_id)}, {"email", report.lease->email}};
    event["device"] = {{"id", std::to_string(report.lease->device_id)}};
  }
  return "ANALYTICS " + event.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace postern::connector
