// Bounds on who may start and hold sessions, seen from outside.
#include "session/admission.hpp"

#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

Digest device(std::uint8_t number) {
  Digest digest{};
  digest[0] = number;
  return digest;
}

constexpr Instant kStart{100s};

TEST(Admission, LetsADeviceStartFiveHandshakesPerSecond) {
  Limits limits;
  limits.sessions_per_device_max = 100;
  Admission admission(limits);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(admission.start(kStart, device(1)), std::nullopt);
  EXPECT_EQ(admission.start(kStart, device(1)), DropReason::HandshakeLimit);
  EXPECT_EQ(admission.start(kStart, device(2)), std::nullopt);
  EXPECT_EQ(admission.start(kStart + 1s, device(1)), std::nullopt);
}

TEST(Admission, BoundsHalfOpenSessionsInAll) {
  Limits limits;
  limits.half_open_max = 3;
  Admission admission(limits);
  for (std::uint8_t i = 0; i < 3; ++i) {
    EXPECT_EQ(admission.refuse_any(), std::nullopt);
    EXPECT_EQ(admission.start(kStart, device(i)), std::nullopt);
  }
  EXPECT_EQ(admission.refuse_any(), DropReason::HandshakeLimit);
  admission.end_half_open(device(0));
  EXPECT_EQ(admission.refuse_any(), std::nullopt);
}

TEST(Admission, BoundsAllSessionsOfTheProcess) {
  Limits limits;
  limits.sessions_max = 2;
  Admission admission(limits);
  EXPECT_EQ(admission.start(kStart, device(1)), std::nullopt);
  EXPECT_FALSE(admission.establish(device(1)));
  EXPECT_EQ(admission.start(kStart, device(2)), std::nullopt);
  EXPECT_EQ(admission.refuse_any(), DropReason::SessionLimit);
  admission.end_established(device(1));
  EXPECT_EQ(admission.refuse_any(), std::nullopt);
}

TEST(Admission, OfAFifthSessionDisplacesTheOneThatWasSilentLongest) {
  Pair pair;
  std::vector<SessionId> sessions;
  for (int i = 0; i < 5; ++i) {
    sessions.push_back(*pair.client.endpoint.connect(pair.now, pair.request()));
    const auto wanted = static_cast<std::size_t>(i + 1);
    ASSERT_TRUE(pair.run_until([&] { return pair.connector.count<Established>() == wanted; }));
    pair.run_for(1s);
    // The first session stays busy, so the second is the most silent one.
    pair.client.endpoint.ping(pair.now, sessions.front());
    pair.run_for(1s);
  }
  ASSERT_EQ(pair.client.count<Closed>(), 1U);
  EXPECT_EQ(pair.client.find<Closed>()->session, sessions[1]);
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::PeerClose);
  ASSERT_EQ(pair.connector.count<Closed>(), 1U);
  EXPECT_EQ(pair.connector.find<Closed>()->reason, CloseReason::LocalClose);
}

TEST(Admission, DropsInitialsBeyondTheRateOfADevice) {
  Pair pair;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(pair.client.endpoint.connect(pair.now, pair.request()).has_value());
  pair.run_for(200ms);
  EXPECT_GE(pair.connector.dropped(DropReason::HandshakeLimit), 3U);
  EXPECT_LE(pair.connector.count<Established>(), 5U);
}

TEST(Admission, AFloodOfInitialsFromAValidDeviceLeavesItsOtherSessionWorking) {
  PairOptions options;
  options.client_limits.half_open_max = 4096;  // the attacker's own bounds are no defence
  Pair pair(options);
  pair.establish();
  (void)pair.client.endpoint.open_stream(pair.session);
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  std::size_t received = 0;
  for (std::size_t i = 1; i <= 1000; ++i) {  // 10 000 in a second
    ASSERT_TRUE(pair.client.endpoint.connect(pair.now, pair.request()));
    ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.pool.copy(Bytes(100, 7))));
    pair.run_for(100us);
    while (true) {
      const Slice slice = pair.connector.endpoint.read(pair.peer_session, stream);
      if (slice.empty()) break;
      received += slice.size();
      pair.connector.endpoint.consume(pair.peer_session, stream, slice.size());
    }
  }
  pair.run_for(100ms);
  EXPECT_GE(received, 90'000U) << "what the old session says arrives during the flood";
  EXPECT_GE(pair.connector.dropped(DropReason::HandshakeLimit), 990U);
  EXPECT_LE(pair.connector.count<Established>(), 6U);
  EXPECT_GT(pair.client.endpoint.writable(pair.session, stream), 0U) << "the flood displaced only what it made itself";
}

}  // namespace
}  // namespace postern::session
