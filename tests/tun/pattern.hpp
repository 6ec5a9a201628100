// Content that tells its own position, so that lost, doubled and misplaced bytes are found; 1 MiB, then again.
#pragma once

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/random.hpp"

namespace postern::tun_probe {

class Pattern {
 public:
  static constexpr std::size_t kPeriod = 1U << 20;

  Pattern() : bytes_(kPeriod) { SeededRandom(7).fill(bytes_); }
  /// The longest run from `position` on that lies in one piece.
  [[nodiscard]] ByteView at(std::uint64_t position) const {
    return ByteView(bytes_).subspan(static_cast<std::size_t>(position % kPeriod));
  }
  [[nodiscard]] bool matches(std::uint64_t position, ByteView bytes) const {
    while (!bytes.empty()) {
      const ByteView expected = at(position);
      const std::size_t size = std::min(expected.size(), bytes.size());
      if (std::memcmp(expected.data(), bytes.data(), size) != 0) return false;
      position += size;
      bytes = bytes.subspan(size);
    }
    return true;
  }

 private:
  Bytes bytes_;
};

}  // namespace postern::tun_probe
