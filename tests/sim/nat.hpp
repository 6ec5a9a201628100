// A NAT box (RFC 4787): mappings as it makes them, filtering as strict as its mapping, refreshed by packets from
// inside.
#pragma once

#include <map>
#include <optional>

#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/time.hpp"

namespace postern::sim {

enum class NatKind : std::uint8_t { None, EndpointIndependent, AddressDependent, AddressAndPortDependent };
[[nodiscard]] std::string_view to_string(NatKind kind);

class Nat {
 public:
  /// `random` outlives it and draws the public ports.
  Nat(NatKind kind, IpAddress outside, Duration life, SeededRandom& random)
      : kind_(kind), outside_(outside), life_(life), random_(random) {}

  [[nodiscard]] SocketAddress outbound(Instant now, const SocketAddress& from, const SocketAddress& to);
  /// The host inside; nothing when the packet is not let in.
  [[nodiscard]] std::optional<SocketAddress> inbound(Instant now, const SocketAddress& from, std::uint16_t port) const;
  /// The box was switched off and on.
  void forget() { mappings_.clear(), ports_.clear(); }

 private:
  struct Key {
    SocketAddress inside;
    SocketAddress remote;  ///< as far as the kind of box looks at it
    auto operator<=>(const Key&) const = default;
  };
  struct Mapping {
    std::uint16_t port = 0;
    Instant used;
  };
  [[nodiscard]] SocketAddress seen_part(const SocketAddress& remote) const;

  NatKind kind_;
  IpAddress outside_;
  Duration life_;
  SeededRandom& random_;
  std::map<Key, Mapping> mappings_;
  std::map<std::uint16_t, Key> ports_;
};

}  // namespace postern::sim
