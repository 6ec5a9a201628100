// TCP sequence numbers: a circle of 2^32, compared by distance (RFC 9293 §3.4).
#pragma once

#include <compare>
#include <cstdint>

namespace postern::tcp {

class Sequence {
 public:
  constexpr Sequence() = default;
  constexpr explicit Sequence(std::uint32_t value) : value_(value) {}

  [[nodiscard]] constexpr std::uint32_t value() const { return value_; }
  constexpr Sequence& operator+=(std::uint32_t bytes) {
    value_ += bytes;
    return *this;
  }
  [[nodiscard]] friend constexpr Sequence operator+(Sequence from, std::uint32_t bytes) { return from += bytes; }
  [[nodiscard]] friend constexpr Sequence operator-(Sequence from, std::uint32_t bytes) {
    return Sequence(from.value_ - bytes);
  }
  /// Positive when `to` comes after `from`; meaningful below a distance of 2^31.
  [[nodiscard]] friend constexpr std::int32_t operator-(Sequence to, Sequence from) {
    return static_cast<std::int32_t>(to.value_ - from.value_);
  }
  [[nodiscard]] friend constexpr bool operator==(Sequence, Sequence) = default;
  // Not a total order, hence no operator<=>.
  [[nodiscard]] friend constexpr bool operator<(Sequence left, Sequence right) { return left - right < 0; }
  [[nodiscard]] friend constexpr bool operator>(Sequence left, Sequence right) { return left - right > 0; }
  [[nodiscard]] friend constexpr bool operator<=(Sequence left, Sequence right) { return left - right <= 0; }
  [[nodiscard]] friend constexpr bool operator>=(Sequence left, Sequence right) { return left - right >= 0; }

 private:
  std::uint32_t value_ = 0;
};

}  // namespace postern::tcp
