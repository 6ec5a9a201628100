#include "services/server/admin_queries.hpp"

#include <nlohmann/json.hpp>

#include "services/server/admin_agents.hpp"
#include "services/server/admin_views.hpp"
#include "services/server/table.hpp"

namespace postern::server {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

AdminReply reply(const json& data, std::string text) {
  return {.data = data.dump(), .text = std::move(text)};
}

json json_or_null(const std::string& text) {
  json value = json::parse(text, nullptr, false);
  return value.is_discarded() ? json() : value;
}

json flow_json(const runtime::FlowLogEntry& flow, const Names& names) {
  return {{"number", flow.number},
          {"started_at", iso_time(flow.started_at)},
          {"duration_ms", flow.duration_ms},
          {"connector", names.of(flow.connector)},
          {"user", names.of(flow.user)},
          {"device", names.of(flow.device)},
          {"resource", names.of(flow.resource)},
          {"target", flow.target},
          {"result", flow.refusal == 0 ? "opened" : refusal_name(flow.refusal)},
          {"bytes_to_target", flow.bytes_to_target},
          {"bytes_from_target", flow.bytes_from_target},
          {"path", flow.path}};
}

AdminResult users(const AdminContext& context, const AdminRequest&) {
  json list = json::array();
  Rows rows{{"E-MAIL", "ROLE", "STATE", "PASSWORD", "SECOND FACTOR", "ADDED", "ID"}};
  for (const auto& user : context.host.controller().users()) {
    const bool admin = user.role == controller::UserRole::Admin;
    const bool active = user.state == controller::UserState::Active;
    const bool password = !user.password_hash.empty();
    const bool second = context.factors.has_second(user.id);
    list.push_back({{"id", std::to_string(user.id.value)},
                    {"email", user.email},
                    {"role", admin ? "admin" : "member"},
                    {"state", active ? "active" : "disabled"},
                    {"has_password", password},
                    {"has_second_factor", second},
                    {"created_at", iso_time(user.created_at)}});
    rows.push_back({user.email, admin ? "admin" : "member", active ? "active" : "disabled",
                    password ? "set" : "not set", second ? "set up" : "no", iso_time(user.created_at),
                    std::to_string(user.id.value)});
  }
  return reply({{"users", list}}, table(rows, "There are no users."));
}

AdminResult groups(const AdminContext& context, const AdminRequest&) {
  const Names names(context.host.controller());
  json list = json::array();
  Rows rows{{"GROUP", "MEMBERS", "ID"}};
  for (const auto& group : context.host.controller().groups()) {
    std::vector<std::string> members;
    for (const auto user : context.host.controller().members(group.id)) members.push_back(names.of(user));
    list.push_back({{"id", std::to_string(group.id.value)},
                    {"name", group.name},
                    {"everyone", group.everyone},
                    {"members", members}});
    rows.push_back({group.name, group.everyone ? "(every active user)" : comma_separated(members),
                    std::to_string(group.id.value)});
  }
  return reply({{"groups", list}}, table(rows, "There are no groups."));
}

AdminResult remote_networks(const AdminContext& context, const AdminRequest&) {
  json list = json::array();
  Rows rows{{"REMOTE NETWORK", "ID"}};
  for (const auto& each : context.host.controller().remote_networks()) {
    list.push_back({{"id", std::to_string(each.id.value)}, {"name", each.name}});
    rows.push_back({each.name, std::to_string(each.id.value)});
  }
  return reply({{"remote_networks", list}}, table(rows, "There are no remote networks."));
}

AdminResult resources(const AdminContext& context, const AdminRequest&) {
  const Names names(context.host.controller());
  json list = json::array();
  Rows rows{{"RESOURCE", "ADDRESS", "ALIASES", "TCP", "UDP", "PING", "PRIORITY", "REMOTE NETWORK", "ID"}};
  for (const auto& resource : context.host.controller().resources()) {
    std::vector<std::string> aliases;
    for (const auto& alias : resource.aliases) aliases.push_back(alias.text());
    const auto shown = [&resource](std::string text) {
      return resource.is_bypass() ? std::string("bypass") : text.empty() ? std::string("*") : text;
    };
    list.push_back({{"id", std::to_string(resource.id.value)},
                    {"name", resource.name},
                    {"address", resource.address.text()},
                    {"aliases", aliases},
                    {"tcp", resource.tcp.text()},
                    {"udp", resource.udp.text()},
                    {"icmp", resource.allow_icmp},
                    {"bypass", resource.is_bypass()},
                    {"priority", resource.priority},
                    {"remote_network", names.of(resource.remote_network)}});
    rows.push_back({resource.name, resource.address.text(), comma_separated(aliases), shown(resource.tcp.text()),
                    shown(resource.udp.text()), shown(resource.allow_icmp ? "yes" : "no"),
                    std::to_string(resource.priority), names.of(resource.remote_network),
                    std::to_string(resource.id.value)});
  }
  return reply({{"resources", list}}, table(rows, "There are no resources."));
}

AdminResult access(const AdminContext& context, const AdminRequest& request) {
  const Names names(context.host.controller());
  json list = json::array();
  Rows rows{{"RESOURCE", "WHO"}};
  bool found = request.arguments.empty();
  for (const auto& resource : context.host.controller().resources()) {
    const std::string wanted = request.argument(0);
    if (!wanted.empty() && wanted != resource.name && wanted != std::to_string(resource.id.value)) continue;
    found = true;
    for (const auto& edge : context.host.controller().access(resource.id)) {
      const bool group = edge.group.value != 0;
      const std::string who = group ? names.of(edge.group) : names.of(edge.user);
      list.push_back({{"resource", resource.name}, {group ? "group" : "user", who}});
      rows.push_back({resource.name, (group ? "group " : "user ") + who});
    }
  }
  if (!found) {
    return std::unexpected(
        ServerError{config::ExitCode::NotFound, "there is no resource \"" + request.argument(0) + '"'});
  }
  return reply({{"access", list}}, table(rows, "Nobody may reach anything here."));
}

AdminResult devices(const AdminContext& context, const AdminRequest&) {
  const Names names(context.host.controller());
  const auto agents = context.host.controller().agents();
  json list = json::array();
  Rows rows{{"DEVICE", "USER", "CONNECTED", "SIGNED IN UNTIL", "ID"}};
  for (const auto& device : context.host.controller().devices()) {
    const bool connected = std::ranges::any_of(agents, [&](const controller::AgentStatus& each) {
      return each.role == wire::AGENT_ROLE_CLIENT && each.id == device.id.value;
    });
    list.push_back({{"id", std::to_string(device.id.value)},
                    {"name", device.name},
                    {"user", names.of(device.user)},
                    {"connected", connected},
                    {"enrolled_at", iso_time(device.enrolled_at)},
                    {"signed_in_until", iso_time(device.signed_in_until)}});
    rows.push_back({device.name, names.of(device.user), connected ? "yes" : "no", iso_time(device.signed_in_until),
                    std::to_string(device.id.value)});
  }
  return reply({{"devices", list}}, table(rows, "No device is signed in."));
}

AdminResult network(const AdminContext& context, const AdminRequest&) {
  const controller::NetworkRecord& record = context.host.controller().network();
  const json data{{"name", record.slug},
                  {"display_name", record.display_name},
                  {"url", context.url},
                  {"enrolment_url", context.enrolment_url},
                  {"ca_digest", context.ca_digest},
                  {"ca_pem", context.ca_pem}};
  std::string text = "Network        " + record.slug + "\nName           " + record.display_name + "\nURL            " +
                     context.url + "\nEnrolment URL  " + context.enrolment_url + '\n';
  text += context.ca_digest.empty() ? "Certificate    public\n" : "Own CA         " + context.ca_digest + '\n';
  return reply(data, std::move(text));
}

AdminResult audit(const AdminContext& context, const AdminRequest& request) {
  const auto entries = context.host.store().audit(context.host.network(), number_option(request, "count", 50),
                                                  number_option(request, "before", 0));
  if (!entries) return std::unexpected(to_server_error(entries.error()));
  json list = json::array();
  Rows rows{{"NUMBER", "WHEN", "WHO", "FROM", "ACTION", "WHAT"}};
  for (const auto& [number, entry] : *entries) {
    list.push_back({{"number", number},
                    {"at", iso_time(entry.at)},
                    {"actor", entry.actor},
                    {"origin", entry.origin},
                    {"action", entry.action},
                    {"subject", entry.subject},
                    {"before", json_or_null(entry.before)},
                    {"after", json_or_null(entry.after)}});
    rows.push_back(
        {std::to_string(number), iso_time(entry.at), entry.actor, entry.origin, entry.action, entry.subject});
  }
  return reply({{"audit", list}}, table(rows, "Nothing was changed yet."));
}

AdminResult flows(const AdminContext& context, const AdminRequest& request) {
  const auto entries = context.host.store().flows(context.host.network(), number_option(request, "count", 50),
                                                  number_option(request, "before", 0));
  if (!entries) return std::unexpected(to_server_error(entries.error()));
  const Names names(context.host.controller());
  json list = json::array();
  Rows rows{{"NUMBER", "STARTED", "USER", "RESOURCE", "TARGET", "RESULT", "SENT", "RECEIVED"}};
  for (const auto& flow : *entries) {
    list.push_back(flow_json(flow, names));
    rows.push_back({std::to_string(flow.number), iso_time(flow.started_at), names.of(flow.user),
                    names.of(flow.resource), flow.target, flow.refusal == 0 ? "opened" : refusal_name(flow.refusal),
                    std::to_string(flow.bytes_to_target), std::to_string(flow.bytes_from_target)});
  }
  return reply({{"flows", list}}, table(rows, "No flow has ended or was refused yet."));
}

json relay_json(const RelaySnapshot& relay) {
  json drops = json::object();
  for (std::size_t i = 0; i < relay_core::kRelayDropCount; ++i) {
    if (relay.stats.drops[i] != 0)
      drops[std::string(to_string(static_cast<relay_core::RelayDrop>(i)))] = relay.stats.drops[i];
  }
  json binds = json::object();
  for (std::size_t i = 0; i < relay_core::kBindOutcomeCount; ++i) {
    if (relay.stats.binds[i] != 0)
      binds[std::string(to_string(static_cast<relay_core::BindOutcome>(i)))] = relay.stats.binds[i];
  }
  return {{"name", kLocalRelayName},
          {"bindings", relay.bindings},
          {"forwarded_packets", relay.stats.forwarded_packets},
          {"forwarded_bytes", relay.stats.forwarded_bytes},
          {"send_dropped", relay.send_dropped},
          {"links",
           {{"open", relay.links.open},
            {"unbound", relay.links.unbound},
            {"accepted", relay.links.accepted},
            {"refused_full", relay.links.refused_full},
            {"never_bound", relay.links.never_bound},
            {"bytes_received", relay.links.bytes_received},
            {"bytes_sent", relay.links.bytes_sent},
            {"dropped", relay.links.dropped_datagrams},
            {"forged", relay.links.forged}}},
          {"drops", drops},
          {"binds", binds}};
}

std::string relay_text(const RelaySnapshot& relay) {
  std::uint64_t dropped = relay.send_dropped + relay.links.dropped_datagrams + relay.links.forged;
  for (const std::uint64_t count : relay.stats.drops) dropped += count;
  return "Relay      " + std::to_string(relay.bindings) + " bound (" + std::to_string(relay.links.open) +
         " links over TLS), " + std::to_string(relay.stats.forwarded_packets) + " packets (" +
         std::to_string(relay.stats.forwarded_bytes) + " bytes) forwarded, " + std::to_string(dropped) + " dropped\n";
}

AdminReply status_reply(const AdminContext& context, const std::optional<RelaySnapshot>& relay) {
  const controller::Controller& controller = context.host.controller();
  const Names names(controller);
  json agents = json::array();
  Rows rows{{"AGENT", "ROLE", "ADDRESS", "SINCE", "RELAYS", "SOFTWARE"}};
  for (const auto& agent : controller.agents()) {
    const std::string name = names.of(model::DeviceId(agent.id));  // ids are never used for two kinds of things
    agents.push_back(json::parse(agent_json(agent, name)));
    rows.push_back({name, role_name(agent.role), agent.address, iso_time(agent.connected_at),
                    comma_separated(agent.relays), agent.software});
  }
  const controller::ControllerCounters counted = controller.counters();
  const ControlChannelCounters& channel = context.host.counters();
  json data{{"network", controller.network().slug},
            {"listen", context.listen},
            {"started_at", iso_time(context.started_at)},
            {"policy_version", controller.network().policy_version},
            {"agents", agents},
            {"control_channel",
             {{"opened", channel.opened},
              {"malformed", channel.malformed},
              {"refused_busy", channel.refused_busy},
              {"unauthenticated_closed", counted.unauthenticated_closed},
              {"silent_closed", counted.silent_closed},
              {"denied", counted.denied},
              {"ignored_messages", counted.ignored_messages},
              {"flow_records_dropped", channel.flows_dropped}}},
            {"relay", relay ? relay_json(*relay) : json()}};
  std::string text = "Network    " + controller.network().slug + "\nListening  " + context.listen +
                     " (tcp and udp)\nSince      " + iso_time(context.started_at) + '\n';
  if (relay) text += relay_text(*relay);
  return reply(data, text + '\n' + table(rows, "No agent is connected."));
}

}  // namespace

std::optional<AdminResult> answer_query(const AdminContext& context, const AdminRequest& request,
                                        const std::optional<RelaySnapshot>& relay) {
  using Query = AdminResult (*)(const AdminContext&, const AdminRequest&);
  static const std::map<std::string, Query, std::less<>> kQueries{{"user list", users},
                                                                  {"group list", groups},
                                                                  {"remote-network list", remote_networks},
                                                                  {"connector list", list_connectors},
                                                                  {"connector show", show_connector},
                                                                  {"relay list", list_relays},
                                                                  {"resource list", resources},
                                                                  {"access list", access},
                                                                  {"device list", devices},
                                                                  {"network show", network},
                                                                  {"audit list", audit},
                                                                  {"flow list", flows}};
  if (request.command == "status") return status_reply(context, relay);
  const auto found = kQueries.find(request.command);
  if (found == kQueries.end()) return std::nullopt;
  return found->second(context, request);
}

}  // namespace postern::server
