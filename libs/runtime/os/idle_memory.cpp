#include "runtime/os/idle_memory.hpp"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

namespace postern::runtime {

namespace {

/// Unmaps the pages of one object's code. Code alone: it is never written, so the file has the same bytes; read-only
/// data may have been relocated in place.
int forget_code(dl_phdr_info* object, std::size_t /*size*/, void* /*data*/) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & (PF_X | PF_W)) != PF_X) continue;
    const std::uintptr_t begin = (object->dlpi_addr + header.p_vaddr) / page * page;
    const std::uintptr_t end = (object->dlpi_addr + header.p_vaddr + header.p_memsz + page - 1) / page * page;
    (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

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
  ::dl_iterate_phdr(&forget_code, nullptr);
  return true;
}

std::optional<Instant> IdleMemory::next_timeout() const {
  return busy_at_ ? std::optional(*busy_at_ + kQuietTime) : std::nullopt;
}

}  // namespace postern::runtime
