// Events until the owner polls them. Bounded by what causes them: Data by the receive windows, Incoming by flows_max,
// one Acknowledged per flow in a row, the rest once or twice per flow.
#pragma once

#include <optional>
#include <vector>

#include "tcp/types.hpp"

namespace postern::tcp {

class EventQueue {
 public:
  /// `event` is one of Event's alternatives.
  template <typename T>
  void push(T event) {
    events_.emplace_back(std::in_place_type<T>, std::move(event));
  }
  void push_acknowledged(FlowId flow, std::size_t bytes) {
    if (first_ < events_.size()) {
      auto* last = std::get_if<Acknowledged>(&events_.back());
      if (last != nullptr && last->flow == flow) {
        last->bytes += bytes;
        return;
      }
    }
    push(Acknowledged{flow, bytes});
  }
  [[nodiscard]] std::optional<Event> pop() {
    if (first_ == events_.size()) return std::nullopt;
    std::optional<Event> event = std::move(events_[first_++]);
    if (first_ == events_.size()) reset();
    return event;
  }

 private:
  /// Kept for reuse; more is left over from a burst.
  static constexpr std::size_t kKept = 4096;
  void reset() {
    events_.clear();
    first_ = 0;
    if (events_.capacity() > kKept) events_.shrink_to_fit();
  }

  std::vector<Event> events_;
  std::size_t first_ = 0;
};

}  // namespace postern::tcp
