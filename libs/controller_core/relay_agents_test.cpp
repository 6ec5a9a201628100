#include "controller_core/bench_test_util.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {
namespace {

using namespace std::chrono_literals;
constexpr auto kClient = wire::AGENT_ROLE_CLIENT;
constexpr auto kConnector = wire::AGENT_ROLE_CONNECTOR;
constexpr auto kRelay = wire::AGENT_ROLE_RELAY;

/// HomeNetwork with a laptop and a connector on the server's own relay, and a registered relay "far".
struct RelayAgentsTest : ::testing::Test {
  Bench bench;
  HomeNetwork home{bench};
  FakeAgent connector{bench.new_key()};
  FakeAgent laptop = bench.enrolled_device("ana@example.org");
  FakeAgent far{bench.new_key()};
  std::string token;

  void SetUp() override {
    bench.authenticate(connector, kConnector, home.tokens.refresh_token);
    bench.heartbeat(connector);
    bench.authenticate(laptop, kClient);
    token = *bench.run(CreateRelay{"far", {"203.0.113.11:443"}}).relay_token;
    bench.advance(100ms);
  }
  void bring_up(std::uint64_t epoch) {
    bench.authenticate(far, kRelay, token);
    bench.report(far, epoch);
  }
  std::optional<identity::RelayTicket> ticket(const wire::RelayInfo& info) const {
    identity::SealKey key{};
    if (far.seal_key.size() != key.size()) return std::nullopt;
    std::ranges::copy(far.seal_key, key.begin());
    auto opened = identity::open_ticket(as_bytes(info.access_token()), key, info.name(), bench.wall);
    return opened ? std::optional(*opened) : std::nullopt;
  }
};

TEST_F(RelayAgentsTest, ARelayEnrolsItsKeyWithItsTokenAndIsToldTheKeyOfItsTicketsAndNoMore) {
  bench.authenticate(far, kRelay, token);
  ASSERT_TRUE(far.welcome);
  EXPECT_EQ(far.welcome->agent_name(), "far");
  EXPECT_EQ(far.welcome->network(), "home");
  EXPECT_TRUE(far.welcome->route_id().empty());
  EXPECT_EQ(far.welcome->relays_size(), 0);
  EXPECT_EQ(far.seal_key.size(), 32U);
  EXPECT_TRUE(far.resources.empty());
  EXPECT_TRUE(far.instances.empty());
  EXPECT_EQ(bench.audit.back().action, "relay.enrol");
  EXPECT_TRUE(laptop.relay_ups.empty()) << "nobody is sent to a relay that has not said that it runs";
}

TEST_F(RelayAgentsTest, AgentsHearOfARelayWithItsFirstReportAndOfEachStart) {
  bring_up(7);
  ASSERT_EQ(laptop.relay_ups.size(), 1U);
  EXPECT_EQ(laptop.relay_ups[0].name(), "far");
  EXPECT_EQ(laptop.relay_ups[0].epoch(), 7U);
  EXPECT_EQ(laptop.relay_ups[0].addresses(0), "203.0.113.11:443");
  ASSERT_TRUE(ticket(laptop.relay_ups[0]));
  EXPECT_EQ(to_bytes(ticket(laptop.relay_ups[0])->route.bytes), laptop.route());
  EXPECT_EQ(connector.relay_ups.size(), 1U);
  bench.report(far, 7);
  EXPECT_EQ(laptop.relay_ups.size(), 1U);
  EXPECT_EQ(far.heartbeat_replies, 2);

  const Bytes seal_key = far.seal_key;
  bench.disconnect(far);
  EXPECT_EQ(laptop.relay_ups.size(), 1U) << "it may forward on";
  EXPECT_TRUE(laptop.relay_downs.empty());
  bring_up(8);
  EXPECT_EQ(far.seal_key, seal_key) << "tickets from before still open";
  ASSERT_EQ(laptop.relay_ups.size(), 2U);
  EXPECT_EQ(laptop.relay_ups[1].epoch(), 8U);
}

TEST_F(RelayAgentsTest, TheTokenEnrolsOneKeyOnly) {
  bring_up(1);
  FakeAgent thief(bench.new_key());
  bench.authenticate(thief, kRelay, token);
  ASSERT_TRUE(thief.denied);
  EXPECT_EQ(thief.denied->code(), 410U);
  EXPECT_TRUE(far.open);
  bench.authenticate(far, kRelay, "nonsense");
  EXPECT_TRUE(far.welcome) << "its key suffices";
}

TEST_F(RelayAgentsTest, WrongTokensAreFinal) {
  for (const std::string& wrong :
       {std::string(), std::string("prl1_"), home.tokens.refresh_token, identity::make_relay_token(bench.random)}) {
    bench.authenticate(far, kRelay, wrong);
    ASSERT_TRUE(far.denied) << wrong;
    EXPECT_EQ(far.denied->code(), 410U);
  }
  FakeAgent process(bench.new_key());
  bench.authenticate(process, kConnector, token);
  EXPECT_EQ(process.denied->code(), 410U) << "a relay's token is no connector's";
}

TEST_F(RelayAgentsTest, ANewTokenCutsOffTheRelayThatUsedTheOldOne) {
  bring_up(1);
  const Bytes old_key = far.seal_key;
  const std::string renewed = *bench.run(GenerateRelayToken{"far"}).relay_token;
  EXPECT_EQ(far.denied->code(), 410U);
  EXPECT_EQ(laptop.relay_downs, std::vector<std::string>{"far"});
  bench.authenticate(far, kRelay, token);
  EXPECT_EQ(far.denied->code(), 410U);
  FakeAgent next(bench.new_key());
  bench.authenticate(next, kRelay, renewed);
  ASSERT_TRUE(next.welcome);
  EXPECT_NE(next.seal_key, old_key) << "the old relay opens no new ticket";
}

TEST_F(RelayAgentsTest, ADeletedRelayIsTakenFromEverybodyAndInstancesOnlyThereAreHidden) {
  bring_up(1);
  bench.heartbeat(connector, {"far"});
  bench.advance(50ms);
  EXPECT_EQ(laptop.instances.size(), 1U);
  bench.run(DeleteRelay{"far"});
  bench.advance(50ms);
  EXPECT_EQ(far.denied->code(), 410U);
  EXPECT_EQ(connector.relay_downs, std::vector<std::string>{"far"});
  EXPECT_TRUE(laptop.instances.empty());
  bench.authenticate(laptop, kClient);
  EXPECT_EQ(laptop.welcome->relays_size(), 1);
}

TEST_F(RelayAgentsTest, AfterARestartOfTheControllerAgentsAreToldOfTheRelayBeforeItIsBack) {
  bring_up(7);
  bench.advance(1s);
  bench.restart();
  bench.authenticate(laptop, kClient, {}, laptop.route());
  ASSERT_EQ(laptop.welcome->relays_size(), 2);
  EXPECT_TRUE(ticket(laptop.welcome->relays(0))) << "under the key that the relay still has";
  laptop.relay_ups.clear();
  bring_up(7);
  ASSERT_EQ(laptop.relay_ups.size(), 1U);
  EXPECT_EQ(laptop.relay_ups[0].epoch(), 7U);
}

TEST_F(RelayAgentsTest, ARelayHearsOfRevokedRoutesAtOnceAndAfterRestartsOfBoth) {
  bring_up(1);
  EXPECT_TRUE(far.revoked_routes.empty());
  const Bytes route = laptop.route();
  bench.run(DeleteDevice{"laptop"});
  EXPECT_EQ(far.revoked_routes, std::vector<Bytes>{route});
  bench.restart();
  ASSERT_EQ(bench.controller->revoked_routes().size(), 1U) << "for the relay of the same process";
  bring_up(2);
  EXPECT_EQ(far.revoked_routes, std::vector<Bytes>{route});
  bench.advance(5h);
  bring_up(2);
  EXPECT_TRUE(far.revoked_routes.empty()) << "the last ticket has ended";
  const FakeAgent another = bench.enrolled_device("ben@example.org");
  bench.run(DeleteDevice{std::to_string(bench.controller->devices().back().id.value)});
  EXPECT_EQ(bench.stored.revoked_routes().size(), 1U) << "that device never had a route; nothing is swept for it";
}

TEST_F(RelayAgentsTest, ARouteThatWasRevokedBeforeARestartIsNotTakenBack) {
  const Bytes route = laptop.route();
  bench.run(SetUserState{"ana@example.org", UserState::Disabled});
  bench.restart();
  bench.run(SetUserState{"ana@example.org", UserState::Active});
  bench.authenticate(laptop, kClient, {}, route);
  ASSERT_TRUE(laptop.welcome);
  EXPECT_NE(laptop.route(), route);
}

TEST_F(RelayAgentsTest, OneConnectionHasOneEpoch) {
  bring_up(1);
  bench.report(far, 2);
  EXPECT_FALSE(far.open);
  EXPECT_EQ(far.denied->code(), 403U);
  EXPECT_EQ(laptop.relay_ups.size(), 1U);
}

TEST_F(RelayAgentsTest, WhatOtherRolesSayIsIgnoredFromARelayAndTheOtherWayRound) {
  bring_up(1);
  const auto before = bench.controller->counters().ignored_messages;
  bench.heartbeat(far, {"far"});
  bench.report(laptop, 9);
  EXPECT_EQ(bench.controller->counters().ignored_messages, before + 2);
  EXPECT_TRUE(far.open);
}

TEST_F(RelayAgentsTest, ANewAddressReachesEverybodyAtOnce) {
  bring_up(1);
  bench.run(UpdateRelay{"far", {"203.0.113.12:8443", "relay.example.org"}});
  ASSERT_EQ(laptop.relay_ups.size(), 2U);
  EXPECT_EQ(laptop.relay_ups[1].addresses(0), "203.0.113.12:8443");
  const auto id = bench.controller->relays().front().id;
  bench.controller->set_relay_names(bench.now, id, {*SocketAddress::parse("203.0.113.13:443")});
  bench.deliver();
  ASSERT_EQ(laptop.relay_ups.size(), 3U);
  ASSERT_EQ(laptop.relay_ups[2].addresses_size(), 2);
  EXPECT_EQ(laptop.relay_ups[2].addresses(1), "203.0.113.13:443");
  EXPECT_EQ(laptop.relay_ups[2].epoch(), 1U);
}

TEST_F(RelayAgentsTest, RelaysThatCannotBeAreRefused) {
  using Kind = CommandError::Kind;
  EXPECT_EQ(bench.refused(CreateRelay{"far", {"203.0.113.11:443"}}).kind, Kind::AlreadyExists);
  EXPECT_EQ(bench.refused(CreateRelay{"main", {"203.0.113.11:443"}}).kind, Kind::AlreadyExists);
  EXPECT_EQ(bench.refused(CreateRelay{"x", {}}).kind, Kind::Invalid);
  EXPECT_EQ(bench.refused(CreateRelay{"x", {"203.0.113.11:0"}}).kind, Kind::Invalid);
  EXPECT_EQ(bench.refused(CreateRelay{"x", {"relay.example.org:99999"}}).kind, Kind::Invalid);
  EXPECT_EQ(bench.refused(CreateRelay{"x", {"a b"}}).kind, Kind::Invalid);
  EXPECT_EQ(bench.refused(DeleteRelay{"near"}).kind, Kind::NotFound);
  for (int i = 0; i < 6; ++i)
    bench.run(CreateRelay{"r" + std::string(1, static_cast<char>('a' + i)), {"relay.example.org"}});
  EXPECT_EQ(bench.refused(CreateRelay{"one-more", {"relay.example.org"}}).kind, Kind::Conflict);
}

TEST_F(RelayAgentsTest, FewerInstancesThanRunCutOffTheYoungest) {
  FakeAgent second(bench.new_key());
  FakeAgent third(bench.new_key());
  bench.run(UpdateConnector{"pi", 3});
  bench.authenticate(second, kConnector, home.tokens.refresh_token);
  bench.authenticate(third, kConnector, home.tokens.refresh_token);
  ASSERT_TRUE(third.welcome);
  EXPECT_EQ(bench.audit[bench.audit.size() - 3].action, "connector.update");
  bench.run(UpdateConnector{"pi", 1});
  EXPECT_TRUE(connector.open);
  EXPECT_EQ(second.denied->code(), 409U);
  EXPECT_EQ(third.denied->code(), 409U);
  bench.authenticate(second, kConnector, home.tokens.refresh_token);
  EXPECT_EQ(second.denied->code(), 409U);
  EXPECT_NE(second.denied->reason().find("(1)"), std::string::npos) << second.denied->reason();
  EXPECT_EQ(bench.refused(UpdateConnector{"pi", 0}).kind, CommandError::Kind::Invalid);
  EXPECT_EQ(bench.refused(UpdateConnector{"pi", 65}).kind, CommandError::Kind::Invalid);
}

}  // namespace
}  // namespace postern::controller
