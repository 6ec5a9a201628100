// Spreads a congestion window over its round trip on slow paths, and stays out of the way on fast ones.
//
// ngtcp2 1.11 has a pacer of its own, but its interval is whole nanoseconds per byte, which quantises the rate to 8, 4,
// 2.67 … Gb/s and stalls local paths. So it is used for BBR on long paths only, where it keeps queues short because it
// knows the path's rate; elsewhere it is left off (its tx time is never reported), and trains are spaced here.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.hpp"

namespace postern::session {

class Pacer {
 public:
  enum class Verdict : std::uint8_t {
    Send,      ///< stream data may leave
    HoldData,  ///< only acknowledgements, probes and retransmissions
  };

  /// Round trip from which QUIC's own pacer is used, with BBR.
  static constexpr Duration kLongPath = std::chrono::milliseconds(2);
  /// Pauses shorter than this are not worth a wake-up; the train just leaves.
  static constexpr Duration kShortestPause = std::chrono::milliseconds(1);
  /// A train is what leaves in this time, at least kBurstMin bytes.
  static constexpr Duration kTrainTime = std::chrono::milliseconds(2);
  static constexpr std::uint64_t kBurstMin = 10 * 1452;

  /// Takes over what congestion control says now.
  void update(std::uint64_t congestion_window, std::uint64_t slow_start_threshold, Duration smoothed_rtt) {
    // RFC 9002 §7.7: somewhat faster than the window per round trip; twice in slow start, so that it can double.
    const double gain = congestion_window < slow_start_threshold ? 2.0 : 1.25;
    const double rtt = std::max(1.0, static_cast<double>(smoothed_rtt.count()));
    bytes_per_ns_ = gain * static_cast<double>(congestion_window) / rtt;
  }
  [[nodiscard]] Verdict verdict(Instant now) const { return now >= paused_until_ ? Verdict::Send : Verdict::HoldData; }
  [[nodiscard]] Instant paused_until() const { return paused_until_; }
  /// How large the next train may be.
  [[nodiscard]] std::size_t train_max() const {
    const double bytes = bytes_per_ns_ * static_cast<double>(kTrainTime.count());
    return static_cast<std::size_t>(std::max(bytes, static_cast<double>(kBurstMin)));
  }
  void handle_sent(Instant now, std::size_t bytes) {
    // Credit that a late wake-up missed is kept for one train's time.
    const Instant from = std::max(next_, now - kTrainTime);
    next_ = from + Duration(static_cast<Duration::rep>(static_cast<double>(bytes) / bytes_per_ns_));
    if (next_ >= now + kShortestPause) paused_until_ = next_;
  }

 private:
  double bytes_per_ns_ = 1.0;
  Instant next_;  ///< when what was sent would be through at the rate
  Instant paused_until_;
};

}  // namespace postern::session
