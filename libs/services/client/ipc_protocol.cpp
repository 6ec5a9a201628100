#include "services/client/ipc_protocol.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "services/client/json_fields.hpp"

namespace postern::client {

namespace {

using nlohmann::json;

std::string line(json body, Last last, bool ok = true) {
  body["v"] = kIpcVersion;
  body["ok"] = ok;
  body["final"] = last == Last::Yes;
  // Names come from the controller: bytes that are no UTF-8 are replaced, not thrown about.
  return body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

json milliseconds(const std::optional<Duration>& duration) {
  if (!duration) return nullptr;
  return std::chrono::duration<double, std::milli>(*duration).count();
}

json resources_json(const ClientStatus& status) {
  json all = json::array();
  for (const ResourceStatus& resource : status.resources) {
    all.push_back({{"id", std::to_string(resource.id)},
                   {"name", resource.name},
                   {"address", resource.address},
                   {"aliases", resource.aliases},
                   {"remote_network", resource.remote_network},
                   {"tcp", resource.tcp_ports},
                   {"udp", resource.udp_ports},
                   {"icmp", resource.allows_icmp},
                   {"reachable", resource.reachable}});
  }
  return all;
}

json sessions_json(const ClientStatus& status) {
  json all = json::array();
  for (const SessionStatus& session : status.sessions) {
    all.push_back({{"connector", session.connector},
                   {"instance", std::to_string(session.instance)},
                   {"remote_network", session.remote_network},
                   {"state", session.state},
                   {"path", session.path},
                   {"transport", session.transport},
                   {"path_reason", session.path_reason},
                   {"remote", session.remote},
                   {"rtt_ms", milliseconds(session.round_trip)},
                   {"flows", session.flows},
                   {"bytes_sent", session.bytes_sent},
                   {"bytes_received", session.bytes_received},
                   {"packets_lost", session.packets_lost},
                   {"packet_size", session.packet_size},
                   {"failure", session.failure}});
  }
  return all;
}

json relay_json(const std::optional<RelayStatus>& relay) {
  if (!relay) return nullptr;
  return {{"name", relay->name},           {"address", relay->address}, {"bound", relay->bound},
          {"transport", relay->transport}, {"why", relay->why},         {"rtt_ms", milliseconds(relay->round_trip)}};
}

json resource_json(const ExplainedResource& resource) {
  return {{"id", std::to_string(resource.id)},
          {"name", resource.name},
          {"address", resource.address},
          {"matched_by", resource.matched_by},
          {"remote_network", resource.remote_network},
          {"tcp", resource.tcp_ports},
          {"udp", resource.udp_ports},
          {"icmp", resource.allows_icmp},
          {"why_not", resource.why_not}};
}

json instance_json(const ExplainedInstance& instance) {
  return {{"connector", instance.connector},
          {"instance", std::to_string(instance.id)},
          {"state", instance.state},
          {"chosen", instance.chosen},
          {"why", instance.why},
          {"path", instance.path},
          {"transport", instance.transport},
          {"remote", instance.remote},
          {"rtt_ms", milliseconds(instance.round_trip)}};
}

json explanation_json(const Explanation& explanation) {
  json body = {{"destination", explanation.destination.text()},
               {"reached", explanation.is_reached()},
               {"verdict", verdict_word(explanation)},
               {"waits", explanation.verdict == ExplainVerdict::Held},
               {"reason", explanation.reason},
               {"name", explanation.name},
               {"virtual_addresses", json::array()},
               {"resource", nullptr},
               {"lease_expires_at", nullptr},
               {"instances", json::array()},
               {"relay", relay_json(explanation.relay)},
               {"others", json::array()},
               {"notes", explanation.notes}};
  for (const IpAddress& address : explanation.virtual_addresses)
    body["virtual_addresses"].push_back(address.to_string());
  if (explanation.resource) body["resource"] = resource_json(*explanation.resource);
  if (explanation.lease_expires_at) body["lease_expires_at"] = to_unix_seconds(*explanation.lease_expires_at);
  for (const auto& instance : explanation.instances) body["instances"].push_back(instance_json(instance));
  for (const auto& other : explanation.others) body["others"].push_back(resource_json(other));
  return body;
}

json dns_json(const DnsStatus& dns) {
  return {
      {"manager", dns.manager},        {"state", dns.state},     {"reason", dns.reason},    {"problem", dns.problem},
      {"split", dns.routes_by_domain}, {"domains", dns.domains}, {"upstream", dns.upstream}};
}

json host_json(const std::optional<HostStatus>& host) {
  if (!host) return nullptr;
  return {{"tun", host->tun},           {"resolver", host->resolver}, {"range_v4", host->range_v4},
          {"range_v6", host->range_v6}, {"routes", host->routes},     {"missing_routes", host->missing_routes}};
}

json server_json(const std::optional<ServerStatus>& server) {
  if (!server) return nullptr;
  return {{"host", server->host},
          {"port", server->port},
          {"addresses", server->addresses},
          {"root_pin", server->root_pin},
          {"proxy", server->proxy}};
}

json flow_json(const FlowInfo& flow) {
  json stalls = json::object();
  for (std::size_t i = 0; i < flow.stalls.size(); ++i) {
    stalls[std::string(to_string(static_cast<StallCause>(i))) + "_ms"] = milliseconds(flow.stalls[i]);
  }
  const std::string protocol(model::to_string(flow.protocol));
  const std::string kind = flow.protocol == model::Protocol::Tcp ? "" : protocol + "-";
  return {{"id", kind + std::to_string(flow.id)},
          {"protocol", protocol},
          {"user", flow.user},
          {"resource_id", std::to_string(flow.resource.value)},
          {"resource", flow.resource_name},
          {"destination", flow.destination},
          {"connected", flow.connected},
          {"state", flow.state},
          {"connector", flow.connector},
          {"path", flow.path},
          {"transport", flow.transport},
          {"rtt_ms", milliseconds(flow.round_trip)},
          {"connect_ms", milliseconds(flow.connect_time)},
          {"open_ms", milliseconds(flow.open_time)},
          {"first_byte_ms", milliseconds(flow.first_byte_time)},
          {"bytes_up", flow.bytes_up},
          {"bytes_down", flow.bytes_down},
          {"age_ms", milliseconds(flow.age)},
          {"ended_ago_ms", milliseconds(flow.ended_ago)},
          {"stalls", std::move(stalls)}};
}

json proxy_json(const std::optional<ProxyStatus>& proxy) {
  if (!proxy) return nullptr;
  return {{"address", proxy->address},
          {"streams", proxy->streams},
          {"accepted", proxy->accepted},
          {"refused", proxy->refused},
          {"associations", proxy->associations}};
}

json port_mapping_json(const std::optional<PortMappingStatus>& mapping) {
  if (!mapping) return nullptr;
  return {{"outside", mapping->outside}, {"method", mapping->method}, {"why", mapping->why}};
}

json status_json(const ClientStatus& status) {
  return {
      {"state", to_string(status.state)},
      {"reason", status.reason},
      {"network", status.network},
      {"network_name", status.network_name},
      {"account", status.account},
      {"device", status.device},
      {"lease_expires_at", status.lease_expires_at ? json(to_unix_seconds(*status.lease_expires_at)) : json(nullptr)},
      {"relay", relay_json(status.relay)},
      {"dns", dns_json(status.dns)},
      {"resources", resources_json(status)},
      {"sessions", sessions_json(status)},
      {"notes", status.notes},
      {"host", host_json(status.host)},
      {"server", server_json(status.server)},
      {"proxy", proxy_json(status.proxy)},
      {"port_mapping", port_mapping_json(status.port_mapping)},
      {"has_tun", status.has_tun},
      {"flows", status.flows},
      {"flows_opened", status.flows_opened},
      {"drops", status.drops}};
}

}  // namespace

std::expected<Request, std::string> parse_request(std::string_view text) {
  const json body = json::parse(text, nullptr, false);
  if (!body.is_object()) return std::unexpected("the request is no JSON object");
  if (number_field(body, "v") != kIpcVersion) {
    return std::unexpected("this daemon speaks version " + std::to_string(kIpcVersion) +
                           " of the protocol: use the `postern` that came with it");
  }
  const std::string word = text_field(body, "type");
  const auto* const kind = std::ranges::find(kRequestKinds, word, &RequestKind::word);
  if (kind == kRequestKinds.end()) return std::unexpected("unknown request type");
  return Request{kind->type, flag_field(body, "watch"), text_field(body, "url"), text_field(body, "fingerprint"),
                 text_field(body, "destination")};
}

bool changes_something(RequestType type) {
  return std::ranges::find(kRequestKinds, type, &RequestKind::type)->changes;
}

std::string build_request(const Request& request) {
  const auto* const kind = std::ranges::find(kRequestKinds, request.type, &RequestKind::type);
  json body = {{"v", kIpcVersion}, {"type", kind->word}};
  if (request.watch) body["watch"] = true;
  if (!request.url.empty()) body["url"] = request.url;
  if (!request.fingerprint.empty()) body["fingerprint"] = request.fingerprint;
  if (!request.destination.empty()) body["destination"] = request.destination;
  return body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string build_status(const ClientStatus& status, Last last) {
  return line({{"status", status_json(status)}}, last);
}

std::string build_explanation(const Explanation& explanation) {
  return line({{"explanation", explanation_json(explanation)}}, Last::Yes);
}

std::string build_invitation(const Invitation& invitation) {
  return line({{"event", "invitation"},
               {"url", invitation.url},
               {"complete_url", invitation.complete_url},
               {"code", invitation.code},
               {"expires_in", invitation.expires_in_s}},
              Last::No);
}

std::string build_signed_in(const SignIn& sign_in) {
  return line({{"event", "signed_in"}, {"account", sign_in.account}, {"network", sign_in.network}}, Last::Yes);
}

std::string build_flows(const FlowList& list) {
  json flows = json::array();
  for (const FlowInfo& flow : list.flows) flows.push_back(flow_json(flow));
  return line({{"flows", std::move(flows)}, {"living", list.living}}, Last::Yes);
}

std::string build_opening() {
  return line({{"event", "opening"}}, Last::No);
}

std::string build_done(std::string_view message) {
  return line({{"message", message}}, Last::Yes);
}
std::string build_version(std::string_view version) {
  return line({{"version", version}}, Last::Yes);
}

std::string build_error(const Problem& problem) {
  return line({{"exit", config::to_status(problem.code)}, {"error", problem.text}}, Last::Yes, false);
}

}  // namespace postern::client
