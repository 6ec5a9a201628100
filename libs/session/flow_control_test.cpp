// Nobody's stalled flow holds up anybody else, and memory stays inside the windows.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

/// Fills the stream as far as the sender takes it, for ever.
void keep_full(test::Host& host, SessionId session, StreamId stream) {
  const Bytes block(32 * 1024, 0x55);
  while (host.endpoint.writable(session, stream) >= block.size()) {
    ASSERT_TRUE(host.endpoint.write(session, stream, host.pool.copy(block)).has_value());
  }
}

TEST(FlowControl, LetsALeaseThroughWhileEveryOtherFlowIsStalled) {
  PairOptions options;
  options.connector_limits.session_budget = 4U << 20;
  options.connector_limits.stream_window = 1U << 20;
  Pair pair(options);
  pair.establish();
  ASSERT_EQ(*pair.client.endpoint.open_stream(pair.session), kControlStream);
  std::vector<StreamId> flows;
  for (int i = 0; i < 64; ++i) flows.push_back(*pair.client.endpoint.open_stream(pair.session));
  pair.client.on_event = [&](const Event& event) {
    const auto* writable = std::get_if<StreamWritable>(&event);
    if (writable != nullptr) keep_full(pair.client, pair.session, writable->stream);
  };
  // Nobody reads the flows; the control stream is read and answered.
  test::Sink answers;
  pair.connector.on_event = [&](const Event& event) {
    const auto* readable = std::get_if<StreamReadable>(&event);
    if (readable == nullptr || readable->stream != kControlStream) return;
    answers.take(pair.connector, readable->session, readable->stream);
  };
  for (const StreamId flow : flows) keep_full(pair.client, pair.session, flow);
  pair.run_for(10s);
  // Every flow has used its window up.
  const auto stalled = pair.connector.endpoint.stats(pair.peer_session)->bytes_received;
  pair.run_for(5s);
  EXPECT_LT(pair.connector.endpoint.stats(pair.peer_session)->bytes_received - stalled, 20'000U);

  const std::string lease(3000, 'L');
  for (int i = 1; i <= 20; ++i) {
    const Instant sent = pair.now;
    ASSERT_TRUE(pair.client.endpoint.write(pair.session, kControlStream, pair.client.slice(lease)).has_value());
    const std::size_t wanted = lease.size() * static_cast<std::size_t>(i);
    ASSERT_TRUE(pair.run_until([&] { return answers.received[kControlStream].size() == wanted; }, 1s)) << i;
    EXPECT_LT(pair.now - sent, 50ms);
  }
}

TEST(FlowControl, HoldsAnUnreadFlowAtItsFirstWindow) {
  Pair pair;
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  keep_full(pair.client, pair.session, stream);
  pair.run_for(5s);
  std::size_t held = 0;
  while (true) {
    const Slice slice = pair.connector.endpoint.read(pair.peer_session, stream);
    if (slice.empty()) break;
    held += slice.size();
  }
  EXPECT_EQ(held, Limits().first_stream_window);
}

TEST(FlowControl, GrowsTheWindowOfAFlowThatIsReadAtOnceUpToItsBound) {
  PairOptions options;
  options.connector_limits.stream_window = 1U << 20;
  Pair pair(options);
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  bool reading = true;
  std::size_t read = 0;
  const auto read_all = [&] {
    for (;;) {
      const Slice slice = pair.connector.endpoint.read(pair.peer_session, stream);
      if (slice.empty()) return;
      read += slice.size();
      pair.connector.endpoint.consume(pair.peer_session, stream, slice.size());
    }
  };
  pair.client.on_event = [&](const Event& event) {
    if (std::holds_alternative<StreamWritable>(event)) keep_full(pair.client, pair.session, stream);
  };
  pair.connector.on_event = [&](const Event& event) {
    if (reading && std::holds_alternative<StreamReadable>(event)) read_all();
  };
  keep_full(pair.client, pair.session, stream);
  pair.run_for(3s);
  EXPECT_GT(read, 16U << 20);
  reading = false;
  pair.run_for(1s);
  read = 0;
  read_all();
  EXPECT_GT(read, 700U << 10);
  EXPECT_LE(read, 1U << 20);
}

TEST(FlowControl, TellsWhenTheBudgetOfASessionIsUsedUp) {
  PairOptions options;
  options.connector_limits.session_budget = 1U << 20;
  Pair pair(options);
  pair.establish();
  EXPECT_TRUE(pair.connector.endpoint.has_budget(pair.peer_session));
  std::vector<StreamId> flows;
  for (int i = 0; i < 16; ++i) {
    flows.push_back(*pair.client.endpoint.open_stream(pair.session));
    keep_full(pair.client, pair.session, flows.back());
  }
  pair.run_for(1s);
  EXPECT_FALSE(pair.connector.endpoint.has_budget(pair.peer_session));
  for (const StreamId flow : flows) pair.connector.endpoint.reset(pair.peer_session, flow, 1);
  for (const StreamId flow : flows) pair.client.endpoint.reset(pair.session, flow, 1);
  pair.run_for(1s);
  EXPECT_TRUE(pair.connector.endpoint.has_budget(pair.peer_session));
}

TEST(FlowControl, IdleFlowsTakeNothingFromTheBudget) {
  PairOptions options;
  options.connector_limits.session_budget = options.connector_limits.process_budget = 1U << 20;
  Pair pair(options);
  test::Sink sink;
  sink.attach(pair.connector);
  pair.establish();
  for (int i = 0; i < 5000; ++i) {
    const StreamId flow = *pair.client.endpoint.open_stream(pair.session);
    ASSERT_TRUE(pair.client.endpoint.write(pair.session, flow, pair.client.slice("x")).has_value());
  }
  ASSERT_TRUE(pair.run_until([&] { return sink.received.size() == 5000; }, 20s));
  EXPECT_TRUE(pair.connector.endpoint.has_budget(pair.peer_session));
}

TEST(FlowControl, OneSessionCannotLeaveMoreUnreadThanTwiceItsBudget) {
  PairOptions options;
  options.connector_limits.session_budget = 1U << 20;
  Pair pair(options);
  pair.establish();
  for (int i = 0; i < 200; ++i) {
    const StreamId flow = *pair.client.endpoint.open_stream(pair.session);
    keep_full(pair.client, pair.session, flow);
    pair.run_for(20ms);
  }
  pair.run_for(2s);
  std::size_t unread = 0;
  std::map<StreamId, std::size_t> received;
  const auto read_all = [&] {
    for (const auto& event : pair.connector.log) {
      const auto* readable = std::get_if<StreamReadable>(&event);
      if (readable == nullptr) continue;
      for (Slice slice = pair.connector.endpoint.read(pair.peer_session, readable->stream); !slice.empty();
           slice = pair.connector.endpoint.read(pair.peer_session, readable->stream)) {
        unread += slice.size();
        received[readable->stream] += slice.size();
        pair.connector.endpoint.consume(pair.peer_session, readable->stream, slice.size());
      }
    }
  };
  read_all();
  EXPECT_GT(unread, 1U << 20);
  EXPECT_LE(unread, 2U << 20);
  // Once it is read, everybody goes on.
  for (int i = 0; i < 50; ++i) {
    pair.run_for(100ms);
    read_all();
  }
  EXPECT_EQ(received.size(), 200U);
}

TEST(FlowControl, GivesConnectionCreditBackForWhatResetFlowsNeverRead) {
  PairOptions options;
  options.connector_limits.session_budget = 1U << 20;
  Pair pair(options);
  pair.establish();
  ASSERT_EQ(*pair.client.endpoint.open_stream(pair.session), kControlStream);
  // Far more bytes than the connection's window are sent on flows that are reset from either side, unread.
  for (int i = 0; i < 60; ++i) {
    const StreamId flow = *pair.client.endpoint.open_stream(pair.session);
    keep_full(pair.client, pair.session, flow);
    pair.run_for(i % 3 == 0 ? 15ms : 300ms);
    const auto reset = [&](bool by_client) {
      (by_client ? pair.client : pair.connector).endpoint.reset(by_client ? pair.session : pair.peer_session, flow, 9);
    };
    reset(i % 2 == 0);
    pair.run_for(300ms);
    reset(i % 2 != 0);  // the other side answers, and gives up what it has not read
  }
  test::Sink sink;
  sink.attach(pair.connector);
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, kControlStream, pair.client.slice("alive")).has_value());
  EXPECT_TRUE(pair.run_until([&] { return sink.received[kControlStream].size() == 5; }, 1s));
}

TEST(FlowControl, DropsDataPacketsButTakesAcknowledgementsWhenThePoolIsNearlyUsedUp) {
  Pair pair;
  pair.establish();
  std::vector<Buffer> hoard;
  while (pair.connector.pool.bytes_in_use() + (1U << 20) <= pair.connector.pool.bytes_max()) {
    hoard.push_back(pair.connector.pool.acquire(BlockClass::Large));
  }
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  const Bytes block(30'000, 1);
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.pool.copy(block)).has_value());
  pair.run_for(2s);
  EXPECT_GT(pair.connector.dropped(DropReason::NoMemory), 0U);
  EXPECT_EQ(pair.connector.count<StreamReadable>(), 0U);
  hoard.clear();
  test::Sink sink;
  sink.attach(pair.connector);
  EXPECT_TRUE(pair.run_until([&] { return sink.received[stream].size() == block.size(); }, 5s));
}

}  // namespace
}  // namespace postern::session
