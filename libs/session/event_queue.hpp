// What the owner has to be told, in order. Each stream has at most one event of each kind waiting, so the queue is
// bounded by the number of streams.
#pragma once

#include <optional>
#include <utility>

#include "session/ring.hpp"
#include "session/types.hpp"

namespace postern::session {

class EventQueue {
 public:
  void push(Event event) { events_.push_back(std::move(event)); }
  [[nodiscard]] std::optional<Event> pop() {
    if (events_.empty()) return std::nullopt;
    return events_.pop_front();
  }

 private:
  Ring<Event> events_;
};

}  // namespace postern::session
