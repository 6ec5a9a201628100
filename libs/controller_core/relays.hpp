// The relays that agents are sent to, and the tickets that they need there (PROTOCOL.md §3.1).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "controller_core/controller.hpp"

namespace postern::controller {

/// Whose ticket it is and how long it lives.
struct TicketHolder {
  model::NetworkId network;
  RouteId route;
  identity::RelayRole role = identity::RelayRole::Client;
  WallTime not_before;
  WallTime expires_at;
};

class RelayBook {
 public:
  explicit RelayBook(RandomSource& random) : random_(random) {}

  /// False when nothing about the relay is new.
  bool set(const RelayEndpoint& relay);
  [[nodiscard]] bool knows(std::string_view name) const { return relays_.contains(name); }
  [[nodiscard]] const std::map<std::string, RelayEndpoint, std::less<>>& all() const { return relays_; }
  /// With a fresh ticket and MAC key in it.
  [[nodiscard]] wire::RelayInfo info(const RelayEndpoint& relay, const TicketHolder& holder);

 private:
  RandomSource& random_;
  std::map<std::string, RelayEndpoint, std::less<>> relays_;
};

}  // namespace postern::controller
