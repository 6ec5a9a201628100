// Windows, repeats, probes and segmentation of an open flow, with segments written by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tcp/raw_peer_test_util.hpp"

namespace postern::tcp {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t kScale = 6;  // ours, for a window of 2 MiB

std::string letters(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 26);
  return text;
}

// --- towards the application -----------------------------------------------------------------------------------------

TEST(Sending, UsesTrainsOfWholeSegmentsUpTo64KiB) {
  RawPeer peer;
  peer.open(4000, 7, 1000);
  for (int i = 0; i < 4; ++i) peer.send(letters(50'000));
  const auto all = peer.take_all();
  ASSERT_EQ(all.size(), 4U);
  std::string text;
  for (const Seen& seen : all) {
    EXPECT_EQ(seen.gso_size, 1000);
    EXPECT_LE(seen.packet.size(), 65535U);
    EXPECT_EQ(seen.flags & kPsh, &seen == &all.back() ? kPsh : 0);
    text += seen.text();
  }
  EXPECT_EQ(all[0].payload.size(), 65'000U);
  EXPECT_EQ(text, letters(50'000) + letters(50'000) + letters(50'000) + letters(50'000));
}

TEST(Sending, FillsTheWholeLengthOfIPv6) {
  RawPeer peer({}, tuple_v6());
  peer.open(4000, 7, 1440);
  peer.send(letters(70'000));
  const auto seen = peer.take();
  EXPECT_EQ(seen->payload.size(), 65'515U / 1440 * 1440);
  EXPECT_EQ(seen->gso_size, 1440);
}

TEST(Sending, PutsManySlicesIntoOneSegmentAndTheRestIntoTheNext) {
  RawPeer peer;
  peer.open();
  for (std::size_t i = 0; i < Packet::kPayloadSlicesMax + 4; ++i) peer.send("ab");
  const auto first = peer.endpoint.poll_packet(peer.now);
  EXPECT_EQ(first->payload_slices, Packet::kPayloadSlicesMax);
  EXPECT_EQ(inspect(*first).payload.size(), 2 * Packet::kPayloadSlicesMax);
  EXPECT_EQ(peer.next().payload.size(), 8U);
}

TEST(Sending, NeverExceedsTheOfferedSegmentSize) {
  RawPeer peer;
  peer.open(1000, 7, 9000);  // more than the device's MTU allows
  peer.send(letters(5000));
  EXPECT_EQ(peer.next().gso_size, 1460);
}

TEST(Sending, ASynWithoutOptionsGetsSmallSegmentsAndNoScale) {
  RawPeer peer;
  peer.give({kSyn, RawPeer::kInitial, 0, 5000});
  peer.endpoint.accept(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  EXPECT_FALSE(syn_ack->options.window_scale.has_value());
  peer.give({kAck, RawPeer::kInitial + 1, syn_ack->sequence + 1, 5000});
  peer.send(letters(6000));
  const auto seen = peer.take();
  EXPECT_EQ(seen->gso_size, 536);
  EXPECT_EQ(seen->payload.size(), 5000U);
  EXPECT_EQ(seen->window, 65535);
}

TEST(Sending, StaysInsideTheScaledWindow) {
  RawPeer peer;
  peer.open(20, 7);
  peer.send(letters(10000));
  EXPECT_EQ(peer.next().payload.size(), 2560U);
  EXPECT_FALSE(peer.take().has_value());
  peer.ack += 2560;
  peer.give_ack(30);
  EXPECT_EQ(peer.next().payload.size(), 3840U);
  EXPECT_FALSE(peer.take().has_value());
}

TEST(Sending, ReadsTheSynsWindowUnscaled) {
  RawPeer peer;
  peer.give({kSyn, RawPeer::kInitial, 0, 100, {}, 1460, 7});
  peer.endpoint.accept(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  peer.give({kAck, RawPeer::kInitial + 1, syn_ack->sequence + 1, 1});
  peer.send(letters(1000));
  EXPECT_EQ(peer.next().payload.size(), 128U);
}

TEST(Sending, DoesNotSendSillySegments) {
  RawPeer peer;
  peer.open(1000, 7);
  peer.send(letters(200'000));
  static_cast<void>(peer.take_all());
  peer.ack += 128'000;
  peer.give_ack(1);  // 128 bytes of window: less than a segment
  EXPECT_FALSE(peer.take().has_value());
  peer.pass(2s);
  EXPECT_EQ(peer.next().payload.size(), 128U);  // by the timer, RFC 9293 §3.8.6.2.1
}

TEST(Sending, ProbesAClosedWindowForEverAndGoesOnWhenItOpens) {
  RawPeer peer;
  peer.open(0);
  peer.send(letters(3000));
  EXPECT_FALSE(peer.take().has_value());
  int probes = 0;
  for (int i = 0; i < 3600; ++i) {
    peer.pass(1s);
    for (const Seen& seen : peer.take_all()) {
      EXPECT_EQ(seen.text(), "a");
      ++probes;
      peer.give_ack(0);
    }
  }
  EXPECT_GT(probes, 50);
  EXPECT_LT(probes, 80);
  EXPECT_EQ(peer.endpoint.flows(), 1U);
  peer.give_ack(100);
  const auto seen = peer.take();
  EXPECT_EQ(seen->sequence, peer.ack);
  EXPECT_EQ(seen->text(), letters(3000));
}

TEST(Sending, AProbesByteMayBeTaken) {
  RawPeer peer;
  peer.open(0);
  peer.send("abc");
  peer.pass(1s);
  EXPECT_EQ(peer.next().text(), "a");
  peer.ack += 1;
  peer.give_ack(100);
  EXPECT_THAT(peer.events(), ElementsAre("acked:1"));
  EXPECT_EQ(peer.next().text(), "bc");
}

TEST(Sending, AnOldSegmentDoesNotChangeTheWindow) {
  RawPeer peer;
  peer.open(1000);
  peer.give_data("old", 0);
  peer.give_data("new", 2000);
  static_cast<void>(peer.take());
  peer.give({kAck, peer.seq - 6, peer.ack, 0, to_bytes(as_bytes("oldnewer"))});
  EXPECT_THAT(peer.events(), ElementsAre("data:old", "data:new", "data:er"));
  peer.send(letters(1000));
  EXPECT_EQ(peer.next().payload.size(), 1000U);
}

TEST(Sending, GoesBackToTheFirstByteAfterATimeoutAndBacksOff) {
  RawPeer peer;
  peer.open(1000, 7, 1000);
  peer.send(letters(1000));
  peer.send(letters(500));
  EXPECT_EQ(peer.next().payload.size(), 1500U);
  peer.pass(900ms);
  EXPECT_FALSE(peer.take().has_value());  // RFC 6298: one second before the first measurement
  peer.pass(200ms);
  EXPECT_EQ(peer.next().sequence, peer.ack);
  peer.pass(1900ms);
  EXPECT_FALSE(peer.take().has_value());
  peer.pass(200ms);
  const auto again = peer.take();
  EXPECT_EQ(again->sequence, peer.ack);
  EXPECT_EQ(again->text(), letters(1000) + letters(500));
  EXPECT_EQ(peer.endpoint.stats(peer.flow)->retransmissions, 2U);
}

TEST(Sending, TheTimeoutFollowsTheMeasuredRoundTripDownToItsFloor) {
  RawPeer peer;
  peer.open();
  for (int i = 0; i < 10; ++i) {
    peer.send("x");
    static_cast<void>(peer.take());
    peer.pass(50us);
    peer.ack += 1;
    peer.give_ack();
  }
  peer.send("y");
  static_cast<void>(peer.take());
  peer.pass(199ms);
  EXPECT_FALSE(peer.take().has_value());
  peer.pass(2ms);
  EXPECT_EQ(peer.next().text(), "y");
}

TEST(Sending, RepeatsTheFirstSegmentAfterThreeDuplicateAcks) {
  RawPeer peer;
  peer.open(2000, 7, 1000);
  for (int i = 0; i < 3; ++i) peer.send(letters(65'000));
  ASSERT_EQ(peer.take_all().size(), 3U);
  peer.give_ack(2000);
  peer.give_ack(2000);
  EXPECT_FALSE(peer.take().has_value());
  peer.give_ack(2000);
  const auto repeat = peer.take();
  EXPECT_EQ(repeat->sequence, peer.ack);
  EXPECT_EQ(repeat->payload.size(), 65'000U);
  EXPECT_FALSE(peer.take().has_value());
  peer.give_ack(2000);
  EXPECT_FALSE(peer.take().has_value());
  peer.ack += 65'000;  // partial: the second is missing too (RFC 6582)
  peer.give_ack(2000);
  EXPECT_EQ(peer.next().sequence, peer.ack);
  peer.ack += 130'000;
  peer.give_ack(2000);
  EXPECT_FALSE(peer.take().has_value());
  EXPECT_EQ(peer.pool.bytes_in_use(), 0U);
}

TEST(Sending, HoldsNoBlockOnceAllIsAcknowledged) {
  RawPeer peer;
  peer.open();
  for (int i = 0; i < 50; ++i) peer.send(letters(1000));
  EXPECT_GT(peer.pool.bytes_in_use(), 0U);
  const std::size_t sendable = peer.endpoint.sendable(peer.flow);
  EXPECT_EQ(sendable, EndpointConfig{}.send_buffer_max - 50'000);
  static_cast<void>(peer.take_all());
  peer.ack += 50'000;
  peer.give_ack();
  EXPECT_EQ(peer.pool.bytes_in_use(), 0U);
  EXPECT_EQ(peer.endpoint.sendable(peer.flow), EndpointConfig{}.send_buffer_max);
}

TEST(Sending, FlowsTakeTurns) {
  RawPeer peer;
  peer.open(4000, 7, 1000);
  const FlowId first = peer.flow;
  peer.tuple = tuple_v4(40001);
  peer.open(4000, 7, 1000);
  const Slice block = in_block(peer.pool, as_bytes(letters(65'000)));
  for (const FlowId flow : {first, peer.flow}) {
    for (int i = 0; i < 4; ++i) peer.endpoint.send(peer.now, flow, block);
  }
  std::vector<std::uint16_t> ports;
  for (const Seen& seen : peer.take_all()) ports.push_back(load_u16(&seen.packet[22]));
  EXPECT_THAT(ports, ElementsAre(40000, 40001, 40000, 40001, 40000, 40001, 40000, 40001));
}

TEST(Sending, MeasuresNoRoundTripOnWhatWasRepeated) {  // Karn, RFC 6298 §3
  RawPeer peer;
  peer.open();
  peer.send("x");
  EXPECT_EQ(peer.next().text(), "x");
  peer.pass(1100ms);
  EXPECT_EQ(peer.next().text(), "x");
  peer.pass(1900ms);
  peer.ack += 1;
  peer.give_ack();
  peer.send("y");
  EXPECT_EQ(peer.next().text(), "y");
  peer.pass(1100ms);
  EXPECT_EQ(peer.next().text(), "y");
}

TEST(Sending, AFlowThatMakesProgressIsNeverGivenUp) {
  RawPeer peer;
  peer.open();
  for (int i = 0; i < 30; ++i) {
    peer.send("x");
    EXPECT_EQ(peer.next().text(), "x");
    peer.pass(2s);
    EXPECT_EQ(peer.next().text(), "x");
    peer.ack += 1;
    peer.give_ack();
  }
  EXPECT_EQ(peer.endpoint.flows(), 1U);
}

// --- from the application --------------------------------------------------------------------------------------------

TEST(Receiving, AcknowledgesABatchOnce) {
  RawPeer peer;
  peer.open();
  for (int i = 0; i < 64; ++i) peer.give_data("0123456789");
  const auto all = peer.take_all();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].acknowledgment, peer.seq);
}

TEST(Receiving, TakesASegmentOf64KiBAsOne) {
  RawPeer peer;
  peer.open();
  peer.give_data(letters(65'000));
  EXPECT_THAT(peer.events(), ElementsAre("data:" + letters(65'000)));
}

TEST(Receiving, TheWindowClosesWithWhatIsNotGrantedAndOpensWithGrants) {
  EndpointConfig config;
  config.receive_window = 100'000;
  RawPeer peer(config);
  peer.open();
  peer.give_data(letters(60'000));
  EXPECT_EQ(peer.next().window << 1, 40'000);
  peer.give_data(letters(40'000));
  EXPECT_EQ(peer.next().window, 0);
  peer.give_data("more");
  EXPECT_THAT(peer.events(), testing::SizeIs(2));
  EXPECT_EQ(peer.drops(DropReason::BufferLimit), 1U);
  EXPECT_EQ(peer.next().window, 0);
  peer.endpoint.grant(peer.flow, 100);
  EXPECT_FALSE(peer.take().has_value());  // too little to tell
  peer.endpoint.grant(peer.flow, 50'000);
  EXPECT_EQ(peer.next().window << 1, 50'100);
  peer.endpoint.grant(peer.flow, 1'000'000);  // clamped
  EXPECT_EQ(peer.next().window << 1, 100'000);
}

TEST(Receiving, AnswersTheProbesOfAClosedWindow) {
  EndpointConfig config;
  config.receive_window = 1000;
  RawPeer peer(config);
  peer.open();
  peer.give_data(letters(1000));
  EXPECT_EQ(peer.next().window, 0);
  static_cast<void>(peer.events());
  for (int i = 0; i < 100; ++i) {
    peer.pass(1s);
    peer.give({kAck, peer.seq - 1, peer.ack, 1000});  // as Linux does
    EXPECT_EQ(peer.next().window, 0);
    peer.give({kAck, peer.seq, peer.ack, 1000, to_bytes(as_bytes("x"))});  // as RFC 9293 says
    EXPECT_EQ(peer.next().acknowledgment, peer.seq);
  }
  EXPECT_THAT(peer.events(), IsEmpty());
}

TEST(Receiving, TheRightEdgeNeverMovesBackWhateverTheSizesAre) {
  SeededRandom random(3);
  RawPeer peer;
  peer.open();
  std::size_t held = 0;
  std::uint32_t edge = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t size = 1 + random.below(random.below(4) == 0 ? 60'000 : 100);
    if (held + size <= (2U << 20)) {
      peer.give_data(letters(size));
      held += size;
    }
    if (random.below(3) == 0) {
      const std::size_t grant = random.below(held + 1);
      peer.endpoint.grant(peer.flow, grant);
      held -= grant;
    }
    static_cast<void>(peer.events());
    peer.last_data = Slice();
    for (const Seen& seen : peer.take_all()) {
      const std::uint32_t next = seen.acknowledgment + (std::uint32_t{seen.window} << kScale);
      if (edge != 0) {
        ASSERT_GE(static_cast<std::int32_t>(next - edge), 0) << i;
        ASSERT_LE(next - peer.seq, (2U << 20) - held + 4096 + (1 << kScale));
      }
      edge = next;
    }
  }
}

TEST(Receiving, TellsOfAnOpenWindowOnlyWhenItMatters) {
  RawPeer peer;
  peer.open();
  std::size_t updates = 0;
  for (int i = 0; i < 1000; ++i) {
    peer.give_data(letters(10'000));
    ASSERT_EQ(peer.take_all().size(), 1U);
    peer.endpoint.grant(peer.flow, 10'000);
    updates += peer.take_all().size();
    static_cast<void>(peer.events());
  }
  EXPECT_LE(updates, 1U);  // the first, since the SYN-ACK could offer 64 KiB only
}

TEST(Receiving, DropsWhatComesAfterAGapAndAnswersEachWithADuplicateAck) {
  RawPeer peer;
  peer.open();
  for (int i = 0; i < 5; ++i) peer.give({kAck, peer.seq + 10, peer.ack, 1000, to_bytes(as_bytes("later"))});
  EXPECT_THAT(peer.events(), IsEmpty());
  EXPECT_EQ(peer.drops(DropReason::OutOfOrder), 5U);
  const auto all = peer.take_all();
  EXPECT_EQ(all.size(), 3U);  // enough for a fast retransmission
  for (const Seen& seen : all) EXPECT_EQ(seen.acknowledgment, peer.seq);
  peer.give_data("now");
  EXPECT_THAT(peer.events(), ElementsAre("data:now"));
}

TEST(Receiving, CutsOffWhatWasDeliveredBefore) {
  RawPeer peer;
  peer.open();
  peer.give_data("hello");
  peer.give({kAck, peer.seq - 5, peer.ack, 1000, to_bytes(as_bytes("hello world"))});
  peer.give({kAck, peer.seq - 5, peer.ack, 1000, to_bytes(as_bytes("hello"))});
  EXPECT_THAT(peer.events(), ElementsAre("data:hello", "data: world"));
}

TEST(Receiving, AFinBehindAGapOrOutsideTheWindowWaits) {
  EndpointConfig config;
  config.receive_window = 10;
  RawPeer peer(config);
  peer.open();
  peer.give({kAck | kFin, peer.seq + 3, peer.ack, 1000, to_bytes(as_bytes("x"))});
  peer.give({kAck | kFin, peer.seq, peer.ack, 1000, to_bytes(as_bytes("0123456789A"))});
  EXPECT_THAT(peer.events(), ElementsAre("data:0123456789"));
}

TEST(Receiving, ABareFinIsTakenThroughAClosedWindow) {
  EndpointConfig config;
  config.receive_window = 5;
  RawPeer peer(config);
  peer.open();
  peer.give_data("12345");
  peer.give_fin();
  EXPECT_THAT(peer.events(), ElementsAre("data:12345", "finished"));
}

TEST(Receiving, NothingCountsAfterTheFin) {
  RawPeer peer;
  peer.open();
  peer.give_fin();
  peer.give_data("ghost");
  EXPECT_THAT(peer.events(), ElementsAre("finished"));
}

}  // namespace
}  // namespace postern::tcp
