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
  /// False when it was not there.
  bool erase(std::string_view name);
  [[nodiscard]] const RelayEndpoint* find(std::string_view name) const;
  [[nodiscard]] bool knows(std::string_view name) const { return relays_.contains(name); }
  [[nodiscard]] const std::map<std::string, RelayEndpoint, std::less<>>& all() const { return relays_; }
  /// With a fresh ticket and MAC key in it.
  [[nodiscard]] wire::RelayInfo info(const RelayEndpoint& relay, const TicketHolder& holder);

 private:
  RandomSource& random_;
  std::map<std::string, RelayEndpoint, std::less<>> relays_;
};

/// The key that opens the tickets of this relay (PROTOCOL.md §6.1). It follows from the relay's own key, so that nobody
/// who held the relay's place before can open new tickets.
[[nodiscard]] identity::SealKey relay_seal_key(ByteView knock_secret, const RelayRecord& relay);

}  // namespace postern::controller
