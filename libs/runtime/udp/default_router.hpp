// The router of this host for IPv4; needs no privilege.
#pragma once

#include <optional>
#include <string_view>

#include "base/ip.hpp"

namespace postern::runtime {

/// Of the default route with the lowest metric that has a gateway; nothing where there is none, as inside some VPNs.
[[nodiscard]] std::optional<IpAddress> default_router();
/// The same, from what /proc/net/route says (proc(5)).
[[nodiscard]] std::optional<IpAddress> default_router_in(std::string_view table);
/// The address that packets to `remote` would leave with. Nothing is sent.
[[nodiscard]] std::optional<IpAddress> local_address_towards(const IpAddress& remote);

}  // namespace postern::runtime
