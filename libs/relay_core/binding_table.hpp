// Who is bound where: found by route id (where does a packet go?) and by source address (who sent it?).
//
// Bindings lie in one vector; two open-addressing indexes hold their numbers (four bytes an entry, half empty at most),
// so an idle binding costs about 130 bytes. Hashes are seeded: whoever chooses his port cannot choose his bucket.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ip.hpp"
#include "base/route_id.hpp"
#include "base/time.hpp"
#include "identity/tokens.hpp"
#include "relay_core/rate_gate.hpp"
#include "wire/stun.hpp"

namespace postern::relay_core {

/// The seven bytes of a route id as a number; the eighth byte is zero.
using RouteKey = std::uint64_t;
[[nodiscard]] inline RouteKey route_key(const std::uint8_t* route) {
  RouteKey key = 0;
  std::memcpy(&key, route, 7);
  return key;
}
[[nodiscard]] inline RouteKey route_key(const RouteId& route) {
  return route_key(route.bytes.data());
}

struct Binding {
  RouteKey route = 0;
  std::uint64_t network = 0;
  std::uint64_t last_sequence = 0;
  std::uint64_t rate_bytes_per_s = 0;
  Instant expires;
  RateGate bytes_gate;
  RateGate long_gate;
  SocketAddress source;
  wire::TransactionId last_transaction{};
  identity::RelayRole role = identity::RelayRole::Client;
  bool used = false;
};

/// Slot numbers by hash. Knows no keys: the table says whether a slot matches and what its hash is.
class SlotIndex {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  template <typename Matches>
  [[nodiscard]] std::uint32_t find(std::uint64_t hash, Matches matches) const {
    if (cells_.empty()) return kNone;
    for (std::size_t at = hash & mask(); cells_[at] != kNone; at = (at + 1) & mask()) {
      if (matches(cells_[at])) return cells_[at];
    }
    return kNone;
  }

  template <typename HashOf>
  void insert(std::uint32_t slot, HashOf hash_of) {
    if ((used_ + 1) * 2 > cells_.size()) grow(hash_of);
    place(slot, hash_of(slot));
    ++used_;
  }

  template <typename HashOf>
  void erase(std::uint32_t slot, HashOf hash_of) {
    std::size_t at = hash_of(slot) & mask();
    while (cells_[at] != slot) at = (at + 1) & mask();
    // Moves later entries of the chain into the hole, so that no tombstones pile up.
    for (std::size_t next = (at + 1) & mask(); cells_[next] != kNone; next = (next + 1) & mask()) {
      const std::size_t home = hash_of(cells_[next]) & mask();
      if (((next - home) & mask()) < ((next - at) & mask())) continue;
      cells_[at] = cells_[next];
      at = next;
    }
    cells_[at] = kNone;
    --used_;
  }

 private:
  [[nodiscard]] std::size_t mask() const { return cells_.size() - 1; }
  void place(std::uint32_t slot, std::uint64_t hash) {
    std::size_t at = hash & mask();
    while (cells_[at] != kNone) at = (at + 1) & mask();
    cells_[at] = slot;
  }
  template <typename HashOf>
  void grow(HashOf hash_of) {
    std::vector<std::uint32_t> old = std::move(cells_);
    cells_.assign(std::max<std::size_t>(16, old.size() * 2), kNone);
    for (const std::uint32_t slot : old) {
      if (slot != kNone) place(slot, hash_of(slot));
    }
  }

  std::vector<std::uint32_t> cells_;
  std::size_t used_ = 0;
};

class BindingTable {
 public:
  BindingTable(std::size_t bindings_max, std::uint64_t seed) : max_(bindings_max), seed_(seed) {}

  /// Also one that has expired and was not swept yet: its last sequence still counts.
  [[nodiscard]] Binding* find_route(RouteKey route);
  /// Nothing when it has expired.
  [[nodiscard]] Binding* find_live_route(RouteKey route, Instant now);
  [[nodiscard]] Binding* find_source(const SocketAddress& source);
  [[nodiscard]] Binding* find_live_source(const SocketAddress& source, Instant now);
  /// Null at the bound. `route` is not in the table. The source still belongs to nobody: see move().
  [[nodiscard]] Binding* add(RouteKey route);
  /// Gives the address to `binding`; another binding that had it is removed, since an address is one process.
  void move(Binding& binding, const SocketAddress& source);
  void remove(Binding& binding);

  /// Looks at up to `slots` bindings, going round, and removes what has expired.
  void sweep(Instant now, std::size_t slots);

  [[nodiscard]] std::size_t size() const { return used_; }
  [[nodiscard]] std::size_t bindings_max() const { return max_; }
  [[nodiscard]] std::uint64_t hash(const SocketAddress& source) const;
  [[nodiscard]] std::uint64_t hash(RouteKey route) const;

 private:
  [[nodiscard]] std::uint32_t slot_of(const Binding& binding) const {
    return static_cast<std::uint32_t>(&binding - bindings_.data());
  }
  [[nodiscard]] auto hash_of_route() const {
    return [this](std::uint32_t slot) { return hash(bindings_[slot].route); };
  }
  [[nodiscard]] auto hash_of_source() const {
    return [this](std::uint32_t slot) { return hash(bindings_[slot].source); };
  }

  std::size_t max_;
  std::uint64_t seed_;
  std::vector<Binding> bindings_;
  std::vector<std::uint32_t> free_;
  SlotIndex by_route_;
  SlotIndex by_source_;
  std::size_t used_ = 0;
  std::size_t sweep_at_ = 0;
};

/// A fast mixing of one word (the finaliser of splitmix64).
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t word) {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
  return word ^ (word >> 31);
}

}  // namespace postern::relay_core
