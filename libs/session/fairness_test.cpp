// What one flow does to another on a line that is full.
#include <gtest/gtest.h>

#include <numeric>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Host;
using test::Pair;
using test::PairOptions;

/// A home connection: 50 Mb/s, 40 ms, and a router that lets packets queue for a tenth of a second.
PairOptions home_line() {
  PairOptions options;
  options.link.delay = 20ms;
  options.link.rate = 50'000'000;
  options.link.queue = 100ms;
  return options;
}

/// Flows that never end, written by `from`, and an echo at the connector for all others.
struct FullLine {
  Pair pair{home_line()};
  std::set<StreamId> bulk;
  StreamId keys;
  std::uint64_t echoed = 0;
  std::uint64_t bulk_received = 0;
  const Bytes block = Bytes(60'000, 7);

  FullLine() {
    pair.establish();
    (void)pair.client.endpoint.open_stream(pair.session);
    keys = open("first", false);
    pair.client.on_event = [this](const Event& event) { handle(pair.client, event); };
    pair.connector.on_event = [this](const Event& event) { handle(pair.connector, event); };
    // A shell that has lived for a while is no new flow any more.
    for (int i = 0; i < 10; ++i) {
      (void)pair.client.endpoint.write(pair.session, keys, pair.client.slice(std::string(10'000, 'x')));
      pair.run_for(200ms);
    }
  }
  StreamId open(std::string_view text, bool is_bulk) {
    const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
    if (is_bulk) bulk.insert(stream);
    (void)pair.client.endpoint.write(pair.session, stream, pair.client.slice(text));
    return stream;
  }
  void handle(Host& host, const Event& event) {
    if (const auto* readable = std::get_if<StreamReadable>(&event)) read(host, *readable);
    if (const auto* writable = std::get_if<StreamWritable>(&event)) {
      if (bulk.contains(writable->stream)) fill(host, writable->session, writable->stream);
    }
  }
  void read(Host& host, const StreamReadable& readable) {
    const auto& [session, stream] = readable;
    for (Slice slice = host.endpoint.read(session, stream); !slice.empty();
         slice = host.endpoint.read(session, stream)) {
      host.endpoint.consume(session, stream, slice.size());
      if (bulk.contains(stream)) {
        bulk_received += slice.size();
        if (&host == &pair.connector && downloads) fill(host, session, stream);
      } else if (&host == &pair.connector) {
        (void)host.endpoint.write(session, stream, slice);
      } else {
        echoed += slice.size();
      }
    }
  }
  void fill(Host& host, SessionId session, StreamId stream) {
    while (host.endpoint.writable(session, stream) > 0) {
      if (!host.endpoint.write(session, stream, host.pool.copy(block))) return;
    }
  }
  void start_bulk(unsigned flows) {
    for (unsigned i = 0; i < flows; ++i) {
      const StreamId stream = open("bulk", true);
      if (!downloads) fill(pair.client, pair.session, stream);
    }
    pair.run_for(10s);
  }
  /// Round trips of single keys, sorted.
  std::vector<Duration> type(unsigned keys_typed) {
    std::vector<Duration> taken;
    for (unsigned i = 0; i < keys_typed; ++i) {
      const std::uint64_t before = echoed;
      const Instant typed = pair.now;
      (void)pair.client.endpoint.write(pair.session, keys, pair.client.slice("k"));
      EXPECT_TRUE(pair.run_until([&] { return echoed > before; }, 5s));
      taken.push_back(pair.now - typed);
      pair.run_for(230ms);
    }
    std::ranges::sort(taken);
    return taken;
  }
  bool downloads = true;
};

class Fairness : public testing::TestWithParam<std::tuple<bool, unsigned>> {};

TEST_P(Fairness, AKeyOnAFullLineTakesLessThanTwiceItsTimeOnAnIdleOne) {
  FullLine line;
  line.downloads = std::get<0>(GetParam());
  const Duration idle = line.type(5)[2];
  line.start_bulk(std::get<1>(GetParam()));
  const std::uint64_t before = line.bulk_received;
  const Instant since = line.pair.now;
  const auto taken = line.type(40);
  const double seconds = std::chrono::duration<double>(line.pair.now - since).count();
  const double rate = static_cast<double>(line.bulk_received - before) * 8 / 1e6 / seconds;
  const auto ms = [](Duration time) { return std::chrono::duration<double, std::milli>(time).count(); };
  std::printf("idle %.1f ms; with bulk at %.1f Mb/s: median %.1f ms, 95 %% %.1f ms, worst %.1f ms\n", ms(idle), rate,
              ms(taken[20]), ms(taken[38]), ms(taken[39]));
  EXPECT_LT(taken[20], 2 * idle);
  EXPECT_LT(taken[38], 2 * idle);
  EXPECT_GT(rate, 35) << "the line is full";
}

std::string fairness_name(const testing::TestParamInfo<std::tuple<bool, unsigned>>& info) {
  const auto [downloads, flows] = info.param;
  return std::string(downloads ? "Downloads" : "Uploads") + std::to_string(flows);
}

INSTANTIATE_TEST_SUITE_P(Bulk, Fairness, testing::Combine(testing::Bool(), testing::Values(1U, 8U)), fairness_name);

}  // namespace
}  // namespace postern::session
