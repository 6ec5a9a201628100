// Relay to direct and back, in virtual time (DESIGN §5.3).
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const SocketAddress kRelay = *SocketAddress::parse("192.0.2.1:443");
const SocketAddress kFar = *SocketAddress::parse("203.0.113.30:4100");
const Path kDirectPath{kDirectLabel, kFar};
const Path kRelayPath{kRelayLabel, kRelay};

struct Case {
  std::string_view name;
  milliseconds relay_delay;   ///< one way
  milliseconds direct_delay;  ///< one way
  Duration jitter{};
  unsigned loss_per_mille = 0;
};

void PrintTo(const Case& value, std::ostream* out) {
  *out << value.name;
}

class Migration : public testing::TestWithParam<Case> {
 protected:
  Migration() : pair_(options(GetParam())) {
    pair_.up.direct.delay = pair_.down.direct.delay = GetParam().direct_delay;
    sink_.attach(pair_.connector);
    pair_.establish();
    EXPECT_TRUE(pair_.client.endpoint.allow_remote(pair_.session, kFar));
    EXPECT_TRUE(pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar));
  }

  static PairOptions options(const Case& given) {
    PairOptions options;
    options.link.delay = given.relay_delay;
    options.link.jitter = given.jitter;
    options.link.loss_per_mille = given.loss_per_mille;
    return options;
  }
  [[nodiscard]] Duration direct_round_trip() const { return 2 * Duration(GetParam().direct_delay); }

  /// Queues `size` bytes on a new stream, as fast as the stream takes them.
  void start_transfer(std::size_t size) {
    content_.resize(size);
    SeededRandom random(7);
    random.fill(content_);
    stream_ = *pair_.client.endpoint.open_stream(pair_.session);
    pair_.client.on_event = [this](const Event& event) {
      if (std::holds_alternative<StreamWritable>(event)) feed();
    };
    feed();
  }
  void feed() {
    while (written_ < content_.size()) {
      const std::size_t room = pair_.client.endpoint.writable(pair_.session, stream_);
      const std::size_t size = std::min({room, content_.size() - written_, std::size_t{60'000}});
      if (size == 0) return;
      ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream_,
                                              pair_.client.pool.copy(ByteView(content_).subspan(written_, size))));
      written_ += size;
    }
    if (std::exchange(finished_, true)) return;
    ASSERT_TRUE(pair_.client.endpoint.finish(pair_.session, stream_));
  }
  [[nodiscard]] bool has_arrived() const {
    const auto found = sink_.finished.find(stream_);
    return found != sink_.finished.end() && found->second;
  }
  [[nodiscard]] std::size_t arrived() const {
    const auto found = sink_.received.find(stream_);
    return found == sink_.received.end() ? 0 : found->second.size();
  }
  void expect_paths(const Path& path) {
    EXPECT_TRUE(pair_.run_until(
        [&] {
          return pair_.client.endpoint.stats(pair_.session)->path == path &&
                 pair_.connector.endpoint.stats(pair_.peer_session)->path == path;
        },
        seconds(5)));
  }
  void expect_migration(const Path& to, std::optional<Duration> round_trip) {
    ASSERT_TRUE(pair_.run_until(
        [&] { return pair_.client.endpoint.migrate(pair_.now, pair_.session, to, round_trip).has_value(); }));
    expect_paths(to);
  }

  Sink sink_;
  Pair pair_;
  Bytes content_;
  std::size_t written_ = 0;
  bool finished_ = false;
  StreamId stream_;
};

TEST_P(Migration, GoesDirectUnderLoadAndBackWithoutLosingAByte) {
  start_transfer(12U << 20);
  ASSERT_TRUE(pair_.run_until([&] { return arrived() > 1U << 20; }));
  expect_migration(kDirectPath, direct_round_trip());
  const std::uint64_t direct_before = pair_.up.direct_bytes;
  ASSERT_TRUE(pair_.run_until([&] { return arrived() > 6U << 20; }, seconds(60)));
  EXPECT_GT(pair_.up.direct_bytes - direct_before, 3U << 20);
  expect_migration(kRelayPath, std::nullopt);
  const std::uint64_t direct_after = pair_.up.direct_bytes;
  ASSERT_TRUE(pair_.run_until([&] { return has_arrived(); }, seconds(60)));
  EXPECT_LT(pair_.up.direct_bytes - direct_after, 1U << 20) << "only what was under way";
  EXPECT_TRUE(sink_.received[stream_] == content_);
}

TEST_P(Migration, ADirectPathThatDiesLosesNothingWhenTheClientGoesBackAtOnce) {
  start_transfer(6U << 20);
  ASSERT_TRUE(pair_.run_until([&] { return arrived() > 1U << 20; }));
  expect_migration(kDirectPath, direct_round_trip());
  ASSERT_TRUE(pair_.run_until([&] { return arrived() > 2U << 20; }, seconds(60)));
  pair_.up.direct.down = pair_.down.direct.down = true;
  pair_.run_for(milliseconds(1500));
  expect_migration(kRelayPath, std::nullopt);
  ASSERT_TRUE(pair_.run_until([&] { return has_arrived(); }, seconds(60)));
  EXPECT_TRUE(sink_.received[stream_] == content_);
}

TEST_P(Migration, ManyMovesInARowAllSucceed) {
  start_transfer(48U << 20);
  for (int i = 0; i < 12; ++i) {
    expect_migration(i % 2 == 0 ? kDirectPath : kRelayPath,
                     i % 2 == 0 ? std::optional(direct_round_trip()) : std::nullopt);
    pair_.run_for(milliseconds(300));
  }
  EXPECT_EQ(pair_.client.count<Closed>(), 0U);
  ASSERT_TRUE(pair_.run_until([&] { return has_arrived(); }, seconds(300)));
  EXPECT_TRUE(sink_.received[stream_] == content_);
}

INSTANTIATE_TEST_SUITE_P(Paths, Migration,
                         testing::Values(Case{"faster", milliseconds(20), milliseconds(2)},
                                         Case{"slower", milliseconds(2), milliseconds(10)},  // round trip 5 ms to 20 ms
                                         Case{"reordering", milliseconds(10), milliseconds(8), milliseconds(4)},
                                         Case{"lossy", milliseconds(10), milliseconds(5), milliseconds(1), 20}),
                         [](const auto& test) { return std::string(test.param.name); });

class Paths : public testing::Test {
 protected:
  Paths() { pair_.establish(); }
  [[nodiscard]] std::uint64_t unproven() { return pair_.connector.dropped(DropReason::UnprovenRemote); }
  /// Both ends have proven the direct path and use it, for this stream.
  void go_direct_with(StreamId& stream) {
    ASSERT_TRUE(pair_.client.endpoint.allow_remote(pair_.session, kFar));
    ASSERT_TRUE(pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar));
    pair_.run_for(milliseconds(200));
    const auto opened = pair_.client.endpoint.open_stream(pair_.session);
    ASSERT_TRUE(opened);
    stream = *opened;
    ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream, pair_.client.pool.copy(Bytes(10))));
    ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, kDirectPath, milliseconds(20)));
    ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.endpoint.stats(pair_.peer_session)->path == kDirectPath; },
                                seconds(5)));
  }
  Pair pair_;
};

TEST_F(Paths, BothEndsExportTheSameKeysAndEachLabelAndContextAnother) {
  const auto ours = pair_.client.endpoint.export_key(pair_.session, "EXPORTER-a", "client");
  ASSERT_TRUE(ours);
  EXPECT_EQ(ours, pair_.connector.endpoint.export_key(pair_.peer_session, "EXPORTER-a", "client"));
  EXPECT_NE(ours, pair_.client.endpoint.export_key(pair_.session, "EXPORTER-a", "connector"));
  EXPECT_NE(ours, pair_.client.endpoint.export_key(pair_.session, "EXPORTER-b", "client"));
}

TEST_F(Paths, AConnectorTakesNothingFromAnAddressThatNoCheckHasProven) {
  pair_.run_for(milliseconds(200));
  ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, kDirectPath, milliseconds(1)));
  pair_.run_for(seconds(5));
  EXPECT_GT(unproven(), 0U);
  EXPECT_EQ(pair_.connector.endpoint.stats(pair_.peer_session)->path, kRelayPath);
  EXPECT_EQ(pair_.client.endpoint.stats(pair_.session)->path, kRelayPath);
  ASSERT_NE(pair_.client.find<PathFailed>(), nullptr);
  EXPECT_EQ(pair_.client.find<PathFailed>()->path, kDirectPath);
}

TEST_F(Paths, AHandshakeNeverStartsOnADirectPath) {
  Bytes initial;
  pair_.up.tap = [&](ByteView datagram) { initial = to_bytes(datagram); };
  pair_.up.options.down = true;
  ASSERT_TRUE(pair_.client.endpoint.connect(pair_.now, pair_.request()));
  pair_.flush();
  ASSERT_FALSE(initial.empty());
  const std::uint64_t before = pair_.connector.dropped(DropReason::UnknownConnection);
  pair_.connector.endpoint.handle_train(pair_.now, {kDirectPath, initial, initial.size(), 0});
  EXPECT_EQ(pair_.connector.dropped(DropReason::UnknownConnection), before + 1);
  pair_.run_for(seconds(1));
  EXPECT_EQ(pair_.connector.count<Established>(), 1U);
}

TEST_F(Paths, ACopiedPacketFromElsewhereDoesNotMoveTheSession) {
  ASSERT_TRUE(pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar));
  Bytes copied;
  pair_.up.tap = [&](ByteView datagram) { copied = to_bytes(datagram); };
  pair_.client.endpoint.ping(pair_.now, pair_.session);
  // The copy is the first to arrive: the original is still under way.
  pair_.flush();
  ASSERT_FALSE(copied.empty());
  pair_.connector.endpoint.handle_train(pair_.now, {kDirectPath, copied, copied.size(), 0});
  pair_.run_for(seconds(1));
  EXPECT_EQ(pair_.connector.endpoint.stats(pair_.peer_session)->path, kRelayPath);
  EXPECT_EQ(pair_.connector.count<PathChanged>(), 0U);
}

TEST_F(Paths, AConnectorThatDistrustsItsDirectPathsAnswersThroughTheRelayUntilHeardAgain) {
  ASSERT_TRUE(pair_.client.endpoint.allow_remote(pair_.session, kFar));
  ASSERT_TRUE(pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar));
  pair_.run_for(milliseconds(200));
  ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, kDirectPath, milliseconds(20)));
  ASSERT_TRUE(pair_.run_until([&] { return pair_.connector.endpoint.stats(pair_.peer_session)->path == kDirectPath; },
                              seconds(5)));
  pair_.run_for(seconds(1));
  pair_.up.direct.down = pair_.down.direct.down = true;
  pair_.connector.endpoint.distrust_direct_paths(pair_.now);
  const std::uint64_t direct = pair_.down.direct_bytes;
  const Instant asked = pair_.now;
  EXPECT_TRUE(pair_.run_until([&] { return pair_.client.endpoint.stats(pair_.session)->last_heard > asked; },
                              milliseconds(500)));
  EXPECT_EQ(pair_.down.direct_bytes, direct);
  EXPECT_EQ(pair_.connector.endpoint.stats(pair_.peer_session)->path, kRelayPath);
  pair_.up.direct.down = pair_.down.direct.down = false;
  pair_.client.endpoint.ping(pair_.now, pair_.session);
  EXPECT_TRUE(pair_.run_until([&] { return pair_.connector.endpoint.stats(pair_.peer_session)->path == kDirectPath; },
                              seconds(5)));
}

TEST_F(Paths, AConnectorThatIsNotAnsweredDirectlyAsksThroughTheRelayWithinTwoSeconds) {
  StreamId stream;
  ASSERT_NO_FATAL_FAILURE(go_direct_with(stream));
  pair_.run_for(seconds(60));
  pair_.down.direct.down = true;
  const Instant asked = pair_.now;
  ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream, pair_.connector.pool.copy(Bytes(5'000))));
  pair_.run_for(milliseconds(900));
  EXPECT_EQ(pair_.connector.endpoint.stats(pair_.peer_session)->path, kDirectPath) << "a quiet minute is no reason";
  EXPECT_TRUE(pair_.run_until([&] { return pair_.client.endpoint.stats(pair_.session)->last_relayed > asked; },
                              milliseconds(1'100)));
}

TEST_F(Paths, AConnectorThatIsNotAnsweredAtAllAsksBothWaysInTurn) {
  StreamId stream;
  ASSERT_NO_FATAL_FAILURE(go_direct_with(stream));
  pair_.run_for(seconds(1));
  pair_.down.options.down = pair_.down.direct.down = true;
  ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream, pair_.connector.pool.copy(Bytes(5'000))));
  pair_.run_for(seconds(20));
  pair_.down.direct.down = false;  // the relay stays away
  const Instant freed = pair_.now;
  EXPECT_TRUE(
      pair_.run_until([&] { return pair_.client.endpoint.stats(pair_.session)->last_heard > freed; }, seconds(20)));
}

TEST_F(Paths, ARelayThatMovesWhileTheSessionIsDirectIsWhereItGoesBackTo) {
  const SocketAddress moved = *SocketAddress::parse("192.0.2.99:443");
  ASSERT_TRUE(pair_.client.endpoint.allow_remote(pair_.session, kFar));
  ASSERT_TRUE(pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar));
  pair_.run_for(milliseconds(200));
  ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, kDirectPath, milliseconds(20)));
  ASSERT_TRUE(
      pair_.run_until([&] { return pair_.client.endpoint.stats(pair_.session)->path == kDirectPath; }, seconds(5)));
  pair_.client.endpoint.set_remote(pair_.session, moved);
  EXPECT_EQ(pair_.client.endpoint.stats(pair_.session)->path, kDirectPath);
  ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, {kRelayLabel, moved}, std::nullopt));
  EXPECT_TRUE(pair_.run_until([&] { return pair_.connector.endpoint.stats(pair_.peer_session)->path.remote == moved; },
                              seconds(5)));
}

TEST_F(Paths, WhatADatagramMayHaveIsFoundOutAfreshOnEachPath) {
  ASSERT_TRUE(pair_.client.endpoint.allow_remote(pair_.session, kFar));
  ASSERT_TRUE(pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar));
  const StreamId flow = *pair_.client.endpoint.open_stream(pair_.session);
  const auto limit = [&] { return pair_.client.endpoint.datagram_limit(pair_.now, pair_.session, flow); };
  pair_.up.direct.mtu = pair_.down.direct.mtu = 1300;
  pair_.run_for(seconds(60));
  EXPECT_TRUE(limit().is_settled);
  EXPECT_GT(limit().payload, 1400U);
  ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, kDirectPath, milliseconds(1)));
  ASSERT_TRUE(
      pair_.run_until([&] { return pair_.client.endpoint.stats(pair_.session)->path == kDirectPath; }, seconds(5)));
  EXPECT_FALSE(limit().is_settled) << "nobody is told a size that is only the first guess";
  EXPECT_LT(limit().payload, 1300U);
  pair_.run_for(seconds(10));
  EXPECT_TRUE(limit().is_settled);
  EXPECT_LT(limit().payload, 1300U);
  ASSERT_TRUE(pair_.client.endpoint.migrate(pair_.now, pair_.session, kRelayPath, std::nullopt));
  EXPECT_FALSE(limit().is_settled);
  pair_.run_for(seconds(10));
  EXPECT_TRUE(limit().is_settled);
  EXPECT_GT(limit().payload, 1400U);
}

TEST_F(Paths, OnlyAClientMigrates) {
  EXPECT_EQ(pair_.connector.endpoint.migrate(pair_.now, pair_.peer_session, kDirectPath, std::nullopt).error(),
            MigrateError::NotReady);
}

/// A laptop leaves its home: what was carried over the short path must not be paced afterwards, on either side.
TEST(ShortPath, ThatCarriedMuchLeavesNoStallOnTheLongOneAfterIt) {
  PairOptions options;
  options.link.delay = milliseconds(20);
  Pair pair(options);
  pair.up.direct.delay = pair.down.direct.delay = std::chrono::microseconds(100);
  echo(pair.connector);
  Sink sink;
  sink.attach(pair.client);
  pair.establish();
  ASSERT_TRUE(pair.client.endpoint.allow_remote(pair.session, kFar));
  ASSERT_TRUE(pair.connector.endpoint.allow_remote(pair.peer_session, kFar));
  ASSERT_TRUE(pair.run_until([&] {
    return pair.client.endpoint.migrate(pair.now, pair.session, kDirectPath, std::chrono::microseconds(200))
        .has_value();
  }));
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  const Bytes part(50'000, 'x');
  std::size_t sent = 0;
  for (int i = 0; i < 600; ++i) {
    if (pair.client.endpoint.write(pair.session, stream, pair.client.pool.copy(part))) sent += part.size();
    ASSERT_TRUE(pair.run_until([&] { return sink.received[stream].size() == sent; }, seconds(5)));
  }
  ASSERT_EQ(sent, 600 * part.size());
  pair.up.direct.down = pair.down.direct.down = true;
  ASSERT_TRUE(pair.client.endpoint.migrate(pair.now, pair.session, kRelayPath, std::nullopt).has_value());
  for (int i = 0; i < 20; ++i) {
    const Instant said = pair.now;
    ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.slice("hello")));
    sent += 5;
    ASSERT_TRUE(pair.run_until([&] { return sink.received[stream].size() == sent; }, seconds(5)));
    EXPECT_LT(pair.now - said, milliseconds(200)) << i;
  }
}

}  // namespace
}  // namespace postern::session::test
