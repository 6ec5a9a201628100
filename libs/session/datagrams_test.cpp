// Datagrams: whole and in pieces, over loss, beside streams, and what happens when they come faster than they leave.
#include <gtest/gtest.h>

#include "session/datagram_receiver.hpp"
#include "session/datagram_sender.hpp"
#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Host;
using test::Pair;
using test::PairOptions;

/// Collects payloads of `host` by flow.
struct Inbox {
  std::map<StreamId, std::vector<Bytes>> payloads;
  std::size_t trains = 0;

  explicit Inbox(Host& host) {
    host.on_event = [this, &host](const Event& event) {
      const auto* readable = std::get_if<DatagramsReadable>(&event);
      if (readable == nullptr) return;
      while (const auto train = host.endpoint.read_datagrams(readable->session)) take(*train);
    };
  }
  void take(const DatagramTrain& train) {
    ++trains;
    const ByteView bytes = train.bytes.view();
    if (bytes.empty()) payloads[train.flow].emplace_back();
    for (std::size_t at = 0; at < bytes.size(); at += train.stride) {
      payloads[train.flow].push_back(to_bytes(bytes.subspan(at, std::min(train.stride, bytes.size() - at))));
    }
  }
  [[nodiscard]] std::size_t count(StreamId flow) { return payloads[flow].size(); }
};

Bytes numbered(std::size_t size, std::uint8_t number) {
  Bytes bytes(size, number);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(number + i / 7);
  return bytes;
}

struct Datagrams : testing::Test {
  explicit Datagrams(const PairOptions& options = {}) : pair(options) {
    pair.establish();
    control = *pair.client.endpoint.open_stream(pair.session);
    flow = *pair.client.endpoint.open_stream(pair.session);
  }
  void send(StreamId to, ByteView payload) {
    ASSERT_TRUE(
        pair.client.endpoint.send_datagrams(pair.now, pair.session, to, pair.client.pool.copy(payload), payload.size())
            .has_value());
  }
  /// One Slice of `count` datagrams, as a read of the TUN gives it.
  void send_train(StreamId to, std::size_t size, std::size_t count) {
    Buffer block = pair.client.pool.acquire(BlockClass::Large);
    ASSERT_LE(size * count, block.bytes().size());
    std::ranges::fill(block.bytes(), 0x5a);
    ASSERT_TRUE(pair.client.endpoint.send_datagrams(pair.now, pair.session, to, block.slice(0, size * count), size)
                    .has_value());
  }
  [[nodiscard]] const DatagramCounters& sent() const { return pair.client.endpoint.datagram_counters(); }

  Pair pair;
  Inbox inbox{pair.connector};
  StreamId control;
  StreamId flow;
};

TEST_F(Datagrams, ArriveWholeInBothDirections) {
  Inbox answers(pair.client);
  send(flow, as_bytes("question"));
  ASSERT_TRUE(pair.run_until([&] { return inbox.count(flow) == 1; }, 1s));
  EXPECT_EQ(as_text(inbox.payloads[flow][0]), "question");
  const Slice answer = pair.connector.slice("answer");
  ASSERT_TRUE(pair.connector.endpoint.send_datagrams(pair.now, pair.peer_session, flow, answer, answer.size()));
  ASSERT_TRUE(pair.run_until([&] { return answers.count(flow) == 1; }, 1s));
  EXPECT_EQ(as_text(answers.payloads[flow][0]), "answer");
}

TEST_F(Datagrams, OfAnySizeUpToTheLargestComeWhole) {
  std::size_t expected = 0;
  for (const std::size_t size : {0U, 1U, 100U, 1150U, 1163U, 1200U, 1407U, 1472U, 4000U, 9000U, 65'507U}) {
    const Bytes payload = numbered(size, static_cast<std::uint8_t>(size));
    send(flow, payload);
    ASSERT_TRUE(pair.run_until([&] { return inbox.count(flow) == expected + 1; }, 1s)) << size;
    EXPECT_EQ(inbox.payloads[flow][expected], payload) << size;
    ++expected;
  }
}

TEST_F(Datagrams, TheLimitIsWhatOneFrameCarries) {
  const DatagramLimit first = pair.client.endpoint.datagram_limit(pair.now, pair.session, flow);
  EXPECT_GT(first.payload, 1150U);
  pair.run_for(6s);
  const DatagramLimit later = pair.client.endpoint.datagram_limit(pair.now, pair.session, flow);
  EXPECT_TRUE(later.is_settled);
  EXPECT_GT(later.payload, 1400U);
  send(flow, Bytes(later.payload, 1));
  ASSERT_TRUE(pair.run_until([&] { return inbox.count(flow) == 1; }, 1s));
  EXPECT_EQ(sent().frames_sent, 1U);
  send(flow, Bytes(later.payload + 1, 1));
  ASSERT_TRUE(pair.run_until([&] { return inbox.count(flow) == 2; }, 1s));
  EXPECT_EQ(sent().frames_sent, 3U);
}

TEST_F(Datagrams, ATrainArrivesAsOne) {
  pair.run_for(2s);
  send_train(flow, 1200, 40);
  ASSERT_TRUE(pair.run_until([&] { return inbox.count(flow) == 40; }, 1s));
  EXPECT_LE(inbox.trains, 8U);
  for (const Bytes& payload : inbox.payloads[flow]) EXPECT_EQ(payload, Bytes(1200, 0x5a));
}

TEST_F(Datagrams, StayBehindTheHeadOfTheirFlow) {
  send(flow, as_bytes("payload"));
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, flow, pair.client.slice("head")).has_value());
  ASSERT_TRUE(pair.run_until([&] { return inbox.count(flow) == 1; }, 1s));
  const auto position = [&](auto is) {
    return std::ranges::find_if(pair.connector.log, is) - pair.connector.log.begin();
  };
  EXPECT_LT(position([](const Event& e) { return std::holds_alternative<StreamOpened>(e); }),
            position([](const Event& e) { return std::holds_alternative<DatagramsReadable>(e); }));
}

struct LossyDatagrams : Datagrams {
  static PairOptions options() {
    PairOptions options;
    options.link.loss_per_mille = 100;
    options.link.jitter = 5ms;
    return options;
  }
  LossyDatagrams() : Datagrams(options()) {}
};

TEST_F(LossyDatagrams, ArriveOnceOrNotAtAllAndNeverMixed) {
  for (int i = 0; i < 300; ++i) {
    send(flow, numbered(i % 3 == 0 ? 4000 : 500, static_cast<std::uint8_t>(i)));
    pair.run_for(20ms);
  }
  pair.run_for(2s);
  const std::size_t arrived = inbox.count(flow);
  EXPECT_GT(arrived, 150U);
  EXPECT_LT(arrived, 300U);
  for (const Bytes& payload : inbox.payloads[flow]) {
    ASSERT_TRUE(payload.size() == 4000 || payload.size() == 500);
    EXPECT_EQ(payload, numbered(payload.size(), payload[0]));
  }
  // What never came whole is not held for ever.
  EXPECT_GT(pair.connector.endpoint.datagram_counters().dropped_partial, 0U);
}

TEST_F(Datagrams, ABurstIsSentAndWhatWaitsTooLongIsDroppedFromTheFront) {
  pair.up.options.down = true;  // nothing is acknowledged, so the congestion window closes
  pair.run_for(1ms);
  for (std::uint8_t i = 0; i < 200; ++i) {
    send(flow, Bytes(1000, i));
    pair.run_for(1ms);
  }
  EXPECT_GT(sent().dropped_queue, 50U);
  pair.up.options.down = false;
  pair.run_for(3s);
  const auto& payloads = inbox.payloads[flow];
  EXPECT_LE(payloads.size(), DatagramSender::kPacketsMax + 20);
  EXPECT_TRUE(payloads.empty() || payloads.back()[0] == 199);  // the newest is there
}

TEST_F(Datagrams, DoNotStopStreamsAndStreamsDoNotStopThem) {
  pair.up.options.delay = 20ms;
  const StreamId bulk = *pair.client.endpoint.open_stream(pair.session);
  const StreamId other = *pair.client.endpoint.open_stream(pair.session);
  std::size_t received = 0;
  Inbox* to = &inbox;
  pair.connector.on_event = [&](const Event& event) {
    if (const auto* readable = std::get_if<DatagramsReadable>(&event)) {
      while (const auto train = pair.connector.endpoint.read_datagrams(readable->session)) to->take(*train);
    } else if (const auto* stream = std::get_if<StreamReadable>(&event)) {
      for (Slice s = pair.connector.endpoint.read(stream->session, stream->stream); !s.empty();
           s = pair.connector.endpoint.read(stream->session, stream->stream)) {
        received += s.size();
        pair.connector.endpoint.consume(stream->session, stream->stream, s.size());
      }
    }
  };
  for (int i = 0; i < 200; ++i) {
    if (pair.client.endpoint.writable(pair.session, bulk) >= 60'000) {
      ASSERT_TRUE(pair.client.endpoint.write(pair.session, bulk, pair.client.pool.copy(Bytes(60'000, 1))));
    }
    send_train(flow, 1100, 30);
    if (i % 10 == 0) send(other, as_bytes("dns"));
    pair.run_for(5ms);
  }
  pair.run_for(1s);
  const std::size_t datagrams = inbox.count(flow) * 1100;
  EXPECT_GT(received, 500'000U);
  EXPECT_GT(datagrams, 500'000U);
  EXPECT_GT(inbox.count(other), 18U);  // one that says little is hardly ever dropped
}

TEST_F(Datagrams, OfAnEndedOrUnknownSessionAreRefused) {
  pair.client.endpoint.close(pair.now, pair.session, 0, "");
  const Slice slice = pair.client.slice("late");
  EXPECT_FALSE(pair.client.endpoint.send_datagrams(pair.now, pair.session, flow, slice, 4).has_value());
  EXPECT_EQ(pair.client.endpoint.datagram_limit(pair.now, pair.session, flow).payload, 0U);
  EXPECT_FALSE(pair.client.endpoint.read_datagrams(SessionId(77)).has_value());
}

TEST_F(Datagrams, ThatNobodyReadsAreBoundedAndCounted) {
  pair.connector.on_event = nullptr;
  for (int i = 0; i < 600; ++i) {
    send_train(flow, 1100, 30);
    pair.run_for(5ms);
  }
  EXPECT_GT(pair.connector.endpoint.datagram_counters().dropped_unread, 0U);
  EXPECT_LE(pair.connector.pool.bytes_in_use(), 6U << 20);
}

// --- the queue alone -----------------------------------------------------------------------------------------------

TEST(DatagramQueue, AFlowWhosePacketsAllGrewOldTakesItsTurnOnceWhenItSpeaksAgain) {
  BlockPool pool(1U << 20);
  DatagramSender sender;
  DatagramCounters counters;
  DatagramSender::Frame frame;
  const auto ready = [](StreamId) { return true; };
  Instant now{1s};
  sender.push(now, StreamId(4), pool.copy(as_bytes("old")), 3, counters);
  now += 2s;
  sender.push(now, StreamId(4), pool.copy(as_bytes("new")), 3, counters);
  EXPECT_EQ(counters.dropped_queue, 1U);
  ASSERT_TRUE(sender.prepare(now, 1200, ready, frame, counters));
  sender.taken(counters);
  EXPECT_FALSE(sender.prepare(now, 1200, ready, frame, counters));
  EXPECT_TRUE(sender.empty());
}

// --- pieces alone --------------------------------------------------------------------------------------------------

struct Pieces : testing::Test {
  std::optional<Bytes> add(std::uint16_t packet, std::uint8_t index, bool is_last, std::size_t size = 1000) {
    const Bytes payload(size, index);
    const auto whole = machine.add(now, {4, wire::DatagramPiece{packet, index, is_last}, payload}, counters);
    if (!whole) return std::nullopt;
    return to_bytes(*whole);
  }
  DatagramReassembly machine;
  DatagramCounters counters;
  Instant now{1s};
};

TEST_F(Pieces, InAnyOrderAndTwiceMakeOnePayload) {
  EXPECT_FALSE(add(7, 2, true, 10));
  EXPECT_FALSE(add(7, 0, false));
  EXPECT_FALSE(add(7, 0, false));
  const auto whole = add(7, 1, false);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->size(), 2010U);
  EXPECT_EQ((*whole)[0], 0);
  EXPECT_EQ((*whole)[1000], 1);
  EXPECT_EQ((*whole)[2000], 2);
  EXPECT_EQ(machine.bytes(), 0U);
}

TEST_F(Pieces, AreForgottenAfterASecond) {
  EXPECT_FALSE(add(7, 0, false));
  EXPECT_EQ(machine.next_timeout(), now + 1s);
  now += 1s;
  machine.expire(now, counters);
  EXPECT_EQ(counters.dropped_partial, 1U);
  EXPECT_EQ(machine.bytes(), 0U);
  EXPECT_FALSE(add(7, 1, true));
}

TEST_F(Pieces, BeyondTheBoundTheOldestPacketGoes) {
  for (std::uint16_t packet = 0; packet < 40; ++packet) {
    for (std::uint8_t index = 0; index < 10; ++index) EXPECT_FALSE(add(packet, index, false));
    EXPECT_LE(machine.bytes(), DatagramReassembly::kBytesMax);
  }
  EXPECT_GT(counters.dropped_partial, 10U);
  EXPECT_TRUE(add(39, 10, true));  // the youngest is there
}

TEST_F(Pieces, ManyPacketsOfOnePieceAreBoundedToo) {
  for (std::uint16_t packet = 0; packet < 200; ++packet) EXPECT_FALSE(add(packet, 0, false, 1));
  EXPECT_EQ(counters.dropped_partial, 200 - DatagramReassembly::kPacketsMax);
}

TEST_F(Pieces, ThatContradictEachOtherAreDropped) {
  EXPECT_FALSE(add(1, 1, true));
  EXPECT_FALSE(add(1, 2, true));
  EXPECT_EQ(counters.dropped_malformed, 1U);
  EXPECT_FALSE(add(2, 5, false));
  EXPECT_FALSE(add(2, 3, true));
  EXPECT_EQ(counters.dropped_malformed, 2U);
  for (std::uint8_t index = 0; index < 70; ++index) EXPECT_FALSE(add(3, index, false));
  EXPECT_EQ(counters.dropped_malformed, 3U);  // no payload is that large
}

}  // namespace
}  // namespace postern::session
