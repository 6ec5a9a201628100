// Bytes that wait for a target socket, as slices; nothing is allocated while nothing waits.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/block.hpp"

namespace postern::connector {

class PieceQueue {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  void push(Slice slice) {
    if (slice.empty()) return;
    size_ += slice.size();
    if (first_ < pieces_.size() && pieces_.back().try_join(slice)) return;
    pieces_.push_back(std::move(slice));
  }
  /// Fills `out` with the next pieces in order and says how many.
  [[nodiscard]] std::size_t gather(std::span<ByteView> out) const {
    std::size_t count = 0;
    for (std::size_t i = first_; i < pieces_.size() && count < out.size(); ++i) out[count++] = pieces_[i].view();
    return count;
  }
  /// Drops `size` bytes, which must be there, from the front.
  void pop(std::size_t size) {
    size_ -= size;
    while (size > 0) {
      Slice& front = pieces_[first_];
      if (size < front.size()) {
        front.remove_prefix(size);
        return;
      }
      size -= front.size();
      front = Slice();
      ++first_;
    }
    if (size_ == 0) clear();
    if (first_ >= 256) {
      pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
      first_ = 0;
    }
  }
  void clear() {
    // A burst of pieces leaves no large vector behind at an idle flow.
    if (pieces_.capacity() > 64) pieces_ = {};
    pieces_.clear();
    first_ = 0;
    size_ = 0;
  }

 private:
  std::vector<Slice> pieces_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace postern::connector
