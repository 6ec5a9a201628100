// Retransmission timeout from measured round trips (RFC 6298), in one struct that fits a flow's hot half.
#pragma once

#include <algorithm>

#include "base/time.hpp"

namespace postern::tcp {

class RttEstimator {
 public:
  /// Below it, a kernel that delays its ACK (40 ms) or a busy machine would cause needless retransmissions.
  static constexpr Duration kFloor = std::chrono::milliseconds{200};
  static constexpr Duration kCeiling = std::chrono::seconds{60};
  /// RFC 6298 §2.1.
  static constexpr Duration kInitial = std::chrono::seconds{1};

  void sample(Duration rtt) {
    rtt = std::clamp<Duration>(rtt, std::chrono::microseconds{1}, kCeiling);
    if (smoothed_ == Duration{}) {
      smoothed_ = rtt;
      variation_ = rtt / 2;
      return;
    }
    const Duration error = rtt > smoothed_ ? rtt - smoothed_ : smoothed_ - rtt;
    variation_ += (error - variation_) / 4;
    smoothed_ += (rtt - smoothed_) / 8;
  }
  /// Doubled for each timeout since progress was made (RFC 6298 §5.5).
  [[nodiscard]] Duration timeout(unsigned backoff) const {
    const Duration base = smoothed_ == Duration{} ? kInitial : std::max(kFloor, smoothed_ + 4 * variation_);
    return std::min<Duration>(kCeiling, base * (1LL << std::min(backoff, 10U)));
  }

 private:
  Duration smoothed_{};
  Duration variation_{};
};

}  // namespace postern::tcp
