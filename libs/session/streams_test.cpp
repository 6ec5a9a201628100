// Streams open, end, are given up, and leave nothing behind.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

class Streams : public testing::Test {
 protected:
  void SetUp() override {
    pair_.establish();
    ASSERT_EQ(*pair_.client.endpoint.open_stream(pair_.session), kControlStream);
    stream_ = *pair_.client.endpoint.open_stream(pair_.session);
  }
  void write(std::string_view text) {
    ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream_, pair_.client.slice(text)).has_value());
  }
  static constexpr std::size_t kBlock = 30'000;
  void write_blocks(int count) {
    const Bytes block(kBlock, 3);
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream_, pair_.client.pool.copy(block)).has_value());
    }
  }
  void write_back(std::string_view text) {
    ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.slice(text)).has_value());
  }

  Pair pair_;
  StreamId stream_;
};

TEST_F(Streams, AreAnnouncedWithTheirFirstBytes) {
  write("x");
  pair_.run_for(1s);
  ASSERT_EQ(pair_.connector.count<StreamOpened>(), 1U);
  EXPECT_EQ(pair_.connector.find<StreamOpened>()->stream, stream_);
  EXPECT_EQ(pair_.connector.count<StreamReadable>(), 1U);
}

TEST_F(Streams, HalfCloseLeavesTheOtherDirectionOpen) {
  write("question");
  ASSERT_TRUE(pair_.client.endpoint.finish(pair_.session, stream_).has_value());
  test::Sink at_connector;
  at_connector.attach(pair_.connector);
  ASSERT_TRUE(pair_.run_until([&] { return at_connector.finished[stream_]; }));
  EXPECT_EQ(as_text(at_connector.received[stream_]), "question");
  pair_.run_for(10s);
  EXPECT_EQ(pair_.connector.count<StreamClosed>(), 0U);
  test::Sink at_client;
  at_client.attach(pair_.client);
  write_back("answer");
  ASSERT_TRUE(pair_.connector.endpoint.finish(pair_.peer_session, stream_).has_value());
  ASSERT_TRUE(pair_.run_until([&] { return at_client.finished[stream_]; }));
  EXPECT_EQ(as_text(at_client.received[stream_]), "answer");
  ASSERT_TRUE(pair_.run_until(
      [&] { return pair_.client.count<StreamClosed>() == 1 && pair_.connector.count<StreamClosed>() == 1; }));
  EXPECT_EQ(pair_.client.count<StreamStopped>() + pair_.client.count<StreamReset>(), 0U);
}

TEST_F(Streams, FinishWithoutBytesIsSeen) {
  ASSERT_TRUE(pair_.client.endpoint.finish(pair_.session, stream_).has_value());
  test::Sink sink;
  sink.attach(pair_.connector);
  EXPECT_TRUE(pair_.run_until([&] { return sink.finished[stream_]; }));
  EXPECT_TRUE(sink.received[stream_].empty());
}

TEST_F(Streams, RefuseBytesAfterFinish) {
  ASSERT_TRUE(pair_.client.endpoint.finish(pair_.session, stream_).has_value());
  EXPECT_EQ(pair_.client.endpoint.write(pair_.session, stream_, pair_.client.slice("x")).error(),
            StreamError::Finished);
  EXPECT_EQ(pair_.client.endpoint.finish(pair_.session, stream_).error(), StreamError::Finished);
  EXPECT_EQ(pair_.client.endpoint.writable(pair_.session, stream_), 0U);
}

TEST_F(Streams, ResetReachesThePeerAndEndsBothDirections) {
  write("x");
  pair_.run_for(1s);
  pair_.client.endpoint.reset(pair_.session, stream_, 77);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamReset>() == 1; }));
  EXPECT_EQ(pair_.connector.find<StreamReset>()->code, 77U);
  EXPECT_EQ(as_text(pair_.connector.endpoint.read(pair_.peer_session, stream_).view()), "x");
  EXPECT_FALSE(pair_.connector.endpoint.at_end(pair_.peer_session, stream_));
  ASSERT_TRUE(pair_.run_until(
      [&] { return pair_.client.count<StreamClosed>() == 1 && pair_.connector.count<StreamClosed>() == 1; }));
  EXPECT_EQ(pair_.connector.count<StreamStopped>(), 1U);
  EXPECT_EQ(pair_.client.count<StreamReset>(), 0U);
}

TEST_F(Streams, WhatCameBeforeAResetCanStillBeRead) {
  write("said");
  pair_.run_for(1s);
  pair_.client.endpoint.reset(pair_.session, stream_, 77);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamReset>() == 1; }));
  pair_.run_for(1s);
  EXPECT_EQ(pair_.connector.count<StreamClosed>(), 0U) << "something is unread";
  EXPECT_EQ(as_text(pair_.connector.endpoint.read(pair_.peer_session, stream_).view()), "said");
  EXPECT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamClosed>() == 1; }));
}

TEST_F(Streams, AResetThatWaitsComesBehindTheLastByteOnALossyPath) {
  pair_.up.options.loss_per_mille = 100;
  write_blocks(7);
  pair_.client.endpoint.reset_when_delivered(pair_.now, pair_.session, stream_, 77);
  EXPECT_EQ(pair_.client.endpoint.write(pair_.session, stream_, pair_.client.slice("x")).error(),
            StreamError::Finished);
  test::Sink sink;
  sink.attach(pair_.connector);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamReset>() == 1; }));
  EXPECT_EQ(sink.received[stream_].size(), 7 * kBlock);
  EXPECT_EQ(pair_.connector.find<StreamReset>()->code, 77U);
  pair_.run_for(5s);
  EXPECT_EQ(pair_.client.count<StreamClosed>(), 1U);
  EXPECT_EQ(pair_.connector.count<StreamClosed>(), 1U);
}

TEST_F(Streams, AResetThatWaitsDoesNotWaitForAReaderThatTakesNothing) {
  write_blocks(70);  // more than its window
  const Instant asked = pair_.now;
  pair_.client.endpoint.reset_when_delivered(pair_.now, pair_.session, stream_, 77);
  pair_.run_for(2s);
  EXPECT_EQ(pair_.connector.count<StreamReset>(), 0U);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamReset>() == 1; }));
  EXPECT_LT(pair_.now - asked, 4s);
}

TEST_F(Streams, AResetThatWaitsForNothingLeavesAtOnce) {
  write("x");
  pair_.run_for(1s);
  const Instant asked = pair_.now;
  pair_.client.endpoint.reset_when_delivered(pair_.now, pair_.session, stream_, 77);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamReset>() == 1; }));
  EXPECT_LT(pair_.now - asked, 100ms);
}

TEST_F(Streams, ResetAfterFinishStopsAPeerThatStillSends) {
  write("x");
  ASSERT_TRUE(pair_.client.endpoint.finish(pair_.session, stream_).has_value());
  pair_.run_for(1s);
  // The connector fills the client's window; nobody reads there.
  const Bytes block(kBlock, 3);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(
        pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.pool.copy(block)).has_value());
  }
  pair_.run_for(2s);
  const Instant reset_at = pair_.now;
  pair_.client.endpoint.reset(pair_.session, stream_, 5);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.count<StreamStopped>() == 1; }));
  EXPECT_LT(pair_.now - reset_at, 100ms);
  EXPECT_EQ(pair_.connector.find<StreamStopped>()->code, 5U);
  // What the peer has sent already can still be read.
  EXPECT_FALSE(pair_.connector.endpoint.read(pair_.peer_session, stream_).empty());
  EXPECT_TRUE(pair_.run_until(
      [&] { return pair_.client.count<StreamClosed>() == 1 && pair_.connector.count<StreamClosed>() == 1; }));
}

TEST_F(Streams, ResetFromBothSidesAtOnceClosesOnce) {
  write("x");
  pair_.run_for(1s);
  pair_.client.endpoint.reset(pair_.session, stream_, 1);
  pair_.connector.endpoint.reset(pair_.peer_session, stream_, 2);
  pair_.run_for(5s);
  EXPECT_EQ(pair_.client.count<StreamClosed>(), 1U);
  EXPECT_EQ(pair_.connector.count<StreamClosed>(), 1U);
}

TEST_F(Streams, StayUntilTheReaderHasTakenEverything) {
  write("late reader");
  ASSERT_TRUE(pair_.client.endpoint.finish(pair_.session, stream_).has_value());
  pair_.run_for(1s);
  ASSERT_TRUE(pair_.connector.endpoint.finish(pair_.peer_session, stream_).has_value());
  pair_.run_for(5s);
  EXPECT_EQ(pair_.connector.count<StreamClosed>(), 0U);
  EXPECT_EQ(as_text(pair_.connector.endpoint.read(pair_.peer_session, stream_).view()), "late reader");
  EXPECT_TRUE(pair_.connector.endpoint.at_end(pair_.peer_session, stream_));
  pair_.flush();
  EXPECT_EQ(pair_.connector.count<StreamClosed>(), 1U);
}

TEST_F(Streams, UnknownOnesAreRefusedPolitely) {
  const StreamId unknown(4000);
  EXPECT_EQ(pair_.client.endpoint.write(pair_.session, unknown, pair_.client.slice("x")).error(),
            StreamError::UnknownStream);
  EXPECT_TRUE(pair_.client.endpoint.read(pair_.session, unknown).empty());
  pair_.client.endpoint.reset(pair_.session, unknown, 1);
  pair_.client.endpoint.consume(pair_.session, unknown, 10);
  EXPECT_EQ(pair_.client.endpoint.open_stream(SessionId(99)).error(), StreamError::UnknownSession);
}

TEST_F(Streams, KeepTheWritersBytesUntilTheyAreAcknowledgedAndNoLonger) {
  pair_.up.options.down = true;
  const std::size_t before = pair_.client.pool.bytes_in_use();
  ASSERT_TRUE(
      pair_.client.endpoint.write(pair_.session, stream_, pair_.client.pool.copy(Bytes(20'000, 1))).has_value());
  pair_.run_for(3s);
  EXPECT_GT(pair_.client.pool.bytes_in_use(), before);
  pair_.up.options.down = false;
  pair_.run_for(5s);
  EXPECT_EQ(pair_.client.pool.bytes_in_use(), before);
}

TEST_F(Streams, TellWhenTheyAreWritableAgain) {
  const Bytes block(64 * 1024, 1);
  while (pair_.client.endpoint.writable(pair_.session, stream_) > 0) {
    ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream_, pair_.client.pool.copy(block)).has_value());
  }
  EXPECT_EQ(pair_.client.count<StreamWritable>(), 0U);
  test::Sink sink;
  sink.attach(pair_.connector);
  ASSERT_TRUE(pair_.run_until([&] { return pair_.client.count<StreamWritable>() == 1; }));
  EXPECT_GT(pair_.client.endpoint.writable(pair_.session, stream_), 0U);
}

TEST(StreamLimits, RefuseMoreThanThePeerAllowsAndRecoverAsStreamsClose) {
  PairOptions options;
  options.connector_limits.streams_per_session_max = 8;
  Pair pair(options);
  test::echo(pair.connector);
  pair.establish();
  std::vector<StreamId> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(*pair.client.endpoint.open_stream(pair.session));
  EXPECT_EQ(pair.client.endpoint.open_stream(pair.session).error(), StreamError::TooManyStreams);
  test::Sink sink;
  sink.attach(pair.client);
  ASSERT_TRUE(pair.client.endpoint.finish(pair.session, streams[3]).has_value());
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<StreamClosed>() == 1; }));
  pair.run_for(1s);
  EXPECT_TRUE(pair.client.endpoint.open_stream(pair.session).has_value());
}

TEST(StreamLimits, ManyStreamsAtOnceAllGetTheirBytes) {
  Pair pair;
  test::echo(pair.connector);
  test::Sink sink;
  sink.attach(pair.client);
  pair.establish();
  std::vector<StreamId> streams;
  for (int i = 0; i < 2000; ++i) {
    const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
    ASSERT_TRUE(
        pair.client.endpoint.write(pair.session, stream, pair.client.slice(std::to_string(stream.value))).has_value());
    ASSERT_TRUE(pair.client.endpoint.finish(pair.session, stream).has_value());
    streams.push_back(stream);
  }
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<StreamClosed>() == streams.size(); }));
  for (const StreamId stream : streams) {
    EXPECT_EQ(as_text(sink.received[stream]), std::to_string(stream.value));
  }
  // Small writes of many flows share packets.
  EXPECT_LT(pair.up.datagrams, 400U);
}

TEST(StreamLimits, AHundredThousandOpenAndCloseWithoutGrowth) {
  PairOptions options;
  options.link.delay = 100us;
  Pair pair(options);
  test::echo(pair.connector);
  pair.establish();
  std::size_t closed = 0;
  pair.client.on_event = [&](const Event& event) {
    if (const auto* readable = std::get_if<StreamReadable>(&event)) {
      while (!pair.client.endpoint.read(readable->session, readable->stream).empty()) {
      }
    }
    closed += std::holds_alternative<StreamClosed>(event) ? 1U : 0U;
    pair.client.log.clear();
    pair.connector.log.clear();
  };
  std::size_t in_use = 0;
  for (std::size_t round = 0; round < 1000; ++round) {
    for (int i = 0; i < 100; ++i) {
      const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
      ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.slice("flow")).has_value());
      if (i % 10 == 9) {
        pair.client.endpoint.reset(pair.session, stream, 3);
      } else {
        ASSERT_TRUE(pair.client.endpoint.finish(pair.session, stream).has_value());
      }
    }
    ASSERT_TRUE(pair.run_until([&] { return closed == (round + 1) * 100; }, 5s)) << closed;
    pair.run_for(5ms);
    EXPECT_EQ(pair.client.endpoint.stats(pair.session)->streams_open, 0U);
    EXPECT_EQ(pair.connector.endpoint.stats(pair.peer_session)->streams_open, 0U);
    if (round == 10) in_use = pair.connector.pool.bytes_in_use() + pair.client.pool.bytes_in_use();
  }
  EXPECT_LE(pair.connector.pool.bytes_in_use() + pair.client.pool.bytes_in_use(), in_use + 65536);
}

}  // namespace
}  // namespace postern::session
