// What a running flow survives (issue "The data plane", item 5): hours of virtual time, byte by byte in both
// directions.
#include <gtest/gtest.h>

#include "sim/entropy.hpp"
#include "sim/world.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;

class Survival : public testing::Test {
 protected:
  static constexpr std::uint16_t kPort = 10'003;
  static_assert(bulk_of(kPort) > 0);

  Survival() {
    seed_entropy(11);
    world_ = std::make_unique<World>(WorldOptions{.seed = 11, .clients = 1});
    world_->private_network.names = {{"git.home", IpAddress::v4(10, 20, 0, 5)}};
    world_->private_network.hosts = {{IpAddress::v4(10, 20, 0, 5), true}};
    world_->start();
    world_->server->run(controller::CreateResource{"git", "home", "git.home", {}, "*"});
    world_->server->run(controller::GrantAccess{"git", "", world_->clients[0].user});
    world_->run_for(5s);
    app_ = client().connect("git.home", kPort, 1U << 30, 0).number;
    exchange(1'000);
  }

  ClientNode& client() { return *world_->clients[0].node; }
  ConnectorNode& connector() { return *world_->instances[0].node; }
  App& app() { return *client().find(app_); }
  [[nodiscard]] std::uint64_t expected() { return bulk_of(kPort) + app().produced; }
  /// So many bytes go up and come back; each was compared at both ends.
  void exchange(std::uint64_t bytes, Duration limit = 60s) {
    client().produce(app(), bytes);
    EXPECT_TRUE(world_->run_while_not([this] { return app().kernel && app().kernel->read() == expected(); }, limit))
        << (app().has_failed() ? app().failure : "silence") << ", read " << (app().kernel ? app().kernel->read() : 0)
        << " of " << expected();
  }
  /// Begins a transfer and stops in the middle of it.
  /// The client goes to the relay of its own, because the server's is away for a while, and stays there.
  void begin_transfer_over_the_second_relay() {
    world_->server->stop();
    ASSERT_TRUE(world_->run_while_not([this] { return client().status().relay->name == "second"; }, 90s));
    world_->server->start();
    exchange(1'000);
    begin_transfer();
  }
  void begin_transfer() {
    client().produce(app(), 2'000'000);
    const std::uint64_t before = app().kernel->read();
    ASSERT_TRUE(world_->run_while_not([&] { return app().kernel->read() > before + 100'000; }, 60s, 1ms));
    ASSERT_LT(app().kernel->read(), expected());
  }
  void move_client(LanId lan) {
    world_->network().move(client().host(), lan);
    world_->run_for(10ms);
    client().handle_network_change();
  }

  std::unique_ptr<World> world_;
  std::uint64_t app_ = 0;
};

TEST_F(Survival, OfAClientThatChangesItsNetworkInTheMiddleOfATransfer) {
  for (const LanId lan : world_->client_lans) {
    SCOPED_TRACE(to_string(world_->network().options(lan).nat));
    begin_transfer();
    move_client(lan);
    exchange(1'000, 30s);
  }
}

TEST_F(Survival, OfAClientWhoseNatForgetsItAndNobodyTellsIt) {
  begin_transfer();
  world_->network().reboot_nat(world_->network().lan_of(client().host()));
  exchange(1'000, 60s);
}

TEST_F(Survival, OfAClientThatSleepsTenMinutes) {
  begin_transfer();
  client().sleep();
  world_->run_for(10min);
  client().wake_up();
  client().handle_network_change();
  exchange(1'000, 60s);
}

TEST_F(Survival, OfAMinuteWithoutAnyConnectivity) {
  begin_transfer();
  world_->network().link(world_->network().lan_of(client().host())).up = false;
  world_->run_for(60s);
  world_->network().link(world_->network().lan_of(client().host())).up = true;
  exchange(1'000, 60s);
}

TEST_F(Survival, OfAHomeNetworkThatIsAwayWhileTheClientIsNot) {
  for (const Duration away : {Duration(20s), Duration(60s), Duration(20min)}) {
    begin_transfer();
    const LanId home = world_->network().lan_of(connector().host());
    world_->network().link(home).up = false;
    world_->run_for(away);
    world_->network().link(home).up = true;
    exchange(1'000, 60s);
  }
}

TEST_F(Survival, OfAConnectorThatChangesItsAddress) {
  for (const LanId lan : world_->connector_lans) {
    begin_transfer();
    world_->network().move(connector().host(), lan);
    world_->run_for(10ms);
    connector().handle_network_change();
    exchange(1'000, 60s);
  }
}

TEST_F(Survival, OfARelayThatStartsAgain) {
  ASSERT_NO_FATAL_FAILURE(begin_transfer_over_the_second_relay());
  world_->relays[1]->stop();
  world_->run_for(2s);
  world_->relays[1]->start();
  exchange(1'000, 60s);
}

TEST_F(Survival, OfARelayThatIsReplacedByAnother) {
  ASSERT_NO_FATAL_FAILURE(begin_transfer_over_the_second_relay());
  world_->relays[1]->stop();
  exchange(1'000, 120s);
  EXPECT_EQ(client().status().relay->name, "main");
}

TEST_F(Survival, OfAServerThatStartsAgainWithItsRelay) {
  for (const Duration away : {Duration(100ms), Duration(5s), Duration(40s)}) {
    begin_transfer();
    world_->server->stop();
    world_->run_for(away);
    world_->server->start();
    exchange(1'000, 120s);
  }
}

TEST_F(Survival, OfAControllerThatIsAwayForAnHour) {
  world_->server->stop();
  for (int i = 0; i < 12; ++i) {
    world_->run_for(5min);
    exchange(1'000, 90s);
  }
  EXPECT_EQ(client().control()->healthy_since(), std::nullopt);
  world_->server->start();
  world_->run_for(1min);
  exchange(1'000);
  EXPECT_NE(client().control()->healthy_since(), std::nullopt);
}

TEST_F(Survival, OfADayWithAllOfIt) {
  for (int hour = 0; hour < 24; ++hour) {
    switch (hour % 6) {
      case 0:
        move_client(world_->client_lans[static_cast<std::size_t>(hour) % world_->client_lans.size()]);
        break;
      case 1:
        client().sleep();
        world_->run_for(10min);
        client().wake_up();
        break;
      case 2:
        world_->server->stop();
        world_->run_for(30s);
        world_->server->start();
        break;
      case 3:
        world_->network().reboot_nat(world_->network().lan_of(connector().host()));
        break;
      case 4:
        world_->relays[1]->stop();
        world_->run_for(1min);
        world_->relays[1]->start();
        break;
      default:
        world_->network().link(world_->network().lan_of(client().host())).up = false;
        world_->run_for(60s);
        world_->network().link(world_->network().lan_of(client().host())).up = true;
    }
    exchange(20'000, 120s);
    world_->run_for(50min);
    exchange(1'000, 60s);
  }
  EXPECT_EQ(client().gaps(), 0U);
}

}  // namespace
}  // namespace postern::sim
