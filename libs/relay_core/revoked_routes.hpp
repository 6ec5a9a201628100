// Routes that the controller has taken back: their tickets stay sealed and dated, so the relay must remember.
#pragma once

#include <deque>
#include <unordered_set>

#include "base/time.hpp"
#include "relay_core/binding_table.hpp"

namespace postern::relay_core {

class RevokedRoutes {
 public:
  /// The longest life of a ticket (that of a lease, PROTOCOL.md §3.1), with the tolerance of its start.
  static constexpr std::chrono::seconds kRemembered = std::chrono::hours(4) + std::chrono::minutes(2);

  /// At the bound the oldest is forgotten.
  explicit RevokedRoutes(std::size_t routes_max) : max_(routes_max) {}

  void add(RouteKey route, WallTime wall) {
    if (max_ == 0 || !routes_.insert(route).second) return;
    order_.push_back({route, wall + kRemembered});
    if (order_.size() > max_) drop_oldest();
  }
  [[nodiscard]] bool contains(RouteKey route) const { return routes_.contains(route); }
  void sweep(WallTime wall, std::size_t routes) {
    for (; routes > 0 && !order_.empty() && order_.front().until <= wall; --routes) drop_oldest();
  }
  [[nodiscard]] std::size_t size() const { return routes_.size(); }

 private:
  struct Entry {
    RouteKey route;
    WallTime until;
  };
  void drop_oldest() {
    routes_.erase(order_.front().route);
    order_.pop_front();
  }

  std::size_t max_;
  std::unordered_set<RouteKey> routes_;
  std::deque<Entry> order_;
};

}  // namespace postern::relay_core
