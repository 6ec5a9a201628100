// UDP and ICMP of applications: a whole client in virtual time, real sessions, scripted connectors.
#include <gmock/gmock.h>

#include "client_core/client_test_util.hpp"
#include "client_core/fragments.hpp"
#include "wire/checksum.hpp"

namespace postern::client {
namespace {

using test::ConnectorSide;
using test::World;
using namespace std::chrono_literals;

const IpAddress kTarget = IpAddress::v4(192, 168, 1, 20);
const SocketAddress kApp{IpAddress::v4(100, 96, 0, 1), 5000};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
  return bytes;
}

struct DatagramFlowsTest : testing::Test {
  DatagramFlowsTest() {
    connector.finishes = false;
    world.bring_up();
    world.control(full_update());
  }
  [[nodiscard]] wire::ControllerMessage full_update() const {
    auto message = world.full_update();
    auto& update = *message.mutable_client_update();
    for (auto& resource : *update.mutable_resources()) {
      resource.mutable_udp()->set_policy(resource.id() == 2 ? wire::PORT_POLICY_ALLOW_ALL
                                                            : wire::PORT_POLICY_RESTRICTED);
      resource.set_allow_icmp(resource.id() == 2);
    }
    wire::PortRange* range = update.mutable_resources(0)->mutable_udp()->add_ports();
    range->set_first(53);
    range->set_last(53);
    return message;
  }
  void send(ByteView payload, const SocketAddress& to = {kTarget, 7000}, const SocketAddress& from = kApp) {
    world.send_udp(from, to, payload);
  }
  void send(std::string_view text, const SocketAddress& to = {kTarget, 7000}) { send(as_bytes(text), to); }
  bool await_udp(std::size_t count, Duration limit = 2s) {
    return world.run_until([&] { return world.udp.size() >= count; }, limit);
  }
  bool await_icmp(std::size_t count, Duration limit = 2s) {
    return world.run_until([&] { return world.icmp.size() >= count; }, limit);
  }
  [[nodiscard]] wire::UdpView answer(std::size_t index) const {
    return *wire::UdpView::parse(wire::IpView::parse(world.udp[index])->payload);
  }
  /// Type and code of an ICMP packet for the application.
  [[nodiscard]] std::pair<int, int> icmp(std::size_t index) const {
    const auto view = wire::IcmpView::parse(wire::IpView::parse(world.icmp[index].packet)->payload);
    return {view->type, view->code};
  }
  void send_packet(ByteView packet) {
    world.client->handle_tun_packet(world.now, std::array<std::uint8_t, 10>{}, tcp::test::in_block(world.pool, packet));
  }
  [[nodiscard]] std::size_t flows() const { return world.client->status(world.now).flows; }
  [[nodiscard]] std::uint64_t refused(const char* why) const {
    const auto drops = world.client->status(world.now).drops;
    const auto found = drops.find("flow_" + std::string(why));
    return found == drops.end() ? 0 : found->second;
  }

  World world;
  ConnectorSide& connector = world.add_connector();
};

TEST_F(DatagramFlowsTest, LivingFlowsAreListedWithWhatTheyDid) {
  send("question");
  Bytes ping(64);
  ping.resize(wire::build_echo(ping, {kApp.ip, kTarget, false, 77, 5}, as_bytes("abcdefgh")));
  send_packet(ping);
  ASSERT_TRUE(await_udp(1));
  ASSERT_TRUE(await_icmp(1));
  const FlowList list = world.client->flows(world.now, 10);
  EXPECT_EQ(list.living, 2U);
  ASSERT_EQ(list.flows.size(), 2U);
  const auto udp = std::ranges::find(list.flows, model::Protocol::Udp, &FlowInfo::protocol);
  ASSERT_NE(udp, list.flows.end());
  EXPECT_EQ(udp->destination, "192.168.1.20:7000/udp");
  EXPECT_EQ(udp->state, "open");
  EXPECT_EQ(udp->path, "relay");
  EXPECT_EQ(udp->bytes_up, 8U);
  EXPECT_EQ(udp->bytes_down, 8U);
  const auto icmp = std::ranges::find(list.flows, model::Protocol::Icmp, &FlowInfo::protocol);
  ASSERT_NE(icmp, list.flows.end());
  EXPECT_EQ(icmp->destination, "192.168.1.20/icmp");
  EXPECT_EQ(world.client->flows(world.now, 1).flows.size(), 1U);
}

TEST_F(DatagramFlowsTest, FlowsThatEndedAreListedWithHowAndTheOldestAreForgotten) {
  send("question");
  ASSERT_TRUE(await_udp(1));
  world.run_for(130s);
  ASSERT_EQ(flows(), 0U);
  FlowList list = world.client->flows(world.now, 10);
  ASSERT_EQ(list.flows.size(), 1U);
  const FlowInfo& flow = list.flows.front();
  EXPECT_EQ(flow.state, "closed");
  EXPECT_EQ(flow.user, "user@example.org");
  EXPECT_EQ(flow.bytes_down, 8U);
  EXPECT_LE(flow.open_time, flow.first_byte_time);
  EXPECT_GT(flow.first_byte_time, Duration::zero());
  EXPECT_GT(flow.ended_ago, Duration::zero());
  EXPECT_EQ(flow.path, "relay");
  EXPECT_EQ(flow.stalls, Stalls{});
  connector.refusal = wire::REFUSAL_CONNECTION_REFUSED;
  for (std::uint16_t i = 0; i < 100; ++i)
    send(as_bytes("x"), {kTarget, 7000}, {kApp.ip, static_cast<std::uint16_t>(6000 + i)});
  world.run_for(1s);
  list = world.client->flows(world.now, 10);
  EXPECT_EQ(list.flows.size(), DatagramFlowsConfig{}.ended_max);
  EXPECT_EQ(list.flows.front().state, "refused_by_target");
}

TEST_F(DatagramFlowsTest, AUdpPacketOpensAFlowAndTheAnswerComesFromWhereItWent) {
  send("question");
  ASSERT_TRUE(await_udp(1));
  const auto* flow = connector.last_flow();
  ASSERT_NE(flow, nullptr);
  EXPECT_EQ(flow->head.open_udp().resource_id(), 2U);
  EXPECT_EQ(flow->head.open_udp().port(), 7000U);
  EXPECT_EQ(flow->head.open_udp().family(), 4U);
  const auto ip = wire::IpView::parse(world.udp[0]);
  EXPECT_EQ(ip->source, kTarget);
  EXPECT_EQ(ip->destination, kApp.ip);
  EXPECT_EQ(answer(0).source_port, 7000);
  EXPECT_EQ(answer(0).destination_port, kApp.port);
  EXPECT_EQ(as_text(answer(0).payload), "question");
  send("again");
  ASSERT_TRUE(await_udp(2));
  EXPECT_EQ(connector.flows.size(), 1U);
}

TEST_F(DatagramFlowsTest, ANameIsAskedForByNameAndByTheFamilyThatWasUsed) {
  const IpAddress six = world.resolve("nginx.home.lan", wire::DnsType::Aaaa);
  world.udp.clear();
  world.send_udp({*IpAddress::parse("fd00:1::1"), 5000}, {six, 53}, as_bytes("dns"));
  ASSERT_TRUE(await_udp(1));
  EXPECT_EQ(connector.last_flow()->head.open_udp().host(), "nginx.home.lan");
  EXPECT_EQ(connector.last_flow()->head.open_udp().family(), 6U);
  EXPECT_EQ(wire::IpView::parse(world.udp[0])->source, six);
}

TEST_F(DatagramFlowsTest, WhatIsNotAllowedIsProhibitedAtOnceAndNothingIsAsked) {
  const IpAddress four = world.resolve("nginx.home.lan");
  send("no", {four, 54});
  ASSERT_TRUE(await_icmp(1, 10ms));
  EXPECT_EQ(icmp(0), (std::pair{3, 13}));
  EXPECT_EQ(refused("port_not_allowed"), 1U);
  EXPECT_EQ(flows(), 0U);
}

TEST_F(DatagramFlowsTest, ARefusalIsTheErrorThatTheLanWouldSend) {
  const std::vector<std::pair<wire::RefusalReason, std::pair<int, int>>> cases{
      {wire::REFUSAL_CONNECTION_REFUSED, {3, 3}},
      {wire::REFUSAL_HOST_UNREACHABLE, {3, 1}},
      {wire::REFUSAL_NETWORK_UNREACHABLE, {3, 0}},
      {wire::REFUSAL_NOT_IN_LEASE, {3, 13}},
      {wire::REFUSAL_PING_NOT_PERMITTED, {3, 13}}};
  for (const auto& [reason, expected] : cases) {
    connector.refusal = reason;
    world.icmp.clear();
    send("hello");
    ASSERT_TRUE(await_icmp(1)) << reason;
    EXPECT_EQ(icmp(0), expected) << reason;
    EXPECT_EQ(flows(), 0U);
  }
}

TEST_F(DatagramFlowsTest, AnErrorOfTheTargetIsToldAboutTheLastPacketAndTheFlowGoesOn) {
  connector.echoes = false;
  send("to a closed port");
  ASSERT_TRUE(world.run_until([&] { return connector.last_flow() != nullptr; }, 2s));
  const auto stream = session::StreamId(connector.flows.rbegin()->first.second);
  connector.tell_failure(stream, wire::REFUSAL_CONNECTION_REFUSED);
  ASSERT_TRUE(await_icmp(1));
  EXPECT_EQ(icmp(0), (std::pair{3, 3}));
  const auto error = wire::IpView::parse(world.icmp[0].packet);
  EXPECT_EQ(error->source, kTarget);
  const auto quoted = error->payload.subspan(8);
  EXPECT_EQ(load_u16(&quoted[20]), kApp.port);
  EXPECT_EQ(load_u16(&quoted[22]), 7000);
  EXPECT_EQ(flows(), 1U);
}

TEST_F(DatagramFlowsTest, APingIsAnsweredOnlyByTheTarget) {
  const auto ping = [&](std::uint16_t sequence, ByteView data) {
    Bytes packet(data.size() + 64);
    packet.resize(wire::build_echo(packet, {kApp.ip, kTarget, false, 77, sequence}, data));
    send_packet(packet);
  };
  ping(5, as_bytes("abcdefgh"));
  ASSERT_TRUE(await_icmp(1));
  const auto ip = wire::IpView::parse(world.icmp[0].packet);
  const auto reply = wire::IcmpView::parse(ip->payload);
  EXPECT_TRUE(wire::is_transport_checksum_right(*ip));
  EXPECT_EQ(ip->source, kTarget);
  EXPECT_EQ(reply->type, 0);
  EXPECT_EQ(reply->identifier, 77);
  EXPECT_EQ(reply->sequence, 5);
  EXPECT_EQ(as_text(reply->payload), "abcdefgh");
  EXPECT_EQ(connector.last_flow()->head.open_icmp().resource_id(), 2U);
  connector.echoes = false;
  ping(6, as_bytes("abcdefgh"));
  EXPECT_FALSE(await_icmp(2));
}

TEST_F(DatagramFlowsTest, APingThatTheResourceDoesNotAllowIsProhibited) {
  const IpAddress four = world.resolve("nginx.home.lan");
  Bytes packet(64);
  packet.resize(wire::build_echo(packet, {kApp.ip, four, false, 77, 1}, {}));
  send_packet(packet);
  ASSERT_TRUE(await_icmp(1, 10ms));
  EXPECT_EQ(icmp(0), (std::pair{3, 13}));
}

/// The pieces that a kernel would make of a packet.
std::vector<Bytes> fragments_of(ByteView packet, std::size_t mtu) {
  std::vector<Bytes> all;
  const ByteView payload = packet.subspan(20);
  const std::size_t step = (mtu - 20) / 8 * 8;
  for (std::size_t at = 0; at < payload.size(); at += step) {
    const ByteView part = payload.subspan(at, std::min(step, payload.size() - at));
    Bytes piece = to_bytes(packet.first(20));
    piece.insert(piece.end(), part.begin(), part.end());
    store_u16(&piece[2], static_cast<std::uint16_t>(piece.size()));
    store_u16(&piece[4], 99);
    const bool is_last = at + step >= payload.size();
    store_u16(&piece[6], static_cast<std::uint16_t>(at / 8 + (is_last ? 0 : 0x2000)));
    store_u16(&piece[10], 0);
    store_u16(&piece[10], wire::ChecksumSum().add(ByteView(piece).first(20)).checksum());
    all.push_back(std::move(piece));
  }
  return all;
}

TEST_F(DatagramFlowsTest, AFragmentedPacketArrivesWholeAndSoDoesTheAnswer) {
  const Bytes payload = pattern(9000);
  Bytes packet(9100);
  packet.resize(wire::build_udp(packet, kApp, {kTarget, 7000}, payload));
  for (const Bytes& piece : fragments_of(packet, 1500)) send_packet(piece);
  ASSERT_TRUE(await_udp(1));
  EXPECT_EQ(to_bytes(answer(0).payload), payload);
  EXPECT_FALSE(wire::IpView::parse(world.udp[0])->dont_fragment);
}

TEST_F(DatagramFlowsTest, APacketThatMustNotBeSplitAndDoesNotFitIsAnsweredWithWhatFits) {
  send("open");
  ASSERT_TRUE(await_udp(1));
  world.run_for(8s);  // the size of the path has been found out
  send(pattern(1440));
  ASSERT_TRUE(await_icmp(1, 10ms));
  EXPECT_EQ(icmp(0), (std::pair{3, 4}));
  const std::uint16_t mtu = load_u16(&wire::IpView::parse(world.icmp[0].packet)->payload[6]);
  EXPECT_GE(mtu, 1280);
  EXPECT_LT(mtu, 1468);
  send(pattern(mtu - 28U));
  ASSERT_TRUE(await_udp(2));
}

TEST_F(DatagramFlowsTest, AnIdleFlowEndsAndTheNextPacketOpensAnother) {
  send("one");
  ASSERT_TRUE(await_udp(1));
  world.run_for(119s);
  EXPECT_EQ(flows(), 1U);
  world.run_for(3s);
  EXPECT_EQ(flows(), 0U);
  EXPECT_TRUE(connector.last_flow()->ended);
  send("two");
  ASSERT_TRUE(await_udp(2));
  EXPECT_EQ(flows(), 1U);
}

TEST_F(DatagramFlowsTest, AtTheBoundTheFlowThatWasSilentLongestGivesWay) {
  for (std::uint16_t i = 0; i < 4200; ++i) {
    send(as_bytes("x"), {kTarget, 7000}, {kApp.ip, static_cast<std::uint16_t>(10'000 + i)});
  }
  EXPECT_EQ(flows(), 3072U);
  world.run_for(1s);
  world.udp.clear();
  send(as_bytes("late"), {kTarget, 7000}, {kApp.ip, 14'199});
  EXPECT_TRUE(await_udp(1));
}

TEST_F(DatagramFlowsTest, TakingTheResourceAwayEndsItsFlows) {
  send("one");
  ASSERT_TRUE(await_udp(1));
  wire::ControllerMessage message;
  message.mutable_client_update()->set_from_version(1);
  message.mutable_client_update()->set_version(2);
  message.mutable_client_update()->add_removed_resources(2);
  world.control(message);
  EXPECT_EQ(flows(), 0U);
  send("two");
  ASSERT_TRUE(await_icmp(1, 10ms));
  EXPECT_EQ(icmp(0), (std::pair{3, 13}));
}

TEST_F(DatagramFlowsTest, ASessionThatIsLostLosesItsFlowsAndTheNextPacketGoesToAnotherInstance) {
  send("one");
  ASSERT_TRUE(await_udp(1));
  connector.endpoint.close(world.now, *connector.session, 5, "it stops");
  ASSERT_TRUE(world.run_until([&] { return flows() == 0; }, 2s));
  send("two");
  EXPECT_TRUE(await_udp(2, 5s));
}

// A connector that is restarted or updated: its next process is another instance.
TEST_F(DatagramFlowsTest, AFlowThatALeavingInstanceRefusesWaitsForItsSuccessor) {
  world.run_for(Client::kSettleTime + 1s);
  connector.refusal = wire::REFUSAL_DRAINING;
  send("one");
  world.run_for(500ms);
  connector.is_dead = true;
  const auto list = [&] {
    auto update = full_update();
    update.mutable_client_update()->mutable_instances()->DeleteSubrange(0, 1);
    world.control(update);
  };
  list();
  send(as_bytes("two"), {kTarget, 7000}, {kApp.ip, 5001});
  world.run_for(1s);
  EXPECT_TRUE(world.udp.empty());
  EXPECT_TRUE(world.icmp.empty()) << "nothing is refused";
  ConnectorSide& successor = world.add_connector();
  successor.finishes = false;
  list();
  EXPECT_TRUE(await_udp(2, 1s));
  EXPECT_EQ(successor.flows.size(), 2U);
}

TEST_F(DatagramFlowsTest, AFlowThatALeavingInstanceRefusesGoesToAnotherOneAtOnce) {
  ConnectorSide& other = world.add_connector();
  other.finishes = false;
  world.control(full_update());
  send("one");
  ASSERT_TRUE(await_udp(1));
  const bool took_first = !connector.flows.empty();
  (took_first ? connector : other).refusal = wire::REFUSAL_DRAINING;
  send(as_bytes("two"), {kTarget, 7000}, {kApp.ip, 5001});
  ASSERT_TRUE(await_udp(2, 1s));
  EXPECT_EQ((took_first ? other : connector).flows.size(), 1U);
  EXPECT_EQ(flows(), 2U);
}

TEST_F(DatagramFlowsTest, AnEmptyPayloadIsCarriedToo) {
  send("");
  ASSERT_TRUE(await_udp(1));
  EXPECT_TRUE(answer(0).payload.empty());
}

// --- fragments alone -----------------------------------------------------------------------------------------------

struct FragmentsTest : testing::Test {
  std::optional<ByteView> add(ByteView piece) { return fragments.add(now, *wire::IpView::parse(piece)); }
  [[nodiscard]] static std::vector<Bytes> pieces(std::size_t size) {
    Bytes packet(size + 100);
    packet.resize(wire::build_udp(packet, kApp, {kTarget, 7000}, pattern(size)));
    return fragments_of(packet, 1500);
  }
  Fragments fragments;
  Instant now{1s};
};

TEST_F(FragmentsTest, InAnyOrderMakeThePacket) {
  const auto all = pieces(4000);
  EXPECT_FALSE(add(all[2]));
  EXPECT_FALSE(add(all[0]));
  const auto whole = add(all[1]);
  ASSERT_TRUE(whole);
  const auto ip = wire::IpView::parse(*whole);
  ASSERT_TRUE(ip && !ip->fragment);
  EXPECT_TRUE(wire::is_transport_checksum_right(*ip));
  EXPECT_EQ(to_bytes(wire::UdpView::parse(ip->payload)->payload), pattern(4000));
  EXPECT_EQ(fragments.bytes(), 0U);
}

TEST_F(FragmentsTest, ThatOverlapDropTheirPacket) {
  const auto all = pieces(4000);
  EXPECT_FALSE(add(all[0]));
  EXPECT_FALSE(add(all[0]));
  EXPECT_EQ(fragments.dropped(), 1U);
  EXPECT_EQ(fragments.bytes(), 0U);
}

TEST_F(FragmentsTest, ThatNeverBecomeWholeAreForgottenAndBounded) {
  auto all = pieces(4000);
  for (std::uint16_t id = 0; id < 1000; ++id) {
    Bytes piece = all[0];
    store_u16(&piece[4], id);
    store_u16(&piece[10], 0);
    store_u16(&piece[10], wire::ChecksumSum().add(ByteView(piece).first(20)).checksum());
    EXPECT_FALSE(add(piece));
    EXPECT_LE(fragments.bytes(), Fragments::kBytesMax);
  }
  EXPECT_EQ(fragments.dropped(), 1000 - Fragments::kPacketsMax);
  now += 2s;
  EXPECT_FALSE(add(all[1]));
  EXPECT_EQ(fragments.dropped(), 1000U);
}

}  // namespace
}  // namespace postern::client
