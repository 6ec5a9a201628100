// Time as a value. Layers 0 to 3 never read a clock: whoever drives them passes `now` in.
//
// `Instant` is monotonic time (CLOCK_BOOTTIME at run time, a counter in tests). `WallTime` is network time: the
// controller's idea of UTC, which agents keep as CLOCK_BOOTTIME plus an offset (DESIGN: "Time").
#pragma once

#include <chrono>
#include <cstdint>

namespace postern {

using Duration = std::chrono::nanoseconds;

struct MonotonicTimeline {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicTimeline>;
  static constexpr bool is_steady = true;
};

using Instant = MonotonicTimeline::time_point;
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

/// Nanoseconds since the start of the timeline, as ngtcp2 and timer wheels want them. Never negative.
[[nodiscard]] constexpr std::uint64_t to_nanoseconds(Instant instant) {
  return static_cast<std::uint64_t>(instant.time_since_epoch().count());
}

[[nodiscard]] constexpr Instant from_nanoseconds(std::uint64_t nanoseconds) {
  return Instant{Duration{static_cast<std::int64_t>(nanoseconds)}};
}

[[nodiscard]] constexpr std::int64_t to_unix_ms(WallTime time) {
  return time.time_since_epoch().count();
}
[[nodiscard]] constexpr WallTime from_unix_ms(std::int64_t ms) {
  return WallTime{std::chrono::milliseconds{ms}};
}
[[nodiscard]] constexpr std::int64_t to_unix_seconds(WallTime time) {
  return to_unix_ms(time) / 1000;
}

}  // namespace postern
