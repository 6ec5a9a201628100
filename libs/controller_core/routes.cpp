#include "controller_core/routes.hpp"

#include <algorithm>

#include "controller_core/limits.hpp"

namespace postern::controller {

namespace {

Bytes concatenated(std::string_view word, ByteView key, ByteView tail) {
  Bytes input = to_bytes(as_bytes(word));
  input.insert(input.end(), key.begin(), key.end());
  input.insert(input.end(), tail.begin(), tail.end());
  return input;
}

}  // namespace

RouteId RouteBook::make(const Digest& key, const Salt& salt) const {
  const Digest mac = identity::hmac_sha256(secret_, concatenated("postern-route", key, salt));
  RouteId route;
  std::ranges::copy(salt, route.bytes.begin());
  std::copy_n(mac.begin(), 4, route.bytes.begin() + 3);
  return route;
}

RouteBook::Salt RouteBook::salt_for(const Digest& key, identity::RelayRole role, std::uint8_t attempt) {
  // A connector's key lives as long as its process, so its route may come from the key; a device's key lives for years,
  // and a route that came from it would let observers follow the device.
  if (role == identity::RelayRole::Client) return random_.make<Salt>();
  const Digest mac = identity::hmac_sha256(secret_, concatenated("postern-route-salt", key, ByteView(&attempt, 1)));
  return {mac[0], mac[1], mac[2]};
}

bool RouteBook::is_free(const RouteId& route, const Digest& key) const {
  if (revoked_.contains(route)) return false;
  const auto holder = holders_.find(route);
  return holder == holders_.end() || holder->second == key;
}

void RouteBook::hold(const Digest& key, const RouteId& route) {
  forget(key);
  routes_[key] = route;
  holders_[route] = key;
}

RouteId RouteBook::claim(const Digest& key, identity::RelayRole role, ByteView proposed) {
  RouteId route;
  if (proposed.size() == route.bytes.size()) {
    std::ranges::copy(proposed, route.bytes.begin());
    const RouteId made = make(key, {route.bytes[0], route.bytes[1], route.bytes[2]});
    if (equal_constant_time(made.bytes, route.bytes) && is_free(route, key)) {
      hold(key, route);
      return route;
    }
  }
  if (const auto known = routes_.find(key); known != routes_.end()) return known->second;
  for (std::uint8_t attempt = 0;; ++attempt) {
    // After 255 collisions of 56 bits something else is broken; the loop ends all the same, with salts from `random`.
    const auto salt_role = attempt == UINT8_MAX ? identity::RelayRole::Client : role;
    route = make(key, salt_for(key, salt_role, attempt));
    if (attempt == UINT8_MAX || is_free(route, key)) break;
  }
  hold(key, route);
  return route;
}

std::optional<RouteId> RouteBook::find(const Digest& key) const {
  const auto found = routes_.find(key);
  if (found == routes_.end()) return std::nullopt;
  return found->second;
}

std::optional<RouteId> RouteBook::revoke(const Digest& key) {
  const auto route = find(key);
  if (!route) return std::nullopt;
  forget(key);
  refuse(*route);
  return route;
}

void RouteBook::refuse(const RouteId& route) {
  if (revoked_.insert(route).second) revoked_order_.push_back(route);
  if (revoked_order_.size() <= kRevokedRoutesMax) return;
  revoked_.erase(revoked_order_.front());
  revoked_order_.pop_front();
}

void RouteBook::forget(const Digest& key) {
  const auto found = routes_.find(key);
  if (found == routes_.end()) return;
  holders_.erase(found->second);
  routes_.erase(found);
}

}  // namespace postern::controller
