// Makes connection ids that carry our route id, and finds the connection an id belongs to.
#pragma once

#include <unordered_map>

#include "base/random.hpp"
#include "base/route_id.hpp"

namespace postern::session {

class Connection;

class ConnectionIdTable {
 public:
  ConnectionIdTable(RouteId route, std::uint8_t worker, RandomSource& random)
      : route_(route), worker_(worker), random_(random) {}

  /// A new id of ours that leads to `owner`.
  [[nodiscard]] ConnectionId issue(Connection& owner);
  /// Lets an id that the peer has chosen lead to `owner`; false when it is taken.
  [[nodiscard]] bool adopt(const ConnectionId& id, Connection& owner) { return owners_.try_emplace(id, &owner).second; }
  void remove(const ConnectionId& id);
  [[nodiscard]] Connection* find(const ConnectionId& id);
  [[nodiscard]] const RouteId& route() const { return route_; }
  [[nodiscard]] RandomSource& random() { return random_; }

 private:
  RouteId route_;
  std::uint8_t worker_;
  RandomSource& random_;
  std::unordered_map<ConnectionId, Connection*> owners_;
  // Packets come in trains of one connection: the last answer is nearly always the next one.
  ConnectionId last_id_;
  Connection* last_owner_ = nullptr;
};

}  // namespace postern::session
