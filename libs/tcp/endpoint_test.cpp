// Opening, refusing, closing, resetting: every state, with segments written by hand.
#include "tcp/endpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tcp/flow.hpp"
#include "tcp/raw_peer_test_util.hpp"

namespace postern::tcp {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;

class BothFamilies : public testing::TestWithParam<FlowTuple> {
 protected:
  RawPeer peer{{}, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Endpoint, BothFamilies, testing::Values(tuple_v4(), tuple_v6()));

TEST_P(BothFamilies, HoldsTheSynUntilTheOwnerAccepts) {
  peer.give_syn();
  EXPECT_THAT(peer.events(), ElementsAre("incoming"));
  EXPECT_FALSE(peer.take().has_value());
  peer.endpoint.accept(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  ASSERT_TRUE(syn_ack.has_value());
  EXPECT_EQ(syn_ack->flags, kSyn | kAck);
  EXPECT_EQ(syn_ack->acknowledgment, RawPeer::kInitial + 1);
  EXPECT_EQ(syn_ack->source, peer.tuple.remote.ip);
  EXPECT_EQ(syn_ack->destination, peer.tuple.local.ip);
  EXPECT_EQ(syn_ack->options.mss, peer.tuple.local.ip.is_v4() ? 1460 : 1440);
  EXPECT_EQ(syn_ack->options.window_scale, 6);
  EXPECT_FALSE(syn_ack->options.sack_permitted);
  EXPECT_FALSE(syn_ack->options.timestamps);
}

TEST_P(BothFamilies, ARepeatedSynWhileHeldChangesNothing) {
  peer.give_syn();
  for (int i = 0; i < 5; ++i) {
    peer.pass(1s);
    peer.give_syn();
  }
  EXPECT_THAT(peer.events(), ElementsAre("incoming"));
  EXPECT_EQ(peer.endpoint.flows(), 1U);
  EXPECT_FALSE(peer.take().has_value());
}

TEST_P(BothFamilies, DeliversDataAsASliceOfTheBlockItWasReadInto) {
  peer.open();
  const RawPacket packet = make_packet(peer.tuple, {kAck, peer.seq, peer.ack, 1000, to_bytes(as_bytes("hello"))});
  const Slice slice = in_block(peer.pool, packet.bytes);
  peer.endpoint.handle_packet(peer.now, packet.vnet, slice);
  const auto event = peer.endpoint.poll_event();
  const Data& data = std::get<Data>(*event);
  EXPECT_EQ(data.bytes.data(), slice.data() + slice.size() - 5);
  EXPECT_EQ(as_text(data.bytes.view()), "hello");
  EXPECT_EQ(peer.next().acknowledgment, peer.seq + 5);
}

TEST_P(BothFamilies, SendsDataAndReportsItsAcknowledgment) {
  peer.open();
  peer.send("hello");
  const auto seen = peer.take();
  EXPECT_EQ(seen->text(), "hello");
  EXPECT_EQ(seen->flags, kAck | kPsh);
  EXPECT_EQ(seen->sequence, peer.ack);
  peer.ack += 5;
  peer.give_ack();
  EXPECT_THAT(peer.events(), ElementsAre("acked:5"));
  EXPECT_EQ(peer.pool.bytes_in_use(), 0U);
  EXPECT_EQ(peer.endpoint.next_timeout().has_value(), true);
  peer.pass(2s);
  EXPECT_FALSE(peer.take().has_value());
  EXPECT_EQ(peer.endpoint.next_timeout(), std::nullopt);
}

TEST_P(BothFamilies, ResetRefusalIsWhatAClosedPortAnswers) {
  peer.give_syn();
  peer.endpoint.refuse(peer.now, peer.flow, Refusal::Reset);
  const auto seen = peer.take();
  EXPECT_EQ(seen->flags, kRst | kAck);
  EXPECT_EQ(seen->sequence, 0U);
  EXPECT_EQ(seen->acknowledgment, RawPeer::kInitial + 1);
  EXPECT_EQ(peer.endpoint.flows(), 0U);
}

TEST_P(BothFamilies, UnreachableRefusalsQuoteTheSyn) {
  const bool v4 = peer.tuple.local.ip.is_v4();
  const std::vector<std::tuple<Refusal, int, int>> expected = {
      {Refusal::HostUnreachable, v4 ? 3 : 1, v4 ? 1 : 3},
      {Refusal::NetworkUnreachable, v4 ? 3 : 1, 0},
      {Refusal::AdminProhibited, v4 ? 3 : 1, v4 ? 13 : 1},
  };
  for (const auto& [refusal, type, code] : expected) {
    const RawPacket syn = make_packet(peer.tuple, {kSyn, 1000, 0, 64240, {}, 1460, 7, true, true});
    peer.give_syn();
    peer.endpoint.refuse(peer.now, peer.flow, refusal);
    const auto seen = peer.take();
    ASSERT_TRUE(seen.has_value());
    EXPECT_EQ(seen->protocol, v4 ? 1 : 58);
    EXPECT_EQ(seen->source, peer.tuple.remote.ip);
    const ByteView icmp = ByteView(seen->packet).subspan(v4 ? 20 : 40);
    EXPECT_EQ(icmp[0], type);
    EXPECT_EQ(icmp[1], code);
    EXPECT_EQ(to_bytes(icmp.subspan(8)), syn.bytes);
    EXPECT_EQ(peer.endpoint.flows(), 0U);
  }
}

TEST_P(BothFamilies, AcceptsPartialAndValidatedSumsUnverifiedAndVerifiesTheRest) {
  peer.open();
  KernelSegment segment{kAck, peer.seq, peer.ack, 1000, to_bytes(as_bytes("abc"))};
  peer.give(segment, Checksum::Wrong);
  EXPECT_THAT(peer.events(), IsEmpty());
  EXPECT_EQ(peer.drops(DropReason::BadChecksum), 1U);
  for (const Checksum checksum : {Checksum::Complete, Checksum::DataValid, Checksum::Partial}) {
    peer.give(segment, checksum);
    EXPECT_THAT(peer.events(), ElementsAre("data:abc"));
    segment.sequence += 3;
  }
}

TEST(Endpoint, SilentRefusalSaysNothing) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.refuse(peer.now, peer.flow, Refusal::Silence);
  EXPECT_FALSE(peer.take().has_value());
  EXPECT_EQ(peer.endpoint.flows(), 0U);
}

TEST(Endpoint, AWithdrawnSynIsAborted) {
  RawPeer peer;
  peer.give_syn();
  peer.give({kRst, RawPeer::kInitial + 5, 0, 0});
  EXPECT_THAT(peer.events(), ElementsAre("incoming"));
  peer.give({kRst, RawPeer::kInitial + 1, 0, 0});
  EXPECT_THAT(peer.events(), ElementsAre("aborted"));
  EXPECT_EQ(peer.endpoint.flows(), 0U);
}

TEST(Endpoint, ASynWithAnotherNumberWithdrawsTheHeldOne) {
  RawPeer peer;
  peer.give_syn(1000);
  const FlowId first = peer.flow;
  peer.give_syn(5000);
  EXPECT_THAT(peer.events(), ElementsAre("incoming", "aborted", "incoming"));
  EXPECT_NE(peer.flow, first);
  peer.endpoint.accept(peer.now, first);
  EXPECT_FALSE(peer.take().has_value());
  peer.endpoint.accept(peer.now, peer.flow);
  EXPECT_EQ(peer.next().acknowledgment, 5001U);
}

TEST(Endpoint, ASynThatNobodyRepeatsIsForgotten) {
  RawPeer peer;
  peer.give_syn();
  peer.pass(Flow::kSynHold - 1s);
  EXPECT_THAT(peer.events(), ElementsAre("incoming"));
  peer.pass(1s);
  EXPECT_THAT(peer.events(), ElementsAre("aborted"));
}

TEST(Endpoint, RepeatsTheSynAckAndGivesUpWithReset) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.accept(peer.now, peer.flow);
  int syn_acks = 0;
  bool has_reset = false;
  for (int i = 0; i < 100 && !has_reset; ++i) {
    for (const Seen& seen : peer.take_all()) {
      syn_acks += seen.flags == (kSyn | kAck) ? 1 : 0;
      has_reset = (seen.flags & kRst) != 0;
    }
    peer.pass(1s);
  }
  EXPECT_EQ(syn_acks, 6);
  EXPECT_TRUE(has_reset);
  EXPECT_THAT(peer.events(), ElementsAre("incoming", "aborted"));
}

TEST(Endpoint, ARepeatedSynGetsTheSameSynAckAgain) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.accept(peer.now, peer.flow);
  const auto first = peer.take();
  peer.give_syn();
  const auto second = peer.take();
  EXPECT_EQ(first->packet, second->packet);
}

TEST(Endpoint, AWrongAcknowledgmentOfTheSynAckIsReset) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.accept(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  peer.give({kAck, RawPeer::kInitial + 1, syn_ack->sequence + 2, 1000});
  const auto seen = peer.take();
  EXPECT_EQ(seen->flags, kRst);
  EXPECT_EQ(seen->sequence, syn_ack->sequence + 2);
  EXPECT_EQ(peer.endpoint.flows(), 1U);
}

TEST(Endpoint, DataAndFinMayComeWithTheLastAckOfTheHandshake) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.accept(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  peer.give({kAck | kFin, RawPeer::kInitial + 1, syn_ack->sequence + 1, 1000, to_bytes(as_bytes("all"))});
  EXPECT_THAT(peer.events(), ElementsAre("incoming", "data:all", "finished"));
  EXPECT_EQ(peer.next().acknowledgment, RawPeer::kInitial + 5);
}

TEST(Endpoint, WhatWasSentBeforeTheHandshakeEndedFollowsIt) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.accept(peer.now, peer.flow);
  peer.send("early");
  peer.endpoint.finish(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  EXPECT_EQ(syn_ack->text(), "");
  EXPECT_FALSE(peer.take().has_value());
  peer.give({kAck, RawPeer::kInitial + 1, syn_ack->sequence + 1, 1000});
  const auto seen = peer.take();
  EXPECT_EQ(seen->text(), "early");
  EXPECT_NE(seen->flags & kFin, 0);
}

TEST(Endpoint, ASegmentForNoFlowIsAnsweredWithReset) {
  RawPeer peer;
  peer.give({kAck, 500, 900, 1000, to_bytes(as_bytes("x"))});
  auto seen = peer.take();
  EXPECT_EQ(seen->flags, kRst);
  EXPECT_EQ(seen->sequence, 900U);
  peer.give({kSyn | kAck, 500, 900, 1000});
  EXPECT_EQ(peer.next().flags, kRst);
  peer.give({kRst, 500, 0, 0});
  EXPECT_FALSE(peer.take().has_value());
  EXPECT_EQ(peer.drops(DropReason::NoFlow), 3U);
}

// --- closing ---------------------------------------------------------------------------------------------------------

TEST(Endpoint, ApplicationClosesFirstAndStillReceives) {
  RawPeer peer;
  peer.open();
  peer.give_data("question");
  peer.give_fin();
  EXPECT_THAT(peer.events(), ElementsAre("data:question", "finished"));
  EXPECT_EQ(peer.next().acknowledgment, peer.seq);
  peer.send("answer");
  peer.endpoint.finish(peer.now, peer.flow);
  const auto seen = peer.take();
  EXPECT_EQ(seen->text(), "answer");
  EXPECT_EQ(seen->flags, kAck | kPsh | kFin);
  peer.ack += 7;
  peer.give_ack();
  EXPECT_THAT(peer.events(), ElementsAre("acked:6", "closed"));
  EXPECT_EQ(peer.endpoint.flows(), 0U);
  peer.give_ack();
  EXPECT_EQ(peer.next().flags, kRst);
}

TEST(Endpoint, WeFinishFirstAndStillReceive) {
  RawPeer peer;
  peer.open();
  peer.endpoint.finish(peer.now, peer.flow);
  EXPECT_EQ(peer.next().flags, kAck | kFin);
  EXPECT_EQ(peer.endpoint.sendable(peer.flow), 0U);
  peer.ack += 1;
  peer.give_ack();
  peer.give_data("late");
  EXPECT_THAT(peer.events(), ElementsAre("data:late"));
  peer.give_fin();
  EXPECT_THAT(peer.events(), ElementsAre("finished", "closed"));
  EXPECT_EQ(peer.next().acknowledgment, peer.seq);
  EXPECT_EQ(peer.endpoint.flows(), 0U);
}

TEST(Endpoint, BothSidesMayCloseAtOnce) {
  RawPeer peer;
  peer.open();
  peer.endpoint.finish(peer.now, peer.flow);
  EXPECT_EQ(peer.next().flags, kAck | kFin);
  peer.give_fin();  // does not acknowledge ours
  EXPECT_THAT(peer.events(), ElementsAre("finished"));
  EXPECT_EQ(peer.next().acknowledgment, peer.seq);
  peer.ack += 1;
  peer.give_ack();
  EXPECT_THAT(peer.events(), ElementsAre("closed"));
}

TEST(Endpoint, AFinThatAcknowledgesOursGoesStraightToTimeWait) {
  RawPeer peer;
  peer.open();
  peer.endpoint.finish(peer.now, peer.flow);
  EXPECT_EQ(peer.next().flags, kAck | kFin);
  peer.ack += 1;
  peer.give_fin();
  EXPECT_THAT(peer.events(), ElementsAre("finished", "closed"));
  EXPECT_EQ(peer.next().flags, kAck);
}

TEST(Endpoint, ALostFinIsRepeated) {
  RawPeer peer;
  peer.open();
  peer.send("x");
  peer.endpoint.finish(peer.now, peer.flow);
  EXPECT_EQ(peer.next().flags, kAck | kPsh | kFin);
  peer.pass(1s);
  const auto again = peer.take();
  EXPECT_EQ(again->flags, kAck | kPsh | kFin);
  EXPECT_EQ(again->text(), "x");
  peer.ack += 1;  // the data only
  peer.give_ack();
  peer.pass(2s);
  EXPECT_EQ(peer.next().flags, kAck | kFin);
}

TEST(Endpoint, ARepeatedFinIsAcknowledgedAgainInEveryState) {
  RawPeer peer;
  peer.open();
  peer.give_fin();
  static_cast<void>(peer.take());
  peer.seq -= 1;
  peer.give_fin();
  EXPECT_EQ(peer.next().acknowledgment, peer.seq);  // CLOSE-WAIT
  peer.endpoint.finish(peer.now, peer.flow);
  static_cast<void>(peer.take());
  peer.seq -= 1;
  peer.give_fin();
  EXPECT_EQ(peer.next().acknowledgment, peer.seq);  // LAST-ACK
  EXPECT_THAT(peer.events(), ElementsAre("finished"));
}

class InTimeWait : public testing::Test {
 protected:
  void SetUp() override {
    peer.open();
    peer.endpoint.finish(peer.now, peer.flow);
    EXPECT_EQ(peer.next().flags, kAck | kFin);
    peer.ack += 1;
    peer.give_fin();
    EXPECT_EQ(peer.next().flags, kAck);
    EXPECT_THAT(peer.events(), ElementsAre("finished", "closed"));
  }
  RawPeer peer;
};

TEST_F(InTimeWait, ARepeatedFinIsAcknowledged) {
  peer.seq -= 1;
  peer.give_fin();
  EXPECT_EQ(peer.next().acknowledgment, peer.seq);
}

TEST_F(InTimeWait, ResetDoesNotEndItEarly) {  // RFC 1337
  peer.give({kRst, peer.seq, 0, 0});
  peer.give_ack();
  EXPECT_EQ(peer.next().flags, kAck);
}

TEST_F(InTimeWait, IsShort) {
  peer.pass(Flow::kTimeWait);
  peer.give_ack();
  EXPECT_EQ(peer.next().flags, kRst);
}

TEST_F(InTimeWait, ANewerSynReusesTheTupleWithAHigherNumberOfOurs) {
  peer.give_syn(peer.seq + 10);
  EXPECT_THAT(peer.events(), ElementsAre("incoming"));
  peer.endpoint.accept(peer.now, peer.flow);
  const auto syn_ack = peer.take();
  EXPECT_EQ(syn_ack->flags, kSyn | kAck);
  EXPECT_GT(static_cast<std::int32_t>(syn_ack->sequence - peer.ack), 0);
}

TEST_F(InTimeWait, AnOlderSynIsOnlyAcknowledged) {
  peer.give_syn(peer.seq - 10);
  EXPECT_EQ(peer.next().flags, kAck);
  EXPECT_THAT(peer.events(), IsEmpty());
}

TEST(Endpoint, AFullTableResetsNewConnectionsAndOldOnesGoOn) {
  EndpointConfig config;
  config.flows_max = 1;
  RawPeer peer(config);
  peer.open();
  peer.tuple = tuple_v4(40001);
  peer.give_syn();
  EXPECT_THAT(peer.events(), IsEmpty());
  EXPECT_EQ(peer.next().flags, kRst | kAck);
  EXPECT_EQ(peer.drops(DropReason::FlowLimit), 1U);
  peer.tuple = tuple_v4();
  peer.give_data("still");
  EXPECT_THAT(peer.events(), ElementsAre("data:still"));
  peer.send("here");
  EXPECT_EQ(peer.next().text(), "here");
}

TEST(Endpoint, TimeWaitGivesWayWhenTheTableIsFull) {
  EndpointConfig config;
  config.flows_max = 1;
  RawPeer peer(config);
  peer.open();
  peer.endpoint.finish(peer.now, peer.flow);
  EXPECT_EQ(peer.next().flags, kAck | kFin);
  peer.ack += 1;
  peer.give_fin();
  peer.tuple = tuple_v4(40001);
  peer.give_syn();
  EXPECT_THAT(peer.events(), ElementsAre("finished", "closed", "incoming"));
  peer.tuple = tuple_v4(40002);
  peer.give_syn();
  EXPECT_THAT(peer.events(), IsEmpty());
  EXPECT_EQ(peer.drops(DropReason::FlowLimit), 1U);
  EXPECT_EQ(peer.take_all().back().flags, kRst | kAck);
}

// --- resets ----------------------------------------------------------------------------------------------------------

TEST(Endpoint, OnlyAResetWithTheExactNumberResets) {  // RFC 5961 §3.2
  RawPeer peer;
  peer.open();
  peer.give({kRst, peer.seq + 1, 0, 0});
  EXPECT_THAT(peer.events(), IsEmpty());
  const auto challenge = peer.take();
  EXPECT_EQ(challenge->flags, kAck);
  EXPECT_EQ(challenge->acknowledgment, peer.seq);
  peer.give({kRst, peer.seq + (8U << 20), 0, 0});
  EXPECT_FALSE(peer.take().has_value());
  peer.give({kRst, peer.seq, 0, 0});
  EXPECT_THAT(peer.events(), ElementsAre("aborted"));
  EXPECT_EQ(peer.endpoint.flows(), 0U);
}

TEST(Endpoint, ASynInAConnectionIsChallenged) {  // RFC 5961 §4.2
  RawPeer peer;
  peer.open();
  peer.give_syn(peer.seq + 100);
  EXPECT_EQ(peer.next().flags, kAck);
  peer.give_syn(peer.seq - 50000);
  EXPECT_EQ(peer.next().flags, kAck);
  EXPECT_EQ(peer.endpoint.flows(), 1U);
}

TEST(Endpoint, AcknowledgmentsOfTheFutureAndTheFarPastAreChallenged) {  // RFC 5961 §5.2
  RawPeer peer;
  peer.open();
  peer.give({kAck, peer.seq, peer.ack + 1, 1000, to_bytes(as_bytes("evil"))});
  EXPECT_EQ(peer.next().flags, kAck);
  peer.give({kAck, peer.seq, peer.ack - (1U << 28), 1000, to_bytes(as_bytes("evil"))});
  EXPECT_EQ(peer.next().flags, kAck);
  EXPECT_THAT(peer.events(), IsEmpty());
}

TEST(Endpoint, ChallengesAreBoundedPerSecond) {
  RawPeer peer;
  peer.open();
  int answers = 0;
  for (int i = 0; i < 100; ++i) {
    peer.give({kRst, peer.seq + 1, 0, 0});
    answers += static_cast<int>(peer.take_all().size());
  }
  EXPECT_EQ(answers, 16);
  peer.pass(1s);
  peer.give({kRst, peer.seq + 1, 0, 0});
  EXPECT_EQ(peer.take_all().size(), 1U);
}

TEST(Endpoint, AbortSendsAResetThatTheKernelTakes) {
  RawPeer peer;
  peer.open();
  peer.send("unread");
  static_cast<void>(peer.take());
  peer.endpoint.abort(peer.now, peer.flow);
  const auto seen = peer.take();
  EXPECT_EQ(seen->flags, kRst | kAck);
  EXPECT_EQ(seen->sequence, peer.ack + 6);
  EXPECT_EQ(peer.endpoint.flows(), 0U);
  EXPECT_EQ(peer.pool.bytes_in_use(), 0U);
}

TEST(Endpoint, AnAbortBeforeTheHandshakeIsDoneBreaksTheConnectionAndDoesNotRefuseIt) {
  RawPeer peer;
  peer.give_syn();
  peer.endpoint.accept(peer.now, peer.flow);
  peer.endpoint.abort(peer.now, peer.flow);
  const Seen syn_ack = peer.next();
  EXPECT_EQ(syn_ack.flags, kSyn | kAck);
  EXPECT_FALSE(peer.take().has_value());
  peer.endpoint.finish(peer.now, peer.flow);  // ended for its owner
  peer.give({kAck, RawPeer::kInitial + 1, syn_ack.sequence + 1, 65'535});
  const Seen reset = peer.next();
  EXPECT_NE(reset.flags & kRst, 0);
  EXPECT_EQ(reset.sequence, syn_ack.sequence + 1);
  EXPECT_EQ(peer.endpoint.flows(), 0U);
  EXPECT_THAT(peer.events(), ElementsAre("incoming"));
}

TEST(Endpoint, OrdersForAnIdThatHasEndedAreIgnored) {
  RawPeer peer;
  peer.open();
  peer.endpoint.abort(peer.now, peer.flow);
  static_cast<void>(peer.take());
  peer.endpoint.accept(peer.now, peer.flow);
  peer.endpoint.refuse(peer.now, peer.flow, Refusal::Reset);
  peer.send("x");
  peer.endpoint.finish(peer.now, peer.flow);
  peer.endpoint.abort(peer.now, peer.flow);
  peer.endpoint.grant(peer.flow, 1);
  EXPECT_EQ(peer.endpoint.sendable(peer.flow), 0U);
  EXPECT_FALSE(peer.endpoint.stats(peer.flow).has_value());
  EXPECT_FALSE(peer.take().has_value());
}

TEST(Endpoint, APeerThatNoLongerAnswersIsAborted) {
  RawPeer peer;
  peer.open();
  peer.send("hello?");
  Duration waited{};
  std::vector<Seen> sent;
  while (peer.endpoint.flows() == 1 && waited < 1h) {
    peer.pass(1s);
    waited += 1s;
    for (Seen& seen : peer.take_all()) sent.push_back(std::move(seen));
  }
  EXPECT_GT(waited, 100s);  // RFC 9293 §3.8.3: R2
  EXPECT_LT(waited, 600s);
  EXPECT_THAT(peer.events(), ElementsAre("aborted"));
  EXPECT_NE(sent.back().flags & kRst, 0);
  EXPECT_LT(sent.size(), 16U);
}

TEST(Endpoint, KeepAliveProbesAreAnswered) {
  RawPeer peer;
  peer.open();
  peer.give({kAck, peer.seq - 1, peer.ack, 1000});
  const auto seen = peer.take();
  EXPECT_EQ(seen->flags, kAck);
  EXPECT_EQ(seen->acknowledgment, peer.seq);
}

TEST(Endpoint, UrgentDataIsDeliveredInLine) {
  RawPeer peer;
  peer.open();
  peer.give({kAck | kUrg, peer.seq, peer.ack, 1000, to_bytes(as_bytes("abc")), {}, {}, false, false, 2});
  EXPECT_THAT(peer.events(), ElementsAre("data:abc"));
}

TEST(Endpoint, InitialNumbersMoveWithTheClockAndDifferByTuple) {  // RFC 6528
  EndpointConfig config;
  config.isn_key = {9};
  const auto initial = [&](FlowTuple tuple, Duration later) {
    RawPeer peer(config, tuple);
    peer.now += later;
    peer.give_syn();
    peer.endpoint.accept(peer.now, peer.flow);
    return peer.next().sequence;
  };
  EXPECT_EQ(initial(tuple_v4(), 4ms) - initial(tuple_v4(), 0ms), 1000U);
  EXPECT_NE(initial(tuple_v4(), 0ms), initial(tuple_v4(40001), 0ms));
  const std::uint32_t with_one_key = initial(tuple_v4(), 0ms);
  config.isn_key = {8};
  EXPECT_NE(initial(tuple_v4(), 0ms), with_one_key);
}

TEST(FlowStates, ClosedIsReachableFromEverywhereAndNothingFromClosed) {
  constexpr auto kCount = static_cast<int>(FlowState::kCount);
  for (int from = 0; from < kCount; ++from) {
    const auto state = static_cast<FlowState>(from);
    EXPECT_EQ(is_legal_move(state, FlowState::Closed), state != FlowState::Closed);
    EXPECT_FALSE(is_legal_move(FlowState::Closed, state));
    EXPECT_FALSE(is_legal_move(state, FlowState::Held));
  }
}

}  // namespace
}  // namespace postern::tcp
