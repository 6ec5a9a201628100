#include <gtest/gtest.h>

#include "signin/rate_limit.hpp"
#include "signin/sign_in_limits.hpp"

namespace postern::signin {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{Duration{1'000'000'000}};

TEST(RateLimit, LetsSoManyThroughInAWindow) {
  RateLimit limit(2, 60s, 100);
  EXPECT_FALSE(limit.try_take("a", kStart));
  EXPECT_FALSE(limit.try_take("a", kStart + 10s));
  EXPECT_EQ(limit.try_take("a", kStart + 20s), Duration(40s));
  EXPECT_FALSE(limit.try_take("b", kStart + 20s));
  EXPECT_FALSE(limit.try_take("a", kStart + 60s));
  limit.give_back("a");
  EXPECT_FALSE(limit.try_take("a", kStart + 61s));
}

TEST(RateLimit, ForgetsTheOldestKeyAtItsBound) {
  RateLimit limit(1, 60s, 2);
  EXPECT_FALSE(limit.try_take("a", kStart));
  EXPECT_FALSE(limit.try_take("b", kStart + 1s));
  EXPECT_FALSE(limit.try_take("c", kStart + 2s));
  EXPECT_EQ(limit.keys(), 2U);
  EXPECT_TRUE(limit.try_take("b", kStart + 3s));
}

TEST(RateLimit, TakesAnIpv6NetworkAsOnePerson) {
  EXPECT_EQ(address_key("192.0.2.1:4711"), "192.0.2.1");
  EXPECT_EQ(address_key("[2001:db8:1:2:3::4]:1"), address_key("[2001:db8:1:2:9::9]:2"));
}

TEST(SignInLimits, CountAccountAndAddressApart) {
  SignInLimits limits;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(limits.try_take("a@x", "192.0.2." + std::to_string(i) + ":1", kStart));
  EXPECT_TRUE(limits.try_take("a@x", "192.0.2.77:1", kStart));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(limits.try_take(std::to_string(i) + "@x", "198.51.100.1:1", kStart));
  EXPECT_TRUE(limits.try_take("z@x", "198.51.100.1:1", kStart));
  limits.succeeded("0@x", "198.51.100.1:1");
  EXPECT_FALSE(limits.try_take("z@x", "198.51.100.1:2", kStart));
}

}  // namespace
}  // namespace postern::signin
