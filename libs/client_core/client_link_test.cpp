// The client where UDP to its relay is not answered: over a link, and back.
#include <gmock/gmock.h>

#include "client_core/client_test_util.hpp"

namespace postern::client {
namespace {

using namespace std::chrono_literals;
using test::App;
using test::World;

struct ClientLinkTest : testing::Test {
  void bring_up() {
    world.relay_has_tls = true;
    world.add_connector();
    world.bring_up();
  }
  App& open(std::uint64_t upload = 0) {
    App& app = world.connect(world.resolve("nginx.home.lan"), 80, upload);
    EXPECT_TRUE(world.run_until([&] { return app.connected; }, 5s));
    return app;
  }
  std::string transport() {
    const auto relay = world.client->status(world.now).relay;
    return relay && relay->bound ? relay->transport : "";
  }
  SessionStatus session() { return world.client->status(world.now).sessions.at(0); }

  World world;
};

TEST_F(ClientLinkTest, WhereUdpIsNotAnsweredItComesOnlineOverALinkAndEverythingSaysSo) {
  world.dead_relay = test::kRelay;
  bring_up();
  ASSERT_EQ(transport(), "tls");
  const auto relay = *world.client->status(world.now).relay;
  EXPECT_EQ(relay.address, test::kRelay.to_string()) << "people know no names of links";
  EXPECT_EQ(relay.why, "UDP to " + test::kRelay.to_string() + " is not answered");
  open();
  EXPECT_EQ(session().path, "relay");
  EXPECT_EQ(session().transport, "tls");
  EXPECT_EQ(session().remote, test::kRelay.to_string());
  const auto flows = world.client->flows(world.now, 10).flows;
  ASSERT_FALSE(flows.empty());
  EXPECT_EQ(flows[0].path, "relay");
  EXPECT_EQ(flows[0].transport, "tls");
}

TEST_F(ClientLinkTest, WhereUdpIsAnsweredTheTransportIsUdp) {
  bring_up();
  EXPECT_EQ(transport(), "udp");
  open();
  EXPECT_EQ(session().transport, "udp");
  EXPECT_EQ(world.client->flows(world.now, 10).flows.at(0).transport, "udp");
}

TEST_F(ClientLinkTest, UdpThatIsBlockedUnderATransferAndFreedAgainIsLeftAndTakenWithoutLosingTheFlow) {
  bring_up();
  App& app = open(50'000'000);
  world.run_for(20ms);
  world.dead_relay = test::kRelay;
  ASSERT_TRUE(world.run_until([&] { return transport() == "tls" && session().transport == "tls"; }, 5s));
  world.run_for(100ms);
  world.dead_relay.reset();
  ASSERT_TRUE(world.run_until([&] { return transport() == "udp" && session().transport == "udp"; }, 15s));
  EXPECT_FALSE(app.kernel.is_reset());
  App& another = open();
  EXPECT_TRUE(another.connected);
}

TEST_F(ClientLinkTest, DatagramsThatClaimToComeFromALinkThatIsNotOpenAreDropped) {
  bring_up();
  open();
  const auto foreign = [&] { return world.client->status(world.now).drops["datagram_foreign"]; };
  const auto before = foreign();
  Bytes datagram(100, 0x40);
  world.client->handle_train(world.now, link_address(99), datagram, datagram.size(), 0);
  EXPECT_EQ(foreign(), before + 1);
}

}  // namespace
}  // namespace postern::client
