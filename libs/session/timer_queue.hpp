// The next wake-up of each connection: a binary heap whose entries know their place, so that moving one costs
// O(log n) and no allocation.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "base/time.hpp"

namespace postern::session {

/// Base of whatever is timed. An entry must leave its queue before it dies.
class TimerEntry {
 public:
  [[nodiscard]] bool is_armed() const { return index_ != kNone; }

 private:
  friend class TimerQueue;
  static constexpr std::size_t kNone = SIZE_MAX;
  std::size_t index_ = kNone;
  Instant at_;
};

class TimerQueue {
 public:
  [[nodiscard]] std::optional<Instant> next() const {
    if (heap_.empty()) return std::nullopt;
    return heap_.front()->at_;
  }
  /// The earliest entry when it is due at `now`, taken out of the queue.
  [[nodiscard]] TimerEntry* pop_due(Instant now) {
    if (heap_.empty() || heap_.front()->at_ > now) return nullptr;
    TimerEntry* entry = heap_.front();
    cancel(*entry);
    return entry;
  }
  void arm(TimerEntry& entry, Instant at) {
    entry.at_ = at;
    if (!entry.is_armed()) {
      entry.index_ = heap_.size();
      heap_.push_back(&entry);
    }
    sift_down(sift_up(entry.index_));
  }
  void cancel(TimerEntry& entry) {
    if (!entry.is_armed()) return;
    const std::size_t hole = std::exchange(entry.index_, TimerEntry::kNone);
    TimerEntry* last = heap_.back();
    heap_.pop_back();
    if (last == &entry) return;
    place(hole, last);
    sift_down(sift_up(hole));
  }

 private:
  void place(std::size_t index, TimerEntry* entry) {
    heap_[index] = entry;
    entry->index_ = index;
  }
  std::size_t sift_up(std::size_t index) {
    TimerEntry* moving = heap_[index];
    while (index > 0 && moving->at_ < heap_[(index - 1) / 2]->at_) {
      place(index, heap_[(index - 1) / 2]);
      index = (index - 1) / 2;
    }
    place(index, moving);
    return index;
  }
  void sift_down(std::size_t index) {
    TimerEntry* moving = heap_[index];
    for (std::size_t child = index * 2 + 1; child < heap_.size(); child = index * 2 + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1]->at_ < heap_[child]->at_) ++child;
      if (moving->at_ <= heap_[child]->at_) break;
      place(index, heap_[child]);
      index = child;
    }
    place(index, moving);
  }

  std::vector<TimerEntry*> heap_;
};

}  // namespace postern::session
