// Sessions come to be only between the right keys, with a valid knock.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

TEST(Handshake, ProvesBothKeysAndEchoesBytes) {
  Pair pair;
  test::echo(pair.connector);
  test::Sink sink;
  sink.attach(pair.client);
  pair.establish();
  ASSERT_EQ(pair.client.count<Established>(), 1U);
  ASSERT_EQ(pair.connector.count<Established>(), 1U);
  EXPECT_EQ(pair.client.find<Established>()->peer, pair.connector_digest);
  EXPECT_EQ(pair.connector.find<Established>()->peer, pair.client_digest);

  const auto stream = pair.client.endpoint.open_stream(pair.session);
  ASSERT_TRUE(stream.has_value());
  EXPECT_EQ(*stream, kControlStream);
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, *stream, pair.client.slice("hello")).has_value());
  ASSERT_TRUE(pair.client.endpoint.finish(pair.session, *stream).has_value());
  EXPECT_TRUE(pair.run_until([&] { return sink.finished[*stream]; }));
  EXPECT_EQ(as_text(sink.received[*stream]), "hello");
  EXPECT_TRUE(pair.run_until(
      [&] { return pair.client.count<StreamClosed>() == 1 && pair.connector.count<StreamClosed>() == 1; }));
}

TEST(Handshake, WithAWrongConnectorKeyEndsBeforeTheClientHasShownItsCertificate) {
  Pair pair;
  ConnectRequest request = pair.request();
  request.peer_digest[0] ^= 1;
  ASSERT_TRUE(pair.client.endpoint.connect(pair.now, request).has_value());
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() == 1; }));
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::PinMismatch);
  EXPECT_EQ(pair.client.count<Established>(), 0U);
  ASSERT_TRUE(pair.run_until([&] { return pair.connector.count<Closed>() == 1; }));
  EXPECT_EQ(pair.connector.find<Closed>()->reason, CloseReason::HandshakeFailed);
  EXPECT_EQ(pair.connector.count<Established>(), 0U);
  // Two datagrams of 1200 bytes at most: ClientHello, and the alert. A certificate would need a third.
  EXPECT_LE(pair.up.datagrams, 2U);
}

TEST(Handshake, WithAKeyThatTheKnockDoesNotPromiseIsRefusedByTheConnector) {
  Pair pair;
  ConnectRequest request = pair.request();
  Digest other = pair.client_digest;
  other[31] ^= 1;
  request.knock = test::make_knock(other);
  ASSERT_TRUE(pair.client.endpoint.connect(pair.now, request).has_value());
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() == 1; }));
  ASSERT_TRUE(pair.run_until([&] { return pair.connector.count<Closed>() == 1; }));
  EXPECT_EQ(pair.connector.find<Closed>()->reason, CloseReason::PinMismatch);
  EXPECT_EQ(pair.connector.count<Established>(), 0U);
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::HandshakeFailed);
}

struct KnockCase {
  const char* name;
  Bytes (*make)(const Pair& pair);
  DropReason reason;
};

class HandshakeKnock : public testing::TestWithParam<KnockCase> {};

TEST_P(HandshakeKnock, ThatIsNotValidGetsNoAnswerAtAll) {
  Pair pair;
  ConnectRequest request = pair.request();
  request.knock = GetParam().make(pair);
  ASSERT_TRUE(pair.client.endpoint.connect(pair.now, request).has_value());
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() == 1; }));
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::HandshakeTimeout);
  EXPECT_EQ(pair.down.datagrams, 0U);
  EXPECT_TRUE(pair.connector.log.empty());
  EXPECT_GT(pair.connector.dropped(GetParam().reason), 0U);
  EXPECT_FALSE(pair.connector.endpoint.next_timeout().has_value());
}

INSTANTIATE_TEST_SUITE_P(
    All, HandshakeKnock,
    testing::Values(KnockCase{"Missing", [](const Pair&) { return Bytes(); }, DropReason::KnockMissing},
                    KnockCase{"Invalid", [](const Pair&) { return Bytes(48, 7); }, DropReason::KnockInvalid},
                    KnockCase{"Expired", [](const Pair& p) { return test::make_knock(p.client_digest, p.now); },
                              DropReason::KnockExpired}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(Handshake, TimesOutAfterFiveSecondsOfSilence) {
  Pair pair;
  pair.down.options.down = true;
  const Instant start = pair.now;
  ASSERT_TRUE(pair.client.endpoint.connect(pair.now, pair.request()).has_value());
  ASSERT_TRUE(pair.run_until([&] { return pair.client.count<Closed>() == 1; }));
  EXPECT_EQ(pair.client.find<Closed>()->reason, CloseReason::HandshakeTimeout);
  EXPECT_EQ(pair.now - start, 5s);
  // The half-open session at the connector goes too.
  ASSERT_TRUE(pair.run_until([&] { return pair.connector.count<Closed>() == 1; }));
  EXPECT_EQ(pair.connector.find<Closed>()->reason, CloseReason::HandshakeTimeout);
  EXPECT_FALSE(pair.connector.endpoint.next_timeout().has_value());
}

TEST(Handshake, SurvivesHeavyLossAndReordering) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    PairOptions options;
    options.seed = seed;
    options.link.loss_per_mille = 250;
    options.link.jitter = 20ms;
    options.link.duplicate_per_mille = 200;
    Pair pair(options);
    pair.establish();
    EXPECT_EQ(pair.connector.count<Established>(), 1U) << "seed " << seed;
  }
}

TEST(Handshake, ConnectionIdsCarryTheRouteOfTheirReceiver) {
  Pair pair;
  std::size_t wrong = 0;
  const auto check = [&wrong](RouteId route) {
    return [&wrong, route](ByteView datagram) {
      const std::size_t at = (datagram[0] & 0x80) != 0 ? 6 : 1;
      wrong += ConnectionId::from(datagram.subspan(at, 16))->route() == route ? 0U : 1U;
    };
  };
  pair.up.tap = check(Pair::kConnectorRoute);
  pair.down.tap = check(Pair::kClientRoute);
  pair.establish();
  pair.run_for(1s);
  EXPECT_GT(pair.up.datagrams, 2U);
  EXPECT_EQ(wrong, 0U);
}

}  // namespace
}  // namespace postern::session
