// Times that another program tells: any 64 bits may stand there, and sums with them must not overflow.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.hpp"

namespace postern {

/// Nanoseconds from 1970 to year 2255, so that a sum with any age of this host still fits Duration.
inline constexpr std::int64_t kUnixMsMax = 9'000'000'000'000;

/// `unix_ms` brought into 1970 to 2255: nonsense stays nonsense (leases are not valid then), but is safe to count with.
[[nodiscard]] constexpr std::int64_t bounded_unix_ms(std::int64_t unix_ms) {
  return std::clamp<std::int64_t>(unix_ms, 0, kUnixMsMax);
}

/// What has to be added to `now` to get network time, when that is `unix_ms`.
[[nodiscard]] constexpr Duration network_time_offset(std::int64_t unix_ms, Instant now) {
  return std::chrono::milliseconds(bounded_unix_ms(unix_ms)) - now.time_since_epoch();
}

}  // namespace postern
