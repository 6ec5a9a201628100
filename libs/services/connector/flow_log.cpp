#include "services/connector/flow_log.hpp"

#include <nlohmann/json.hpp>

namespace postern::connector {
namespace {

using nlohmann::json;

std::int64_t in_ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
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

json connection_of(const FlowReport& report, const AnalyticsContext& context) {
  const bool is_over_tls = !report.is_direct && !context.relays.empty() && context.relays.front().over_link;
  json connection = {{"id", context.process + "-" + std::to_string(report.flow.value)},
                     {"resource_port", report.connected.port != 0 ? report.connected.port : report.target.port},
                     {"protocol", std::string(model::to_string(report.target.protocol))},
                     {"tunnel_path", report.is_direct ? "direct" : "relayed"},
                     {"tunnel_proto", is_over_tls ? "quic/tls" : "quic/udp"}};
  const bool is_echo = report.target.protocol == model::Protocol::Icmp && report.kind != FlowReport::Kind::Refused;
  if (report.connected.port != 0 || is_echo) connection["resource_ip"] = report.connected.ip.to_string();
  if (report.kind == FlowReport::Kind::Refused) connection["error_message"] = error_message(report);
  if (report.lease) {
    const std::int64_t age = to_unix_seconds(report.at) - report.lease->issued_at;
    connection["cbct_freshness"] = std::max<std::int64_t>(age, 0);
  }
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
  record.set_path(report.is_direct ? "direct" : "relay");
  return record;
}

std::string to_analytics_line(const FlowReport& report, const policy::ResourceTable& table,
                              const AnalyticsContext& context) {
  json relays = json::array();
  for (const auto& relay : context.relays) {
    relays.push_back(
        {{"name", relay.name}, {"ip", relay.udp_address.ip.to_string()}, {"port", relay.udp_address.port}});
  }
  json event = {
      {"event_type", event_type(report)},
      {"timestamp", to_unix_ms(report.at)},
      {"resource", resource_of(report, table)},
      {"connection", connection_of(report, context)},
      {"connector",
       {{"id", std::to_string(context.identity.connector.value)}, {"name", context.identity.connector_name}}},
      {"remote_network",
       {{"id", std::to_string(context.identity.remote_network.value)}, {"name", context.identity.remote_network_name}}},
      {"relays", std::move(relays)}};
  if (report.lease) {
    event["user"] = {{"id", std::to_string(report.lease->user_id)}, {"email", report.lease->email}};
    event["device"] = {{"id", std::to_string(report.lease->device_id)}};
  }
  return "ANALYTICS " + event.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace postern::connector
