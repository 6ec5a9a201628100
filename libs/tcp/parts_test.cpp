// The small parts: hash, queue, table, and what an idle flow costs; and the endpoint under garbage.
#include <gtest/gtest.h>
#include <malloc.h>

#include <set>

#include "tcp/flow_table.hpp"
#include "tcp/raw_peer_test_util.hpp"
#include "tcp/send_queue.hpp"
#include "tcp/siphash.hpp"

namespace postern::tcp {
namespace {

using namespace test;

TEST(SipHash, AgreesWithTheReferenceVectors) {
  SipKey key{};
  for (std::uint8_t i = 0; i < 16; ++i) key[i] = i;
  Bytes input;
  const std::array<std::uint64_t, 4> expected = {0x726fdb47dd0e0e31U, 0x74f839c593dc67fdU, 0x0d6c8009d9a94f5aU,
                                                 0x85676696d7fb7e2dU};
  for (const std::uint64_t hash : expected) {
    EXPECT_EQ(siphash(key, input), hash);
    input.push_back(static_cast<std::uint8_t>(input.size()));
  }
  while (input.size() < 15) input.push_back(static_cast<std::uint8_t>(input.size()));
  EXPECT_EQ(siphash(key, input), 0xa129ca6149be45e5U);  // the example of the paper
}

TEST(SendQueue, AgreesWithAStringOverRandomOperations) {
  SeededRandom random(5);
  BlockPool pool(64U << 20);
  SendQueue queue;
  std::string model;
  for (int i = 0; i < 20'000; ++i) {
    if (random.below(2) == 0) {
      std::string text(random.below(300), ' ');
      for (char& letter : text) letter = static_cast<char>(random.next());
      queue.push(pool.copy(as_bytes(text)));
      model += text;
    } else {
      const std::size_t size = random.below(400);
      queue.pop(size);
      model.erase(0, size);
    }
    ASSERT_EQ(queue.size(), model.size());
    const std::size_t offset = random.below(model.size() + 1);
    const std::size_t size = random.below(2000);
    std::array<Slice, 16> slices;
    const auto gathered = queue.gather(offset, size, slices);
    std::string text;
    for (std::size_t k = 0; k < gathered.slices; ++k) text += as_text(slices[k].view());
    ASSERT_EQ(text, model.substr(offset, gathered.bytes));
    ASSERT_EQ(gathered.bytes, queue.gatherable(offset, size, slices.size()));
    if (gathered.slices < slices.size()) {
      ASSERT_EQ(gathered.bytes, std::min(size, model.size() - offset));
    }
  }
}

Segment syn_of(std::uint32_t number) {
  Segment segment;
  segment.tuple = {{IpAddress::v4(0x0a000000U + number / 50'000), static_cast<std::uint16_t>(number % 50'000 + 1)},
                   {IpAddress::v4(10, 9, 9, 9), 443}};
  segment.flags = kSyn;
  return segment;
}

TEST(FlowTable, FindsExactlyWhatIsInItOverRandomOperations) {
  SeededRandom random(6);
  FlowTable table({1, 2, 3}, 100'000);
  std::set<std::uint32_t> model;
  for (int i = 0; i < 100'000; ++i) {
    const auto number = static_cast<std::uint32_t>(random.below(3000));
    const Segment syn = syn_of(number);
    const std::uint64_t hash = table.hash(syn.tuple);
    Flow* flow = table.find(syn.tuple, hash);
    ASSERT_EQ(flow != nullptr, model.contains(number));
    if (flow != nullptr) {
      ASSERT_EQ(table.find_live(flow->id()), flow);
      const FlowId id = flow->id();
      table.erase(*flow);
      ASSERT_EQ(table.find_live(id), nullptr);
      model.erase(number);
    } else {
      table.insert(syn, hash, {}, Instant{});
      model.insert(number);
    }
    ASSERT_EQ(table.size(), model.size());
  }
}

std::size_t heap_in_use() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(Endpoint, AHundredThousandIdleFlowsFitInto512BytesEach) {
  constexpr std::uint32_t kFlows = 100'000;
  BlockPool pool(64U << 20);
  const std::size_t before = heap_in_use();
  Endpoint endpoint(EndpointConfig{});
  const Instant now{1h};
  Packet packet;
  for (std::uint32_t i = 0; i < kFlows; ++i) {
    const FlowTuple tuple = syn_of(i).tuple;
    const auto give = [&](const KernelSegment& segment) {
      const RawPacket raw = make_packet(tuple, segment);
      endpoint.handle_packet(now, raw.vnet, in_block(pool, raw.bytes));
    };
    give({kSyn, 1000, 0, 64240, {}, 1460, 7});
    const auto incoming = endpoint.poll_event();
    endpoint.accept(now, std::get<Incoming>(*incoming).flow);
    ASSERT_TRUE(endpoint.poll_packet(now, packet));
    const std::uint32_t initial = load_u32(&packet.headers[24]);
    // A request and its answer, so that everything that a flow ever allocates was allocated.
    give({kAck, 1001, initial + 1, 1000, to_bytes(as_bytes("request"))});
    const FlowId flow = std::get<Data>(*endpoint.poll_event()).flow;
    endpoint.send(now, flow, pool.copy(as_bytes("answer")));
    endpoint.grant(flow, 7);
    ASSERT_TRUE(endpoint.poll_packet(now, packet));
    give({kAck, 1008, initial + 7, 1000});
    ASSERT_TRUE(endpoint.poll_event().has_value());
  }
  packet = Packet();
  EXPECT_EQ(endpoint.flows(), kFlows);
  endpoint.handle_timeout(now + 10s);
  EXPECT_EQ(endpoint.next_timeout(), std::nullopt);
  const std::size_t used = heap_in_use() - before;
  EXPECT_LT(used / kFlows, 512U);
  RecordProperty("bytes_per_idle_flow", static_cast<int>(used / kFlows));
  EXPECT_LE(pool.bytes_in_use(), 2 * BlockPool::kLargeSize);
}

/// A packet that is nearly right, so that the deeper checks are reached.
KernelSegment nearly_right(SeededRandom& random, const RawPeer& peer) {
  KernelSegment segment;
  segment.flags = random.below(3) == 0 ? static_cast<std::uint8_t>(random.next()) : kAck;
  const auto near = [&](std::uint32_t number) {
    return static_cast<std::uint32_t>(number + random.below(3000) - random.below(3000));
  };
  segment.sequence = random.below(2) == 0 ? peer.seq : near(peer.seq);
  segment.acknowledgment = random.below(2) == 0 ? peer.ack : near(peer.ack);
  if (random.below(20) == 0) segment.sequence = static_cast<std::uint32_t>(random.next());
  if (random.below(20) == 0) segment.acknowledgment = static_cast<std::uint32_t>(random.next());
  segment.window = static_cast<std::uint16_t>(random.below(3) == 0 ? 0 : random.next());
  segment.payload.resize(random.below(2) == 0 ? 0 : random.below(3000));
  if (random.below(4) == 0) segment.mss = static_cast<std::uint16_t>(random.next());
  if (random.below(4) == 0) segment.scale = static_cast<std::uint8_t>(random.next());
  return segment;
}

void give_orders(SeededRandom& random, RawPeer& peer) {
  switch (random.below(9)) {
    case 0:
      return peer.send(std::string(random.below(100'000), 'x'));
    case 1:
      return peer.endpoint.finish(peer.now, peer.flow);
    case 2:
      return peer.endpoint.grant(peer.flow, random.below(5000));
    case 3:
      if (random.below(10) == 0) peer.endpoint.abort(peer.now, peer.flow);
      return;
    case 4:
      return peer.endpoint.accept(peer.now, peer.flow);
    case 5:
      if (random.below(10) == 0) peer.endpoint.refuse(peer.now, peer.flow, static_cast<Refusal>(random.below(5)));
      return;
    default:
      return peer.pass(Duration{static_cast<std::int64_t>(random.below(1ULL << random.below(36)))});
  }
}

TEST(Endpoint, TakesNearlyRightSegmentsInEveryState) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SeededRandom random(seed);
    EndpointConfig config;
    config.receive_window = 50'000;
    config.flows_max = 2;
    RawPeer peer(config, seed % 2 == 0 ? tuple_v4() : tuple_v6());
    for (int i = 0; i < 3000; ++i) {
      peer.give(nearly_right(random, peer), random.below(50) == 0 ? Checksum::Wrong : Checksum::Partial);
      give_orders(random, peer);
      static_cast<void>(peer.events());
      for (const Seen& seen : peer.take_all()) {
        if (seen.protocol != 6 || (seen.flags & kRst) != 0) continue;
        // Follow the endpoint, so that the next segments are close to what it expects.
        peer.seq = seen.acknowledgment;
        peer.ack = seen.sequence + static_cast<std::uint32_t>(seen.payload.size()) + ((seen.flags & kSyn) ? 1 : 0);
      }
      ASSERT_LE(peer.endpoint.flows(), 2U);
    }
    if (peer.endpoint.flows() > 0) peer.endpoint.abort(peer.now, peer.flow);
  }
}

TEST(Endpoint, TakesAnyBytes) {
  SeededRandom random(12);
  RawPeer peer;
  peer.open();
  const RawPacket good = make_packet(peer.tuple, {kAck, peer.seq, peer.ack, 1000, to_bytes(as_bytes("hello"))});
  for (int round = 0; round < 100'000; ++round) {
    RawPacket packet = good;
    for (std::uint64_t flips = random.below(4); flips > 0; --flips) {
      packet.bytes[random.below(packet.bytes.size())] = static_cast<std::uint8_t>(random.next());
    }
    if (random.below(3) == 0) packet.bytes.resize(random.below(packet.bytes.size() + 1));
    if (random.below(3) == 0) random.fill(packet.bytes);
    if (random.below(10) == 0) random.fill(packet.vnet);
    const std::size_t vnet = random.below(20) == 0 ? random.below(10) : 10;
    peer.endpoint.handle_packet(peer.now, ByteView(packet.vnet).first(vnet), in_block(peer.pool, packet.bytes));
    while (peer.endpoint.poll_event()) {
    }
    for (const Seen& seen : peer.take_all()) EXPECT_LE(seen.packet.size(), 200U);
  }
}

TEST(Endpoint, RepliesToNoFlowAreBounded) {
  RawPeer peer;
  for (int i = 0; i < 5000; ++i) peer.give({kAck, 500, 900, 1000});
  EXPECT_EQ(peer.take_all().size(), 4096U);
  EXPECT_EQ(peer.drops(DropReason::ReplyLimit), 904U);
}

TEST(Endpoint, GroupsAndOtherProtocolsAreCountedDrops) {
  RawPeer peer;
  peer.tuple.remote.ip = IpAddress::v4(224, 0, 0, 1);
  peer.give_syn();
  EXPECT_EQ(peer.drops(DropReason::BadAddress), 1U);
  peer.tuple = tuple_v4();
  peer.give({kSyn | kFin, 1, 0, 1000});
  peer.give({kSyn | kRst, 1, 0, 1000});
  peer.give({0, 1, 0, 1000});
  EXPECT_EQ(peer.drops(DropReason::BadFlags), 3U);
  RawPacket packet = make_packet(peer.tuple, {kSyn, 1, 0, 1000});
  packet.bytes[9] = 17;
  store_u16(&packet.bytes[10], 0);
  store_u16(&packet.bytes[10], wire::ChecksumSum().add(ByteView(packet.bytes).first(20)).checksum());
  peer.endpoint.handle_packet(peer.now, packet.vnet, in_block(peer.pool, packet.bytes));
  EXPECT_EQ(peer.drops(DropReason::NotTcp), 1U);
  EXPECT_FALSE(peer.take().has_value());
}

}  // namespace
}  // namespace postern::tcp
