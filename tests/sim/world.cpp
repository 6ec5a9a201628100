#include "sim/world.hpp"

#include <algorithm>

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using namespace controller;

LanOptions lan(NatKind nat, Duration delay, Duration mapping_life = 60s) {
  LanOptions options;
  options.nat = nat;
  options.link.delay = delay;
  options.mapping_life = mapping_life;
  return options;
}

}  // namespace

World::World(const WorldOptions& options) : fabric_(options.seed), options_(options) {
  add_lans();
  relays.push_back(std::make_unique<RelayNode>(fabric_, nullptr, server_lan, std::string(kOwnRelayName)));
  server = std::make_unique<ControllerNode>(fabric_, relays.front()->host());
  server->set_relay(relays.front().get());
  relays.front()->host_clock = [this] { return server->wall(); };
  const LanId elsewhere = network().add_lan(lan(NatKind::None, 8ms));
  relays.push_back(std::make_unique<RelayNode>(fabric_, server.get(), elsewhere, "second"));
  relays.back()->host_clock = [this] { return server->wall(); };
  for (std::size_t i = 0; i < options_.instances_per_connector; ++i) {
    add_instance("attic", "home", connector_lans[i % 2]);
    add_instance("cellar", "office", connector_lans[2]);
  }
  for (std::size_t i = 0; i < options_.clients; ++i) {
    const std::string user = "user" + std::to_string(i % 3) + "@example.org";
    clients.push_back({"client " + std::to_string(i), user, 0,
                       std::make_unique<ClientNode>(fabric_, *server, client_lans[i % client_lans.size()])});
  }
}

void World::add_lans() {
  LanOptions servers = lan(NatKind::None, 2ms);
  servers.v6 = true;
  server_lan = network().add_lan(servers);
  connector_lans = {network().add_lan(lan(NatKind::EndpointIndependent, 4ms)),
                    network().add_lan(lan(NatKind::AddressAndPortDependent, 10ms)),
                    network().add_lan(lan(NatKind::None, 3ms))};
  LanOptions only_v6 = lan(NatKind::None, 15ms);
  only_v6.v4 = false;
  only_v6.v6 = true;
  LanOptions both = lan(NatKind::AddressDependent, 12ms);
  both.v6 = true;
  client_lans = {network().add_lan(lan(NatKind::EndpointIndependent, 5ms)),
                 network().add_lan(lan(NatKind::AddressAndPortDependent, 20ms, 30s)), network().add_lan(both),
                 network().add_lan(lan(NatKind::None, 1ms)), network().add_lan(only_v6)};
}

void World::add_instance(const std::string& connector, const std::string& remote_network, LanId lan) {
  const std::size_t number = instances.size();
  const TargetEvents events{[this, number](std::uint16_t port) { target_opened(number, port); },
                            [this, number](std::uint16_t port) { target_ended(number, port); }};
  instances.push_back(
      {connector, remote_network, std::make_unique<ConnectorNode>(fabric_, *server, lan, private_network, events)});
}

void World::sign_in(Client& client) {
  const identity::PrivateKey key = identity::PrivateKey::generate(fabric_.random);
  const auto enrolled =
      server->run(EnrolDevice{client.user, client.name, key.public_key().spki(), server->wall() + 24h * 30});
  client.device = enrolled.id;
  client.node->set_key(key);
}

void World::start() {
  server->start();
  const auto text = [](const SocketAddress& address) { return address.to_string(); };
  const auto addresses = network().addresses(relays[1]->host());
  std::vector<std::string> named(addresses.size());
  std::ranges::transform(addresses, named.begin(), text);
  relays[1]->enrol(*server->run(CreateRelay{relays[1]->name(), named}).relay_token);
  relays[1]->start();
  for (int i = 0; i < 3; ++i) server->run(CreateUser{"user" + std::to_string(i) + "@example.org", "hash"});
  for (const char* name : {"home", "office"}) server->run(CreateRemoteNetwork{name});
  server->run(CreateConnector{"attic", "home"});
  server->run(CreateConnector{"cellar", "office"});
  for (const char* name : {"attic", "cellar"}) {
    const auto tokens = *server->run(GenerateConnectorTokens{name}).tokens;
    for (Instance& instance : instances) {
      if (instance.connector == name) instance.node->set_refresh_token(tokens.refresh_token);
    }
  }
  for (Instance& instance : instances) instance.node->start();
  for (Client& client : clients) {
    sign_in(client);
    client.node->start();
  }
}

std::vector<Node*> World::nodes() const {
  std::vector<Node*> all{server.get()};
  for (const auto& relay : relays) all.push_back(relay.get());
  for (const Instance& instance : instances) all.push_back(instance.node.get());
  for (const Client& client : clients) all.push_back(client.node.get());
  return all;
}

void World::run_until(Instant end) {
  const std::vector<Node*> all = nodes();
  while (true) {
    fabric_.time.run_due();
    std::optional<Instant> next = fabric_.time.next();
    for (Node* node : all) {
      if (node->due() && *node->due() <= now()) node->run();
    }
    for (const Node* node : all) {
      if (node->due()) next = std::min(next.value_or(*node->due()), *node->due());
    }
    if (const auto planned = fabric_.time.next()) next = std::min(next.value_or(*planned), *planned);
    if (!next || *next > end) break;
    fabric_.time.set_now(*next);
  }
  fabric_.time.set_now(end);
}

void World::update_health() {
  for (const Instance& instance : instances) {
    if (instance.node->control()) instance.node->control()->update_health();
  }
  for (const Client& client : clients) {
    if (client.node->control()) client.node->control()->update_health();
  }
}

bool World::is_server_reachable() {
  return server->is_running() && network().link(server_lan).up;
}

}  // namespace postern::sim
