#include "wire/bind.hpp"

#include <gtest/gtest.h>

namespace postern::wire {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Digest toy_mac(ByteView key, ByteView message) {
  Digest digest{};
  std::uint64_t state = 0x243f6a8885a308d3U;
  for (const ByteView part : {key, message}) {
    for (const std::uint8_t byte : part) state = (state ^ byte) * 0x100000001b3U + 0x9e3779b97f4a7c15U;
  }
  SeededRandom(state).fill(digest);
  return digest;
}

const SocketAddress kRelay = *SocketAddress::parse("198.51.100.1:443");
const SocketAddress kMapped = *SocketAddress::parse("192.0.2.1:1000");
constexpr std::int64_t kWallStartMs = 1'780'000'000'000;

/// A client and answers made by hand.
struct BindClientTest : ::testing::Test {
  Bytes transmit() {
    Bytes bytes;
    if (const auto datagram = client.poll_transmit()) bytes.assign(datagram->begin(), datagram->end());
    return bytes;
  }
  /// The answer to `request` of `type`, built by `fill`.
  template <typename Fill>
  Bytes answer(const Bytes& request, StunType type, Fill fill) {
    Bytes buffer(256);
    StunBuilder builder(buffer, type, StunView::parse(request)->transaction());
    return to_bytes(fill(builder));
  }
  Bytes challenge(const Bytes& request, std::uint16_t code, std::uint8_t nonce) {
    return answer(request, StunType::BindError, [&](StunBuilder& builder) {
      builder.add_error(code, "");
      builder.add(StunAttribute::Nonce, Bytes(kBindNonceSize, nonce));
      return builder.finish();
    });
  }
  Bytes success(const Bytes& request, const SocketAddress& mapped = kMapped, std::uint32_t lifetime_s = 600,
                std::uint8_t key = 5) {
    return answer(request, StunType::BindSuccess, [&](StunBuilder& builder) {
      builder.add_mapped_address(mapped);
      builder.add_u32(StunAttribute::Lifetime, lifetime_s);
      return builder.finish_with_integrity(Bytes(32, key), toy_mac);
    });
  }
  Bytes refusal(const Bytes& request, std::uint16_t code) {
    return answer(request, StunType::BindError, [&](StunBuilder& builder) {
      builder.add_error(code, "");
      return builder.finish();
    });
  }
  bool deliver(const Bytes& datagram) { return client.handle_datagram(now, kRelay, datagram); }
  void advance_to_timeout() {
    now = std::max(now, client.next_timeout());
    client.handle_timeout(now);
  }
  /// Goes on until a datagram is to be sent.
  Bytes next_request() {
    for (int i = 0; i < 10; ++i) {
      advance_to_timeout();
      if (Bytes request = transmit(); !request.empty()) return request;
    }
    return {};
  }
  void become_bound() {
    deliver(challenge(transmit(), 401, 1));
    now += milliseconds(10);
    deliver(success(transmit()));
    ASSERT_TRUE(client.is_bound(now));
    ASSERT_TRUE(std::holds_alternative<BindingProven>(*client.poll_event()));
  }
  std::uint64_t sequence_of(const Bytes& request) {
    return StunView::parse(request)->find_u64(StunAttribute::BindSeq).value_or(0);
  }

  SeededRandom random{1};
  Instant now = from_nanoseconds(5'000'000'000);
  BindTicket ticket{Bytes(103, 8), [] {
                      std::array<std::uint8_t, 32> key{};
                      key.fill(5);
                      return key;
                    }()};
  BindClient client{{kRelay, ticket, toy_mac, milliseconds(kWallStartMs) - seconds(5)}, random, now};
};

TEST_F(BindClientTest, FirstAsksWithAPaddedRequestThenBindsWithTheNonce) {
  const Bytes ask = transmit();
  EXPECT_EQ(ask.size(), kBindRequestSizeMin);
  EXPECT_FALSE(StunView::parse(ask)->find(StunAttribute::Nonce));
  EXPECT_FALSE(StunView::parse(ask)->find(StunAttribute::AccessToken));
  EXPECT_TRUE(deliver(challenge(ask, 401, 1)));
  const Bytes request = transmit();
  const auto message = StunView::parse(request);
  EXPECT_EQ(to_bytes(*message->find(StunAttribute::Nonce)), Bytes(20, 1));
  EXPECT_EQ(to_bytes(*message->find(StunAttribute::AccessToken)), ticket.access_token);
  EXPECT_EQ(sequence_of(request), static_cast<std::uint64_t>(kWallStartMs));
  EXPECT_TRUE(message->has_integrity(ticket.mac_key, toy_mac));
  EXPECT_FALSE(client.is_bound(now));
  now += milliseconds(30);
  deliver(success(request));
  EXPECT_TRUE(client.is_bound(now));
  EXPECT_EQ(client.mapped_address(), kMapped);
  EXPECT_EQ(client.round_trip(), milliseconds(30));
  EXPECT_EQ(std::get<BindingProven>(*client.poll_event()).mapped, kMapped);
  EXPECT_FALSE(client.poll_event());
}

TEST_F(BindClientTest, SendsTheSameBytesAgainWithDoublingPauses) {
  const Bytes ask = transmit();
  std::vector<std::int64_t> pauses;
  for (int i = 0; i < 7; ++i) {
    const Instant before = now;
    advance_to_timeout();
    pauses.push_back(std::chrono::duration_cast<milliseconds>(now - before).count());
    EXPECT_EQ(transmit(), ask);
  }
  EXPECT_EQ(pauses, (std::vector<std::int64_t>{250, 500, 1000, 2000, 4000, 4000, 4000}));
}

TEST_F(BindClientTest, AfterFourUnansweredBindsItAsksForANonceAgain) {
  deliver(challenge(transmit(), 401, 1));
  const Bytes request = transmit();
  for (int i = 0; i < 3; ++i) {
    advance_to_timeout();
    EXPECT_EQ(transmit(), request);
  }
  advance_to_timeout();
  EXPECT_FALSE(StunView::parse(transmit())->find(StunAttribute::Nonce));
}

TEST_F(BindClientTest, BindsAgainEveryTwentySecondsWithAHigherNumber) {
  become_bound();
  std::uint64_t last = 0;
  for (int i = 0; i < 10; ++i) {
    const Instant before = now;
    const Bytes request = next_request();
    EXPECT_LE(now - before, seconds(20));
    EXPECT_GE(now - before, seconds(18));
    EXPECT_GT(sequence_of(request), last);
    last = sequence_of(request);
    deliver(success(request));
    EXPECT_TRUE(client.is_bound(now));
  }
  EXPECT_FALSE(client.poll_event());
}

TEST_F(BindClientTest, NumbersGrowEvenWhenTheClockIsSetBack) {
  become_bound();
  const Bytes first = next_request();
  deliver(success(first));
  client.set_wall_offset(-seconds(100'000));
  EXPECT_EQ(sequence_of(next_request()), sequence_of(first) + 1);
}

TEST_F(BindClientTest, AStaleNonceIsReplacedAtOnce) {
  become_bound();
  const Bytes request = next_request();
  deliver(challenge(request, 438, 2));
  const Bytes again = transmit();
  EXPECT_EQ(to_bytes(*StunView::parse(again)->find(StunAttribute::Nonce)), Bytes(20, 2));
  EXPECT_GT(sequence_of(again), sequence_of(request));
  deliver(success(again));
  EXPECT_FALSE(client.poll_event());
}

TEST_F(BindClientTest, EndlessChallengesAreAnsweredSlowly) {
  Bytes request = transmit();
  int answered = 0;
  for (; answered < 100 && !request.empty(); ++answered) {
    deliver(challenge(request, 438, 2));
    request = transmit();
  }
  EXPECT_LT(answered, 10);
  EXPECT_FALSE(next_request().empty());
}

TEST_F(BindClientTest, AnswersOfStrangersCountForNothing) {
  const Bytes ask = transmit();
  Bytes other = ask;
  other[15] ^= 1;
  EXPECT_TRUE(deliver(challenge(other, 401, 1)));
  EXPECT_TRUE(transmit().empty());
  EXPECT_FALSE(client.handle_datagram(now, kMapped, challenge(ask, 401, 1)));
  EXPECT_TRUE(transmit().empty());
  deliver(challenge(ask, 401, 1));
  const Bytes request = transmit();
  deliver(success(request, kMapped, 600, 6));
  EXPECT_FALSE(client.is_bound(now));
  deliver(success(request));
  EXPECT_TRUE(client.is_bound(now));
}

TEST_F(BindClientTest, ASuccessWithoutARequestThatWasAuthenticatedIsIgnored) {
  deliver(success(transmit()));
  EXPECT_FALSE(client.is_bound(now));
}

TEST_F(BindClientTest, IsLostWhenTheRefreshGoesUnansweredAndComesBack) {
  become_bound();
  const Instant proven = now - milliseconds(10);
  while (client.is_bound(now)) advance_to_timeout();
  EXPECT_EQ(now - proven, BindClient::kProof);
  EXPECT_TRUE(std::holds_alternative<BindingLost>(*client.poll_event()));
  Bytes request = next_request();
  if (!StunView::parse(request)->find(StunAttribute::Nonce)) {
    deliver(challenge(request, 401, 3));
    request = transmit();
  }
  deliver(success(request));
  EXPECT_TRUE(std::holds_alternative<BindingProven>(*client.poll_event()));
}

TEST_F(BindClientTest, ARefusalIsSaidOnceAndTriedAgainMoreAndMoreSlowly) {
  deliver(challenge(transmit(), 401, 1));
  deliver(refusal(transmit(), 403));
  EXPECT_EQ(std::get<BindRefused>(*client.poll_event()).code, 403);
  Duration last{};
  for (int i = 0; i < 10; ++i) {
    const Instant before = now;
    deliver(challenge(next_request(), 401, 1));
    EXPECT_GE(now - before, last);
    last = now - before;
    EXPECT_LE(last, seconds(60));
    deliver(refusal(transmit(), 486));
  }
  EXPECT_EQ(last, seconds(60));
  EXPECT_FALSE(client.poll_event());
  client.set_ticket(now, ticket);
  const Bytes request = transmit();
  deliver(success(request));
  EXPECT_TRUE(client.is_bound(now));
}

TEST_F(BindClientTest, AChangedMappingIsReported) {
  become_bound();
  const SocketAddress moved = *SocketAddress::parse("192.0.2.1:2000");
  deliver(success(next_request(), moved));
  EXPECT_EQ(std::get<MappedAddressChanged>(*client.poll_event()).mapped, moved);
}

TEST_F(BindClientTest, ARestartedRelayIsBoundAtOnceAndUntilThenNot) {
  become_bound();
  client.rebind_now(now, RebindReason::RelayRestarted);
  EXPECT_FALSE(client.is_bound(now));
  EXPECT_TRUE(std::holds_alternative<BindingLost>(*client.poll_event()));
  EXPECT_EQ(transmit().size(), kBindRequestSizeMin);
  EXPECT_FALSE(client.poll_transmit());
}

TEST_F(BindClientTest, AfterTheControlChannelCameBackItBindsAtOnceAndStaysBound) {
  become_bound();
  client.rebind_now(now, RebindReason::ControlReturned);
  EXPECT_TRUE(client.is_bound(now));
  EXPECT_TRUE(StunView::parse(transmit())->find(StunAttribute::Nonce));
}

TEST_F(BindClientTest, WhenAPeerIsSilentTheRelayMustAnswerSoonAndStaysBoundIfItDoes) {
  become_bound();
  client.rebind_now(now, RebindReason::PeerSilent);
  const Bytes request = transmit();
  ASSERT_FALSE(request.empty());
  now += milliseconds(100);
  client.rebind_now(now, RebindReason::PeerSilent);
  EXPECT_FALSE(client.poll_transmit()) << "one question at a time";
  EXPECT_FALSE(client.is_bound(now + BindClient::kDoubt));
  ASSERT_TRUE(deliver(success(request)));
  EXPECT_TRUE(client.is_bound(now + BindClient::kRefresh));

  client.rebind_now(now, RebindReason::PeerSilent);
  for (const Instant end = now + BindClient::kDoubt; now < end;) advance_to_timeout();
  EXPECT_FALSE(client.is_bound(now));
  EXPECT_TRUE(std::holds_alternative<BindingLost>(*client.poll_event()));
}

TEST_F(BindClientTest, AnotherRelayAddressStartsFromTheBeginning) {
  become_bound();
  const SocketAddress other = *SocketAddress::parse("198.51.100.2:443");
  client.set_relay(now, other);
  EXPECT_FALSE(client.is_bound(now));
  const Bytes ask = transmit();
  EXPECT_EQ(ask.size(), kBindRequestSizeMin);
  EXPECT_FALSE(client.handle_datagram(now, kRelay, challenge(ask, 401, 1)));
  EXPECT_TRUE(client.handle_datagram(now, other, challenge(ask, 401, 1)));
}

TEST_F(BindClientTest, AShortLifetimeIsRefreshedInTimeButNotWildly) {
  deliver(challenge(transmit(), 401, 1));
  deliver(success(transmit(), kMapped, 0));
  EXPECT_FALSE(client.is_bound(now));
  const Instant before = now;
  next_request();
  EXPECT_GE(now - before, milliseconds(500));
}

TEST_F(BindClientTest, HintsOfMissingPeersAreReportedWithinABound) {
  become_bound();
  const RouteId route{{1, 2, 3, 4, 5, 6, 7}};
  for (int i = 0; i < 1000; ++i) {
    Bytes buffer(64);
    StunBuilder builder(buffer, StunType::BindIndication, {});
    builder.add_route(route);
    EXPECT_TRUE(deliver(to_bytes(builder.finish())));
  }
  std::size_t hints = 0;
  while (const auto event = client.poll_event()) {
    EXPECT_EQ(std::get<PeerUnbound>(*event).route, route);
    ++hints;
  }
  EXPECT_EQ(hints, BindClient::kEventsMax);
}

TEST_F(BindClientTest, WhatIsNotForItIsLeftToOthers) {
  Bytes buffer(64);
  StunBuilder builder(buffer, StunType::BindingSuccess, {});
  EXPECT_FALSE(deliver(to_bytes(builder.finish())));
  EXPECT_FALSE(deliver(Bytes(3, 0x40)));
  EXPECT_FALSE(deliver(Bytes()));
}

TEST_F(BindClientTest, SurvivesGarbage) {
  become_bound();
  SeededRandom fuzz(3);
  Bytes request = next_request();
  for (int round = 0; round < 200'000; ++round) {
    Bytes bytes = fuzz.below(2) == 0 ? success(request) : challenge(request, 438, 1);
    for (std::uint64_t edits = fuzz.below(3) + 1; edits > 0; --edits) {
      bytes[fuzz.below(bytes.size())] = static_cast<std::uint8_t>(fuzz.next());
    }
    static_cast<void>(deliver(bytes));
    if (Bytes sent = transmit(); !sent.empty()) request = std::move(sent);
    while (client.poll_event()) {
    }
    if (round % 64 == 0) advance_to_timeout();
  }
  SUCCEED();
}

}  // namespace
}  // namespace postern::wire
