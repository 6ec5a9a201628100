// A hierarchical timer wheel: four levels of 64 slots, 1 ms, 64 ms, 4 s and 262 s wide, so 4.6 hours ahead (a timer
// further away waits in the last slot and is placed again there). Arming and cancelling cost O(1) whatever the number
// of timers; a timer moves down at most three times before it expires.
//
// A timer never fires early; it fires late by less than the tick. The wheel draws no time: poll(now) moves it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.hpp"

namespace postern {

/// Names an armed timer; stale after it has expired or was cancelled. The default names none.
struct TimerId {
  std::uint32_t index = UINT32_MAX;
  std::uint32_t generation = 0;
  constexpr bool operator==(const TimerId&) const = default;
};

class TimerWheel {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds{1};

  TimerWheel();

  /// `cookie` comes back from poll(). A deadline in the past expires at the next poll().
  TimerId arm(Instant deadline, std::uint64_t cookie);
  /// Nothing happens for a stale id.
  void cancel(TimerId id);
  /// The cookie of one timer that has expired by `now`, earlier ticks first; nothing when there is none left.
  /// `now` must not go back.
  [[nodiscard]] std::optional<std::uint64_t> poll(Instant now);
  /// When to call poll() again: never after the earliest deadline's tick, at most three times before it.
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr unsigned kSlotBits = 6;
  static constexpr std::uint32_t kSlots = 1U << kSlotBits;
  static constexpr std::uint32_t kLevels = 4;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  /// The list of expired timers that poll() has still to hand out, after the slots' lists.
  static constexpr std::uint32_t kExpired = kLevels * kSlots;

  struct Node {
    std::uint64_t tick = 0;
    std::uint64_t cookie = 0;
    std::uint32_t next = kNone;
    std::uint32_t previous = kNone;
    std::uint32_t generation = 0;
    std::uint32_t list = kNone;
  };
  struct List {
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
  };

  void place(std::uint32_t index);
  void append(std::uint32_t list, std::uint32_t index);
  void unlink(std::uint32_t index);
  void release(std::uint32_t index);
  void advance(std::uint64_t tick);
  void open_slot(std::uint32_t level, std::uint32_t slot);
  /// The next tick after the current one at which a slot must be opened.
  [[nodiscard]] std::optional<std::uint64_t> next_event() const;

  std::vector<Node> nodes_;
  std::array<List, kLevels * kSlots + 1> lists_;
  std::array<std::uint64_t, kLevels> occupied_{};
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
  std::uint64_t current_ = 0;
};

}  // namespace postern
