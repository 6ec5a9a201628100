#include "tcp/send_queue.hpp"

#include <algorithm>

namespace postern::tcp {

namespace {

/// The front is closed up only when this many entries are empty and they are the greater half: amortised O(1).
constexpr std::size_t kCompactFrom = 32;

}  // namespace

void SendQueue::push(Slice slice) {
  if (slice.empty()) return;
  const std::uint64_t start = end_;
  end_ += slice.size();
  if (first_ < entries_.size() && entries_.back().slice.try_join(slice)) return;
  entries_.push_back({start, std::move(slice)});
}

void SendQueue::pop(std::size_t size) {
  begin_ += std::min(size, this->size());
  while (first_ < entries_.size() && entries_[first_].start + entries_[first_].slice.size() <= begin_) {
    entries_[first_++].slice = Slice();
  }
  if (first_ == entries_.size()) {
    entries_.clear();
    first_ = 0;
  } else if (first_ >= kCompactFrom && first_ * 2 >= entries_.size()) {
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

std::size_t SendQueue::locate(std::uint64_t position) const {
  const auto from = entries_.begin() + static_cast<std::ptrdiff_t>(first_);
  const auto after = std::upper_bound(from, entries_.end(), position,
                                      [](std::uint64_t at, const Entry& entry) { return at < entry.start; });
  return static_cast<std::size_t>(after - entries_.begin()) - 1;
}

SendQueue::Gathered SendQueue::gather(std::size_t offset, std::size_t size, std::span<Slice> into) const {
  Gathered result;
  if (offset >= this->size()) return result;
  std::uint64_t position = begin_ + offset;
  for (std::size_t i = locate(position); i < entries_.size() && result.slices < into.size(); ++i) {
    if (result.bytes == size) break;
    const Entry& entry = entries_[i];
    Slice part = entry.slice.sub(static_cast<std::size_t>(position - entry.start), size - result.bytes);
    result.bytes += part.size();
    position += part.size();
    into[result.slices++] = std::move(part);
  }
  return result;
}

std::size_t SendQueue::gatherable(std::size_t offset, std::size_t size, std::size_t slices_max) const {
  if (offset >= this->size()) return 0;
  const std::size_t last = locate(begin_ + offset) + slices_max;
  const std::uint64_t end = last < entries_.size() ? entries_[last].start : end_;
  return std::min(size, static_cast<std::size_t>(end - begin_) - offset);
}

void SendQueue::clear() {
  entries_.clear();
  first_ = 0;
  begin_ = end_;
}

}  // namespace postern::tcp
