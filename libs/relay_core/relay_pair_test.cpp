// BindClients and a Relay joined by a lossy network in virtual time.
#include <queue>

#include "relay_core/relay_fixture.hpp"
#include "wire/bind.hpp"

namespace postern::relay_core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using wire::BindClient;

const SocketAddress kRelayAddress = *SocketAddress::parse("203.0.113.1:443");
const Instant kStart = from_nanoseconds(1'000'000'000'000);
constexpr WallTime kWallStart = from_unix_ms(1'780'000'000'000);

class Network {
 public:
  explicit Network(std::uint64_t seed) : random_(seed) { restart_relay(); }

  /// One agent behind an address that the test may change at any time (its NAT's).
  struct Agent {
    identity::RelayTicket ticket;
    SocketAddress address;
    std::unique_ptr<BindClient> client;
    std::vector<wire::BindEvent> events;
    int received = 0;  ///< forwarded packets
  };

  Agent& add_agent(identity::RelayRole role, const char* address) {
    Agent& agent = *agents_.emplace_back(std::make_unique<Agent>());
    random_.fill(agent.ticket.route.bytes);
    random_.fill(agent.ticket.mac_key);
    agent.ticket.network_id = 1;
    agent.ticket.role = role;
    agent.ticket.not_before = to_unix_seconds(wall());
    agent.ticket.lifetime_s = 14'400;
    agent.address = *SocketAddress::parse(address);
    const Duration offset = kWallStart.time_since_epoch() - kStart.time_since_epoch();
    wire::BindClientConfig config{kRelayAddress, bind_ticket(agent.ticket), identity::hmac_sha256, offset};
    agent.client = std::make_unique<BindClient>(std::move(config), random_, now_);
    return agent;
  }
  wire::BindTicket bind_ticket(const identity::RelayTicket& ticket) {
    return {identity::seal_ticket(ticket, test::kTokenKey, test::kRelayName, random_), ticket.mac_key};
  }
  /// Another process: all bindings and the nonce key are gone.
  void restart_relay() {
    relay_ = std::make_unique<Relay>(RelayConfig{std::string(test::kRelayName), test::kTokenKey, 1000}, random_);
  }
  void send(const Agent& from, Bytes datagram) {
    transmit(now_ + latency(), [this, source = from.address, bytes = std::move(datagram)] { at_relay(source, bytes); });
  }
  void run_for(Duration duration) {
    const Instant end = now_ + duration;
    while (step(end)) {
    }
    now_ = end;
  }
  /// False when the condition did not come true within `limit`.
  template <typename Condition>
  bool run_until(Condition condition, Duration limit) {
    const Instant end = now_ + limit;
    while (!condition()) {
      if (!step(end)) return false;
    }
    return true;
  }

  Instant now() const { return now_; }
  WallTime wall() const { return kWallStart + std::chrono::duration_cast<milliseconds>(now_ - kStart); }
  Relay& relay() { return *relay_; }
  void set_loss_percent(std::uint64_t percent) { loss_percent_ = percent; }

 private:
  struct Delivery {
    Instant at;
    std::uint64_t number;
    std::function<void()> run;
    bool operator<(const Delivery& other) const { return std::tie(at, number) > std::tie(other.at, other.number); }
  };

  Duration latency() { return milliseconds(10 + random_.below(20)); }

  void transmit(Instant at, std::function<void()> run) {
    if (random_.below(100) >= loss_percent_) deliveries_.push({at, number_++, std::move(run)});
  }
  void at_relay(const SocketAddress& source, const Bytes& bytes) {
    RelayOutput output;
    relay_->handle_train(now_, wall(), source, bytes, 0, output);
    for (const OutgoingTrain& train : output.trains()) {
      transmit(now_ + latency(), [this, to = train.to, copy = to_bytes(train.bytes)] { at_agent(to, copy); });
    }
  }
  /// A datagram to an address that a NAT has given up is lost.
  void at_agent(const SocketAddress& to, const Bytes& bytes) {
    for (const auto& agent : agents_) {
      if (agent->address != to) continue;
      if (!agent->client->handle_datagram(now_, kRelayAddress, bytes)) ++agent->received;
    }
  }
  void drain_agents() {
    for (const auto& agent : agents_) {
      while (const auto datagram = agent->client->poll_transmit()) send(*agent, to_bytes(*datagram));
      while (const auto event = agent->client->poll_event()) agent->events.push_back(*event);
    }
  }
  /// One event; false when the next one is at `end` or later.
  bool step(Instant end) {
    drain_agents();
    Instant next = end;
    if (!deliveries_.empty()) next = std::min(next, deliveries_.top().at);
    for (const auto& agent : agents_) next = std::min(next, agent->client->next_timeout());
    if (const auto timeout = relay_->next_timeout()) next = std::min(next, *timeout);
    if (next >= end) return false;
    now_ = std::max(now_, next);
    relay_->handle_timeout(now_, wall());
    for (const auto& agent : agents_) agent->client->handle_timeout(now_);
    while (!deliveries_.empty() && deliveries_.top().at <= now_) {
      const auto run = deliveries_.top().run;
      deliveries_.pop();
      run();
    }
    drain_agents();
    return true;
  }

  SeededRandom random_;
  Instant now_ = kStart;
  std::unique_ptr<Relay> relay_;
  std::vector<std::unique_ptr<Agent>> agents_;
  std::priority_queue<Delivery> deliveries_;
  std::uint64_t number_ = 0;
  std::uint64_t loss_percent_ = 0;
};

Bytes packet_to(const Network::Agent& agent) {
  Bytes packet(100, 0x41);
  std::copy(agent.ticket.route.bytes.begin(), agent.ticket.route.bytes.end(), packet.begin() + 2);
  return packet;
}

TEST(RelayPair, BindsInTwoRoundTrips) {
  Network network(1);
  auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  EXPECT_TRUE(network.run_until([&] { return agent.client->is_bound(network.now()); }, milliseconds(120)));
  EXPECT_EQ(agent.client->mapped_address(), agent.address);
  EXPECT_TRUE(network.relay().is_bound(agent.ticket.route, network.now()));
}

TEST(RelayPair, StaysBoundForHoursThroughChangesOfTheNonce) {
  Network network(2);
  auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  network.run_for(std::chrono::hours(3));
  EXPECT_TRUE(agent.client->is_bound(network.now()));
  EXPECT_EQ(agent.events.size(), 1U);
  EXPECT_GT(network.relay().stats().bind(BindOutcome::NonceStale), 100U);
  EXPECT_EQ(network.relay().stats().bind(BindOutcome::Replayed), 0U);
}

TEST(RelayPair, BindsAndStaysBoundUnderHeavyLoss) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Network network(seed);
    network.set_loss_percent(30);
    auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
    ASSERT_TRUE(network.run_until([&] { return agent.client->is_bound(network.now()); }, seconds(60))) << seed;
    network.run_for(std::chrono::minutes(30));
    // The relay itself keeps the route all the time: its lifetime is longer than any streak of losses here.
    EXPECT_TRUE(network.relay().is_bound(agent.ticket.route, network.now())) << seed;
    network.set_loss_percent(0);
    network.run_for(seconds(30));
    EXPECT_TRUE(agent.client->is_bound(network.now())) << seed;
  }
}

TEST(RelayPair, ComesBackWithinASecondWhenToldOfARestart) {
  Network network(3);
  auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  network.run_for(seconds(5));
  network.restart_relay();
  agent.client->rebind_now(network.now(), wire::RebindReason::RelayRestarted);
  EXPECT_FALSE(agent.client->is_bound(network.now()));
  EXPECT_TRUE(network.run_until([&] { return agent.client->is_bound(network.now()); }, seconds(1)));
  EXPECT_TRUE(network.relay().is_bound(agent.ticket.route, network.now()));
}

TEST(RelayPair, ComesBackByItselfWhenNobodyTellsOfARestart) {
  Network network(4);
  auto& agent = network.add_agent(identity::RelayRole::Connector, "192.0.2.1:1000");
  network.run_for(seconds(5));
  network.restart_relay();
  EXPECT_TRUE(
      network.run_until([&] { return network.relay().is_bound(agent.ticket.route, network.now()); }, seconds(21)));
}

TEST(RelayPair, FollowsAChangeOfAddressAndPacketsFollowToo) {
  Network network(5);
  auto& client = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  auto& connector = network.add_agent(identity::RelayRole::Connector, "198.51.100.1:443");
  network.run_for(seconds(2));
  network.send(connector, packet_to(client));
  network.run_for(seconds(1));
  EXPECT_EQ(client.received, 1);
  client.address = *SocketAddress::parse("192.0.2.99:4321");
  network.send(connector, packet_to(client));
  network.run_for(seconds(1));
  EXPECT_EQ(client.received, 1);
  client.client->rebind_now(network.now(), wire::RebindReason::AddressChanged);
  EXPECT_TRUE(network.run_until([&] { return client.client->mapped_address() == client.address; }, seconds(1)));
  network.send(connector, packet_to(client));
  network.send(client, packet_to(connector));
  network.run_for(seconds(1));
  EXPECT_EQ(client.received, 2);
  EXPECT_EQ(connector.received, 1);
  EXPECT_TRUE(std::holds_alternative<wire::MappedAddressChanged>(client.events.back()));
}

TEST(RelayPair, NoticesANewNatMappingAtTheNextRefresh) {
  Network network(6);
  auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  network.run_for(seconds(2));
  agent.address.port = 2000;
  EXPECT_TRUE(network.run_until([&] { return agent.client->mapped_address() == agent.address; }, seconds(21)));
}

TEST(RelayPair, ReportsARevocationAsRefusedAndLost) {
  Network network(7);
  auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  network.run_for(seconds(2));
  network.relay().revoke(agent.ticket.route, network.wall());
  network.run_for(std::chrono::minutes(2));
  EXPECT_FALSE(agent.client->is_bound(network.now()));
  ASSERT_EQ(agent.events.size(), 3U);
  EXPECT_EQ(std::get<wire::BindRefused>(agent.events[1]).code, 403);
  EXPECT_TRUE(std::holds_alternative<wire::BindingLost>(agent.events[2]));
}

TEST(RelayPair, ARenewedTicketTakesOverBeforeTheOldOneEnds) {
  Network network(8);
  auto& agent = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  network.run_for(std::chrono::hours(2));
  agent.ticket.not_before = to_unix_seconds(network.wall());
  agent.ticket.mac_key.fill(1);
  agent.client->set_ticket(network.now(), network.bind_ticket(agent.ticket));
  network.run_for(std::chrono::hours(3));
  EXPECT_TRUE(agent.client->is_bound(network.now()));
  EXPECT_EQ(agent.events.size(), 1U);
}

TEST(RelayPair, AHintTellsTheClientThatTheConnectorIsGone) {
  Network network(9);
  auto& client = network.add_agent(identity::RelayRole::Client, "192.0.2.1:1000");
  auto& connector = network.add_agent(identity::RelayRole::Connector, "198.51.100.1:443");
  network.run_for(seconds(2));
  network.relay().revoke(connector.ticket.route, network.wall());
  network.send(client, packet_to(connector));
  network.run_for(seconds(1));
  EXPECT_EQ(std::get<wire::PeerUnbound>(client.events.back()).route, connector.ticket.route);
}

}  // namespace
}  // namespace postern::relay_core
