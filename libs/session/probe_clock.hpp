// Keeps probing through an outage without the doubling of RFC 9002 §6.2.1, which after ten silent seconds would leave
// up to ten more before the first packet on a path that has long come back.
//
// ngtcp2 1.11 has no call that sends a probe now. But it knows time only from us: a connection's own time runs ahead of
// the endpoint's by `skew`, and to send a probe early the skew is raised until the loss timer is due. The probe timer
// itself still doubles inside ngtcp2, so a single jump would be a year after two dozen probes: that is its bound, where
// a client begins the path afresh, which ends the doubling (Connection::renew_path()), and a connector's probes come as
// rarely as RFC 9002 says until it hears its client. The skew is bounded far below what 64 bits of nanoseconds hold.
// Everything in flight at a jump counts as lost once the probe is answered, which after an outage is true.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.hpp"

namespace postern::session {

class ProbeClock {
 public:
  /// The connection's own time.
  [[nodiscard]] std::uint64_t at(Instant now) const { return to_nanoseconds(now) + skew_; }
  /// When the connection's own time will be `own`; the far future is `Instant::max()`.
  [[nodiscard]] Instant when(std::uint64_t own) const {
    const std::uint64_t real = own > skew_ ? own - skew_ : 0;
    return real >= static_cast<std::uint64_t>(Instant::max().time_since_epoch().count()) ? Instant::max()
                                                                                         : from_nanoseconds(real);
  }

  /// The latest time of the next probe, when the last packet left at `last_sent` and is unanswered.
  [[nodiscard]] Instant deadline(Instant last_sent, Duration smoothed_rtt) const {
    return is_exhausted_ ? Instant::max() : last_sent + std::max(interval_, 3 * smoothed_rtt);
  }
  [[nodiscard]] Duration interval() const { return interval_; }
  /// Raises the skew so that `own` is due at `now`. False at the bound.
  [[nodiscard]] bool jump_to(Instant now, std::uint64_t own) {
    const std::uint64_t step = own > at(now) ? own - at(now) : 0;
    if (step > kStepMax || skew_ + step > kSkewMax) {
      is_exhausted_ = true;
      return false;
    }
    skew_ += step;
    return true;
  }
  /// A probe was sent early: the next one comes somewhat later.
  void handle_probed(Duration interval_max) { interval_ = std::min(interval_ + interval_ / 3, interval_max); }
  /// ngtcp2's probe timer was reset.
  void handle_renewed() { is_exhausted_ = false; }
  /// The peer was heard: the next outage starts afresh. True when this ends an outage.
  bool handle_heard() {
    const bool ended = interval_ != kFirstInterval;
    interval_ = kFirstInterval;
    is_exhausted_ = false;
    return ended;
  }

 private:
  static constexpr Duration kFirstInterval = std::chrono::seconds(1);
  static constexpr std::uint64_t kYear = 365ULL * 24 * 3600 * 1'000'000'000;
  static constexpr std::uint64_t kStepMax = kYear;
  static constexpr std::uint64_t kSkewMax = 100 * kYear;

  std::uint64_t skew_ = 0;
  Duration interval_ = kFirstInterval;
  bool is_exhausted_ = false;  ///< at the bound: probes come as ngtcp2 has them until the peer is heard
};

}  // namespace postern::session
