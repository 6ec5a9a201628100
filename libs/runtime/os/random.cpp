#include "runtime/os/random.hpp"

#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace postern::runtime {
namespace {

void fill_from_kernel(MutableBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t got = getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw std::system_error(errno, std::generic_category(), "the kernel gives no random bytes");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

}  // namespace

KernelRandom::~KernelRandom() {
  explicit_bzero(buffer_.data(), buffer_.size());
}

void KernelRandom::fill(MutableBytes bytes) {
  if (bytes.size() > buffer_.size() / 4) return fill_from_kernel(bytes);
  if (bytes.size() > buffer_.size() - used_) {
    fill_from_kernel(buffer_);
    used_ = 0;
  }
  if (bytes.empty()) return;
  std::memcpy(bytes.data(), buffer_.data() + used_, bytes.size());
  explicit_bzero(buffer_.data() + used_, bytes.size());
  used_ += bytes.size();
}

}  // namespace postern::runtime
