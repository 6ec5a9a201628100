#include <malloc.h>

#include "relay_core/relay_fixture.hpp"

namespace postern::relay_core {
namespace {

using test::Agent;

struct RelayForward : test::RelayFixture {
  RelayForward() {
    bind(laptop);
    bind(phone);
    bind(nas);
    bind(stranger);
  }
  Agent laptop = client("192.0.2.1:1000");
  Agent phone = client("192.0.2.2:1000");
  Agent nas = connector("198.51.100.1:443");
  Agent stranger = connector("198.51.100.2:443", 2);
};

TEST_F(RelayForward, CarriesBothWaysWithoutTouchingAByte) {
  const Bytes up = short_packet(nas);
  ASSERT_EQ(send(laptop.address, up).size(), 1U);
  EXPECT_EQ(output.trains()[0].to, nas.address);
  EXPECT_EQ(output.trains()[0].bytes.data(), up.data());
  EXPECT_EQ(output.trains()[0].bytes.size(), up.size());
  const Bytes down = long_packet(laptop);
  ASSERT_EQ(send(nas.address, down).size(), 1U);
  EXPECT_EQ(output.trains()[0].to, laptop.address);
  EXPECT_EQ(relay.stats().forwarded_packets, 2U);
  EXPECT_EQ(relay.stats().forwarded_bytes, 2400U);
}

TEST_F(RelayForward, OnlyFromBoundSources) {
  EXPECT_TRUE(send(*SocketAddress::parse("192.0.2.1:1001"), short_packet(nas)).empty());
  EXPECT_TRUE(send(*SocketAddress::parse("203.0.113.1:1000"), long_packet(nas)).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::SourceNotBound), 2U);
}

TEST_F(RelayForward, OnlyInsideANetwork) {
  EXPECT_TRUE(send(laptop.address, short_packet(stranger)).empty());
  EXPECT_TRUE(send(stranger.address, short_packet(laptop)).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::OtherNetwork), 2U);
}

TEST_F(RelayForward, OnlyBetweenClientAndConnector) {
  EXPECT_TRUE(send(laptop.address, short_packet(phone)).empty());
  EXPECT_TRUE(send(laptop.address, short_packet(laptop)).empty());
  Agent second = connector("198.51.100.3:443");
  bind(second);
  EXPECT_TRUE(send(nas.address, short_packet(second)).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::SameRole), 3U);
}

TEST_F(RelayForward, OnlyPacketsOfOurShape) {
  Bytes packet = long_packet(nas);
  packet[4] = 2;
  EXPECT_TRUE(send(laptop.address, packet).empty());
  packet = long_packet(nas);
  packet[5] = 8;
  EXPECT_TRUE(send(laptop.address, packet).empty());
  EXPECT_TRUE(send(laptop.address, ByteView(short_packet(nas)).first(16)).empty());
  packet = short_packet(nas);
  packet[0] = 0x80;
  EXPECT_TRUE(send(laptop.address, packet).empty());
  EXPECT_TRUE(send(laptop.address, {}).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::QuicWrongVersion), 1U);
  EXPECT_EQ(relay.stats().dropped(RelayDrop::QuicWrongIdLength), 1U);
  EXPECT_EQ(relay.stats().dropped(RelayDrop::QuicTooShort), 1U);
  EXPECT_EQ(relay.stats().dropped(RelayDrop::UnknownFirstByte), 1U);
  EXPECT_EQ(relay.stats().forwarded_packets, 0U);
}

TEST_F(RelayForward, ATrainForOneReceiverStaysWhole) {
  const Bytes bytes = train({short_packet(nas), short_packet(nas), short_packet(nas), short_packet(nas, 300)});
  const auto& trains = send(laptop.address, bytes, 1200);
  ASSERT_EQ(trains.size(), 1U);
  EXPECT_EQ(trains[0].bytes.data(), bytes.data());
  EXPECT_EQ(trains[0].bytes.size(), 3900U);
  EXPECT_EQ(trains[0].stride, 1200U);
  EXPECT_EQ(relay.stats().forwarded_packets, 4U);
  EXPECT_EQ(relay.stats().forwarded_trains, 1U);
}

TEST_F(RelayForward, ATrainIsSplitWhereTheReceiverChanges) {
  const Bytes bytes =
      train({short_packet(laptop), short_packet(laptop), short_packet(phone), short_packet(laptop, 40)});
  const auto& trains = send(nas.address, bytes, 1200);
  ASSERT_EQ(trains.size(), 3U);
  EXPECT_EQ(trains[0].to, laptop.address);
  EXPECT_EQ(trains[0].bytes.size(), 2400U);
  EXPECT_EQ(trains[1].to, phone.address);
  EXPECT_EQ(trains[1].bytes.data(), bytes.data() + 2400);
  EXPECT_EQ(trains[2].to, laptop.address);
  EXPECT_EQ(trains[2].bytes.size(), 40U);
  EXPECT_EQ(trains[2].stride, 40U);
}

TEST_F(RelayForward, APacketDroppedInsideATrainLeavesTheOthers) {
  Agent gone = client("192.0.2.77:1");
  const Bytes bytes = train({short_packet(laptop), short_packet(gone), short_packet(laptop)});
  send(nas.address, bytes, 1200);
  std::vector<std::size_t> sizes;
  for (const OutgoingTrain& one : output.trains()) {
    if (one.to == laptop.address) sizes.push_back(one.bytes.size());
  }
  EXPECT_EQ(sizes, (std::vector<std::size_t>{1200, 1200}));
  EXPECT_EQ(relay.stats().dropped(RelayDrop::RouteNotBound), 1U);
}

TEST_F(RelayForward, AStunRequestInsideATrainIsAnsweredAndTheRestForwarded) {
  Bytes request(128);
  wire::StunBuilder builder(request, wire::StunType::BindingRequest, {});
  builder.pad_to(128);
  static_cast<void>(builder.finish());
  const Bytes bytes = train({short_packet(nas, 128), request, short_packet(nas, 128)});
  const auto& trains = send(laptop.address, bytes, 128);
  ASSERT_EQ(trains.size(), 3U);
  EXPECT_EQ(trains[0].to, nas.address);
  EXPECT_EQ(trains[1].to, laptop.address);
  EXPECT_EQ(trains[2].to, nas.address);
}

TEST_F(RelayForward, ABindInsideATrainMovesTheBindingForThePacketsBehindIt) {
  // The table may grow under a bind: what was looked up for the packets before it must not be used after it.
  const Bytes nonce = nonce_for(laptop.address);
  ++laptop.sequence;
  const Bytes request = bind_request(laptop, nonce);
  const Bytes packet = short_packet(nas, request.size());
  const Bytes bytes = train({packet, request, packet});
  EXPECT_EQ(send(laptop.address, bytes, request.size()).size(), 3U);
}

TEST_F(RelayForward, LongHeadersAreLimitedToTwentyASecondForASource) {
  std::size_t forwarded = 0;
  for (int i = 0; i < 50; ++i) forwarded += send(laptop.address, long_packet(nas)).size();
  EXPECT_EQ(forwarded, 20U);
  EXPECT_EQ(relay.stats().dropped(RelayDrop::LongHeaderLimited), 30U);
  EXPECT_EQ(send(phone.address, long_packet(nas)).size(), 1U);
  EXPECT_EQ(send(laptop.address, short_packet(nas)).size(), 1U);
  advance(std::chrono::seconds(10));
  forwarded = 0;
  for (int i = 0; i < 50; ++i) forwarded += send(laptop.address, long_packet(nas)).size();
  EXPECT_EQ(forwarded, 20U);
}

TEST_F(RelayForward, BytesOfAPeerAreLimitedToTheRateOfItsTicket) {
  laptop.ticket.rate_bytes_per_s = 1'000'000;
  seal(laptop);
  bind(laptop);
  const Bytes packet = short_packet(nas);
  std::size_t bytes = 0;
  for (int i = 0; i < 20'000; ++i) {
    for (const OutgoingTrain& one : send(laptop.address, packet)) bytes += one.bytes.size();
    advance(std::chrono::microseconds(500));  // 2.4 MB/s for 10 s
  }
  EXPECT_NEAR(static_cast<double>(bytes), 10e6, 0.3e6);
  EXPECT_GT(relay.stats().dropped(RelayDrop::ByteRateLimited), 1000U);
  EXPECT_EQ(send(nas.address, short_packet(laptop)).size(), 1U);
}

TEST_F(RelayForward, AVerySlowRateStillLetsAWholeTrainThrough) {
  laptop.ticket.rate_bytes_per_s = 1;
  seal(laptop);
  bind(laptop);
  const Bytes packet = short_packet(nas, 60'000);
  EXPECT_EQ(send(laptop.address, packet).size(), 1U);
  EXPECT_EQ(send(laptop.address, packet).size(), 1U);
  EXPECT_EQ(send(laptop.address, packet).size(), 0U);
}

TEST_F(RelayForward, AMissingPeerIsHintedOnceASecondForAPair) {
  Agent gone = connector("198.51.100.9:443");
  ASSERT_EQ(send(laptop.address, short_packet(gone)).size(), 1U);
  EXPECT_EQ(output.trains()[0].to, laptop.address);
  const auto hint = wire::StunView::parse(output.trains()[0].bytes);
  EXPECT_EQ(hint->type(), wire::StunType::BindIndication);
  EXPECT_EQ(hint->route(), gone.ticket.route);
  EXPECT_TRUE(send(laptop.address, short_packet(gone)).empty());
  EXPECT_EQ(send(phone.address, short_packet(gone)).size(), 1U);
  advance(std::chrono::milliseconds(999));
  EXPECT_TRUE(send(laptop.address, short_packet(gone)).empty());
  advance(std::chrono::milliseconds(1));
  EXPECT_EQ(send(laptop.address, short_packet(gone)).size(), 1U);
  EXPECT_EQ(relay.stats().unbound_hints, 3U);
}

TEST_F(RelayForward, NobodyUnboundGetsAHint) {
  Agent gone = connector("198.51.100.9:443");
  EXPECT_TRUE(send(gone.address, short_packet(laptop)).empty());
  EXPECT_EQ(relay.stats().unbound_hints, 0U);
}

TEST_F(RelayForward, SurvivesGarbageFromBoundAndUnboundSources) {
  SeededRandom fuzz(4);
  const SocketAddress outsider = *SocketAddress::parse("203.0.113.1:5");
  const Bytes good_bind = bind_request(laptop, nonce_for(laptop.address));
  for (int round = 0; round < 200'000; ++round) {
    Bytes bytes(fuzz.below(400));
    fuzz.fill(bytes);
    switch (fuzz.below(5)) {
      case 0:
        bytes = short_packet(nas, 17 + fuzz.below(300));
        break;
      case 1:
        bytes = long_packet(nas, 22 + fuzz.below(300));
        break;
      case 2:
        bytes = good_bind;
        break;
      default:
        break;
    }
    for (std::uint64_t edits = fuzz.below(6); edits > 0 && !bytes.empty(); --edits) {
      bytes[fuzz.below(bytes.size())] = static_cast<std::uint8_t>(fuzz.next());
    }
    send(fuzz.below(2) == 0 ? laptop.address : outsider, bytes, fuzz.below(200));
    for (const OutgoingTrain& one : output.trains()) {
      ASSERT_FALSE(one.bytes.empty());
      ASSERT_GT(one.stride, 0U);
    }
    if (round % 1000 == 0) advance(std::chrono::milliseconds(100));
  }
}

TEST(RelayMemory, AHundredThousandIdleBindingsFitInTwentyMegabytes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the allocator of a sanitizer does not answer mallinfo2";
#endif
  const auto in_use = [] {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const std::size_t before = in_use();
  BindingTable table(100'000, 42);
  const Instant now = from_nanoseconds(1);
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    Binding* binding = table.add(mix(i + 1) >> 8);
    ASSERT_NE(binding, nullptr);
    binding->expires = now + std::chrono::seconds(600);
    table.move(*binding, {IpAddress::v4(0x0a000000 + i), static_cast<std::uint16_t>(1 + i % 60'000)});
  }
  const std::size_t bytes = in_use() - before;
  RecordProperty("bytes_per_binding", static_cast<int>(bytes / 100'000));
  std::printf("%zu bytes for each of 100000 bindings\n", bytes / 100'000);
  EXPECT_GT(bytes, 5'000'000U);
  EXPECT_LT(bytes, 20'000'000U);
  EXPECT_EQ(table.add(1), nullptr);
  EXPECT_NE(table.find_live_source({IpAddress::v4(0x0a000000 + 99'999), 1 + 99'999 % 60'000}, now), nullptr);
}

TEST(BindingTable, AgreesWithASimpleModelUnderRandomWork) {
  SeededRandom random(6);
  BindingTable table(64, 7);
  std::map<RouteKey, SocketAddress> model;
  const Instant now = from_nanoseconds(1);
  for (int step = 0; step < 200'000; ++step) {
    const RouteKey route = 1 + random.below(100);
    const SocketAddress source{IpAddress::v4(static_cast<std::uint32_t>(random.below(40))), 1};
    Binding* binding = table.find_route(route);
    ASSERT_EQ(binding != nullptr, model.contains(route));
    if (random.below(3) == 0) {
      if (binding != nullptr) table.remove(*binding);
      model.erase(route);
      continue;
    }
    if (binding == nullptr) binding = table.add(route);
    ASSERT_EQ(binding == nullptr, !model.contains(route) && model.size() == 64);
    if (binding == nullptr) continue;
    binding->expires = now + std::chrono::seconds(1);
    table.move(*binding, source);
    std::erase_if(model, [&](const auto& entry) { return entry.second == source; });
    model[route] = source;
    ASSERT_EQ(table.size(), model.size());
    const Binding* found = table.find_live_source(source, now);
    ASSERT_NE(found, nullptr);
    ASSERT_EQ(found->route, route);
  }
}

TEST(RelayNames, AreAllDifferent) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kRelayDropCount; ++i) names.insert(to_string(static_cast<RelayDrop>(i)));
  EXPECT_EQ(names.size(), kRelayDropCount);
  names.clear();
  for (std::size_t i = 0; i < kBindOutcomeCount; ++i) names.insert(to_string(static_cast<BindOutcome>(i)));
  EXPECT_EQ(names.size(), kBindOutcomeCount);
}

}  // namespace
}  // namespace postern::relay_core
