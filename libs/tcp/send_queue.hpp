// Bytes that were given to send() and are not acknowledged: slices with their position in the stream, so that a
// segment may start anywhere (binary search) whatever the number of slices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/block.hpp"

namespace postern::tcp {

class SendQueue {
 public:
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  void push(Slice slice);
  /// Forgets `size` bytes at the front (clamped) and releases their slices.
  void pop(std::size_t size);
  /// Fills `into` with slices of the bytes from `offset` on, at most `size` bytes; says how many slices and bytes.
  struct Gathered {
    std::size_t slices = 0;
    std::size_t bytes = 0;
  };
  Gathered gather(std::size_t offset, std::size_t size, std::span<Slice> into) const;
  /// The bytes that gather() would give.
  [[nodiscard]] std::size_t gatherable(std::size_t offset, std::size_t size, std::size_t slices_max) const;
  /// Entries that there is room for: what the queue costs while it is kept for reuse.
  [[nodiscard]] std::size_t capacity() const { return entries_.capacity(); }
  void clear();

 private:
  struct Entry {
    std::uint64_t start;
    Slice slice;
  };
  [[nodiscard]] std::size_t locate(std::uint64_t position) const;

  std::vector<Entry> entries_;
  /// Entries before it are empty.
  std::size_t first_ = 0;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace postern::tcp
