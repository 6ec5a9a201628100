// Route ids (PROTOCOL.md §2.1): who holds which, and which a re-authenticating agent may keep.
//
// A route id carries a MAC over the key that it was made for. So an agent can hand its own back to a controller that
// was restarted and knows nothing, and nobody can ask for the route of another.
#pragma once

#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "base/random.hpp"
#include "base/route_id.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {

class RouteBook {
 public:
  RouteBook(ByteView knock_secret, RandomSource& random) : secret_(to_bytes(knock_secret)), random_(random) {}

  /// The route of the process with this key: `proposed` where it may be taken back, else the one that this controller
  /// gave to the key before, else a new one.
  [[nodiscard]] RouteId claim(const Digest& key, identity::RelayRole role, ByteView proposed);
  [[nodiscard]] std::optional<RouteId> find(const Digest& key) const;
  /// Gives up the key's route for good; the caller tells the relay. Nothing when it had none.
  std::optional<RouteId> revoke(const Digest& key);
  /// A route that was revoked before the last start.
  void refuse(const RouteId& route);
  /// The key is gone without having been cut off (an idle instance that was forgotten).
  void forget(const Digest& key);

 private:
  struct DigestHash {
    std::size_t operator()(const Digest& digest) const noexcept {
      std::size_t word = 0;
      std::memcpy(&word, digest.data(), sizeof word);
      return word;
    }
  };
  using Salt = std::array<std::uint8_t, 3>;
  [[nodiscard]] RouteId make(const Digest& key, const Salt& salt) const;
  [[nodiscard]] Salt salt_for(const Digest& key, identity::RelayRole role, std::uint8_t attempt);
  [[nodiscard]] bool is_free(const RouteId& route, const Digest& key) const;
  void hold(const Digest& key, const RouteId& route);

  Bytes secret_;
  RandomSource& random_;
  std::unordered_map<Digest, RouteId, DigestHash> routes_;
  std::unordered_map<RouteId, Digest> holders_;
  std::unordered_set<RouteId> revoked_;
  std::deque<RouteId> revoked_order_;
};

}  // namespace postern::controller
