// Datagrams that wait until their flow is open: few, the oldest give way (PROTOCOL.md §4.4). Small ones are copied, so
// that they do not pin the block they were read into.
#pragma once

#include <optional>

#include "session/ring.hpp"
#include "session/types.hpp"

namespace postern::session {

class DatagramBacklog {
 public:
  static constexpr std::size_t kPacketsMax = 64;
  static constexpr std::size_t kBytesMax = 128 * 1024;

  /// One datagram. Says how many were dropped for it, itself included where no block is free.
  [[nodiscard]] std::size_t push(BlockPool& pool, ByteView payload) {
    Slice copy = pool.copy(payload);
    if (copy.empty() && !payload.empty()) return 1;
    waiting_.push_back(std::move(copy));
    bytes_ += payload.size();
    std::size_t dropped = 0;
    for (; waiting_.size() > kPacketsMax || bytes_ > kBytesMax; ++dropped) (void)pop();
    return dropped;
  }
  [[nodiscard]] std::optional<Slice> pop() {
    if (waiting_.empty()) return std::nullopt;
    Slice slice = waiting_.pop_front();
    bytes_ -= slice.size();
    return slice;
  }
  [[nodiscard]] std::size_t size() const { return waiting_.size(); }
  [[nodiscard]] const Slice& at(std::size_t index) const { return waiting_[index]; }
  void clear() {
    waiting_.clear();
    bytes_ = 0;
  }

 private:
  Ring<Slice> waiting_;
  std::size_t bytes_ = 0;
};

}  // namespace postern::session
