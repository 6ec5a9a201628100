// Sessions end for a stated reason on both sides, and leave nothing behind.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

TEST(Close, CarriesCodeAndReasonToThePeer) {
  Pair pair;
  pair.establish();
  pair.connector.endpoint.close(pair.now, pair.peer_session, 42, "access revoked");
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() == 1; }));
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::PeerClose);
  EXPECT_EQ(pair.client.find<Closed>()->code, 42U);
  EXPECT_EQ(pair.client.find<Closed>()->detail, "access revoked");
  EXPECT_EQ(pair.connector.find<Closed>()->reason, CloseReason::LocalClose);
  pair.run_for(10s);
  EXPECT_FALSE(pair.client.endpoint.stats(pair.session).has_value());
  EXPECT_FALSE(pair.connector.endpoint.stats(pair.peer_session).has_value());
  EXPECT_FALSE(pair.client.endpoint.next_timeout().has_value());
  EXPECT_FALSE(pair.connector.endpoint.next_timeout().has_value());
}

TEST(Close, IsRepeatedWhenItGotLostAndThePeerStillSends) {
  Pair pair;
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  pair.run_for(1s);
  pair.down.options.down = true;
  pair.connector.endpoint.close(pair.now, pair.peer_session, 7, "bye");
  pair.flush();
  pair.down.options.down = false;
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.slice("still there?")).has_value());
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() == 1; }, 1s));
  EXPECT_EQ(pair.client.find<Closed>()->code, 7U);
}

TEST(Close, LetsTheOwnerReadWhatArrivedBefore) {
  Pair pair;
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.slice("last words")).has_value());
  std::string read;
  bool closed_seen = false;
  pair.connector.on_event = [&](const Event& event) {
    closed_seen |= std::holds_alternative<Closed>(event);
    if (!std::holds_alternative<StreamReadable>(event)) return;
    EXPECT_FALSE(closed_seen);
    read += as_text(pair.connector.endpoint.read(pair.peer_session, stream).view());
  };
  pair.up.options.jitter = 0ns;
  pair.flush();
  pair.client.endpoint.close(pair.now, pair.session, 0, "");
  pair.run_for(1s);
  EXPECT_EQ(read, "last words");
  EXPECT_TRUE(closed_seen);
  EXPECT_TRUE(pair.connector.endpoint.read(pair.peer_session, stream).empty());
}

TEST(Close, BeforeTheHandshakeIsDoneEndsBothSides) {
  Pair pair;
  const SessionId session = *pair.client.endpoint.connect(pair.now, pair.request());
  ASSERT_TRUE(pair.run_until([&] { return pair.down.datagrams > 0; }));
  pair.client.endpoint.close(pair.now, session, 3, "changed my mind");
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() + pair.connector.count<Closed>() == 2; }));
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::LocalClose);
  pair.run_for(10s);
  EXPECT_FALSE(pair.connector.endpoint.next_timeout().has_value());
}

TEST(Close, ComesAfterTheIdleTimeoutAndSendsNothing) {
  Pair pair;
  pair.establish();
  pair.run_for(29min);
  EXPECT_EQ(pair.client.count<Closed>(), 0U);
  const std::uint64_t before = pair.up.datagrams + pair.down.datagrams;
  pair.run_for(2min);
  ASSERT_EQ(pair.client.count<Closed>(), 1U);
  ASSERT_EQ(pair.connector.count<Closed>(), 1U);
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::IdleTimeout);
  EXPECT_EQ(pair.connector.find<Closed>()->reason, CloseReason::IdleTimeout);
  EXPECT_EQ(pair.up.datagrams + pair.down.datagrams, before);
}

TEST(Close, ForgetsASessionWhoseOwnerComesBackOnlyAfterItsTime) {
  Pair pair;
  pair.establish();
  // The host slept between close() and the next turn: the event is polled before time has moved on, all else after.
  pair.client.endpoint.close(pair.now, pair.session, 0, "");
  while (pair.client.endpoint.poll_event()) {
  }
  pair.now += 1h;
  pair.run_for(10s);
  EXPECT_FALSE(pair.client.endpoint.stats(pair.session).has_value());
  EXPECT_FALSE(pair.client.endpoint.next_timeout().has_value());
}

TEST(Close, FreesStreamsSlicesAndTimersOfManySessions) {
  Pair pair;
  const std::size_t before = pair.client.pool.bytes_in_use() + pair.connector.pool.bytes_in_use();
  for (int i = 0; i < 50; ++i) {
    pair.client.log.clear();
    pair.connector.log.clear();
    pair.establish();
    const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
    ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.pool.copy(Bytes(50'000, 1))).has_value());
    pair.run_for(25ms);
    pair.client.endpoint.close(pair.now, pair.session, 0, "");
    ASSERT_TRUE(pair.run_until([&] { return pair.connector.count<Closed>() == 1; }));
    pair.run_for(2s);
  }
  EXPECT_EQ(pair.client.pool.bytes_in_use() + pair.connector.pool.bytes_in_use(), before);
  EXPECT_FALSE(pair.client.endpoint.next_timeout().has_value());
}

}  // namespace
}  // namespace postern::session
