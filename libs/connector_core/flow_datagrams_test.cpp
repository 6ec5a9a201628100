#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "connector_core/core_test_util.hpp"

namespace postern::connector {
namespace {

using std::chrono::seconds;
using testing::Bench;
using ::testing::ElementsAre;

/// A bench whose resource 5, 10.5.0.0/16, allows UDP 53 and 7000 and ICMP; 6, dns.home, all UDP and no ICMP.
struct DatagramFlows : ::testing::Test {
  explicit DatagramFlows(FlowLimits limits = {}) : bench(limits) {
    auto update = bench.delta();
    wire::Resource subnet = Bench::resource(5, "10.5.0.0/16");
    subnet.mutable_udp()->set_policy(wire::PORT_POLICY_RESTRICTED);
    for (const std::uint32_t port : {53U, 7000U}) {
      wire::PortRange* range = subnet.mutable_udp()->add_ports();
      range->set_first(port);
      range->set_last(port);
    }
    subnet.set_allow_icmp(true);
    wire::Resource name = Bench::resource(6, "dns.home");
    name.mutable_udp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
    name.set_allow_icmp(false);
    *update.add_resources() = subnet;
    *update.add_resources() = name;
    bench.apply(update);
    auto lease = bench.lease();
    for (const std::uint64_t id : {5U, 6U}) lease.resources.push_back({id, lease.expires_at});
    session = bench.establish();
    bench.hello(session, lease);
  }

  session::StreamId open(const wire::FlowHead& head) {
    const session::StreamId stream(bench.next_stream += 4);
    bench.event(session::StreamOpened{session, stream});
    bench.send(session, stream, wire::frame_message(as_bytes(head.SerializeAsString())));
    return stream;
  }
  /// An address is asked for as part of resource 5, a name as part of 6.
  template <typename Head>
  static void fill(Head& head, const std::string& target) {
    const auto address = IpAddress::parse(target);
    head.set_resource_id(address ? 5 : 6);
    if (address) {
      head.set_ip(std::string(as_text(address->bytes())));
    } else {
      head.set_host(target);
    }
  }
  session::StreamId open_udp(const std::string& target, std::uint32_t port, std::uint32_t family = 0) {
    wire::FlowHead head;
    fill(*head.mutable_open_udp(), target);
    head.mutable_open_udp()->set_port(port);
    head.mutable_open_udp()->set_family(family);
    return open(head);
  }
  session::StreamId open_icmp(const std::string& target) {
    wire::FlowHead head;
    fill(*head.mutable_open_icmp(), target);
    return open(head);
  }
  /// A UDP flow to 10.5.0.1:PORT that is open.
  FlowId connected(session::StreamId* stream, std::uint32_t port = 7000) {
    *stream = open_udp("10.5.0.1", port);
    const auto request = bench.take<OpenDatagrams>();
    EXPECT_TRUE(request);
    flows().handle_connected(bench.now, request->flow, request->addresses.front(), {});
    return request->flow;
  }
  void arrive(session::StreamId stream, std::string_view bytes, std::size_t stride) {
    bench.port.arrived[session].push_back({stream, bench.pool.copy(as_bytes(bytes)), stride});
    bench.event(session::DatagramsReadable{session});
  }
  void arrive(session::StreamId stream, std::string_view payload) { arrive(stream, payload, payload.size()); }
  std::vector<std::string> sent_to_target() {
    std::vector<std::string> all;
    while (const auto request = flows().poll_request()) {
      if (const auto* send = std::get_if<SendDatagrams>(&*request)) all.emplace_back(as_text(send->bytes.view()));
    }
    return all;
  }
  [[nodiscard]] Flows& flows() { return bench.core.flows(); }

  Bench bench;
  session::SessionId session;
};

TEST_F(DatagramFlows, AUdpFlowIsOpenedAndCarriesDatagramsBothWays) {
  const auto stream = open_udp("10.5.0.1", 7000);
  const auto request = bench.take<OpenDatagrams>();
  ASSERT_TRUE(request);
  EXPECT_EQ(model::Protocol::Udp, request->protocol);
  EXPECT_THAT(request->addresses, ElementsAre(*SocketAddress::parse("10.5.0.1:7000")));
  EXPECT_FALSE(bench.reply(session, stream));
  flows().handle_connected(bench.now, request->flow, request->addresses[0], {});
  ASSERT_TRUE(bench.reply(session, stream) && bench.reply(session, stream)->has_opened());
  arrive(stream, "aabbc", 2);
  const auto send = bench.take<SendDatagrams>();
  ASSERT_TRUE(send);
  EXPECT_EQ("aabbc", as_text(send->bytes.view()));
  EXPECT_EQ(2U, send->stride);
  flows().handle_target_datagrams(bench.now, request->flow, bench.pool.copy(as_bytes("answer")), 3);
  const std::vector<std::string> answers = bench.port.streams.at({session, stream}).datagrams;
  EXPECT_THAT(answers, ElementsAre("ans", "wer"));
  bench.finish(session, stream);
  EXPECT_TRUE(bench.take<CloseTarget>());
  EXPECT_TRUE((bench.port.streams.at({session, stream}).finished));
  const auto reports = bench.reports();
  ASSERT_EQ(2U, reports.size());
  EXPECT_EQ("10.5.0.1:7000/udp", reports[1].target.to_string());
  EXPECT_EQ(5U, reports[1].bytes_to_target);
  EXPECT_EQ(6U, reports[1].bytes_from_target);
  EXPECT_EQ(0U, flows().size());
}

TEST_F(DatagramFlows, WhatComesBeforeTheSocketWaitsAndTheOldestGiveWay) {
  const auto stream = open_udp("10.5.0.1", 7000);
  const auto request = bench.take<OpenDatagrams>();
  ASSERT_TRUE(request);
  for (int i = 0; i < 100; ++i) arrive(stream, "packet " + std::to_string(i));
  EXPECT_TRUE(bench.is_quiet());
  EXPECT_EQ(36U, flows().counters().datagrams_dropped);
  flows().handle_connected(bench.now, request->flow, request->addresses[0], {});
  const auto sent = sent_to_target();
  ASSERT_EQ(64U, sent.size());
  EXPECT_EQ("packet 36", sent.front());
  EXPECT_EQ("packet 99", sent.back());
}

TEST_F(DatagramFlows, AnEmptyDatagramThatWaitedIsPassedOnAsOne) {
  const auto stream = open_udp("10.5.0.1", 7000);
  const auto request = bench.take<OpenDatagrams>();
  ASSERT_TRUE(request);
  arrive(stream, "", 1);
  flows().handle_connected(bench.now, request->flow, request->addresses[0], {});
  const auto send = bench.take<SendDatagrams>();
  ASSERT_TRUE(send);
  EXPECT_TRUE(send->bytes.empty());
  EXPECT_EQ(1U, send->stride);
}

TEST_F(DatagramFlows, PortsAndIcmpAreCheckedAgainstTheTable) {
  EXPECT_EQ(wire::REFUSAL_PORT_NOT_ALLOWED, bench.refusal(session, open_udp("10.5.0.1", 54)));
  EXPECT_EQ(wire::REFUSAL_PORT_NOT_ALLOWED, bench.refusal(session, open_icmp("dns.home")));
  EXPECT_EQ(wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE, bench.refusal(session, open_udp("10.6.0.1", 53)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, bench.refusal(session, open_udp("10.5.0.1", 0)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, bench.refusal(session, open_udp("10.5.0.1", 53, 5)));
  open_udp("dns.home", 53);
  const auto question = bench.take<ResolveName>();
  ASSERT_TRUE(question);
  flows().handle_resolved(bench.now, question->flow, std::vector{IpAddress::v4(127, 0, 0, 53)});
  EXPECT_EQ(wire::REFUSAL_FORBIDDEN_ADDRESS, bench.reports().back().refusal);
}

TEST_F(DatagramFlows, TheFamilyThatTheApplicationUsedComesFirst) {
  open_udp("dns.home", 53, 4);
  const auto question = bench.take<ResolveName>();
  ASSERT_TRUE(question);
  flows().handle_resolved(bench.now, question->flow,
                          std::vector{*IpAddress::parse("fd00::5"), *IpAddress::parse("10.0.0.5")});
  const auto request = bench.take<OpenDatagrams>();
  ASSERT_TRUE(request);
  EXPECT_THAT(request->addresses,
              ElementsAre(*SocketAddress::parse("10.0.0.5:53"), *SocketAddress::parse("[fd00::5]:53")));
}

TEST_F(DatagramFlows, AnEchoFlowHasNoPort) {
  const auto stream = open_icmp("10.5.0.9");
  const auto request = bench.take<OpenDatagrams>();
  ASSERT_TRUE(request);
  EXPECT_EQ(model::Protocol::Icmp, request->protocol);
  EXPECT_THAT(request->addresses, ElementsAre(SocketAddress{IpAddress::v4(10, 5, 0, 9), 0}));
  flows().handle_connect_failed(bench.now, request->flow, wire::REFUSAL_PING_NOT_PERMITTED, "sysctl");
  EXPECT_EQ(wire::REFUSAL_PING_NOT_PERMITTED, bench.refusal(session, stream));
  EXPECT_EQ("10.5.0.9/icmp", bench.reports().back().target.to_string());
}

TEST_F(DatagramFlows, AnErrorOfTheTargetIsToldAndTheFlowGoesOn) {
  session::StreamId stream;
  const FlowId flow = connected(&stream);
  flows().handle_target_failure(bench.now, flow, wire::REFUSAL_CONNECTION_REFUSED);
  const std::string one = bench.payload(session, stream);
  wire::LengthPrefixedReader reader(wire::kFlowMessageMax);
  ASSERT_TRUE(reader.feed(as_bytes(one)) && reader.has_message());
  wire::FlowReply message;
  ASSERT_TRUE(message.ParseFromArray(reader.message().data(), static_cast<int>(reader.message().size())));
  EXPECT_EQ(wire::REFUSAL_CONNECTION_REFUSED, message.failed().reason());
  for (int i = 0; i < 100; ++i) flows().handle_target_failure(bench.now, flow, wire::REFUSAL_CONNECTION_REFUSED);
  EXPECT_EQ(10 * one.size(), bench.payload(session, stream).size()) << "no more than ten a second";
  EXPECT_EQ(1U, flows().size());
}

TEST_F(DatagramFlows, AnIdleFlowEndsAndADnsFlowEndsSooner) {
  session::StreamId stream;
  connected(&stream);
  session::StreamId dns;
  connected(&dns, 53);
  bench.advance(seconds(44));
  EXPECT_EQ(2U, flows().size());
  arrive(stream, "still here");
  bench.advance(seconds(2));
  EXPECT_EQ(1U, flows().size());
  EXPECT_TRUE((bench.port.streams.at({session, dns}).finished));
  bench.advance(seconds(131));
  EXPECT_EQ(1U, flows().size());
  bench.advance(seconds(4));
  EXPECT_EQ(0U, flows().size());
}

TEST_F(DatagramFlows, ARevokedFlowIsResetAndItsSocketClosed) {
  session::StreamId stream;
  connected(&stream);
  auto update = bench.delta();
  update.add_removed_resources(5);
  bench.apply(update);
  EXPECT_TRUE((bench.port.streams.at({session, stream}).reset == static_cast<std::uint64_t>(ResetCode::Revoked)));
  EXPECT_TRUE(bench.take<AbortTarget>());
  arrive(stream, "late");
  EXPECT_TRUE(bench.is_quiet());
  EXPECT_EQ(1U, flows().counters().datagrams_dropped);
}

TEST_F(DatagramFlows, DatagramsOfNoFlowOrOfATcpFlowAreDropped) {
  arrive(session::StreamId(400), "nobody's");
  session::StreamId tcp;
  bench.connect(session, &tcp);
  arrive(tcp, "not for a stream");
  EXPECT_EQ(2U, flows().counters().datagrams_dropped);
  EXPECT_TRUE(bench.is_quiet());
}

struct FewDatagramFlows : DatagramFlows {
  static FlowLimits limits() {
    FlowLimits limits;
    limits.datagram_flows_per_session_max = 2;
    return limits;
  }
  FewDatagramFlows() : DatagramFlows(limits()) {}
};

TEST_F(FewDatagramFlows, AtTheBoundOfASessionNewOnesAreRefusedAndAnEndMakesRoom) {
  session::StreamId first;
  connected(&first);
  session::StreamId second;
  connected(&second);
  const auto third = open_udp("10.5.0.1", 7000);
  EXPECT_EQ(wire::REFUSAL_RESOURCES, bench.refusal(session, third));
  bench.event(session::StreamClosed{session, third});
  bench.finish(session, first);
  while (flows().poll_request()) continue;
  session::StreamId fourth;
  connected(&fourth);
  EXPECT_EQ(2U, flows().size());
}

}  // namespace
}  // namespace postern::connector
