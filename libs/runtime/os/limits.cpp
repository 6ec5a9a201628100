#include "runtime/os/limits.hpp"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>

namespace postern::runtime {

std::uint64_t raise_open_files_limit() {
  // A hard limit of "unlimited" is a billion in some containers; tables indexed by descriptor stay sensible with this.
  constexpr rlim_t kEnough = 1'048'576;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t wanted = std::min(limit.rlim_max, kEnough);
  if (limit.rlim_cur < wanted) {
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return before;
  }
  return limit.rlim_cur;
}

void use_one_heap() {
  ::mallopt(M_ARENA_MAX, 1);
}

}  // namespace postern::runtime
