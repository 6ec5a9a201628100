#include "base/timer_wheel.hpp"

#include <algorithm>
#include <bit>

namespace postern {

namespace {

/// The tick at whose start a deadline has passed.
std::uint64_t tick_after(Instant deadline) {
  const auto tick = static_cast<std::uint64_t>(TimerWheel::kTick.count());
  return (to_nanoseconds(std::max(deadline, Instant{})) + tick - 1) / tick;
}

std::uint64_t tick_at(Instant now) {
  return to_nanoseconds(now) / static_cast<std::uint64_t>(TimerWheel::kTick.count());
}

}  // namespace

TimerWheel::TimerWheel() = default;

TimerId TimerWheel::arm(Instant deadline, std::uint64_t cookie) {
  if (free_ == kNone) {
    nodes_.emplace_back();
    free_ = static_cast<std::uint32_t>(nodes_.size() - 1);
  }
  const std::uint32_t index = free_;
  Node& node = nodes_[index];
  free_ = node.next;
  node.tick = tick_after(deadline);
  node.cookie = cookie;
  ++size_;
  place(index);
  return {index, node.generation};
}

void TimerWheel::cancel(TimerId id) {
  if (id.index >= nodes_.size() || nodes_[id.index].generation != id.generation) return;
  if (nodes_[id.index].list == kNone) return;
  release(id.index);
}

void TimerWheel::release(std::uint32_t index) {
  unlink(index);
  Node& node = nodes_[index];
  ++node.generation;
  node.list = kNone;
  node.next = free_;
  free_ = index;
  --size_;
}

void TimerWheel::place(std::uint32_t index) {
  const Node& node = nodes_[index];
  if (node.tick <= current_) return append(kExpired, index);
  // The level is that of the highest digit (of 6 bits) in which the deadline differs from now.
  const std::uint64_t differs = node.tick ^ current_;
  auto level = static_cast<std::uint32_t>(std::bit_width(differs) - 1) / kSlotBits;
  std::uint64_t tick = node.tick;
  if (level >= kLevels) {
    level = kLevels - 1;  // which goes round
    const unsigned shift = kSlotBits * level;
    // Too far: the slot that is opened last, to be placed again from there.
    if ((tick >> shift) - (current_ >> shift) >= kSlots) tick = current_ + ((std::uint64_t{kSlots} - 1) << shift);
  }
  const auto slot = static_cast<std::uint32_t>(tick >> (kSlotBits * level)) % kSlots;
  occupied_[level] |= std::uint64_t{1} << slot;
  append(level * kSlots + slot, index);
}

void TimerWheel::append(std::uint32_t list, std::uint32_t index) {
  Node& node = nodes_[index];
  List& to = lists_[list];
  node.list = list;
  node.next = kNone;
  node.previous = to.last;
  (to.last == kNone ? to.first : nodes_[to.last].next) = index;
  to.last = index;
}

void TimerWheel::unlink(std::uint32_t index) {
  const Node& node = nodes_[index];
  List& from = lists_[node.list];
  (node.previous == kNone ? from.first : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? from.last : nodes_[node.next].previous) = node.previous;
  if (from.first == kNone && node.list != kExpired) {
    occupied_[node.list / kSlots] &= ~(std::uint64_t{1} << (node.list % kSlots));
  }
}

void TimerWheel::open_slot(std::uint32_t level, std::uint32_t slot) {
  const List& list = lists_[level * kSlots + slot];
  // What is placed again goes to a lower level, or, if it was too far, to another slot: never back into this one.
  while (list.first != kNone) {
    const std::uint32_t index = list.first;
    unlink(index);
    place(index);
  }
}

std::optional<std::uint64_t> TimerWheel::next_event() const {
  for (std::uint32_t level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const std::uint64_t unit = current_ >> (kSlotBits * level);
    const auto position = static_cast<int>(unit % kSlots);
    // Distance to the first occupied slot after the current one; a lower level always comes first.
    const std::uint64_t ahead = std::rotr(occupied_[level], position + 1);
    const auto distance = static_cast<std::uint64_t>(std::countr_zero(ahead)) + 1;
    return (unit + distance) << (kSlotBits * level);
  }
  return std::nullopt;
}

void TimerWheel::advance(std::uint64_t tick) {
  while (const auto event = next_event()) {
    if (*event > tick) break;
    current_ = *event;
    for (std::uint32_t level = kLevels; level-- > 0;) {
      // A slot is opened when all digits below it are zero.
      if ((current_ & ((std::uint64_t{1} << (kSlotBits * level)) - 1)) != 0) continue;
      open_slot(level, static_cast<std::uint32_t>(current_ >> (kSlotBits * level)) % kSlots);
    }
  }
  current_ = std::max(current_, tick);
}

std::optional<std::uint64_t> TimerWheel::poll(Instant now) {
  if (lists_[kExpired].first == kNone) advance(tick_at(now));
  const std::uint32_t index = lists_[kExpired].first;
  if (index == kNone) return std::nullopt;
  const std::uint64_t cookie = nodes_[index].cookie;
  release(index);
  return cookie;
}

std::optional<Instant> TimerWheel::next_timeout() const {
  const auto at = [](std::uint64_t tick) { return Instant{Duration{static_cast<std::int64_t>(tick) * kTick.count()}}; };
  if (lists_[kExpired].first != kNone) return at(current_);
  const auto event = next_event();
  if (!event) return std::nullopt;
  return at(*event);
}

}  // namespace postern
