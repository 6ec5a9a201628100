#include "runtime/os/idle_memory.hpp"

#include <malloc.h>

namespace postern::runtime {

bool IdleMemory::observe(Instant now, std::uint64_t moved) {
  if (moved - seen_ >= kQuietBytes) {
    seen_ = moved;
    busy_at_ = now;
    return false;
  }
  if (!busy_at_ || now - *busy_at_ < kQuietTime) return false;
  busy_at_.reset();
  seen_ = moved;
  pool_.trim();
  ::malloc_trim(0);
  return true;
}

std::optional<Instant> IdleMemory::next_timeout() const {
  return busy_at_ ? std::optional(*busy_at_ + kQuietTime) : std::nullopt;
}

}  // namespace postern::runtime
