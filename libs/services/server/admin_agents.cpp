#include "services/server/admin_agents.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "services/server/admin_views.hpp"
#include "services/server/table.hpp"

namespace postern::server {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

json json_of(const controller::AgentStatus& agent, const std::string& name) {
  return {{"id", std::to_string(agent.id)},
          {"name", name},
          {"role", role_name(agent.role)},
          {"address", agent.address},
          {"connected_at", iso_time(agent.connected_at)},
          {"relays", agent.relays},
          {"software", agent.software}};
}

/// A process of a connector: its key is known, and perhaps it runs.
struct InstanceView {
  controller::InstanceRecord record;
  std::optional<controller::AgentStatus> agent;

  [[nodiscard]] const char* state() const {
    if (!agent) return "offline";
    if (agent->relays.empty()) return "no relay";
    return record.draining ? "draining" : "online";
  }
};

std::vector<InstanceView> instances_of(const controller::Controller& controller, model::ConnectorId connector) {
  const auto agents = controller.agents();
  std::vector<InstanceView> views;
  for (auto& record : controller.instances(connector)) {
    const auto agent = std::ranges::find_if(agents, [&](const controller::AgentStatus& each) {
      return each.role == wire::AGENT_ROLE_CONNECTOR && each.id == record.id.value;
    });
    views.push_back({std::move(record), agent == agents.end() ? std::nullopt : std::optional(*agent)});
  }
  return views;
}

json instance_json(const InstanceView& view) {
  json instance{{"id", std::to_string(view.record.id.value)},
                {"host", view.record.hostname},
                {"state", view.state()},
                {"draining", view.record.draining},
                {"enrolled_at", iso_time(view.record.enrolled_at)}};
  if (view.agent) {
    instance.update(json_of(*view.agent, view.record.hostname));
    instance["flows"] = view.agent->flows;
  }
  return instance;
}

const char* state_of(const controller::ConnectorRecord& connector, std::size_t running) {
  return connector.token_generation == 0 ? "no tokens" : running == 0 ? "offline" : "online";
}

std::size_t count_running(const std::vector<InstanceView>& views) {
  return static_cast<std::size_t>(
      std::ranges::count_if(views, [](const auto& view) { return view.agent.has_value(); }));
}

json connector_json(const controller::ConnectorRecord& connector, const std::vector<InstanceView>& views,
                    const Names& names, bool with_idle) {
  json instances = json::array();
  for (const InstanceView& view : views) {
    if (view.agent || with_idle) instances.push_back(instance_json(view));
  }
  return {{"id", std::to_string(connector.id.value)},
          {"name", connector.name},
          {"remote_network", names.of(connector.remote_network)},
          {"state", state_of(connector, count_running(views))},
          {"running", count_running(views)},
          {"max_instances", connector.instances_max},
          {"instances", instances}};
}

std::string of_at_most(std::size_t running, std::uint32_t most) {
  return std::to_string(running) + " of " + std::to_string(most);
}

}  // namespace

std::string comma_separated(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

const char* role_name(wire::AgentRole role) {
  switch (role) {
    case wire::AGENT_ROLE_CLIENT:
      return "client";
    case wire::AGENT_ROLE_CONNECTOR:
      return "connector";
    default:
      return "relay";
  }
}

std::string agent_json(const controller::AgentStatus& agent, const std::string& name) {
  return json_of(agent, name).dump();
}

AdminResult list_connectors(const AdminContext& context, const AdminRequest&) {
  const controller::Controller& controller = context.host.controller();
  const Names names(controller);
  json list = json::array();
  Rows rows{{"CONNECTOR", "REMOTE NETWORK", "STATE", "INSTANCES", "HOSTS", "ID"}};
  for (const auto& connector : controller.connectors()) {
    const auto views = instances_of(controller, connector.id);
    const std::size_t running = count_running(views);
    std::vector<std::string> hosts;
    for (const InstanceView& view : views) {
      if (view.agent) hosts.push_back(view.record.hostname);
    }
    list.push_back(connector_json(connector, views, names, false));
    rows.push_back({connector.name, names.of(connector.remote_network), state_of(connector, running),
                    of_at_most(running, connector.instances_max), comma_separated(hosts),
                    std::to_string(connector.id.value)});
  }
  return AdminReply{json{{"connectors", list}}.dump(), table(rows, "There are no connectors.")};
}

AdminResult show_connector(const AdminContext& context, const AdminRequest& request) {
  const controller::Controller& controller = context.host.controller();
  const Names names(controller);
  const std::string wanted = request.argument(0);
  for (const auto& connector : controller.connectors()) {
    if (connector.name != wanted && std::to_string(connector.id.value) != wanted) continue;
    const auto views = instances_of(controller, connector.id);
    const std::size_t running = count_running(views);
    Rows rows{{"INSTANCE", "HOST", "STATE", "FLOWS", "SINCE", "RELAYS", "ADDRESS", "SOFTWARE"}};
    for (const InstanceView& view : views) {
      const auto& agent = view.agent;
      rows.push_back(
          {std::to_string(view.record.id.value), view.record.hostname, view.state(),
           agent ? std::to_string(agent->flows) : "", iso_time(agent ? agent->connected_at : view.record.enrolled_at),
           agent ? comma_separated(agent->relays) : "", agent ? agent->address : "", agent ? agent->software : ""});
    }
    const std::string text = "Connector       " + connector.name + "\nRemote network  " +
                             names.of(connector.remote_network) + "\nState           " + state_of(connector, running) +
                             "\nInstances       " + of_at_most(running, connector.instances_max) + "\n\n";
    return AdminReply{connector_json(connector, views, names, true).dump(),
                      text + table(rows, "No instance has enrolled with its tokens yet.")};
  }
  return std::unexpected(ServerError{config::ExitCode::NotFound, "there is no connector \"" + wanted + '"'});
}

AdminResult list_relays(const AdminContext& context, const AdminRequest&) {
  const controller::Controller& controller = context.host.controller();
  const auto agents = controller.agents();
  json list = json::array();
  Rows rows{{"RELAY", "ADDRESSES", "STATE", "SINCE", "BOUND", "FORWARDED", "ID"}};
  if (const auto own = controller.relay_endpoint(controller::kOwnRelayName)) {
    std::vector<std::string> addresses;
    for (const SocketAddress& address : own->addresses) addresses.push_back(address.to_string());
    list.push_back({{"name", own->name}, {"addresses", addresses}, {"state", "online"}, {"own", true}});
    rows.push_back({own->name, comma_separated(addresses), "in this server", iso_time(context.started_at), "", "", ""});
  }
  for (const auto& relay : controller.relays()) {
    const auto agent = std::ranges::find_if(agents, [&](const controller::AgentStatus& each) {
      return each.role == wire::AGENT_ROLE_RELAY && each.id == relay.id.value;
    });
    const bool connected = agent != agents.end();
    const char* state = connected ? "online" : relay.public_key.empty() ? "not enrolled" : "offline";
    json one{{"id", std::to_string(relay.id.value)},
             {"name", relay.name},
             {"addresses", relay.addresses},
             {"state", state},
             {"own", false},
             {"host", relay.hostname}};
    if (connected) {
      const wire::RelayReport& report = agent->report;
      one.update(json{{"address", agent->address},
                      {"connected_at", iso_time(agent->connected_at)},
                      {"software", agent->software},
                      {"epoch", std::to_string(report.epoch())},
                      {"bindings", report.bindings()},
                      {"bindings_max", report.bindings_max()},
                      {"forwarded_packets", report.forwarded_packets()},
                      {"forwarded_bytes", report.forwarded_bytes()},
                      {"dropped_packets", report.dropped_packets()}});
    }
    list.push_back(one);
    rows.push_back({relay.name, comma_separated(relay.addresses), state, connected ? iso_time(agent->connected_at) : "",
                    connected ? std::to_string(agent->report.bindings()) : "",
                    connected ? std::to_string(agent->report.forwarded_bytes()) : "", std::to_string(relay.id.value)});
  }
  return AdminReply{json{{"relays", list}}.dump(), table(rows, "There are no relays.")};
}

}  // namespace postern::server
