// Bytes arrive whole and in order, whatever the network does to packets.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Host;
using test::Pair;
using test::PairOptions;

Bytes pattern(std::size_t size, std::uint64_t seed) {
  SeededRandom random(seed);
  Bytes bytes(size);
  random.fill(bytes);
  return bytes;
}

/// Writes `bytes` as far as the stream takes them, and goes on when it is writable again.
class Source {
 public:
  Source(Host& host, SessionId session, StreamId stream, Bytes bytes)
      : host_(host), session_(session), stream_(stream), bytes_(std::move(bytes)) {}

  void handle(const Event& event) {
    const auto* writable = std::get_if<StreamWritable>(&event);
    if (writable != nullptr && writable->stream == stream_) pump();
  }
  void pump() {
    while (offset_ < bytes_.size()) {
      const std::size_t room = host_.endpoint.writable(session_, stream_);
      if (room == 0) return;
      const ByteView part =
          ByteView(bytes_).subspan(offset_).first(std::min({room, bytes_.size() - offset_, std::size_t{60'000}}));
      ASSERT_TRUE(host_.endpoint.write(session_, stream_, host_.pool.copy(part)).has_value());
      offset_ += part.size();
    }
    if (std::exchange(finished_, true)) return;
    ASSERT_TRUE(host_.endpoint.finish(session_, stream_).has_value());
  }

 private:
  Host& host_;
  SessionId session_;
  StreamId stream_;
  Bytes bytes_;
  std::size_t offset_ = 0;
  bool finished_ = false;
};

class Transfer : public testing::TestWithParam<std::tuple<unsigned, unsigned>> {};

/// Sends `size` bytes each way on one flow and checks both.
void transfer_both_ways(Pair& pair, std::size_t size, Duration limit) {
  if (pair.client.count<Established>() == 0) pair.establish();
  (void)pair.client.endpoint.open_stream(pair.session);
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  const Bytes up = pattern(size, 7);
  const Bytes down = pattern(size, 8);
  Source client_source(pair.client, pair.session, stream, up);
  Source connector_source(pair.connector, pair.peer_session, stream, down);
  test::Sink at_client;
  test::Sink at_connector;
  pair.client.on_event = [&](const Event& event) {
    client_source.handle(event);
    if (const auto* readable = std::get_if<StreamReadable>(&event)) {
      at_client.take(pair.client, readable->session, readable->stream);
    }
  };
  pair.connector.on_event = [&](const Event& event) {
    connector_source.handle(event);
    if (std::holds_alternative<StreamOpened>(event)) connector_source.pump();
    if (const auto* readable = std::get_if<StreamReadable>(&event)) {
      at_connector.take(pair.connector, readable->session, readable->stream);
    }
  };
  client_source.pump();
  ASSERT_TRUE(pair.run_until([&] { return at_client.finished[stream] && at_connector.finished[stream]; }, limit));
  EXPECT_TRUE(at_connector.received[stream] == up);
  EXPECT_TRUE(at_client.received[stream] == down);
  ASSERT_TRUE(pair.run_until(
      [&] { return pair.client.count<StreamClosed>() == 1 && pair.connector.count<StreamClosed>() == 1; }));
}

TEST_P(Transfer, OfAMebibyteBothWaysArrivesWhole) {
  const auto [loss, jitter_ms] = GetParam();
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    PairOptions options;
    options.seed = seed * 100;
    options.link.loss_per_mille = loss;
    options.link.jitter = std::chrono::milliseconds(jitter_ms);
    options.link.duplicate_per_mille = loss / 2;
    Pair pair(options);
    transfer_both_ways(pair, 1U << 20, 300s);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Transfer, testing::Combine(testing::Values(0U, 10U, 50U), testing::Values(0U, 15U)));

TEST(TransferCiphers, OfIpsecMbAndGnuTlsUnderstandEachOther) {
  for (const bool client_is_portable : {false, true}) {
    PairOptions options;
    options.link.loss_per_mille = 10;
    (client_is_portable ? options.client_cipher : options.connector_cipher) = PacketCipher::Portable;
    Pair pair(options);
    transfer_both_ways(pair, 1U << 20, 60s);
  }
}

TEST(TransferSpeed, FillsAPathOfTwentyMillisecondsWithoutLoss) {
  Pair pair;
  const Instant start = pair.now;
  transfer_both_ways(pair, 16U << 20, 60s);
  // Slow start from ten packets takes about ten round trips; pacing must not add much to that.
  EXPECT_LT(pair.now - start, 1500ms);
}

TEST(TransferSpeed, FindsTheLargestPacketThatThePathCarries) {
  for (const std::size_t mtu : {1472U, 1430U, 1300U, 1200U}) {
    PairOptions options;
    options.link.mtu = mtu;
    Pair pair(options);
    std::size_t largest_train_packet = 0;
    pair.establish();
    pair.run_for(20s);
    pair.up.tap = [&](ByteView datagram) { largest_train_packet = std::max(largest_train_packet, datagram.size()); };
    transfer_both_ways(pair, 2U << 20, 60s);
    EXPECT_LE(largest_train_packet, mtu);
    const std::size_t expected = mtu >= 1452 ? 1452U : mtu >= 1420 ? 1420U : mtu >= 1280 ? 1280U : 1200U;
    EXPECT_EQ(largest_train_packet, expected);
  }
}

TEST(TransferSpeed, ReadsComeInLongPieces) {
  Pair pair;
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  Source source(pair.client, pair.session, stream, pattern(4U << 20, 3));
  pair.client.on_event = [&](const Event& event) { source.handle(event); };
  std::size_t reads = 0;
  std::size_t bytes = 0;
  pair.connector.on_event = [&](const Event& event) {
    const auto* readable = std::get_if<StreamReadable>(&event);
    if (readable == nullptr) return;
    for (;;) {
      const Slice slice = pair.connector.endpoint.read(readable->session, readable->stream);
      if (slice.empty()) return;
      ++reads;
      bytes += slice.size();
      EXPECT_LE(slice.size(), 64U * 1024);
      pair.connector.endpoint.consume(readable->session, readable->stream, slice.size());
    }
  };
  source.pump();
  ASSERT_TRUE(pair.run_until([&] { return bytes == 4U << 20; }));
  EXPECT_GT(bytes / reads, 16'000U);
}

}  // namespace
}  // namespace postern::session
