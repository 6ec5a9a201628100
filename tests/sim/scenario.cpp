#include "sim/scenario.hpp"

#include <algorithm>
#include <cstdio>

#include "sim/entropy.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using namespace controller;

constexpr std::uint64_t kLongUpload = 1U << 30;  ///< never reached: these flows stay open
constexpr std::uint64_t kTickBytes = 100;
/// A client that was killed and does not come back to the same instance leaves a session behind for 30 minutes.
constexpr Duration kForgottenMax = 40min;

std::string time_text(Instant since, Instant now) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - since).count();
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%8lld.%03lld s  ", static_cast<long long>(ms / 1000),
                static_cast<long long>(ms % 1000));
  return text.data();
}

}  // namespace

Scenario::Scenario(const ScenarioOptions& options, Chooser& chooser)
    : options_(options), chooser_(chooser), world_(options.world) {
  started_ = world_.now();
  client_agents_.resize(world_.clients.size());
  instance_agents_.resize(world_.instances.size());
  world_.target_opened = [this](std::size_t instance, std::uint16_t port) { handle_target_opened(instance, port); };
  world_.target_ended = [this](std::size_t instance, std::uint16_t port) { handle_target_ended(instance, port); };
}

void Scenario::run() {
  set_up();
  for (std::size_t i = 0; i < options_.events_max && !chooser_.is_done(); ++i) {
    act();
    world_.update_health();
    follow_permissions();
    follow_health();
    release_doubtful_flows();
    pass(1100ms);
    wait_for_agents();
    check_reachable();
    check_long_flows();
    check_bounds();
  }
  finish();
}

void Scenario::set_up() {
  PrivateNetwork& network = world_.private_network;
  network.names = {{"git.home", IpAddress::v4(10, 20, 0, 5)},
                   {"nas.home", IpAddress::v4(10, 20, 0, 9)},
                   {"db.office", IpAddress::v4(10, 30, 0, 3)},
                   {"db", IpAddress::v4(10, 30, 0, 3)}};
  network.hosts = {{IpAddress::v4(10, 20, 0, 5), true},
                   {IpAddress::v4(10, 20, 0, 9), true},
                   {IpAddress::v4(10, 20, 0, 77), true},
                   {IpAddress::v4(10, 20, 0, 78), false},
                   {IpAddress::v4(10, 30, 0, 3), true}};
  hosts_ = {"git.home", "nas.home", "10.20.0.9", "10.20.0.77", "10.20.0.78", "db.office", "db", "ghost.home"};
  world_.start();
  for (int i = 0; i < 3; ++i) model_.users["user" + std::to_string(i) + "@example.org"] = {};
  world_.server->run(CreateGroup{"staff"});
  const std::set<PortClass> low{PortClass::Low};
  const std::set<PortClass> both{PortClass::Low, PortClass::High};
  known_resources_ = {{"git", {0, "home", "git.home", {}, low, {}, {}}},
                      {"all names", {0, "home", "*.home", {}, both, {}, {}}},
                      {"lan", {0, "home", "10.20.0.0/16", {}, low, {}, {}}},
                      {"storage", {0, "home", "10.20.0.9", {}, {PortClass::High}, {}, {}}},
                      {"database", {0, "office", "db.office", {"db"}, low, {}, {}}}};
  for (const auto& [name, resource] : known_resources_) create_resource(name);
  grant_at_first();
  note("everybody comes up");
  follow_permissions();
  pass(5s);
  world_.update_health();
  follow_health();
  check_reachable();
}

void Scenario::grant_at_first() {
  for (const auto& [resource, user] : std::vector<std::pair<std::string, std::string>>{
           {"git", "user0@example.org"}, {"lan", "user0@example.org"}, {"all names", "user1@example.org"}}) {
    world_.server->run(GrantAccess{resource, "", user});
    model_.resources.at(resource).users.insert(user);
  }
  world_.server->run(GrantAccess{"database", "Everyone", ""});
  model_.resources.at("database").groups.insert("Everyone");
  if (options_.lie == Lie::GrantsInModelOnly) model_.resources.at("lan").users.insert("user1@example.org");
  if (options_.lie == Lie::RevokesInModelOnly) model_.resources.at("git").users.clear();
}

void Scenario::create_resource(const std::string& name) {
  Model::Resource resource = known_resources_.at(name);
  resource.order = ++resources_made_;
  world_.server->run(
      CreateResource{name, resource.remote_network, resource.address, resource.aliases, ports_text(resource.ports)});
  // Deleting forgets the access, and so does making it again.
  resource.groups.clear();
  resource.users.clear();
  model_.resources[name] = std::move(resource);
  deleted_resources_.erase(name);
}

void Scenario::note(std::string what) {
  history_.push_back(time_text(started_, world_.now()) + std::move(what));
  if (options_.verbose) std::fprintf(stderr, "%s\n", history_.back().c_str());
}

std::string Scenario::name_of(const Pair& pair) const {
  return world_.clients[pair.client].name + " to " + pair.host + (pair.ports == PortClass::Low ? " low" : " high") +
         " ports";
}

// --- time
// ----------------------------------------------------------------------------------------------------------------

void Scenario::pass(Duration time) {
  const Instant end = world_.now() + time;
  while (world_.now() < end) {
    world_.run_until(std::min(end, world_.now() + tick_));
    tick();
  }
}

void Scenario::tick() {
  world_.update_health();
  follow_health();
  release_flows_cut_off();
  check_flows_permitted();
  for (auto& [port, flow] : flows_) {
    if (flow.is_probe) continue;
    ClientNode& node = *world_.clients[flow.pair.client].node;
    App* app = node.find(flow.app);
    if (app != nullptr && app->is_connected() && !app->is_over()) node.produce(*app, kTickBytes);
  }
}

// --- flows
// ---------------------------------------------------------------------------------------------------------------

std::uint16_t Scenario::next_port(PortClass ports, Bulk bulk) {
  std::uint16_t& used = ports_used_[ports];
  std::uint16_t port = 0;
  do {
    port = static_cast<std::uint16_t>(first_port(ports) + used++ % kPortsPerClass);
  } while (flows_.contains(port) || (bulk == Bulk::Never && bulk_of(port) > 0));
  return port;
}

std::uint16_t Scenario::start_long_flow(const Pair& pair) {
  const std::uint16_t port = next_port(pair.ports, Bulk::Maybe);
  ClientNode& node = *world_.clients[pair.client].node;
  App& app = node.connect(pair.host, port, kLongUpload, kTickBytes);
  flows_[port] = {.pair = pair, .app = app.number, .client_process = node.process_number()};
  return port;
}

void Scenario::handle_target_opened(std::size_t instance, std::uint16_t port) {
  const auto found = flows_.find(port);
  if (found == flows_.end()) return;  // its application has gone meanwhile
  Flow& flow = found->second;
  flow.instance = instance;
  flow.target_open = true;
  flow.instance_process = world_.instances[instance].node->process_number();
  if (!permissions_.at(flow.pair).answer && must_be_closed(flow.pair, instance)) {
    throw Violation("a new flow reached its target after its permission had ended: " + name_of(flow.pair));
  }
}

void Scenario::handle_target_ended(std::size_t /*instance*/, std::uint16_t port) {
  const auto found = flows_.find(port);
  if (found != flows_.end()) found->second.target_open = false;
}

// --- the end
// -------------------------------------------------------------------------------------------------------------

void Scenario::finish() {
  note("everything is made well, and applications end");
  heal();
  world_.update_health();
  follow_permissions();
  release_doubtful_flows();
  pass(2s);
  wait_for_agents();
  check_reachable();
  check_long_flows();
  for (const auto& [port, flow] : flows_) world_.clients[flow.pair.client].node->give_up(flow.app);
  flows_.clear();
  const bool is_empty = world_.run_while_not(
      [this] {
        return std::ranges::all_of(
                   world_.instances,
                   [](const Instance& each) { return each.node->flows() == 0 && each.node->targets() == 0; }) &&
               std::ranges::all_of(world_.clients, [](const Client& each) { return each.node->status().flows == 0; });
      },
      kForgottenMax, 10s);
  if (!is_empty) throw Violation("flows are left behind after every application has ended");
  check_bounds();
}

// --- runs
// ------------------------------------------------------------------------------------------------------------------

namespace {

class SeedChooser final : public Chooser {
 public:
  explicit SeedChooser(std::uint64_t seed) : random_(seed) {}
  std::size_t below(std::size_t bound) override { return random_.below(bound); }
  [[nodiscard]] bool is_done() const override { return false; }

 private:
  SeededRandom random_;
};

class ByteChooser final : public Chooser {
 public:
  explicit ByteChooser(ByteView bytes) : bytes_(bytes) {}
  std::size_t below(std::size_t bound) override {
    const std::size_t byte = bytes_.empty() ? 0 : bytes_[0];
    bytes_ = bytes_.subspan(std::min<std::size_t>(1, bytes_.size()));
    return byte % bound;
  }
  [[nodiscard]] bool is_done() const override { return bytes_.empty(); }

 private:
  ByteView bytes_;
};

Outcome run(Chooser& chooser, ScenarioOptions options) {
  seed_entropy(options.world.seed);
  options.world.clients = 2 + chooser.below(3);
  options.world.instances_per_connector = 1 + chooser.below(2);
  Scenario scenario(options, chooser);
  Outcome outcome;
  const Instant start = scenario.world().now();
  try {
    scenario.run();
  } catch (const std::exception& error) {
    outcome.violation = error.what();
  }
  outcome.digest = scenario.world().fabric().trace.digest();
  outcome.probes = scenario.probes();
  outcome.unknowns = scenario.unknowns();
  outcome.long_flows = scenario.long_flows();
  outcome.datagrams = scenario.world().network().datagrams;
  outcome.turns = scenario.world().fabric().turns;
  outcome.virtual_time = scenario.world().now() - start;
  outcome.history = scenario.history();
  return outcome;
}

}  // namespace

Outcome run_seed(std::uint64_t seed, std::size_t events_max, bool verbose) {
  SeedChooser chooser(seed);
  return run(chooser, {.world = {.seed = seed}, .events_max = events_max, .verbose = verbose});
}

Outcome run_with_lie(Lie lie) {
  SeedChooser chooser(1);
  return run(chooser, {.world = {.seed = 1}, .events_max = 0, .verbose = false, .lie = lie});
}

Outcome run_bytes(ByteView bytes, std::size_t events_max) {
  ByteChooser chooser(bytes);
  return run(chooser, {.world = {.seed = 1}, .events_max = events_max});
}

}  // namespace postern::sim
