// What becomes of sessions and flows whose connector instance the controller does not list any more.
#include "client_core/client_test_util.hpp"

namespace postern::client {
namespace {

using namespace std::chrono_literals;
using test::App;

class UnlistedInstance : public test::ClientTest {
 protected:
  App& open_quiet_flow() {
    connector().finishes = false;
    App& app = world.connect(world.resolve("nginx.home.lan"), 80, 1U << 30);
    app.kernel.produce(0);
    EXPECT_TRUE(world.run_until([&] { return app.connected; }, 5s));
    return app;
  }
  /// Whether what the target sends on the newest flow arrives.
  bool arrives(const App& app) {
    connector().flows.rbegin()->second.to_send += 1000;
    const auto before = app.kernel.read();
    return world.run_until([&] { return app.kernel.read() == before + 1000; }, 3s);
  }
};

// --- it has ended ----------------------------------------------------------------------------------------------------

TEST_F(UnlistedInstance, SessionsOutliveARestartOfTheControllerThatListsNobodyAtFirst) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  world.client->handle_control_down(world.now, "restart");
  world.run_for(1s);
  world.client->handle_control_up(world.now);
  world.control(world.welcome());
  list_nobody();
  world.run_for(10s);
  EXPECT_FALSE(app.kernel.is_reset());
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 1s));
}

TEST_F(UnlistedInstance, FlowsOfAnInstanceThatIsGoneAndSilentEnd) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  connector().is_dead = true;
  list_nobody();
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 18s));
}

TEST_F(UnlistedInstance, AServerThatWasAwayForLongLeavesConnectorsTimeToComeBackWithTheirFlows) {
  bring_up();
  App& app = open();
  world.client->handle_control_down(world.now, "the server is away");
  world.relay_answers = false;
  world.run_for(3min);
  world.client->handle_control_up(world.now);
  world.control(world.welcome());
  list_nobody();
  // The client is back first; the connector has not found the relay again yet.
  world.run_for(8s);
  EXPECT_FALSE(app.kernel.is_reset());
  world.relay_answers = true;
  connector().download = 5000;
  world.run_for(30s);
  EXPECT_FALSE(app.kernel.is_reset());
}

TEST_F(UnlistedInstance, FlowsOfAnInstanceThatIsSurelyGoneEndSooner) {
  bring_up();
  settle();
  connector().finishes = false;
  App& app = open();
  connector().is_dead = true;
  list_nobody();
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 6s));
}

TEST_F(UnlistedInstance, FlowsOfAnUnlistedInstanceEndSoonAfterItFallsSilent) {
  bring_up();
  connector().finishes = false;
  App& app = open();
  list_nobody();
  world.run_for(1min);
  EXPECT_FALSE(app.kernel.is_reset());
  connector().is_dead = true;
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 16s));
}

TEST_F(UnlistedInstance, AFlowThatIsHeldForASuccessorDoesNotKeepTheClientBusy) {
  bring_up();
  settle();
  list_nobody();
  (void)world.connect(world.resolve("nginx.home.lan"), 80);
  world.run_for(1s);
  EXPECT_TRUE(world.icmp.empty()) << "it is held";
  EXPECT_GT(*world.client->next_timeout(), world.now);
}

TEST_F(UnlistedInstance, OneThatAnswersAndHasNoFlowsDoesNotKeepTheClientBusy) {
  bring_up();
  open();
  list_nobody();
  world.run_for(1min);
  EXPECT_EQ(world.client->status(world.now).flows, 0U);
  EXPECT_GT(*world.client->next_timeout(), world.now);
}

// --- it is absent ----------------------------------------------------------------------------------------------------

TEST_F(UnlistedInstance, FlowsWaitForOneThatIsAbsentAndSilent) {
  bring_up();
  settle();
  App& app = open_quiet_flow();
  connector().is_dead = true;
  list_nobody(Listing::Absent);
  world.run_for(10min);
  EXPECT_FALSE(app.kernel.is_reset());
  connector().is_dead = false;
  world.control(world.full_update());
  EXPECT_TRUE(arrives(app));
}

TEST_F(UnlistedInstance, NewFlowsGoToAnAbsentOneAsSoonAsAnOldOneIsHeard) {
  bring_up();
  settle();
  App& app = open_quiet_flow();
  connector().is_dead = true;
  list_nobody(Listing::Absent);
  world.run_for(1min);
  connector().is_dead = false;
  app.kernel.produce(1);
  const auto& flow = connector().flows.rbegin()->second;
  ASSERT_TRUE(world.run_until([&] { return flow.received == 1; }, 10s));
  ASSERT_TRUE(arrives(app));
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 200ms));
}

TEST_F(UnlistedInstance, FlowsOfAnAbsentOneEndSoonAfterItIsCalledEnded) {
  bring_up();
  settle();
  App& app = open_quiet_flow();
  connector().is_dead = true;
  list_nobody(Listing::Absent);
  world.run_for(1min);
  list_nobody(Listing::Ended);
  EXPECT_TRUE(world.run_until([&] { return app.kernel.is_reset(); }, 6s));
}

TEST_F(UnlistedInstance, NewFlowsGoToAnAbsentOneThatAnswers) {
  bring_up();
  settle();
  open_quiet_flow();
  list_nobody(Listing::Absent);
  world.run_for(1min);
  App& next = open();
  EXPECT_TRUE(arrives(next));
}

TEST_F(UnlistedInstance, NewFlowsAreRefusedAtOnceWhenTheOnlyOneIsAbsentAndSilent) {
  bring_up();
  settle();
  open_quiet_flow();
  connector().is_dead = true;
  list_nobody(Listing::Absent);
  world.run_for(10s);
  (void)world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return !world.icmp.empty(); }, 50ms));
  EXPECT_EQ(drops("flow_no_instance"), 1U);
}

TEST_F(UnlistedInstance, NewFlowsLeaveAnAbsentOneForAnother) {
  bring_up(2);
  settle();
  App& app = open_quiet_flow();
  const bool is_first = !connector(0).flows.empty();
  test::ConnectorSide& used = connector(is_first ? 0 : 1);
  test::ConnectorSide& other = connector(is_first ? 1 : 0);
  used.is_dead = true;
  auto update = world.full_update();
  wire::ClientUpdate& content = *update.mutable_client_update();
  const int at = is_first ? 0 : 1;
  content.add_absent_instances(content.instances(at).instance_id());
  content.mutable_instances()->DeleteSubrange(at, 1);
  world.control(update);
  App& next = world.connect(world.resolve("nginx.home.lan"), 80);
  EXPECT_TRUE(world.run_until([&] { return next.connected; }, 1s));
  EXPECT_EQ(other.flows.size(), 1U);
  EXPECT_FALSE(app.kernel.is_reset());
}

}  // namespace
}  // namespace postern::client
