// A page-aligned buffer for one train (base/block.hpp says why it is aligned).
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "base/block.hpp"

namespace postern::client {

class IoBuffer {
 public:
  IoBuffer() : data_(static_cast<std::uint8_t*>(std::aligned_alloc(4096, kSize))) {
    if (!data_) throw std::bad_alloc();
  }
  [[nodiscard]] MutableBytes bytes() { return {data_.get(), kSize}; }

 private:
  static constexpr std::size_t kSize = BlockPool::kLargeSize;
  struct Free {
    void operator()(std::uint8_t* data) const { std::free(data); }
  };
  std::unique_ptr<std::uint8_t, Free> data_;
};

}  // namespace postern::client
