// The kernel's randomness behind the seam of base/random.hpp.
#pragma once

#include "base/random.hpp"

namespace postern::runtime {

/// getrandom(2). Small requests are served from a buffer of 256 bytes that is wiped as it is used: connection ids and
/// nonces would otherwise cost a system call each. One thread owns an instance.
class KernelRandom final : public RandomSource {
 public:
  ~KernelRandom() override;
  void fill(MutableBytes bytes) override;

 private:
  std::array<std::uint8_t, 256> buffer_{};
  std::size_t used_ = sizeof buffer_;
};

}  // namespace postern::runtime
