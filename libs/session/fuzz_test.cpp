// Whatever arrives at the port is a counted drop: never a crash, and never harm to a live session.
#include <gtest/gtest.h>

#include "session/packet_header.hpp"
#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Host;
using test::Pair;
using test::PairOptions;

void hand_over(Pair& pair, Host& to, Bytes datagram) {
  to.endpoint.handle_train(pair.now, {{0, *SocketAddress::parse("198.51.100.7:999")}, datagram, datagram.size(), 0});
}

/// One random edit of a real datagram.
void damage(Bytes& datagram, SeededRandom& random) {
  switch (random.below(4)) {
    case 0:
      datagram[random.below(datagram.size())] ^= static_cast<std::uint8_t>(1 + random.below(255));
      return;
    case 1:
      datagram.resize(1 + random.below(datagram.size()));
      return;
    case 2:
      datagram.resize(datagram.size() + 1 + random.below(100), 0xaa);
      return;
    default:
      random.fill(MutableBytes(datagram).subspan(random.below(datagram.size())));
  }
}

TEST(Garbage, IsCountedAndAnsweredWithSilence) {
  Pair pair;
  SeededRandom random(99);
  for (int i = 0; i < 20'000; ++i) {
    Bytes datagram(1 + random.below(1500));
    random.fill(datagram);
    hand_over(pair, i % 2 == 0 ? pair.client : pair.connector, std::move(datagram));
  }
  pair.run_for(10s);
  EXPECT_EQ(pair.up.datagrams + pair.down.datagrams, 0U);
  EXPECT_TRUE(pair.client.log.empty());
  EXPECT_TRUE(pair.connector.log.empty());
  std::uint64_t drops = 0;
  for (const auto count : pair.client.endpoint.drops()) drops += count;
  for (const auto count : pair.connector.endpoint.drops()) drops += count;
  EXPECT_EQ(drops, 20'000U);
}

TEST(Garbage, TrainsWithOddStridesAreTaken) {
  Pair pair;
  Bytes bytes(5000, 0x41);
  for (const std::size_t stride :
       {std::size_t{0}, std::size_t{1}, std::size_t{17}, std::size_t{4999}, std::size_t{9000}}) {
    pair.connector.endpoint.handle_train(pair.now, {{}, bytes, stride, 0});
  }
  pair.connector.endpoint.handle_train(pair.now, {{}, {}, 1200, 0});
  EXPECT_GT(pair.connector.dropped(DropReason::Truncated), 0U);
}

TEST(Garbage, OtherVersionsAndIdLengthsAreDroppedUnseen) {
  Bytes initial(1200, 0);
  initial[0] = 0xc3;
  initial[4] = 1;
  initial[5] = 16;
  initial[22] = 16;
  EXPECT_TRUE(parse_packet_header(initial).has_value());
  for (const std::uint8_t version : {std::uint8_t{0}, std::uint8_t{2}}) {
    Bytes other = initial;
    other[4] = version;
    EXPECT_EQ(parse_packet_header(other).error(), DropReason::UnsupportedVersion);
  }
  Bytes retry = initial;
  retry[0] = 0xf0;
  EXPECT_EQ(parse_packet_header(retry).error(), DropReason::UnsupportedVersion);
  Bytes short_id = initial;
  short_id[5] = 8;
  EXPECT_EQ(parse_packet_header(short_id).error(), DropReason::Truncated);
  Bytes long_token = initial;
  long_token[39] = 0xff;
  EXPECT_EQ(parse_packet_header(long_token).error(), DropReason::Truncated);
}

TEST(Garbage, DamagedCopiesOfRealPacketsDoNotHurtHandshakes) {
  std::size_t established = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    PairOptions options;
    options.seed = seed;
    Pair pair(options);
    SeededRandom random(seed);
    std::vector<std::pair<Host*, Bytes>> copies;
    const auto copy_to = [&](Host& to) {
      return [&copies, &to](ByteView datagram) { copies.emplace_back(&to, to_bytes(datagram)); };
    };
    pair.up.tap = copy_to(pair.connector);
    pair.down.tap = copy_to(pair.client);
    pair.session = *pair.client.endpoint.connect(pair.now, pair.request());
    for (int step = 0; step < 400; ++step) {
      pair.run_for(1ms);
      for (auto& [to, datagram] : std::exchange(copies, {})) {
        damage(datagram, random);
        hand_over(pair, *to, std::move(datagram));
      }
    }
    pair.run_for(10s);
    established += pair.client.count<Established>();
  }
  // Initial packets have no secret, so an attacker who sees them can break a handshake; mostly he just changed bytes.
  EXPECT_GE(established, 30U);
}

TEST(Garbage, DamagedAndReplayedPacketsDoNotHurtALiveSession) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    PairOptions options;
    options.seed = seed;
    Pair pair(options);
    test::echo(pair.connector);
    test::Sink sink;
    sink.attach(pair.client);
    pair.establish();
    pair.run_for(1s);
    SeededRandom random(seed);
    std::vector<std::pair<Host*, Bytes>> copies;
    const auto copy_to = [&](Host& to) {
      return [&copies, &to](ByteView datagram) { copies.emplace_back(&to, to_bytes(datagram)); };
    };
    pair.up.tap = copy_to(pair.connector);
    pair.down.tap = copy_to(pair.client);
    const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
    std::string sent;
    for (int step = 0; step < 200; ++step) {
      sent += "message " + std::to_string(step) + ";";
      ASSERT_TRUE(
          pair.client.endpoint.write(pair.session, stream, pair.client.slice("message " + std::to_string(step) + ";"))
              .has_value());
      pair.run_for(5ms);
      for (auto& [to, datagram] : std::exchange(copies, {})) {
        if (random.below(3) != 0) damage(datagram, random);
        hand_over(pair, *to, std::move(datagram));
      }
    }
    ASSERT_TRUE(pair.run_until([&] { return sink.received[stream].size() == sent.size(); }, 30s));
    EXPECT_EQ(as_text(sink.received[stream]), sent);
    EXPECT_EQ(pair.client.count<Closed>() + pair.connector.count<Closed>(), 0U);
    EXPECT_GT(pair.connector.dropped(DropReason::Undecryptable), 0U);
  }
}

TEST(Garbage, ForgedPacketsDoNotCountAsSignsOfLife) {
  Pair pair;
  pair.establish();
  pair.run_for(1s);
  std::vector<Bytes> seen;
  pair.up.tap = [&seen](ByteView datagram) { seen.push_back(to_bytes(datagram)); };
  pair.client.endpoint.ping(pair.now, pair.session);
  pair.run_for(1s);
  const Instant heard = pair.connector.endpoint.stats(pair.peer_session)->last_heard;
  pair.run_for(60s);
  for (Bytes& datagram : seen) {
    datagram.back() ^= 1;
    hand_over(pair, pair.connector, datagram);
  }
  EXPECT_EQ(pair.connector.endpoint.stats(pair.peer_session)->last_heard, heard);
}

}  // namespace
}  // namespace postern::session
