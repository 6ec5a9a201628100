#include "base/network_time.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace postern {
namespace {

TEST(NetworkTime, IsNowPlusTheOffset) {
  constexpr Instant kNow{std::chrono::hours(5)};
  EXPECT_EQ(kNow.time_since_epoch() + network_time_offset(1'700'000'000'000, kNow),
            std::chrono::milliseconds(1'700'000'000'000));
}

TEST(NetworkTime, NonsenseIsBroughtWhereSumsDoNotOverflow) {
  constexpr Instant kOld{std::chrono::hours(24 * 365 * 30)};
  for (const std::int64_t told : {std::numeric_limits<std::int64_t>::max(), kUnixMsMax + 1}) {
    EXPECT_EQ(kOld.time_since_epoch() + network_time_offset(told, kOld), std::chrono::milliseconds(kUnixMsMax));
  }
  for (const std::int64_t told : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}}) {
    EXPECT_EQ(kOld.time_since_epoch() + network_time_offset(told, kOld), Duration::zero());
  }
}

}  // namespace
}  // namespace postern
