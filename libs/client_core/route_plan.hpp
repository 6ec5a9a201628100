// Which prefixes are routed into the TUN: the virtual ranges and every Resource that is an address or a CIDR, but never
// what the host itself needs to live: its default gateway, the DNS servers in use and the Postern server. Where a
// Resource covers one of these, its prefix is split around it.
//
// A network that the host is in wins over a Resource of the same or a wider range, as the kernel's longest prefix would
// have it: printer and file server at home stay where they are. A narrower Resource wins over the network. This is
// planned and not left to the kernel, because a prefix that was split has pieces that are longer than the network's.
#pragma once

#include <set>
#include <vector>

#include "base/ip.hpp"

namespace postern::client {

struct RouteRequest {
  std::vector<IpPrefix> wanted;
  /// Gateway, DNS servers, Postern server and relay addresses, as host prefixes.
  std::vector<IpPrefix> protected_prefixes;
  /// On-link networks and routes over other interfaces, but the default ones.
  std::vector<IpPrefix> local_networks{};
};

struct RoutePlan {
  /// Disjoint, none inside another.
  std::set<IpPrefix> routes;
  /// Wanted prefixes that were left out because the bound was reached.
  std::vector<IpPrefix> skipped;

  bool operator==(const RoutePlan&) const = default;
};

/// The kernel takes many more; this keeps a hostile update from filling its tables.
inline constexpr std::size_t kRoutesMax = 4096;

/// Loopback, link-local, multicast, unspecified and reserved ranges are never routed either, except a link-local
/// address that a Resource names literally (a metadata service).
[[nodiscard]] RoutePlan plan_routes(const RouteRequest& request);

/// Whether the plan leads an address into the TUN, and if not, why.
enum class RouteFate : std::uint8_t {
  Routed,
  NotWanted,    ///< no Resource covers it
  Protected,    ///< the host itself needs it
  Local,        ///< a network that the host is in wins
  NeverRouted,  ///< loopback, link-local, multicast, reserved
  NoRoom,       ///< its Resource was left out at kRoutesMax
};
struct AddressRoute {
  RouteFate fate = RouteFate::NotWanted;
  IpPrefix prefix;  ///< Routed: the route; Local: that network; otherwise the Resource's prefix
};
/// `plan` is plan_routes(request).
[[nodiscard]] AddressRoute route_of(const RouteRequest& request, const RoutePlan& plan, const IpAddress& address);

/// `from` without `holes`, as few prefixes as possible.
[[nodiscard]] std::vector<IpPrefix> subtract(const IpPrefix& from, const std::vector<IpPrefix>& holes);

}  // namespace postern::client
