// Flows of applications that did not come out of the TUN, against the real client core.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client_core/client_test_util.hpp"

namespace postern::client::test {
namespace {

/// The in-memory twin of a proxy's sockets: remembers orders, holds what it was sent until told to take it.
class TestSide final : public ApplicationSide {
 public:
  void accept(Instant, tcp::FlowId) override { accepted = true; }
  void refuse(Instant, tcp::FlowId, const FlowDenial& denial) override { denied = denial; }
  [[nodiscard]] std::size_t sendable(tcp::FlowId) const override { return room - held; }
  void send(Instant, tcp::FlowId, Slice bytes) override {
    for (const std::uint8_t byte : bytes.view()) EXPECT_EQ(byte, content(received++, 2));
    held += std::min(bytes.size(), room - held);
    unacknowledged += bytes.size();
  }
  void finish(Instant, tcp::FlowId) override { finished = true; }
  void abort(Instant, tcp::FlowId) override { aborted = true; }
  void grant(tcp::FlowId, std::size_t bytes) override { granted += bytes; }

  bool accepted = false;
  std::optional<FlowDenial> denied;
  bool finished = false;
  bool aborted = false;
  std::size_t room = 256 * 1024;
  std::size_t held = 0;
  std::size_t unacknowledged = 0;
  std::uint64_t received = 0;
  std::uint64_t granted = 0;
};

class LocalFlowsTest : public testing::Test {
 protected:
  void open(const std::string& to) {
    world.client->open_flow(world.now, id, *parse_destination(to), side);
    world.client->settle(world.now);
  }
  void tell(const tcp::Event& event) {
    world.client->handle_application_event(world.now, event);
    world.client->settle(world.now);
  }
  void write(std::uint64_t size) {
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = content(written++, 1);
    tell(tcp::Data{id, world.pool.copy(bytes)});
  }
  bool run_until(const std::function<bool()>& condition) { return world.run_until(condition, 5s); }

  World world;
  TestSide side;
  tcp::FlowId id{kLocalFlowBit | 1};
  std::uint64_t written = 0;
};

TEST_F(LocalFlowsTest, CarryBytesAndEndsOfANameThatWasNeverLookedUp) {
  ConnectorSide& connector = world.add_connector();
  connector.download = 1'000'000;
  world.bring_up();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return side.accepted; }));
  EXPECT_EQ(connector.last_flow()->open.host(), "nginx.home.lan");
  write(3000);
  tell(tcp::PeerFinished{id});
  ASSERT_TRUE(run_until([&] {
    const std::size_t taken = std::exchange(side.unacknowledged, 0);
    side.held = 0;
    if (taken > 0) tell(tcp::Acknowledged{id, taken});
    return side.finished && connector.last_flow()->ended;
  }));
  EXPECT_EQ(side.received, 1'000'000U);
  EXPECT_EQ(side.granted, 3000U);
  EXPECT_EQ(connector.last_flow()->received, 3000U);
  tell(tcp::FlowClosed{id});
  EXPECT_EQ(world.client->status(world.now).flows, 0U);
}

TEST_F(LocalFlowsTest, StopReadingFromTheConnectorWhileTheApplicationDoesNotRead) {
  ConnectorSide& connector = world.add_connector();
  connector.download = 64'000'000;
  world.bring_up();
  open("192.168.1.7:80");
  ASSERT_TRUE(run_until([&] { return side.accepted; }));
  world.run_for(20s);
  EXPECT_LT(side.received, side.room + 128 * 1024);
  EXPECT_LT(connector.last_flow()->sent, connector.last_flow()->to_send);
}

TEST_F(LocalFlowsTest, AreToldWhyTheyAreRefused) {
  ConnectorSide& connector = world.add_connector();
  open("nginx.home.lan:80");
  ASSERT_TRUE(side.denied);
  EXPECT_EQ(side.denied->reason, FlowRefusal::NoRelay);
  world.bring_up();
  open("other.home.lan:80");
  EXPECT_EQ(side.denied->reason, FlowRefusal::NoResource);
  open("nginx.home.lan:81");
  EXPECT_EQ(side.denied->reason, FlowRefusal::PortNotAllowed);
  open("100.96.0.77:80");
  EXPECT_EQ(side.denied->reason, FlowRefusal::NoResource);
  connector.refusal = wire::REFUSAL_CONNECTION_REFUSED;
  side.denied.reset();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return side.denied.has_value(); }));
  EXPECT_EQ(side.denied->reason, FlowRefusal::RefusedByTarget);
  EXPECT_EQ(world.client->status(world.now).flows, 0U);
}

TEST_F(LocalFlowsTest, EndWhenTheApplicationGoesAwayBeforeTheAnswer) {
  ConnectorSide& connector = world.add_connector();
  connector.answers = false;
  world.bring_up();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return connector.last_flow() != nullptr; }));
  tell(tcp::Aborted{id});
  ASSERT_TRUE(run_until([&] { return connector.last_flow()->was_reset; }));
  EXPECT_EQ(world.client->status(world.now).flows, 0U);
}

TEST_F(LocalFlowsTest, BreakAndAreNotRefusedWhenAResetOvertakesTheAnswer) {
  ConnectorSide& connector = world.add_connector();
  connector.answers = false;
  world.bring_up();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return connector.last_flow() != nullptr; }));
  const auto [session, stream] = connector.flows.rbegin()->first;
  connector.endpoint.reset(session::SessionId(session), session::StreamId(stream), 0x10);
  ASSERT_TRUE(run_until([&] { return side.aborted; }));
  EXPECT_TRUE(side.accepted);
  EXPECT_FALSE(side.denied);
}

TEST_F(LocalFlowsTest, AreRefusedWhenTheConnectorCannotEvenAnswer) {
  ConnectorSide& connector = world.add_connector();
  connector.answers = false;
  world.bring_up();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return connector.last_flow() != nullptr; }));
  const auto [session, stream] = connector.flows.rbegin()->first;
  connector.endpoint.reset(session::SessionId(session), session::StreamId(stream), 0x13);
  ASSERT_TRUE(run_until([&] { return side.denied.has_value(); }));
  EXPECT_FALSE(side.accepted);
}

TEST_F(LocalFlowsTest, AreAbortedWhenTheirResourceIsTakenAway) {
  world.add_connector();
  world.bring_up();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return side.accepted; }));
  wire::ControllerMessage message;
  message.mutable_client_update()->set_from_version(1);
  message.mutable_client_update()->set_version(2);
  message.mutable_client_update()->add_removed_resources(1);
  world.control(message);
  EXPECT_TRUE(side.aborted);
}

TEST_F(LocalFlowsTest, AreListedWithWhatTheyDidAndHowTheyEnded) {
  ConnectorSide& connector = world.add_connector();
  connector.download = 5000;
  world.bring_up();
  open("nginx.home.lan:80");
  ASSERT_TRUE(run_until([&] { return side.received == 5000; }));
  write(700);
  FlowList list = world.client->flows(world.now, 10);
  ASSERT_EQ(list.flows.size(), 1U);
  const FlowInfo& living = list.flows.front();
  EXPECT_EQ(living.resource_name, "r1");
  EXPECT_EQ(living.destination, "nginx.home.lan:80");
  EXPECT_EQ(living.state, "open");
  EXPECT_EQ(living.connector, "attic");
  EXPECT_EQ(living.path, "relay");
  EXPECT_EQ(living.connect_time, 100us);
  EXPECT_GE(living.open_time, 10ms) << "a handshake, Hello and the flow's own question";
  EXPECT_GE(living.first_byte_time, *living.open_time);
  EXPECT_EQ(living.bytes_up, 700U);
  EXPECT_EQ(living.bytes_down, 5000U);
  EXPECT_FALSE(living.ended_ago);
  tell(tcp::Aborted{id});
  id = tcp::FlowId(kLocalFlowBit | 2);
  open("other.home.lan:80");
  list = world.client->flows(world.now, 10);
  EXPECT_EQ(list.living, 0U);
  ASSERT_EQ(list.flows.size(), 2U);
  EXPECT_EQ(list.flows[0].state, "no_resource");
  EXPECT_EQ(list.flows[0].destination, "other.home.lan:80");
  EXPECT_EQ(list.flows[1].state, "reset");
  EXPECT_TRUE(list.flows[1].ended_ago);
}

TEST_F(LocalFlowsTest, OfASlowReaderSaySo) {
  world.add_connector().download = 64'000'000;
  world.bring_up();
  open("192.168.1.7:80");
  ASSERT_TRUE(run_until([&] { return side.accepted; }));
  world.run_for(10s);
  const FlowList list = world.client->flows(world.now, 10);
  EXPECT_GT(list.flows.front().stalls[static_cast<std::size_t>(StallCause::SlowReader)], 8s);
  EXPECT_EQ(list.flows.front().stalls[static_cast<std::size_t>(StallCause::Path)], 0s);
}

TEST_F(LocalFlowsTest, ThatEndedAreRememberedUpToABound) {
  for (int i = 0; i < 1000; ++i) open("other" + std::to_string(i) + ".home.lan:80");
  world.bring_up();
  for (int i = 0; i < 1000; ++i) open("other" + std::to_string(i) + ".home.lan:80");
  const FlowList list = world.client->flows(world.now, 10);
  ASSERT_EQ(list.flows.size(), FlowsConfig().ended_max);
  EXPECT_EQ(list.flows.front().destination, "other999.home.lan:80");
}

TEST_F(LocalFlowsTest, OfAVirtualAddressLeadToItsName) {
  ConnectorSide& connector = world.add_connector();
  world.bring_up();
  const IpAddress address = world.resolve("nginx.home.lan");
  open(SocketAddress{address, 80}.to_string());
  ASSERT_TRUE(run_until([&] { return side.accepted; }));
  EXPECT_EQ(connector.last_flow()->open.host(), "nginx.home.lan");
}

}  // namespace
}  // namespace postern::client::test
