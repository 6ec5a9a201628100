// The shape of a GSO train: packets of one size back to back in one buffer, of which only the last may be shorter.
//
// The first packet sets the size. A path MTU probe is longer than the path's packets and would be cut or would sink the
// whole train, so it travels alone: later packets get no more room than the first one took.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/bytes.hpp"

namespace postern::session {

class TrainWriter {
 public:
  /// What one sendmsg with UDP_SEGMENT takes.
  static constexpr std::size_t kSegmentsMax = 64;
  static constexpr std::size_t kBytesMax = 65'000;
  /// QUIC writes into no smaller space than this (RFC 9000 §14.1).
  static constexpr std::size_t kRoomMin = 1200;

  /// `bytes_max` is what may leave now (the pacer's word); `path_size` is the largest packet the path is known to
  /// carry.
  TrainWriter(MutableBytes buffer, std::size_t bytes_max, std::size_t path_size)
      : buffer_(buffer.first(std::min(buffer.size(), kBytesMax))), bytes_max_(bytes_max), path_size_(path_size) {}

  /// Space for the next packet; empty when the train is complete.
  [[nodiscard]] MutableBytes room() const {
    if (segments_ == 0) return buffer_;
    if (complete_ || size_ + stride_ > buffer_.size()) return {};
    return buffer_.subspan(size_, stride_);
  }
  /// Counts the packet that was written into room().
  void add(std::size_t packet) {
    if (segments_ == 0) stride_ = packet;
    size_ += packet;
    ++segments_;
    complete_ = packet < stride_ || stride_ < kRoomMin || stride_ > path_size_ || segments_ == kSegmentsMax ||
                size_ >= bytes_max_;
  }

  [[nodiscard]] bool empty() const { return segments_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t stride() const { return stride_; }

 private:
  MutableBytes buffer_;
  std::size_t bytes_max_;
  std::size_t path_size_;
  std::size_t stride_ = 0;
  std::size_t size_ = 0;
  std::size_t segments_ = 0;
  bool complete_ = false;
};

}  // namespace postern::session
