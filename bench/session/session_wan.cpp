// What one stream gets over a long line with losses, in virtual time: for choosing congestion control and pacing.
//
// Usage: session_wan [seconds]
#include <cstdio>
#include <cstdlib>

#include "session/pair_test_util.hpp"

namespace {

using namespace postern;
using namespace postern::session;

struct Condition {
  unsigned round_trip_ms;
  unsigned loss_per_mille;
  unsigned rate_mbit;
};

/// Mb/s from connector to client.
double transfer(const Condition& condition, CongestionControl control, Duration time, std::uint64_t seed) {
  test::PairOptions options;
  options.seed = seed;
  options.link.delay = std::chrono::microseconds(condition.round_trip_ms * 500);
  options.link.loss_per_mille = condition.loss_per_mille;
  options.link.rate = condition.rate_mbit * 1'000'000ULL;
  options.congestion_control = control;
  test::Pair pair(options);
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  (void)pair.client.endpoint.write(pair.session, stream, pair.client.slice("go"));
  std::uint64_t received = 0;
  pair.client.on_event = [&](const Event& event) {
    const auto* readable = std::get_if<StreamReadable>(&event);
    if (readable == nullptr) return;
    for (Slice s = pair.client.endpoint.read(readable->session, readable->stream); !s.empty();
         s = pair.client.endpoint.read(readable->session, readable->stream)) {
      received += s.size();
      pair.client.endpoint.consume(readable->session, readable->stream, s.size());
    }
  };
  const Bytes block(60'000, 7);
  const auto fill = [&](SessionId session, StreamId id) {
    while (pair.connector.endpoint.writable(session, id) > 0) {
      if (!pair.connector.endpoint.write(session, id, pair.connector.pool.copy(block))) return;
    }
  };
  pair.connector.on_event = [&](const Event& event) {
    if (const auto* opened = std::get_if<StreamOpened>(&event)) fill(opened->session, opened->stream);
    if (const auto* writable = std::get_if<StreamWritable>(&event)) fill(writable->session, writable->stream);
  };
  pair.run_for(time);
  const double seconds = std::chrono::duration<double>(time).count();
  return static_cast<double>(received) * 8 / 1e6 / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const Duration time = std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 10);
  std::printf("%8s %8s %8s %10s %10s\n", "rtt ms", "loss 0/00", "Mb/s", "cubic", "bbr");
  for (const unsigned rate : {50U, 300U}) {
    for (const unsigned round_trip : {20U, 100U}) {
      for (const unsigned loss : {0U, 1U, 10U, 30U}) {
        const Condition condition{round_trip, loss, rate};
        const double cubic = transfer(condition, CongestionControl::Cubic, time, 1);
        const double bbr = transfer(condition, CongestionControl::Bbr, time, 1);
        std::printf("%8u %8u %8u %10.1f %10.1f\n", round_trip, loss, rate, cubic, bbr);
        std::fflush(stdout);
      }
    }
  }
}
