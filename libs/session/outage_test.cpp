// A path that is gone for a while: sessions live on, and go on soon after it has come back.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"
#include "session/probe_clock.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

class Outage : public testing::Test {
 protected:
  void SetUp() override {
    test::echo(pair_.connector);
    sink_.attach(pair_.client);
    pair_.establish();
    stream_ = *pair_.client.endpoint.open_stream(pair_.session);
    say("before");
    ASSERT_TRUE(pair_.run_until([&] { return heard("before"); }));
    pair_.run_for(1s);
  }
  void say(std::string_view text) {
    ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream_, pair_.client.slice(text)).has_value());
  }
  [[nodiscard]] bool heard(std::string_view text) { return as_text(sink_.received[stream_]).ends_with(text); }
  void cut(bool down) { pair_.up.options.down = pair_.down.options.down = down; }

  Pair pair_;
  test::Sink sink_;
  StreamId stream_;
};

TEST_F(Outage, OfAMinuteIsSurvivedAndEndsByItself) {
  say("during");
  cut(true);
  pair_.run_for(60s);
  cut(false);
  const Instant back = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return heard("during"); }, 60s));
  // A third of the outage at the latest, not as much again.
  EXPECT_LT(pair_.now - back, 22s);
  say("after");
  const Instant said = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return heard("after"); }, 5s));
  EXPECT_LT(pair_.now - said, 100ms);
}

TEST_F(Outage, AConnectorAnswersToWhereItsClientWasHeardLast) {
  const auto elsewhere = *SocketAddress::parse("192.0.2.9:443");
  const auto remote = [&] { return pair_.connector.endpoint.stats(pair_.peer_session)->path.remote; };
  ASSERT_NE(remote(), elsewhere);
  pair_.client.endpoint.set_remote(pair_.session, elsewhere);
  pair_.run_for(1s);
  EXPECT_EQ(remote(), elsewhere);
  Bytes forged(100, 0x41);
  pair_.up.tap = [&](ByteView datagram) { std::copy_n(datagram.begin(), 17, forged.begin()); };
  say("more");
  ASSERT_TRUE(pair_.run_until([&] { return heard("more"); }, 5s));
  const auto stranger = *SocketAddress::parse("192.0.2.66:443");
  pair_.connector.endpoint.handle_train(pair_.now, {{0, stranger}, forged, forged.size(), 0});
  EXPECT_EQ(remote(), elsewhere) << "only what the session's keys open moves it";
}

TEST_F(Outage, OfAPeerThatSleptDoesNotSlowTheSessionDown) {
  // The last acknowledgement before the sleep leaves when the host wakes up again.
  pair_.connector.on_event = {};
  pair_.up.options.delay = 10min;
  ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.slice("good night")));
  pair_.run_for(200ms);
  pair_.down.options.down = true;
  pair_.run_for(9min + 59s);
  pair_.up.options.delay = 10ms;
  pair_.down.options.down = false;
  pair_.run_for(10s);
  ASSERT_TRUE(heard("good night"));
  EXPECT_LE(pair_.connector.endpoint.stats(pair_.peer_session)->smoothed_rtt, 250ms);
  const std::string many(400'000, 'm');
  for (std::size_t at = 0; at < many.size(); at += 4000) {
    const auto part = std::string_view(many).substr(at, 4000);
    ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.slice(part)));
  }
  const Instant said = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return sink_.received[stream_].size() > many.size(); }, 2h));
  EXPECT_LT(pair_.now - said, 10s);
}

TEST_F(Outage, IsProbedThroughAsWellAfterManyNightsAsAfterTheFirst) {
  pair_.connector.on_event = {};
  for (int night = 0; night < 8; ++night) {
    SCOPED_TRACE(night);
    pair_.up.options.delay = 10min;
    ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.slice("good night")));
    pair_.run_for(200ms);
    pair_.down.options.down = true;
    pair_.run_for(9min + 59s);
    pair_.up.options.delay = 10ms;
    pair_.down.options.down = false;
    pair_.run_for(10s);
    ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.slice("good morning")));
    cut(true);
    pair_.run_for(10min);
    cut(false);
    // A third of the outage at the latest, and nobody has said that the path is back.
    ASSERT_TRUE(pair_.run_until([&] { return heard("good morning"); }, 220s));
  }
}

TEST_F(Outage, EndsAtOnceWhenTheOwnerSaysThatThePathIsBack) {
  cut(true);
  say("during");
  pair_.run_for(12s);
  cut(false);
  pair_.client.endpoint.set_remote(pair_.session, *SocketAddress::parse("192.0.2.9:443"));
  const Instant back = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return heard("during"); }, 5s));
  EXPECT_LT(pair_.now - back, 100ms);
  EXPECT_EQ(pair_.client.endpoint.stats(pair_.session)->path.remote, *SocketAddress::parse("192.0.2.9:443"));
}

TEST_F(Outage, WithAFullCongestionWindowEndsSoonToo) {
  cut(true);
  ASSERT_TRUE(
      pair_.client.endpoint.write(pair_.session, stream_, pair_.client.pool.copy(Bytes(70'000, 'z'))).has_value());
  ASSERT_TRUE(
      pair_.client.endpoint.write(pair_.session, stream_, pair_.client.pool.copy(Bytes(70'000, 'y'))).has_value());
  for (int i = 0; i < 10; ++i) {
    pair_.run_for(1s);
    pair_.client.endpoint.ping(pair_.now, pair_.session);
  }
  cut(false);
  pair_.client.endpoint.set_remote(pair_.session, *SocketAddress::parse("192.0.2.1:443"));
  const Instant back = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return heard("yyyy") && sink_.received[stream_].size() == 140'006; }, 10s));
  EXPECT_LT(pair_.now - back, 1s);
}

TEST_F(Outage, HearingThePeerIsEnoughForTheOtherSideToSendAgain) {
  ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream_, pair_.connector.slice("from the connector"))
                  .has_value());
  cut(true);
  pair_.flush();
  pair_.run_for(20s);
  cut(false);
  // Only the client pings; it has nothing in flight, the connector has.
  pair_.client.endpoint.ping(pair_.now, pair_.session);
  const Instant back = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return heard("from the connector"); }, 10s));
  EXPECT_LT(pair_.now - back, 200ms);
}

TEST_F(Outage, OfHoursCannotUpsetTheConnectionsClock) {
  for (int round = 0; round < 20; ++round) {
    const std::string text = "round " + std::to_string(round) + ".";
    say(text);
    cut(true);
    for (int i = 0; i < 25 * 60; ++i) {
      pair_.run_for(1s);
      pair_.client.endpoint.ping(pair_.now, pair_.session);
    }
    cut(false);
    pair_.client.endpoint.set_remote(pair_.session, *SocketAddress::parse("192.0.2.1:443"));
    ASSERT_TRUE(pair_.run_until([&] { return heard(text); }, 10s)) << text;
    pair_.run_for(1s);
  }
  const Instant said = pair_.now;
  say("fine");
  ASSERT_TRUE(pair_.run_until([&] { return heard("fine"); }, 5s));
  EXPECT_LT(pair_.now - said, 100ms);
}

TEST_F(Outage, PingOfAnIdleSessionIsAnswered) {
  pair_.run_for(60s);
  const Instant before = pair_.client.endpoint.stats(pair_.session)->last_heard;
  pair_.client.endpoint.ping(pair_.now, pair_.session);
  const Instant sent = pair_.now;
  ASSERT_TRUE(pair_.run_until([&] { return pair_.client.endpoint.stats(pair_.session)->last_heard > before; }, 5s));
  EXPECT_LT(pair_.now - sent, 100ms);
}

TEST_F(Outage, IdleSessionsSendNothingByThemselves) {
  pair_.run_for(10s);
  const std::uint64_t before = pair_.up.datagrams + pair_.down.datagrams;
  pair_.run_for(600s);
  EXPECT_EQ(pair_.up.datagrams + pair_.down.datagrams, before);
}

TEST(ProbeClock, StopsJumpingFarBelowWhatTheClockCanHold) {
  ProbeClock clock;
  const Instant now{1000s};
  constexpr std::uint64_t kYear = 365ULL * 24 * 3600 * 1'000'000'000;
  for (int i = 0; i < 1000; ++i) (void)clock.jump_to(now, clock.at(now) + kYear);
  EXPECT_LE(clock.at(now), 101 * kYear);
  EXPECT_EQ(clock.deadline(now, 10ms), Instant::max());
  EXPECT_EQ(clock.when(clock.at(now)), now);
}

}  // namespace
}  // namespace postern::session
