// What may happen to the world, one choice after another; each is said in the history.
#include <algorithm>
#include <array>

#include "sim/scenario.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using namespace controller;

constexpr Duration kOpenMax = 150s;

template <typename Container>
auto& pick(Chooser& chooser, Container& container) {
  auto at = container.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(chooser.below(container.size())));
  return *at;
}

}  // namespace

std::string Scenario::ports_text(const std::set<PortClass>& ports) {
  std::string text;
  for (const PortClass each : ports) {
    const unsigned first = first_port(each);
    text += (text.empty() ? "" : ",") + std::to_string(first) + "-" + std::to_string(first + kPortsPerClass - 1);
  }
  return text.empty() ? "none" : text;
}

void Scenario::act() {
  struct Choice {
    unsigned weight;
    bool needs_server;
    Action action;
  };
  static constexpr std::array<Choice, 23> kChoices{{{12, true, &Scenario::grant_or_revoke},
                                                    {4, true, &Scenario::change_membership},
                                                    {2, true, &Scenario::switch_user},
                                                    {3, true, &Scenario::change_resource},
                                                    {2, true, &Scenario::replace_device},
                                                    {2, true, &Scenario::regenerate_tokens},
                                                    {4, false, &Scenario::roam_client},
                                                    {2, false, &Scenario::roam_connector},
                                                    {2, false, &Scenario::reboot_nat},
                                                    {4, false, &Scenario::switch_link},
                                                    {2, false, &Scenario::worsen_link},
                                                    {3, false, &Scenario::sleep_or_wake},
                                                    {2, false, &Scenario::cut_control},
                                                    {2, false, &Scenario::restart_client},
                                                    {2, false, &Scenario::restart_connector},
                                                    {2, true, &Scenario::restart_server},
                                                    {2, false, &Scenario::switch_server},
                                                    {1, true, &Scenario::jump_clock},
                                                    {3, false, &Scenario::restart_relay},
                                                    {2, false, &Scenario::switch_relay},
                                                    {12, false, &Scenario::open_flow},
                                                    {3, false, &Scenario::pass_time},
                                                    {3, false, &Scenario::heal}}};
  unsigned sum = 0;
  for (const Choice& choice : kChoices) sum += choice.weight;
  auto at = static_cast<unsigned>(chooser_.below(sum));
  for (const Choice& choice : kChoices) {
    if (at >= choice.weight) {
      at -= choice.weight;
      continue;
    }
    const bool can = !choice.needs_server || world_.server->is_running();
    return can ? (this->*choice.action)() : heal();
  }
}

// --- the admin
// -------------------------------------------------------------------------------------------------------------

void Scenario::grant_or_revoke() {
  if (model_.resources.empty()) return;
  auto& [name, resource] = pick(chooser_, model_.resources);
  const std::array<std::string, 2> groups{"staff", "Everyone"};
  const bool is_group = chooser_.one_in(3);
  std::set<std::string>& holders = is_group ? resource.groups : resource.users;
  const std::string who = is_group ? groups.at(chooser_.below(2)) : pick(chooser_, model_.users).first;
  const std::string group = is_group ? who : "";
  const std::string user = is_group ? "" : who;
  if (holders.contains(who)) {
    note("access to " + name + " is taken from " + who);
    world_.server->run(RevokeAccess{name, group, user});
    holders.erase(who);
  } else {
    note("access to " + name + " is given to " + who);
    world_.server->run(GrantAccess{name, group, user});
    holders.insert(who);
  }
}

void Scenario::change_membership() {
  auto& [email, user] = pick(chooser_, model_.users);
  if (user.groups.contains("staff")) {
    note(email + " leaves the group staff");
    world_.server->run(RemoveFromGroup{"staff", email});
    user.groups.erase("staff");
  } else {
    note(email + " joins the group staff");
    world_.server->run(AddToGroup{"staff", email});
    user.groups.insert("staff");
  }
}

void Scenario::switch_user() {
  auto& [email, user] = pick(chooser_, model_.users);
  user.active = !user.active;
  note(email + (user.active ? " is enabled" : " is disabled"));
  world_.server->run(SetUserState{email, user.active ? UserState::Active : UserState::Disabled});
}

void Scenario::change_resource() {
  const std::string name = pick(chooser_, known_resources_).first;
  if (deleted_resources_.contains(name)) {
    note("the resource " + name + " is made again");
    return create_resource(name);
  }
  if (chooser_.one_in(2)) {
    note("the resource " + name + " is deleted");
    world_.server->run(DeleteResource{name});
    model_.resources.erase(name);
    deleted_resources_.insert(name);
    return;
  }
  std::set<PortClass>& ports = model_.resources.at(name).ports;
  const auto which = chooser_.one_in(2) ? PortClass::Low : PortClass::High;
  if (ports.erase(which) == 0) ports.insert(which);
  note("the resource " + name + " has the ports " + ports_text(ports));
  world_.server->run(UpdateResource{name, {}, {}, {}, ports_text(ports)});
}

void Scenario::replace_device() {
  Client& client = pick(chooser_, world_.clients);
  if (client.node->is_asleep() || !model_.users.at(client.user).active) return;
  note(client.name + ": the device is deleted, and the person signs in again");
  if (client.device != 0) world_.server->run(DeleteDevice{std::to_string(client.device)});
  client.node->stop();
  world_.sign_in(client);
  client.node->start();
}

void Scenario::regenerate_tokens() {
  const std::string connector = chooser_.one_in(2) ? "attic" : "cellar";
  note("new tokens for the connector " + connector + ", and its instances start with them");
  const auto tokens = *world_.server->run(GenerateConnectorTokens{connector}).tokens;
  for (Instance& instance : world_.instances) {
    if (instance.connector != connector) continue;
    instance.node->stop();
    instance.node->set_refresh_token(tokens.refresh_token);
    instance.node->start();
  }
}

// --- the network
// -----------------------------------------------------------------------------------------------------------

void Scenario::roam_client() {
  Client& client = pick(chooser_, world_.clients);
  const LanId lan = pick(chooser_, world_.client_lans);
  note(client.name + " moves to network " + std::to_string(lan) + " (" +
       std::string(to_string(world_.network().options(lan).nat)) + ")");
  world_.network().move(client.node->host(), lan);
  ClientNode* node = client.node.get();
  // The kernel tells at once, or the host's own look finds it half a minute later.
  world_.fabric().time.after(chooser_.one_in(3) ? 30s : 10ms, [node] { node->handle_network_change(); });
}

void Scenario::roam_connector() {
  Instance& instance = pick(chooser_, world_.instances);
  const LanId lan = pick(chooser_, world_.connector_lans);
  note("an instance of " + instance.connector + " moves to network " + std::to_string(lan));
  world_.network().move(instance.node->host(), lan);
  ConnectorNode* node = instance.node.get();
  world_.fabric().time.after(10ms, [node] { node->handle_network_change(); });
}

void Scenario::reboot_nat() {
  const LanId lan = chooser_.one_in(3) ? pick(chooser_, world_.connector_lans) : pick(chooser_, world_.client_lans);
  note("the router of network " + std::to_string(lan) + " starts again");
  world_.network().reboot_nat(lan);
}

void Scenario::switch_link() {
  const LanId lan = chooser_.one_in(4) ? pick(chooser_, world_.connector_lans) : pick(chooser_, world_.client_lans);
  LinkOptions& link = world_.network().link(lan);
  link.up = !link.up;
  note("network " + std::to_string(lan) + (link.up ? " is connected again" : " is cut off"));
}

void Scenario::worsen_link() {
  const LanId lan = chooser_.one_in(3) ? pick(chooser_, world_.connector_lans) : pick(chooser_, world_.client_lans);
  LinkOptions& link = world_.network().link(lan);
  link.loss_per_mille = static_cast<unsigned>(chooser_.below(4) * 20);
  link.duplicate_per_mille = static_cast<unsigned>(chooser_.below(2) * 20);
  link.jitter = chooser_.below(3) * 10ms;
  note("network " + std::to_string(lan) + " loses " + std::to_string(link.loss_per_mille) + " of 1000");
}

void Scenario::sleep_or_wake() {
  Client& client = pick(chooser_, world_.clients);
  if (client.node->is_asleep()) {
    note(client.name + " wakes up");
    client.node->wake_up();
    client.node->handle_network_change();
    return;
  }
  const auto minutes = static_cast<int>(1 + chooser_.below(15));
  note(client.name + " sleeps for " + std::to_string(minutes) + " min");
  client.node->sleep();
  world_.update_health();
  tick_ = 10s;
  pass(std::chrono::minutes(minutes));
  tick_ = 1s;
  client.node->wake_up();
  if (chooser_.one_in(2)) client.node->handle_network_change();
}

void Scenario::cut_control() {
  const bool is_client = chooser_.one_in(2);
  const std::size_t number = chooser_.below(is_client ? world_.clients.size() : world_.instances.size());
  const auto control =
      is_client ? world_.clients[number].node->control() : world_.instances[number].node->control();
  note(std::string("the control channel of a ") + (is_client ? "client" : "connector") + " is reset");
  if (!is_client) instance_agents_[number].channel_is_cut = true;
  if (control) control->cut();
}

// --- processes
// -------------------------------------------------------------------------------------------------------------

void Scenario::restart_client() {
  Client& client = pick(chooser_, world_.clients);
  if (client.node->is_asleep() || client.node->is_signed_out()) return;
  note(client.name + " starts again");
  client.node->stop();
  client.node->start();
}

void Scenario::restart_connector() {
  Instance& instance = pick(chooser_, world_.instances);
  note("an instance of " + instance.connector + " starts again");
  instance.node->stop();
  instance.node->start();
}

void Scenario::restart_server() {
  const auto seconds = static_cast<int>(chooser_.below(4) * 4);
  note("the server starts again, after " + std::to_string(seconds) + " s");
  world_.server->stop();
  world_.update_health();
  follow_health();
  pass(std::chrono::seconds(seconds) + 1ms);
  world_.server->start();
}

void Scenario::switch_server() {
  if (world_.server->is_running() && chooser_.one_in(2)) {
    LinkOptions& link = world_.network().link(world_.server_lan);
    link.up = !link.up;
    note(link.up ? "the server is connected again" : "the server is cut off");
    return;
  }
  note(world_.server->is_running() ? "the server is stopped" : "the server is started");
  world_.server->is_running() ? world_.server->stop() : world_.server->start();
}

void Scenario::jump_clock() {
  const auto seconds = static_cast<int>(chooser_.below(81)) - 40;
  note("the server's clock jumps by " + std::to_string(seconds) + " s");
  world_.server->jump(std::chrono::seconds(seconds));
}

void Scenario::restart_relay() {
  RelayNode& relay = *world_.relays[1];
  note("the second relay starts again");
  relay.stop();
  if (chooser_.one_in(4) && world_.server->is_running()) {
    note("... with a new token and a new key");
    relay.enrol(*world_.server->run(GenerateRelayToken{relay.name()}).relay_token);
  }
  relay.start();
}

void Scenario::switch_relay() {
  RelayNode& relay = *world_.relays[1];
  note(relay.is_running() ? "the second relay is stopped" : "the second relay is started");
  relay.is_running() ? relay.stop() : relay.start();
}

// --- the rest
// --------------------------------------------------------------------------------------------------------------

void Scenario::open_flow() {
  std::vector<Pair> able;
  for (const auto& [pair, permission] : permissions_) {
    if (expected(pair) == Expected::Yes) able.push_back(pair);
  }
  if (able.empty() || flows_.size() >= 12) return pass_time();
  const Pair pair = pick(chooser_, able);
  note("a long flow begins: " + name_of(pair));
  ++long_flows_;
  const Instant end = world_.now() + kOpenMax;
  // An attempt may fall into the time until a client has noticed that a way is dead; a person would try again, too.
  while (true) {
    const std::uint16_t port = start_long_flow(pair);
    const auto app = [&] { return world_.clients[pair.client].node->find(flows_.at(port).app); };
    const auto is_open = [&] { return app()->is_connected() && flows_.at(port).target_open; };
    for (int i = 0; i < 150 && !is_open() && !app()->has_failed(); ++i) pass(100ms);
    if (is_open()) return;
    if (world_.now() >= end) throw_about("a flow that should be possible does not open", flows_.at(port));
    world_.clients[pair.client].node->give_up(flows_.at(port).app);
    flows_.erase(port);
    pass(2s);
  }
}

void Scenario::pass_time() {
  static constexpr std::array<Duration, 5> kTimes{20s, 2min, 10min, 1h, 5h};
  const Duration time = kTimes.at(chooser_.below(kTimes.size()));
  note(std::to_string(std::chrono::duration_cast<std::chrono::seconds>(time).count()) + " s pass");
  if (time >= 1h) tick_ = 60s;
  pass(time);
  tick_ = 1s;
}

void Scenario::heal() {
  note("what was broken is mended");
  Network& network = world_.network();
  for (LanId lan = 0; lan < network.lan_count(); ++lan) {
    LinkOptions& link = network.link(lan);
    link.up = true;
    link.loss_per_mille = link.duplicate_per_mille = 0;
    link.jitter = {};
  }
  if (!world_.server->is_running()) world_.server->start();
  for (const auto& relay : world_.relays) {
    if (!relay->is_running()) relay->start();
  }
  for (Instance& instance : world_.instances) {
    if (!instance.node->is_running()) instance.node->start();
  }
  for (Client& client : world_.clients) {
    if (client.node->is_asleep()) client.node->wake_up();
    if (client.node->is_running()) continue;
    if (client.node->is_signed_out() && model_.users.at(client.user).active) world_.sign_in(client);
    client.node->start();
  }
}

}  // namespace postern::sim
