// The world compared with the reference model.
#include <algorithm>

#include "sim/scenario.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;

/// DESIGN §2.6, where a control channel is up.
constexpr Duration kRevocationMax = 1s;
/// Else: the life of a lease and the tolerance of clocks (PROTOCOL.md §5).
constexpr Duration kLeaseMax = 4h + 60s;
/// A lease is renewed at half of its life, so a client that has just been cut off has this much left; less a margin.
constexpr Duration kLeaseSure = 2h - 5min;
/// After a channel has come up: until snapshot, first heartbeat, bindings and their deltas have gone round.
constexpr Duration kInformed = 3s;
/// In which time the world must become what the model says. A relay that vanished without a word is noticed after 30 s
/// (PROTOCOL.md §3.2), agents reconnect after up to 30 s, and one after the other.
constexpr Duration kSettleMax = 150s;
/// How long one probe may take: the client refuses after 12 s what nobody answered.
constexpr Duration kProbeMax = 14s;
/// Sessions outlive silence of 30 minutes; flows are only sure of theirs with room to spare.
constexpr Duration kOutageSure = 20min;
/// An instance whose control channel was reset, as if its process had ended, has so long to be heard by its clients.
constexpr Duration kCutSure = 4s;
/// For so long one that cannot be reached is not taken for ended, although its connector has started another process.
constexpr Duration kReplacedSure = 50s;
/// What the server last heard of an instance may be so much older than the moment from which it cannot be reached.
constexpr Duration kHeartbeat = 10s;

}  // namespace

// --- what the model knows
// ------------------------------------------------------------------------------------------------

void Scenario::follow_permissions() {
  const Instant now = world_.now();
  for (std::size_t i = 0; i < world_.clients.size(); ++i) {
    for (const std::string& host : hosts_) {
      for (const PortClass ports : {PortClass::Low, PortClass::High}) {
        const auto answer = model_.permitted(world_.clients[i].user, host, ports);
        const auto [entry, is_new] = permissions_.try_emplace(Pair{i, host, ports}, Permission{answer, now});
        if (is_new || entry->second.answer == answer) continue;
        entry->second = {answer, now};
        for (auto& [port, flow] : flows_) flow.may_end = flow.may_end || flow.pair == entry->first;
      }
    }
  }
}

void Scenario::follow_health() {
  const auto follow = [now = world_.now()](Agent& agent, const auto& node) {
    if (!node.control() || !node.control()->healthy_since()) return;
    const bool is_new = !agent.last_healthy || agent.process != node.process_number();
    const bool is_back = *node.control()->healthy_since() + kInformed <= now;
    agent = {now, node.process_number(), is_new ? now : agent.came, agent.channel_is_cut && !is_back};
  };
  for (std::size_t i = 0; i < client_agents_.size(); ++i) follow(client_agents_[i], *world_.clients[i].node);
  for (std::size_t i = 0; i < instance_agents_.size(); ++i) follow(instance_agents_[i], *world_.instances[i].node);
  if (world_.is_server_reachable()) {
    server_lost_.reset();
  } else if (!server_lost_) {
    server_lost_ = world_.now();
  }
}

bool Scenario::was_healthy(const std::shared_ptr<ControlAgent>& agent, Instant since, Instant now) {
  return agent && agent->healthy_since() && std::max(*agent->healthy_since(), since) + kRevocationMax <= now;
}

bool Scenario::must_be_closed(const Pair& pair, std::size_t instance) const {
  const Permission& permission = permissions_.at(pair);
  const Instant now = world_.now();
  return was_healthy(world_.clients[pair.client].node->control(), permission.since, now) ||
         was_healthy(world_.instances[instance].node->control(), permission.since, now) ||
         now - permission.since > kLeaseMax;
}

bool Scenario::has_path(std::size_t client, const Instance& instance) const {
  const ClientNode& node = *world_.clients[client].node;
  Network& network = const_cast<World&>(world_).network();
  if (!node.is_running() || node.is_asleep() || !instance.node->is_running()) return false;
  return std::ranges::any_of(world_.relays, [&](const auto& relay) {
    return relay->is_running() && relay->is_member() && network.is_connected(node.host(), relay->host()) &&
           network.is_connected(instance.node->host(), relay->host());
  });
}

Scenario::Expected Scenario::expected(const Pair& pair) const {
  const Permission& permission = permissions_.at(pair);
  const Instant now = world_.now();
  const ClientNode& client = *world_.clients[pair.client].node;
  const auto name = world_.private_network.names.find(pair.host);
  const auto address =
      name != world_.private_network.names.end() ? std::optional(name->second) : IpAddress::parse(pair.host);
  const auto host = address ? world_.private_network.hosts.find(*address) : world_.private_network.hosts.end();
  if (host == world_.private_network.hosts.end() || !host->second) return Expected::No;
  if (!client.is_running() || client.is_asleep()) return Expected::No;
  if (!permission.answer) {
    if (was_healthy(client.control(), permission.since, now)) return Expected::No;
    return now - permission.since > kLeaseMax ? Expected::No : Expected::Unknown;
  }
  bool has_any = false;
  bool has_informed = false;
  for (const Instance& instance : world_.instances) {
    if (instance.remote_network != permission.answer->remote_network || !has_path(pair.client, instance)) continue;
    has_any = true;
    const auto& control = instance.node->control();
    has_informed =
        has_informed || (control && control->healthy_since() && *control->healthy_since() + kInformed <= now);
  }
  if (!has_any) return Expected::No;
  const bool is_informed = client.control()->healthy_since() && *client.control()->healthy_since() + kInformed <= now;
  if (is_informed && has_informed) return Expected::Yes;
  return expected_if_cut_off(pair, permission);
}

/// The server is away for everybody, and nothing has changed since: what worked goes on for a lease's life.
Scenario::Expected Scenario::expected_if_cut_off(const Pair& pair, const Permission& permission) const {
  if (!server_lost_ || permission.since + 10s > *server_lost_) return Expected::Unknown;
  if (world_.now() - *server_lost_ > kLeaseSure) return Expected::Unknown;
  const auto knows = [this](const Agent& agent, const auto& node) {
    return agent.last_healthy && *agent.last_healthy + 2s >= *server_lost_ && agent.process == node.process_number();
  };
  if (!knows(client_agents_[pair.client], *world_.clients[pair.client].node)) return Expected::Unknown;
  for (std::size_t i = 0; i < world_.instances.size(); ++i) {
    const Instance& instance = world_.instances[i];
    if (instance.remote_network != permission.answer->remote_network) continue;
    if (!knows(instance_agents_[i], *instance.node) || !has_path(pair.client, instance)) return Expected::Unknown;
  }
  return Expected::Yes;
}

// --- checks
// ----------------------------------------------------------------------------------------------------------------

/// A flow lives as long as both of its ends are open.
void Scenario::check_flows_permitted() {
  for (const auto& [port, flow] : flows_) {
    if (!flow.target_open || permissions_.at(flow.pair).answer || !must_be_closed(flow.pair, *flow.instance)) continue;
    const App* app = world_.clients[flow.pair.client].node->find(flow.app);
    if (app != nullptr && app->is_connected() && !app->is_over()) {
      throw Violation("a flow outlived its permission: " + name_of(flow.pair));
    }
  }
}

/// Tries every pair once, all at the same time; gives those where the answer was not the expected one.
std::vector<Scenario::Pair> Scenario::probe(const std::vector<Pair>& pairs) {
  struct Attempt {
    Pair pair;
    Expected before;
    std::uint16_t port;
    bool connected = false;
    bool over = false;
  };
  std::vector<Attempt> attempts;
  for (const Pair& pair : pairs) {
    ClientNode& node = *world_.clients[pair.client].node;
    Attempt attempt{pair, expected(pair), next_port(pair.ports, Bulk::Never), false, false};
    App& app = node.connect(pair.host, attempt.port, 1, 1);
    flows_[attempt.port] = {
        .pair = pair, .app = app.number, .is_probe = true, .client_process = node.process_number(), .may_end = true};
    attempts.push_back(attempt);
    ++probes_;
  }
  const Instant end = world_.now() + kProbeMax;
  const auto look = [&] {
    bool all = true;
    for (Attempt& attempt : attempts) {
      const App* app = world_.clients[attempt.pair.client].node->find(flows_.at(attempt.port).app);
      attempt.connected = attempt.connected || app->is_connected();
      attempt.over = attempt.over || app->is_over() || (attempt.connected && app->kernel->is_ended());
      // What cannot connect, and need not say why, is not waited for.
      const bool is_settled = attempt.over || (attempt.before != Expected::Yes && world_.now() + kProbeMax > end + 2s);
      all = all && is_settled;
    }
    return all;
  };
  while (!look() && world_.now() < end) pass(100ms);
  std::vector<Pair> wrong;
  for (const Attempt& attempt : attempts) {
    const Expected after = expected(attempt.pair);
    if (attempt.before == Expected::Unknown || after != attempt.before) {
      ++unknowns_;
    } else if (attempt.connected != (attempt.before == Expected::Yes) || (attempt.connected && !attempt.over)) {
      wrong.push_back(attempt.pair);
      const App* app = world_.clients[attempt.pair.client].node->find(flows_.at(attempt.port).app);
      failures_[attempt.pair] = app->failure.empty() ? "silence" : app->failure;
    }
    world_.clients[attempt.pair.client].node->give_up(flows_.at(attempt.port).app);
    flows_.erase(attempt.port);
  }
  return wrong;
}

void Scenario::check_reachable() {
  std::vector<Pair> open;
  for (const auto& [pair, permission] : permissions_) open.push_back(pair);
  const Instant end = world_.now() + kSettleMax;
  while (true) {
    open = probe(open);
    if (open.empty()) return;
    if (world_.now() >= end) break;
    pass(2s);
  }
  const Pair& pair = open.front();
  const bool wanted = expected(pair) == Expected::Yes;
  throw Violation(name_of(pair) + (wanted ? " cannot connect, but should" : " can connect, but should not") + " (and " +
                  std::to_string(open.size() - 1) + " more): " + failures_.at(pair) + "\n" + describe(pair.client));
}

void Scenario::throw_about(const std::string& what, const Flow& flow) const {
  const App* app = world_.clients[flow.pair.client].node->find(flow.app);
  std::string text = what + ": " + name_of(flow.pair) + "\n  its application " +
                     (app == nullptr ? "is gone" : (app->is_over() ? "is over: " + app->failure : "is connected"));
  if (flow.instance) {
    const Instance& instance = world_.instances[*flow.instance];
    text += std::string("; its target is ") + (flow.target_open ? "open" : "closed") + ", reached through " +
            instance.connector + " number " + std::to_string(*flow.instance) +
            (instance.node->process_number() == flow.instance_process ? "" : ", which has started again");
  }
  throw Violation(text + "\n" + describe(flow.pair.client));
}

/// What client and connectors say of themselves.
std::string Scenario::describe(std::size_t client) const {
  const auto status = world_.clients[client].node->status();
  std::string text = "  the client is " + std::string(client::to_string(status.state)) + ": " + status.reason;
  if (status.relay) text += "; relay " + status.relay->name + (status.relay->bound ? " bound" : " not bound");
  for (const auto& session : status.sessions) {
    text += "\n  session with instance " + std::to_string(session.instance) + " of " + session.connector + " " +
            session.state + " at " + session.remote + ", " + std::to_string(session.flows) + " flows " +
            session.failure;
  }
  text += "\n  counted:";
  for (const auto& [name, count] : status.drops) text += " " + name + "=" + std::to_string(count);
  for (const Instance& instance : world_.instances) {
    const auto& control = instance.node->control();
    text += "\n  " + instance.connector + ": " +
            (control && control->healthy_since() ? "controlled" : "not controlled") + ", sessions " +
            std::to_string(instance.node->sessions()) + ", flows " + std::to_string(instance.node->flows()) +
            ", bound at";
    for (const std::string& relay : instance.node->bound_at()) text += " " + relay;
    const auto* core = instance.node->core();
    if (core == nullptr) continue;
    text +=
        ", refused " + std::to_string(core->flows().counters().refused) + " (" + instance.node->last_refusal() + ")";
  }
  return text;
}

/// After what has happened: which flows need not live any more.
void Scenario::release_doubtful_flows() {
  for (auto& [port, flow] : flows_) {
    const ClientNode& client = *world_.clients[flow.pair.client].node;
    if (client.process_number() != flow.client_process || !client.is_running()) flow.may_end = true;
    if (!flow.instance) continue;
    const Instance& instance = world_.instances[*flow.instance];
    if (instance.node->process_number() != flow.instance_process || !instance.node->is_running()) flow.may_end = true;
  }
}

/// Of a flow that has no way now: whether the server may have a reason to call its instance ended, and be wrong.
bool Scenario::may_be_taken_for_ended(const Flow& flow) const {
  const Duration cut_off = world_.now() - *flow.cut_since;
  if (instance_agents_[*flow.instance].channel_is_cut && cut_off > kCutSure) return true;
  if (cut_off <= kReplacedSure) return false;
  for (std::size_t i = 0; i < world_.instances.size(); ++i) {
    if (i == *flow.instance || world_.instances[i].connector != world_.instances[*flow.instance].connector) continue;
    const Agent& other = instance_agents_[i];
    const bool is_known = other.process == world_.instances[i].node->process_number();
    if (!is_known || other.came + kHeartbeat + kSettleMax > *flow.cut_since) return true;
  }
  return false;
}

/// Silence of many minutes, or leases that ended, may cost a flow its session.
void Scenario::release_flows_cut_off() {
  const Instant now = world_.now();
  const bool leases_end = server_lost_ && now - *server_lost_ > kLeaseSure;
  for (auto& [port, flow] : flows_) {
    flow.may_end = flow.may_end || leases_end;
    const bool has_way = !flow.instance || has_path(flow.pair.client, world_.instances[*flow.instance]);
    if (has_way) {
      flow.cut_since.reset();
    } else if (!flow.cut_since) {
      flow.cut_since = now;
    } else if (now - *flow.cut_since > kOutageSure || may_be_taken_for_ended(flow)) {
      flow.may_end = true;
    }
  }
}

/// Whoever can reach the server and is not turned away comes back to it.
void Scenario::wait_for_agents() {
  const auto is_informed = [this](const auto& node) {
    const auto& control = node.control();
    if (!control || !node.is_running()) return true;
    if (!world_.server->is_running() || !world_.network().is_connected(node.host(), world_.server->host())) return true;
    return control->healthy_since() && *control->healthy_since() + kInformed <= world_.now();
  };
  const auto all = [&] {
    const bool clients = std::ranges::all_of(world_.clients, [&](const Client& client) {
      return is_informed(*client.node) || !model_.users.at(client.user).active;
    });
    return clients &&
           std::ranges::all_of(world_.instances, [&](const Instance& each) { return is_informed(*each.node); });
  };
  const Instant end = world_.now() + kSettleMax;
  while (!all()) {
    if (world_.now() >= end) throw Violation("an agent does not come back to the server");
    pass(500ms);
  }
}

void Scenario::check_long_flows() {
  // Reads what each has got, lets time pass, and wants to see more.
  std::vector<std::uint16_t> waiting;
  for (auto& [port, flow] : flows_) {
    const App* app = world_.clients[flow.pair.client].node->find(flow.app);
    const bool is_gone = app == nullptr || app->is_over() || !flow.target_open;
    if (is_gone && !flow.may_end) throw_about("a flow that nothing has ended is gone", flow);
    const bool can_move = !is_gone && has_path(flow.pair.client, world_.instances[*flow.instance]);
    if (!can_move || flow.may_end) continue;
    flow.progress = app->kernel->read();
    waiting.push_back(port);
  }
  const Instant end = world_.now() + kSettleMax;
  const auto moved = [&](std::uint16_t port) {
    const Flow& flow = flows_.at(port);
    const App* app = world_.clients[flow.pair.client].node->find(flow.app);
    if (flow.may_end) return true;
    if (!flow.target_open || app->is_over()) throw_about("a flow that nothing has ended is gone", flow);
    return app->kernel->read() > flow.progress;
  };
  while (true) {
    std::erase_if(waiting, moved);
    if (waiting.empty()) break;
    if (world_.now() >= end) throw_about("a flow does not move any more", flows_.at(waiting[0]));
    pass(1s);
  }
  // What may have ended, and what nobody can say, is closed by its application; the next event has it no more.
  for (auto flow = flows_.begin(); flow != flows_.end();) {
    if (flow->second.may_end) world_.clients[flow->second.pair.client].node->give_up(flow->second.app);
    flow = flow->second.may_end ? flows_.erase(flow) : std::next(flow);
  }
}

void Scenario::check_bounds() const {
  for (const Instance& instance : world_.instances) {
    // One session for each client, and those that were superseded and have not been given up yet (30 s).
    if (instance.node->sessions() > 4 * world_.clients.size()) throw Violation("sessions pile up at a connector");
    if (instance.node->pool_in_use() > 48U << 20) throw Violation("a connector's memory grows");
  }
  for (const Client& client : world_.clients) {
    if (client.node->pool_in_use() > 48U << 20) throw Violation("a client's memory grows");
    if (client.node->gaps() > 0) throw Violation("an update did not fit what a client held: " + client.name);
  }
}

}  // namespace postern::sim
