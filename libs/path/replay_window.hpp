// Which numbers of a growing counter have been seen: the newest 64 by a bit each, older ones count as seen.
#pragma once

#include <cstdint>

namespace postern::path {

class ReplayWindow {
 public:
  static constexpr std::uint64_t kWidth = 64;

  /// True for a number that is new; it is seen from then on. Numbers start at 1.
  [[nodiscard]] bool take(std::uint64_t number) {
    if (number == 0) return false;
    if (number > newest_) {
      const std::uint64_t step = number - newest_;
      seen_ = step < kWidth ? (seen_ << step) | 1 : 1;
      newest_ = number;
      return true;
    }
    const std::uint64_t age = newest_ - number;
    if (age >= kWidth || ((seen_ >> age) & 1) != 0) return false;
    seen_ |= std::uint64_t{1} << age;
    return true;
  }

 private:
  std::uint64_t newest_ = 0;
  std::uint64_t seen_ = 0;
};

}  // namespace postern::path
