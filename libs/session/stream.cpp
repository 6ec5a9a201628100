#include "session/stream.hpp"

#include <algorithm>
#include <cstring>

namespace postern::session {

// --- sending -------------------------------------------------------------------------------------------------------

void SendQueue::push(Slice slice) {
  if (slice.empty()) return;
  const bool all_sent = unsent_ == 0;
  unsent_ += slice.size();
  const std::size_t back_size = slices_.empty() ? 0 : slices_.back().size();
  if (!slices_.empty() && slices_.back().try_join(slice)) {
    if (all_sent) {
      next_ = slices_.size() - 1;
      next_offset_ = back_size;
    }
    return;
  }
  slices_.push_back(std::move(slice));
}

SendQueue::Gathered SendQueue::gather(std::span<ngtcp2_vec> vectors, std::size_t wanted) const {
  Gathered result;
  std::size_t offset = next_offset_;
  for (std::size_t i = next_; i < slices_.size() && result.count < vectors.size() && result.bytes < wanted; ++i) {
    const ByteView part = slices_[i].view().subspan(offset);
    vectors[result.count++] = {const_cast<std::uint8_t*>(part.data()), part.size()};
    result.bytes += part.size();
    offset = 0;
  }
  result.covers_all = result.bytes == unsent_;
  return result;
}

void SendQueue::advance(std::size_t bytes) {
  unsent_ -= bytes;
  while (bytes > 0) {
    const std::size_t step = std::min(bytes, slices_[next_].size() - next_offset_);
    next_offset_ += step;
    bytes -= step;
    if (next_offset_ == slices_[next_].size()) {
      ++next_;
      next_offset_ = 0;
    }
  }
}

void SendQueue::acknowledge(std::size_t bytes) {
  while (bytes > 0 && !slices_.empty()) {
    Slice& front = slices_.front();
    const std::size_t step = std::min(bytes, front.size());
    bytes -= step;
    if (step < front.size()) {
      front.remove_prefix(step);
      if (next_ == 0) next_offset_ -= step;
      return;
    }
    slices_.pop_front();
    --next_;
  }
}

void SendQueue::drop_unsent() {
  while (slices_.size() > next_ + (next_offset_ > 0 ? 1 : 0)) slices_.pop_back();
  if (next_offset_ > 0) {
    slices_.back() = slices_.back().sub(0, next_offset_);
    ++next_;
    next_offset_ = 0;
  }
  unsent_ = 0;
}

// --- receiving -----------------------------------------------------------------------------------------------------

namespace {

/// Pieces below this are packed together with those of other streams.
constexpr std::size_t kPackedMax = 1024;

}  // namespace

bool ReceiveQueue::acquire(BlockPool& pool) {
  const bool busy = std::max(burst_, last_burst_) >= BlockPool::kSmallSize;
  const bool plenty = pool.bytes_in_use() < pool.bytes_max() / 4 * 3;
  tail_ = Buffer();
  if (busy && plenty) tail_ = pool.acquire(BlockClass::Large);
  if (!tail_) tail_ = pool.acquire(BlockClass::Small);
  tail_used_ = 0;
  tail_room_ = tail_ ? std::min(tail_.bytes().size(), kReadMax) : 0;
  return static_cast<bool>(tail_);
}

void ReceiveQueue::push(Slice slice) {
  unread_ += slice.size();
  burst_ += slice.size();
  if (!slices_.empty() && slices_.back().size() + slice.size() <= kReadMax && slices_.back().try_join(slice)) return;
  slices_.push_back(std::move(slice));
}

bool ReceiveQueue::append(BlockPool& pool, ByteView bytes) {
  const bool quiet = std::max(burst_, last_burst_) < BlockPool::kSmallSize;
  if (tail_room_ == tail_used_ && quiet && bytes.size() < kPackedMax) {
    Slice packed = pool.copy(bytes);
    if (packed.empty()) return bytes.empty();
    push(std::move(packed));
    return true;
  }
  while (!bytes.empty()) {
    if (tail_room_ == tail_used_ && !acquire(pool)) return false;
    const std::size_t step = std::min(bytes.size(), tail_room_ - tail_used_);
    std::memcpy(tail_.bytes().data() + tail_used_, bytes.data(), step);
    push(tail_.slice(tail_used_, step));
    tail_used_ += step;
    bytes = bytes.subspan(step);
  }
  return true;
}

Slice ReceiveQueue::read() {
  if (slices_.empty()) return {};
  Slice slice = slices_.pop_front();
  unread_ -= slice.size();
  if (slices_.empty()) {
    // The block lives on in what was read; the next burst starts on a fresh page.
    tail_ = Buffer();
    tail_used_ = tail_room_ = 0;
    last_burst_ = burst_;
    burst_ = 0;
  }
  return slice;
}

void ReceiveQueue::clear() {
  slices_.clear();
  tail_ = Buffer();
  tail_used_ = tail_room_ = unread_ = 0;
}

}  // namespace postern::session
