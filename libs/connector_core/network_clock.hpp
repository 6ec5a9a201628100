// Network time: the controller's UTC, kept as monotonic time plus an offset (DESIGN §4 "Time").
#pragma once

#include "base/network_time.hpp"

namespace postern::connector {

class NetworkClock {
 public:
  /// Called when the controller has told its time, and once at the start with the host's own clock.
  void set(Instant now, WallTime network_time) { offset_ = network_time_offset(to_unix_ms(network_time), now); }
  [[nodiscard]] WallTime at(Instant now) const {
    return WallTime{std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch() + offset_)};
  }

 private:
  Duration offset_{};
};

}  // namespace postern::connector
