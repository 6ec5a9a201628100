// The two address ranges that stand for names: where the client's TUN, its resolver and every named Resource live.
//
// A range is taken only when nothing on the host overlaps it (addresses, routes but the default, DNS servers, Resources
// that are routed as they are); otherwise the next candidate is. The choice is kept over restarts while it stays free,
// because applications remember addresses.
#pragma once

#include <optional>
#include <span>

#include "base/ip.hpp"
#include "base/random.hpp"

namespace postern::resolver {

struct VirtualNetwork {
  IpPrefix v4;
  IpPrefix v6;

  [[nodiscard]] const IpPrefix& of(IpFamily family) const { return family == IpFamily::V4 ? v4 : v6; }
  [[nodiscard]] bool contains(const IpAddress& address) const { return of(address.family()).contains(address); }
  /// Number 1 of the range: the TUN's own address.
  [[nodiscard]] IpAddress device(IpFamily family) const { return at(family, 1); }
  /// Number 2: where the resolver answers on port 53.
  [[nodiscard]] IpAddress resolver(IpFamily family) const { return at(family, 2); }
  [[nodiscard]] bool is_resolver(const IpAddress& address) const { return address == resolver(address.family()); }

  /// The address with this number; numbers from kFirstName on stand for names.
  [[nodiscard]] IpAddress at(IpFamily family, std::uint32_t number) const;
  /// The reverse of at(); nothing for addresses outside or with a number of more than 32 bits.
  [[nodiscard]] std::optional<std::uint32_t> number_of(const IpAddress& address) const;
  /// Numbers below this one fit both ranges; the last address of the IPv4 range (broadcast) is left out.
  [[nodiscard]] std::uint32_t numbers_end() const;

  static constexpr std::uint32_t kFirstName = 16;

  bool operator==(const VirtualNetwork&) const = default;
};

/// The previous network if it is still free, otherwise the first free IPv4 candidate (100.96.0.0/12 before all others)
/// and a random unique local IPv6 prefix (RFC 4193). Nothing when no IPv4 candidate is free.
[[nodiscard]] std::optional<VirtualNetwork> choose_virtual_network(std::span<const IpPrefix> present,
                                                                   const std::optional<VirtualNetwork>& previous,
                                                                   RandomSource& random);

}  // namespace postern::resolver
