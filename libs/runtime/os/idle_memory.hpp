// Gives the memory of a burst back to the kernel once hardly anything has moved for a while: blocks of the pool, what
// the heap has free, and the pages of code. Most of those were needed at the start only (self tests of the ciphers,
// tables of OpenSSL); they stay in the page cache, where the kernel may drop them, and what is needed again comes back
// by a fault. A program that waits for work is small.
#pragma once

#include <cstdint>
#include <optional>

#include "base/block.hpp"
#include "base/time.hpp"

namespace postern::runtime {

class IdleMemory {
 public:
  static constexpr Duration kQuietTime = std::chrono::seconds(10);
  /// Less than this counts as nothing: keep-alives and renewals of leases.
  static constexpr std::uint64_t kQuietBytes = 64 * 1024;

  /// `pool` outlives this object.
  explicit IdleMemory(BlockPool& pool) : pool_(pool) {}

  /// `moved`: bytes since the start, from any counter that only grows. True when memory has been given back now.
  bool observe(Instant now, std::uint64_t moved);
  /// When to observe again; nothing while there is nothing to give back.
  [[nodiscard]] std::optional<Instant> next_timeout() const;

 private:
  BlockPool& pool_;
  std::uint64_t seen_ = 0;
  std::optional<Instant> busy_at_;  ///< the last time more than kQuietBytes had moved, until memory is given back
};

}  // namespace postern::runtime
