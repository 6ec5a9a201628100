// Rate limits in eight bytes each: the time up to which the allowance has been used (GCRA), instead of a bucket and a
// clock. A burst of `burst / cost` events passes at once, then one for each `cost` of time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/time.hpp"

namespace postern::relay_core {

/// What one event costs and how much may be used at once, both in time.
struct GateRate {
  Duration cost{};
  Duration burst{};
};

[[nodiscard]] constexpr GateRate per_second(unsigned events) {
  constexpr Duration kSecond = std::chrono::seconds(1);
  return {kSecond / events, kSecond};
}

class RateGate {
 public:
  /// Counts the event only when it is admitted.
  [[nodiscard]] bool admit(Instant now, const GateRate& rate) {
    const Instant used = std::max(used_until_, now) + rate.cost;
    if (used - now > rate.burst) return false;
    used_until_ = used;
    return true;
  }

 private:
  Instant used_until_ = Instant::min();
};

/// A fixed number of gates, shared by keys with the same hash: bounded memory, and a key never gets more than its rate,
/// only less where it shares.
class SharedGates {
 public:
  /// `count` is a power of two.
  explicit SharedGates(std::size_t count) : gates_(count) {}

  [[nodiscard]] bool admit(std::uint64_t hash, Instant now, const GateRate& rate) {
    return gates_[hash & (gates_.size() - 1)].admit(now, rate);
  }

 private:
  std::vector<RateGate> gates_;
};

}  // namespace postern::relay_core
