// What clients are told of a connector instance that comes, is silent, comes back, ends, or is replaced.
#include "controller_core/bench_test_util.hpp"

namespace postern::controller {
namespace {

using namespace std::chrono_literals;
constexpr auto kClient = wire::AGENT_ROLE_CLIENT;
constexpr auto kConnector = wire::AGENT_ROLE_CONNECTOR;
using Ids = std::set<std::uint64_t>;

/// HomeNetwork with its connector and ana's laptop connected and bound.
struct Presence : ::testing::Test {
  Bench bench;
  HomeNetwork home{bench};
  FakeAgent connector{bench.new_key()};
  FakeAgent laptop = bench.enrolled_device("ana@example.org");

  Presence() {
    bench.run(UpdateConnector{"pi", 3});
    come(connector);
    bench.authenticate(laptop, kClient);
    bench.advance(100ms);
    EXPECT_EQ(listed(), Ids{id_of(connector)});
  }
  void come(FakeAgent& agent) {
    bench.authenticate(agent, kConnector, home.tokens.refresh_token);
    bench.heartbeat(agent);
    bench.advance(100ms);
  }
  static std::uint64_t id_of(const FakeAgent& agent) { return agent.welcome->agent_id(); }
  [[nodiscard]] Ids listed() const {
    Ids ids;
    for (const auto& [id, instance] : laptop.instances) ids.insert(id);
    return ids;
  }
  /// Only the laptop is heard meanwhile, and who else is named.
  void pass(std::chrono::seconds time, std::initializer_list<FakeAgent*> others = {}) {
    for (auto passed = 0s; passed < time; passed += 5s) {
      bench.advance(5s);
      bench.heartbeat(laptop);
      for (FakeAgent* other : others) bench.heartbeat(*other);
    }
    bench.advance(100ms);
  }
};

TEST_F(Presence, AnInstanceThatFallsSilentIsAbsentAndListedAgainWhenItComesBack) {
  const auto id = id_of(connector);
  pass(20s);
  EXPECT_EQ(listed(), Ids{id});
  pass(15s);
  EXPECT_EQ(listed(), Ids{});
  EXPECT_EQ(laptop.absent, Ids{id});
  pass(5min);
  EXPECT_EQ(laptop.absent, Ids{id});
  come(connector);
  EXPECT_EQ(id_of(connector), id);
  EXPECT_EQ(listed(), Ids{id});
  EXPECT_EQ(laptop.absent, Ids{});
}

TEST_F(Presence, AnInstanceWhoseChannelIsCutHasEnded) {
  bench.disconnect(connector, ConnectionEnd::Cut);
  bench.advance(100ms);
  EXPECT_EQ(listed(), Ids{});
  EXPECT_EQ(laptop.absent, Ids{});
}

TEST_F(Presence, AnInstanceWhoseChannelIsLostIsAbsent) {
  bench.disconnect(connector, ConnectionEnd::Lost);
  bench.advance(100ms);
  EXPECT_EQ(laptop.absent, Ids{id_of(connector)});
}

TEST_F(Presence, AnInstanceThatHasSaidThatItLeavesHasEndedHoweverItsChannelEnds) {
  wire::AgentMessage goodbye;
  goodbye.mutable_heartbeat()->set_leaving(true);
  bench.send(connector, goodbye);
  bench.disconnect(connector, ConnectionEnd::Lost);
  bench.advance(100ms);
  EXPECT_EQ(listed(), Ids{});
  EXPECT_EQ(laptop.absent, Ids{});
}

TEST_F(Presence, AnInstanceThatLooksForARelayIsAbsentForHoweverLongThatTakes) {
  bench.heartbeat(connector, {});
  for (int i = 0; i < 2 * 60 * 6; ++i) {
    bench.advance(10s);
    bench.heartbeat(connector, {});
    bench.heartbeat(laptop);
  }
  EXPECT_EQ(laptop.absent, Ids{id_of(connector)});
  bench.heartbeat(connector);
  bench.advance(100ms);
  EXPECT_EQ(listed(), Ids{id_of(connector)});
}

TEST_F(Presence, AnInstanceIsNotWaitedForForEver) {
  pass(35s);
  pass(29min);
  EXPECT_EQ(laptop.absent, Ids{id_of(connector)});
  pass(1min);
  EXPECT_EQ(laptop.absent, Ids{});
}

TEST_F(Presence, WhoWasEnrolledBeforeARestartOfTheServerIsAbsentUntilItIsBack) {
  const auto id = id_of(connector);
  bench.restart();
  bench.authenticate(laptop, kClient);
  EXPECT_EQ(laptop.absent, Ids{id});
  come(connector);
  EXPECT_EQ(laptop.absent, Ids{});
  EXPECT_EQ(listed(), Ids{id});
}

TEST_F(Presence, AnAbsentInstanceHasEndedWhenItsHostHasStartedAnother) {
  pass(40s);
  ASSERT_EQ(laptop.absent, Ids{id_of(connector)});
  FakeAgent next{bench.new_key()};
  come(next);
  EXPECT_EQ(laptop.absent, Ids{});
  EXPECT_EQ(listed(), Ids{id_of(next)});
}

TEST_F(Presence, AHostThatStartsAgainSoonerThanItsSilenceIsNoticed) {
  bench.advance(10s);
  FakeAgent next{bench.new_key()};
  come(next);
  EXPECT_EQ(listed(), (Ids{id_of(connector), id_of(next)}));
  pass(30s, {&next});
  EXPECT_EQ(laptop.absent, Ids{});
  EXPECT_EQ(listed(), Ids{id_of(next)});
}

TEST_F(Presence, AnAbsentInstanceIsWaitedForAMinuteWhenAnotherHostHasStartedOne) {
  pass(40s);
  FakeAgent next{bench.new_key()};
  next.hostname = "host2";
  come(next);
  EXPECT_EQ(laptop.absent, Ids{id_of(connector)});
  pass(55s, {&next});
  EXPECT_EQ(laptop.absent, Ids{id_of(connector)});
  pass(10s, {&next});
  EXPECT_EQ(laptop.absent, Ids{});
}

TEST_F(Presence, ANeighbourThatWasThereBeforeIsNoSuccessor) {
  FakeAgent neighbour{bench.new_key()};
  come(neighbour);
  pass(10s, {&connector, &neighbour});
  pass(5min, {&neighbour});
  EXPECT_EQ(laptop.absent, Ids{id_of(connector)});
  EXPECT_EQ(listed(), Ids{id_of(neighbour)});
}

TEST_F(Presence, AnAbsentInstanceWhoseTokensAreReplacedHasEnded) {
  pass(40s);
  bench.run(GenerateConnectorTokens{"pi"});
  bench.advance(100ms);
  EXPECT_EQ(laptop.absent, Ids{});
}

TEST_F(Presence, AClientThatComesLaterHearsOfAbsentInstancesToo) {
  pass(40s);
  FakeAgent phone = bench.enrolled_device("ana@example.org");
  bench.authenticate(phone, kClient);
  EXPECT_EQ(phone.absent, Ids{id_of(connector)});
  EXPECT_TRUE(phone.instances.empty());
}

}  // namespace
}  // namespace postern::controller
