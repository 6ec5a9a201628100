#include "base/timer_wheel.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.hpp"

namespace postern {
namespace {

using namespace std::chrono_literals;

Instant at(Duration since_start) {
  return Instant{since_start};
}

TEST(TimerWheel, HasNothingToDoWhenNothingIsArmed) {
  TimerWheel wheel;
  EXPECT_EQ(wheel.next_timeout(), std::nullopt);
  EXPECT_EQ(wheel.poll(at(1h)), std::nullopt);
}

TEST(TimerWheel, NeverFiresEarlyAndAtMostATickLate) {
  TimerWheel wheel;
  wheel.arm(at(10500us), 7);
  EXPECT_EQ(wheel.poll(at(10499us)), std::nullopt);
  EXPECT_EQ(wheel.next_timeout(), at(11ms));
  EXPECT_EQ(wheel.poll(at(11ms)), 7U);
  EXPECT_EQ(wheel.poll(at(11ms)), std::nullopt);
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(TimerWheel, FiresADeadlineOfThePastAtTheNextPoll) {
  TimerWheel wheel;
  EXPECT_EQ(wheel.poll(at(1h)), std::nullopt);
  wheel.arm(at(5ms), 1);
  EXPECT_LE(*wheel.next_timeout(), at(1h));
  EXPECT_EQ(wheel.poll(at(1h)), 1U);
}

TEST(TimerWheel, ForgetsACancelledTimerAndIgnoresItsStaleId) {
  TimerWheel wheel;
  const TimerId first = wheel.arm(at(5ms), 1);
  wheel.cancel(first);
  const TimerId second = wheel.arm(at(6ms), 2);
  wheel.cancel(first);
  EXPECT_NE(first, second);
  EXPECT_EQ(wheel.poll(at(10ms)), 2U);
  EXPECT_EQ(wheel.poll(at(10ms)), std::nullopt);
  wheel.cancel(second);
  wheel.cancel(TimerId{});
}

TEST(TimerWheel, FiresAcrossEveryCarryOfItsDigits) {
  for (const std::uint64_t carry : {64ULL, 4096ULL, 262144ULL, 16777216ULL, 2 * 16777216ULL}) {
    TimerWheel wheel;
    const Instant before = at(Duration{static_cast<std::int64_t>(carry - 1) * 1'000'000});
    EXPECT_EQ(wheel.poll(before), std::nullopt);
    wheel.arm(before + 1ms, 3);
    EXPECT_EQ(wheel.next_timeout(), before + 1ms);
    EXPECT_EQ(wheel.poll(before + 1ms), 3U) << carry;
  }
}

TEST(TimerWheel, KeepsTimersThatAreFurtherAwayThanItsSpan) {
  TimerWheel wheel;
  EXPECT_EQ(wheel.poll(at(1h)), std::nullopt);
  wheel.arm(at(49h), 9);
  int wakes = 0;
  while (true) {
    const Instant next = *wheel.next_timeout();
    if (wheel.poll(next).has_value()) {
      EXPECT_EQ(next, at(49h));
      break;
    }
    ASSERT_LT(++wakes, 20);
  }
}

TEST(TimerWheel, AgreesWithASortedMapOverRandomOperations) {
  SeededRandom random(42);
  TimerWheel wheel;
  std::map<std::uint64_t, std::pair<Instant, TimerId>> model;
  Instant now = at(1234567891us);
  for (std::uint64_t cookie = 0; cookie < 20000; ++cookie) {
    const auto span = Duration{static_cast<std::int64_t>(random.below(1ULL << random.below(45)))};
    model[cookie] = {now + span, wheel.arm(now + span, cookie)};
    if (random.below(3) == 0) {
      const auto victim = std::next(model.begin(), static_cast<long>(random.below(model.size())));
      wheel.cancel(victim->second.second);
      model.erase(victim);
    }
    if (random.below(4) != 0) continue;
    now += Duration{static_cast<std::int64_t>(random.below(1ULL << random.below(38)))};
    while (const auto fired = wheel.poll(now)) {
      const auto found = model.find(*fired);
      ASSERT_NE(found, model.end());
      EXPECT_LE(found->second.first, now);
      model.erase(found);
    }
    for (const auto& [key, timer] : model) ASSERT_GT(timer.first + TimerWheel::kTick, now) << key;
    ASSERT_EQ(wheel.size(), model.size());
    if (model.empty()) continue;
    ASSERT_TRUE(wheel.next_timeout().has_value());
    for (const auto& [key, timer] : model) ASSERT_LT(*wheel.next_timeout(), timer.first + TimerWheel::kTick) << key;
  }
}

}  // namespace
}  // namespace postern
