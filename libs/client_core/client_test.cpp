#include "client_core/client.hpp"

#include <gmock/gmock.h>

#include "client_core/client_test_util.hpp"

namespace postern::client {
namespace {

using namespace std::chrono_literals;
using test::App;
using test::ClientTest;
using test::World;

// --- state -----------------------------------------------------------------------------------------------------------

TEST_F(ClientTest, IsOnlineOnlyWhenTheRelayHasProvenTheBinding) {
  world.add_connector();
  world.relay_answers = false;
  EXPECT_EQ(state(), ClientState::Connecting);
  world.control(world.welcome());
  world.control(world.full_update());
  world.run_for(2s);
  EXPECT_EQ(state(), ClientState::Connecting);
  EXPECT_THAT(world.client->status(world.now).reason, testing::HasSubstr("has not answered"));
  world.relay_answers = true;
  EXPECT_TRUE(world.run_until([&] { return state() == ClientState::Online; }, 10s));
}

TEST_F(ClientTest, IsNoLongerOnlineWhenTheRelayFallsSilent) {
  bring_up();
  world.run_for(60s);
  EXPECT_EQ(state(), ClientState::Online);
  world.relay_answers = false;
  EXPECT_TRUE(world.run_until([&] { return state() != ClientState::Online; }, 51s));
}

TEST_F(ClientTest, StaysOnlineWithoutTheControllerUntilTheLeaseEnds) {
  bring_up();
  world.client->handle_control_down(world.now, "the server is away");
  world.run_for(30s);
  EXPECT_EQ(state(), ClientState::Online);
  world.run_for(2h);
  EXPECT_EQ(state(), ClientState::Offline);
}

TEST_F(ClientTest, SaysOfflineWhenTheControllerCannotBeReached) {
  world.client->handle_control_down(world.now, "no route to the server");
  EXPECT_EQ(state(), ClientState::Offline);
  EXPECT_EQ(world.client->status(world.now).reason, "no route to the server");
}

TEST_F(ClientTest, SendsHeartbeatsWithTheRelaysWhereItIsBound) {
  bring_up();
  world.to_controller.clear();
  world.run_for(25s);
  ASSERT_GE(world.to_controller.size(), 2U);
  EXPECT_THAT(world.to_controller.back().heartbeat().relays(), testing::ElementsAre("relay-1"));
}

TEST_F(ClientTest, AsksForAFullUpdateWhenADeltaDoesNotFit) {
  bring_up();
  wire::ControllerMessage message;
  message.mutable_client_update()->set_from_version(99);
  message.mutable_client_update()->set_version(100);
  world.control(message);
  world.run_for(1ms);
  EXPECT_EQ(world.full_updates_wanted, 1);
}

// --- flows -----------------------------------------------------------------------------------------------------------

TEST_F(ClientTest, CarriesBytesBothWaysByNameAndClosesCleanly) {
  bring_up();
  connector().download = 3'000'000;
  App& app = open(2'000'000);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_done(); }, 60s));
  EXPECT_TRUE(app.kernel.is_ended());
  EXPECT_EQ(app.kernel.read(), 3'000'000U);
  EXPECT_EQ(connector().last_flow()->received, 2'000'000U);
  EXPECT_EQ(connector().last_flow()->open.host(), "nginx.home.lan");
  EXPECT_EQ(connector().last_flow()->open.resource_id(), 1U);
  EXPECT_TRUE(world.run_until([&] { return world.client->status(world.now).flows == 0; }, 10s));
}

TEST_F(ClientTest, CarriesBytesToAnAddressInsideAPrefixAndOverIpv6) {
  bring_up();
  connector().download = 100'000;
  App& by_address = world.connect(IpAddress::v4(192, 168, 1, 20), 80, 10);
  EXPECT_TRUE(world.run_until([&] { return by_address.kernel.is_done(); }, 10s));
  EXPECT_EQ(connector().last_flow()->open.ip(), std::string("\xc0\xa8\x01\x14"));
  App& v6 = world.connect(world.resolve("nginx.home.lan", wire::DnsType::Aaaa), 80, 10);
  EXPECT_TRUE(world.run_until([&] { return v6.kernel.is_done(); }, 10s));
  EXPECT_EQ(v6.kernel.read(), 100'000U);
}

TEST_F(ClientTest, AnswersTheSynOnlyAfterTheConnectorHasConnected) {
  bring_up();
  connector().answers = false;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(4s);
  ASSERT_NE(connector().last_flow(), nullptr);
  EXPECT_FALSE(app.connected);
  connector().answers = true;
  EXPECT_TRUE(world.run_until([&] { return app.connected; }, 1s));
}

TEST_F(ClientTest, TellsTheApplicationWhyTheTargetCouldNotBeReached) {
  bring_up();
  const IpAddress to = world.resolve("nginx.home.lan");
  connector().refusal = wire::REFUSAL_CONNECTION_REFUSED;
  App& refused = world.connect(to, 80);
  EXPECT_TRUE(world.run_until([&] { return refused.kernel.is_reset(); }, 2s));
  EXPECT_TRUE(world.icmp.empty());
  const std::vector<std::pair<wire::RefusalReason, int>> codes = {{wire::REFUSAL_HOST_UNREACHABLE, 1},
                                                                  {wire::REFUSAL_NETWORK_UNREACHABLE, 0},
                                                                  {wire::REFUSAL_NAME_NOT_FOUND, 1},
                                                                  {wire::REFUSAL_NOT_IN_LEASE, 13},
                                                                  {wire::REFUSAL_FORBIDDEN_ADDRESS, 13}};
  for (const auto& [reason, code] : codes) {
    connector().refusal = reason;
    world.icmp.clear();
    App& app = world.connect(to, 80);
    ASSERT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 2s)) << reason;
    const auto ip = wire::IpView::parse(world.icmp.front().packet);
    EXPECT_EQ(ip->payload[0], 3);
    EXPECT_EQ(ip->payload[1], code) << reason;
    EXPECT_FALSE(app.connected);
    world.apps.pop_back();
  }
}

TEST_F(ClientTest, StaysSilentWhenTheTargetDoesNotAnswer) {
  bring_up();
  connector().refusal = wire::REFUSAL_TIMED_OUT;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(3s);
  EXPECT_FALSE(app.connected || app.kernel.is_reset());
  EXPECT_TRUE(world.icmp.empty());
}

TEST_F(ClientTest, RefusesPortsAndAddressesOfNoResourceWithoutAskingAnybody) {
  bring_up();
  const IpAddress named = world.resolve("nginx.home.lan");
  const std::vector<SocketAddress> targets = {{named, 81},
                                              {IpAddress::v4(192, 168, 1, 20), 22},
                                              {IpAddress::v4(192, 168, 2, 20), 80},
                                              {IpAddress::v4(100, 96, 9, 9), 80}};
  for (const SocketAddress& to : targets) {
    world.icmp.clear();
    App& app = world.connect(to.ip, to.port);
    EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 1s)) << to.to_string();
    EXPECT_FALSE(app.connected);
    world.apps.pop_back();
  }
  EXPECT_EQ(connector().last_flow(), nullptr);
  EXPECT_EQ(drops("flow_port_not_allowed"), 2U);
}

TEST_F(ClientTest, PassesResetsOnInBothDirections) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  const auto key = connector().flows.rbegin()->first;
  connector().endpoint.reset(session::SessionId(key.first), session::StreamId(key.second), 0x10);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 1s));

  App& second = open();
  reset_by_application(second);
  EXPECT_TRUE(world.run_until([&] { return connector().flows.rbegin()->second.was_reset; }, 1s));
}

TEST_F(ClientTest, AResetOfTheTargetComesBehindItsLastByte) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  app.kernel.read_until(50'000);
  auto& [key, flow] = *connector().flows.rbegin();
  flow.to_send = 1'300'000;  // more than the kernel's buffer holds
  ASSERT_TRUE(world.run_until([&] { return connector().last_flow()->sent == 1'300'000; }, 5s));
  reset_by_target(key);
  world.run_for(1s);
  EXPECT_FALSE(app.kernel.is_reset());
  app.kernel.read_until(UINT64_MAX);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 2s));
  EXPECT_EQ(app.kernel.read(), 1'300'000U);
}

TEST_F(ClientTest, AResetOfTheTargetDoesNotWaitForAnApplicationThatReadsNothing) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  app.kernel.read_until(0);
  auto& [key, flow] = *connector().flows.rbegin();
  flow.to_send = 3'000'000;
  world.run_for(1s);
  reset_by_target(key);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 7s));
}

TEST_F(ClientTest, AResetOfTheApplicationComesBehindItsLastByte) {
  bring_up();
  world.delay = 50ms;
  connector().finishes = false;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80, 1U << 30);
  app.kernel.produce(300'000);
  ASSERT_TRUE(world.run_until([&] { return app.kernel.acknowledged() >= 300'000; }, 5s));
  reset_by_application(app);
  EXPECT_TRUE(world.run_until([&] { return connector().flows.rbegin()->second.was_reset; }, 5s));
  EXPECT_EQ(connector().last_flow()->received, 300'000U);
}

TEST_F(ClientTest, KeepsTheOtherDirectionOpenAfterAHalfClose) {
  bring_up();
  connector().finishes = false;
  App& app = open(1000);
  EXPECT_TRUE(world.run_until([&] { return connector().last_flow()->ended; }, 2s));
  EXPECT_FALSE(app.kernel.is_ended());
  auto& flow = connector().flows.rbegin()->second;
  flow.to_send = 50'000;
  flow.finishes = true;
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_done(); }, 5s));
  EXPECT_EQ(app.kernel.read(), 50'000U);
}

TEST_F(ClientTest, AStalledApplicationStopsItsTargetAndNobodyElse) {
  bring_up();
  connector().download = 20'000'000;
  App& stalled = open();
  stalled.kernel.read_until(0);
  world.run_for(5s);
  const std::uint64_t sent = connector().last_flow()->sent;
  EXPECT_LT(sent, 16'000'000U);
  connector().download = 1'000'000;
  App& other = open();
  EXPECT_TRUE(world.run_until([&] { return other.kernel.read() == 1'000'000; }, 20s));
  EXPECT_EQ(connector().flows.begin()->second.sent, sent);
  stalled.kernel.read_until(UINT64_MAX);
  EXPECT_TRUE(world.run_until([&] { return stalled.kernel.read() == 20'000'000; }, 60s));
}

TEST_F(ClientTest, AStalledTargetStopsItsApplicationWithoutLosingAnything) {
  bring_up();
  connector().finishes = false;
  App& app = open(20'000'000);
  connector().reads = false;
  world.run_for(5s);
  EXPECT_LT(connector().last_flow()->received, 20'000'000U);
  connector().reads = true;
  EXPECT_TRUE(world.run_until([&] { return connector().last_flow()->received == 20'000'000; }, 60s));
  EXPECT_FALSE(app.kernel.is_reset());
}

// --- instances -------------------------------------------------------------------------------------------------------

TEST_F(ClientTest, GoesToTheNextInstanceWhenTheFirstDoesNotAnswer) {
  bring_up(2);
  for (const std::size_t dead : {0U, 1U}) {
    connector(dead).is_dead = true;
    App& app = world.connect(world.resolve("nginx.home.lan"), 80);
    EXPECT_TRUE(world.run_until([&] { return app.connected; }, 3500ms)) << dead;
    connector(dead).is_dead = false;
    world.run_for(10s);
  }
}

TEST_F(ClientTest, NewFlowsLeaveAnInstanceThatHasFallenSilentAfterThreeSeconds) {
  bring_up(2);
  connector(0).finishes = connector(1).finishes = false;
  App& old = open();
  const std::size_t first = connector(0).last_flow() != nullptr ? 0 : 1;
  connector(first).is_dead = true;
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 4s));
  EXPECT_NE(connector(1 - first).last_flow(), nullptr);
  EXPECT_FALSE(old.kernel.is_reset());
  App& third = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return third.connected; }, 100ms));
}

TEST_F(ClientTest, NewFlowsWorkAsSoonAsAnInstanceThatWasSilentAnswersAgain) {
  bring_up();
  connector().finishes = false;
  App& old = open();
  settle();
  connector().is_dead = true;
  world.run_for(62s);
  connector().is_dead = false;
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 1s));
  EXPECT_FALSE(old.kernel.is_reset());
  // And one that was asked for while nobody answered.
  connector().is_dead = true;
  world.run_for(30s);
  App& patient = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(4s);
  connector().is_dead = false;
  EXPECT_TRUE(world.run_until([&] { return patient.connected; }, 1500ms));
}

TEST_F(ClientTest, RefusesWhenNoInstanceIsLeft) {
  bring_up();
  settle();
  connector().is_dead = true;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 7s));
  EXPECT_FALSE(app.connected);
  EXPECT_EQ(drops("flow_no_instance"), 1U);
}

TEST_F(ClientTest, RefusesAtOnceWhatIsCertainlyMissing) {
  bring_up();
  list_nobody();
  settle();
  (void)world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 50ms));
  EXPECT_EQ(drops("flow_no_instance"), 1U);
}

// A connector that is restarted or updated: its next process is another instance.
TEST_F(ClientTest, HoldsNewFlowsForTheSuccessorOfTheLastInstance) {
  bring_up();
  settle();
  open();
  connector().refusal = wire::REFUSAL_DRAINING;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(500ms);
  connector().is_dead = true;
  list_nobody();
  App& later = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(1s);
  EXPECT_FALSE(app.connected);
  EXPECT_TRUE(world.icmp.empty());
  world.add_connector();
  auto update = world.full_update();
  update.mutable_client_update()->mutable_instances()->DeleteSubrange(0, 1);
  world.control(update);
  EXPECT_TRUE(world.run_until([&] { return app.connected && later.connected; }, 1s));
}

TEST_F(ClientTest, NewFlowsAvoidAnInstanceThatIsDrainedWhileThereIsAnother) {
  bring_up(2);
  App& first = open();
  const bool took_first = connector(0).flows.size() == 1;
  test::ConnectorSide& used = connector(took_first ? 0 : 1);
  test::ConnectorSide& other = connector(took_first ? 1 : 0);
  auto update = world.full_update();
  update.mutable_client_update()->mutable_instances(took_first ? 0 : 1)->set_draining(true);
  world.control(update);
  open();
  EXPECT_EQ(other.flows.size(), 1U);
  EXPECT_FALSE(first.kernel.is_reset()) << "what runs goes on";
  other.is_dead = true;
  App& third = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return third.connected; }, 7s)) << "rather a drained one than none";
  EXPECT_EQ(used.flows.size(), 2U);
}

TEST_F(ClientTest, HoldsNewFlowsUntilTheConnectorIsBackAfterARestartOfTheController) {
  bring_up();
  settle();
  list_nobody();
  world.client->handle_control_down(world.now, "restart");
  const int wanted_before = world.reconnects_wanted;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(1s);
  EXPECT_GT(world.reconnects_wanted, wanted_before);
  world.client->handle_control_up(world.now);
  world.control(world.welcome());
  list_nobody();
  world.run_for(1s);
  EXPECT_TRUE(world.icmp.empty());
  world.control(world.full_update());
  EXPECT_TRUE(world.run_until([&] { return app.connected; }, 1s));
}

TEST_F(ClientTest, RefusesHeldFlowsWhenNobodyComes) {
  bring_up();
  settle();
  list_nobody();
  world.client->handle_control_down(world.now, "away");
  const Instant asked = world.now;
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 7s));
  EXPECT_GE(world.now - asked, 5s);
  EXPECT_FALSE(app.connected);
  EXPECT_LE(world.reconnects_wanted, 8);
}

TEST_F(ClientTest, FindsAnotherAddressOfTheRelaySoonAfterAFlowHasNoAnswer) {
  world.add_connector();
  world.client->handle_control_up(world.now);
  auto welcome = world.welcome();
  welcome.mutable_welcome()->mutable_relays(0)->add_addresses(test::kRelay6.to_string());
  world.control(welcome);
  world.control(world.full_update());
  ASSERT_TRUE(world.run_until([&] { return state() == ClientState::Online; }, 5s));
  connector().finishes = false;
  App& old = open();
  world.dead_relay = test::kRelay;
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 7s));
  EXPECT_EQ(world.client->status(world.now).relay->address, test::kRelay6.to_string());
  EXPECT_FALSE(old.kernel.is_reset());
}

// A controller that has just started has not heard of its relays yet.
TEST_F(ClientTest, KeepsAWorkingRelayForAMinuteThatAWelcomeDoesNotName) {
  bring_up();
  const auto relay_name = [&] { return world.client->status(world.now).relay->name; };
  world.control(world.welcome(1, "relay-2", test::kRelay6));
  world.run_for(RelayLink::kUnlistedTime - 1s);
  EXPECT_EQ(relay_name(), "relay-1");
  EXPECT_EQ(state(), ClientState::Online);
  world.run_for(2s);
  EXPECT_EQ(relay_name(), "relay-2");
  EXPECT_EQ(state(), ClientState::Online);
}

TEST_F(ClientTest, LeavesAnUnlistedRelayWhenItFallsSilent) {
  bring_up();
  world.dead_relay = test::kRelay;
  world.control(world.welcome(1, "relay-2", test::kRelay6));
  EXPECT_TRUE(world.run_until([&] { return world.client->status(world.now).relay->name == "relay-2"; }, 20s));
}

TEST_F(ClientTest, AnUnlistedRelayThatComesBackIsKept) {
  bring_up();
  const auto with_both = world.welcome();
  world.control(world.welcome(1, "relay-2", test::kRelay6));
  world.run_for(30s);
  wire::ControllerMessage up;
  *up.mutable_relay_up()->mutable_relay() = with_both.welcome().relays(0);
  world.control(up);
  world.run_for(RelayLink::kUnlistedTime);
  EXPECT_EQ(world.client->status(world.now).relay->name, "relay-1");
}

TEST_F(ClientTest, HoldsNewFlowsWhileTheRelayIsAway) {
  bring_up();
  settle();
  world.relay_answers = false;
  ASSERT_TRUE(world.run_until([&] { return state() != ClientState::Online; }, 60s));
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(1s);
  EXPECT_TRUE(world.icmp.empty());
  world.relay_answers = true;
  EXPECT_TRUE(world.run_until([&] { return app.connected; }, 5s));
}

TEST_F(ClientTest, NeverTalksToAConnectorWithAnotherKey) {
  world.add_connector();
  world.client->handle_control_up(world.now);
  world.control(world.welcome());
  auto update = world.full_update();
  update.mutable_client_update()->mutable_instances(0)->set_certificate_digest(std::string(32, 'x'));
  world.control(update);
  ASSERT_TRUE(world.run_until([&] { return state() == ClientState::Online; }, 5s));
  settle();
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 7s));
  EXPECT_FALSE(app.connected);
  EXPECT_TRUE(connector().messages.empty());
  EXPECT_THAT(world.client->status(world.now).sessions.at(0).failure, testing::HasSubstr("key"));
}

TEST_F(ClientTest, RefusesFlowsWhenTheConnectorRefusesTheLease) {
  world.add_connector().accepts_hello = false;
  world.bring_up();
  settle();
  App& app = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 2s));
  EXPECT_FALSE(app.connected);
  EXPECT_EQ(drops("peer_hello_refused"), 1U);
}

TEST_F(ClientTest, ALeaseThatComesWhileTheGreetingIsAnsweredIsSentRightAfterIt) {
  bring_up();
  world.delay = 50ms;
  world.connect(world.resolve("nginx.home.lan"), 80);
  auto& heard = connector().messages;
  ASSERT_TRUE(world.run_until([&] { return !heard.empty(); }, 5s));
  ASSERT_EQ(heard.back().hello().lease(), "lease-1");
  world.control(world.full_update("lease-2"));
  const auto is_renewed = [](const auto& message) { return message.lease().lease() == "lease-2"; };
  EXPECT_TRUE(world.run_until([&] { return std::ranges::any_of(heard, is_renewed); }, 5s));
}

TEST_F(ClientTest, APingKeepsQuietFlowsHonestAndNothingIsSentWithoutFlows) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  world.run_for(2min);
  EXPECT_FALSE(app.kernel.is_reset());
  const auto session = world.client->status(world.now).sessions.at(0);
  EXPECT_EQ(session.state, "ready");
  const auto before = session.bytes_sent;
  world.run_for(1min);
  EXPECT_GT(world.client->status(world.now).sessions.at(0).bytes_sent, before);
}

// --- revocation ------------------------------------------------------------------------------------------------------

TEST_F(ClientTest, AFinishedFlowLeavesNoDoubtAboutAPeerThatIsThere) {
  bring_up();
  for (const Duration delay : {20ms, 1ms}) {
    world.delay = delay;
    (void)open(200'000);
    ASSERT_TRUE(world.run_until([&] { return world.client->status(world.now).flows == 0; }, 20s));
    world.run_for(10s);
    EXPECT_EQ(world.client->status(world.now).sessions.at(0).state, "ready");
  }
}

TEST_F(ClientTest, FlowsOfARemovedResourceEndAtOnce) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  remove_resource(1);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 100ms));
  EXPECT_TRUE(world.run_until([&] { return connector().flows.rbegin()->second.was_reset; }, 1s));
  EXPECT_EQ(world.resolve("nginx.home.lan"), IpAddress());
}

TEST_F(ClientTest, FlowsThatTheConnectorRevokesEnd) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  wire::SessionMessage revoked;
  revoked.mutable_revoked()->add_resource_ids(1);
  connector().say(revoked);
  EXPECT_FALSE(world.run_until([&] { return app.kernel.is_reset(); }, 1s)) << "its stream was not reset";
  revoked.mutable_revoked()->set_all(true);
  connector().say(revoked);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 1s));
}

TEST_F(ClientTest, FlowsThatAChangedResourceStillAllowsLiveOn) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  wire::ControllerMessage message;
  wire::ClientUpdate& update = *message.mutable_client_update();
  update.set_from_version(1);
  update.set_version(2);
  *update.add_resources() = world.full_update().client_update().resources(0);
  wire::PortRange& range = *update.mutable_resources(0)->mutable_tcp()->mutable_ports(0);
  range.set_last(443);
  world.control(message);
  EXPECT_FALSE(world.run_until([&] { return app.kernel.is_reset(); }, 1s));
  update.set_from_version(2);
  update.set_version(3);
  range.set_first(443);
  world.control(message);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 1s));
}

TEST_F(ClientTest, ARenewedLeaseReachesTheConnectorOverTheLivingSession) {
  bring_up();
  connector().finishes = false;
  open();
  world.control(world.full_update("lease-2"));
  EXPECT_TRUE(world.run_until(
      [&] { return !connector().messages.empty() && connector().messages.back().lease().lease() == "lease-2"; }, 1s));
}

// --- the rest of the TUN ---------------------------------------------------------------------------------------------

TEST_F(ClientTest, AnswersDnsForResourcesAndPassesOtherNamesOn) {
  bring_up();
  EXPECT_TRUE(world.client->network().contains(world.resolve("nginx.home.lan")));
  (void)world.ask_dns(*wire::build_dns_question(3, "example.org", wire::DnsType::A));
  // No server is known here, so the answer is SERVFAIL; with one the question would wait in the forwarder.
  EXPECT_EQ(wire::parse_dns_message(world.last_udp)->header.rcode, 2);
  world.client->forwarder().set_servers({{IpAddress::v4(192, 0, 2, 1), 53}});
  (void)world.ask_dns(*wire::build_dns_question(3, "example.org", wire::DnsType::A));
  EXPECT_TRUE(world.client->forwarder().poll_query());
}

TEST_F(ClientTest, WhatBypassesIsNotAnsweredNotRoutedAndNotConnected) {
  bring_up();
  auto message = world.full_update();
  auto& update = *message.mutable_client_update();
  World::add_resource(update, 3, "*.example.org", 80);
  World::add_resource(update, 4, "www.example.org", 80);
  World::add_resource(update, 5, "192.168.1.9", 80);
  for (int i : {3, 4}) update.mutable_resources(i)->set_routing(wire::ROUTING_BYPASS);
  world.control(message);
  EXPECT_TRUE(world.client->network().contains(world.resolve("any.example.org")));
  (void)world.ask_dns(*wire::build_dns_question(3, "www.example.org", wire::DnsType::A));
  EXPECT_EQ(wire::parse_dns_message(world.last_udp)->header.rcode, 2) << "passed on, and nobody is known here";
  EXPECT_EQ(world.client->bypassed_addresses(), std::vector{IpAddress::v4(192, 168, 1, 9)});
  const auto plan = plan_routes(world.client->route_request({}));
  const auto covers = [&](const IpAddress& address) {
    return std::ranges::any_of(plan.routes, [&](const IpPrefix& route) { return route.contains(address); });
  };
  EXPECT_FALSE(covers(IpAddress::v4(192, 168, 1, 9)));
  EXPECT_TRUE(covers(IpAddress::v4(192, 168, 1, 8)) && covers(IpAddress::v4(192, 168, 1, 10)));
  // One that comes all the same is refused here.
  App& app = world.connect(IpAddress::v4(192, 168, 1, 9), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 1s));
  EXPECT_FALSE(app.connected);
}

TEST_F(ClientTest, RefusesUdpToResourcesWithIcmp) {
  bring_up();
  world.send_udp({IpAddress::v4(100, 96, 0, 1), 5000}, {IpAddress::v4(192, 168, 1, 20), 53}, as_bytes("hello"));
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 10ms));
  EXPECT_EQ(drops("flow_port_not_allowed"), 1U);
}

TEST_F(ClientTest, AnswersThatNobodyTakesAreBoundedAndCounted) {
  bring_up();
  const SocketAddress app{IpAddress::v4(100, 96, 0, 1), 5000};
  for (std::size_t i = 0; i < Client::kRepliesMax + 10; ++i) {
    world.send_udp(app, {IpAddress::v4(192, 168, 1, 20), 9}, as_bytes("hello"));
  }
  EXPECT_EQ(drops("reply_queue_full"), 10U);
  world.run_for(1ms);
  EXPECT_EQ(world.icmp.size(), Client::kRepliesMax);
}

TEST_F(ClientTest, DnsOverTcpIsBoundedAndAnEndMakesRoom) {
  bring_up();
  const IpAddress resolver = IpAddress::v4(100, 96, 0, 2);
  std::vector<App*> open;
  for (std::size_t i = 0; i < DnsFront::kConnectionsMax; ++i)
    open.push_back(&world.connect(resolver, 53, std::nullopt));
  EXPECT_TRUE(
      world.run_until([&] { return std::ranges::all_of(open, [](const App* a) { return a->connected; }); }, 1s));
  App& refused = world.connect(resolver, 53);
  EXPECT_TRUE(world.run_until([&] { return refused.kernel.is_reset(); }, 1s));
  EXPECT_FALSE(refused.connected);
  EXPECT_TRUE(std::ranges::none_of(open, [](const App* a) { return a->kernel.is_reset(); }));
  EXPECT_FALSE(world.ask_dns(*wire::build_dns_question(3, "nginx.home.lan", wire::DnsType::A)).empty());

  // Those that never ask are let go, which makes room.
  EXPECT_TRUE(
      world.run_until([&] { return std::ranges::all_of(open, [](const App* a) { return a->kernel.is_reset(); }); },
                      DnsFront::kIdle + 1s));
  App& next = world.connect(resolver, 53);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 1s));
}

TEST_F(ClientTest, SurvivesGarbageFromTheTunAndTheRelay) {
  bring_up();
  App& app = open(100);
  SeededRandom random(5);
  const auto good =
      tcp::test::make_packet(app.tuple, {tcp::test::kAck, 78, 1, 1000, Bytes(300, 1), {}, {}, false, false, 0});
  for (int i = 0; i < 20'000; ++i) {
    Bytes packet = good.bytes;
    std::array<std::uint8_t, 10> vnet{};
    if (random.below(2) == 0) random.fill(vnet);
    if (random.below(3) == 0) {
      packet.resize(1 + random.below(200));
      random.fill(packet);
    }
    for (std::uint64_t flips = random.below(6); flips > 0; --flips) {
      packet[random.below(packet.size())] = static_cast<std::uint8_t>(random.next());
    }
    world.client->handle_tun_packet(world.now, vnet, tcp::test::in_block(world.pool, packet));
    Bytes train(1 + random.below(3000));
    random.fill(train);
    world.client->handle_train(world.now, random.below(4) == 0 ? test::kOther : test::kRelay, train,
                               1 + random.below(1500), 0);
    if (i % 64 == 0) world.run_for(1ms);
  }
  // It still works.
  world.apps.clear();
  connector().download = 1000;
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.kernel.read() == 1000; }, 10s));
}

TEST_F(ClientTest, IgnoresMalformedEntriesOfAnUpdate) {
  world.add_connector();
  auto update = world.full_update();
  auto* bad = update.mutable_client_update()->add_resources();
  bad->set_id(9);
  bad->set_address("not an address!");
  update.mutable_client_update()->mutable_instances(0)->set_route_id("short");
  world.control(world.welcome());
  world.control(update);
  EXPECT_EQ(drops("control_malformed_entry"), 2U);
  EXPECT_EQ(world.client->status(world.now).resources.size(), 2U);
}

}  // namespace
}  // namespace postern::client
