// What the host's network looks like without us: what we must not collide with and what we must not route away.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "runtime/tun/routing.hpp"

namespace postern::client {

struct HostView {
  /// Addresses with their networks, and routes but the default ones.
  std::vector<IpPrefix> present;
  std::vector<IpAddress> gateways;

  bool operator==(const HostView&) const = default;
};

/// `own_interface` is left out (0: none).
[[nodiscard]] std::expected<HostView, std::string> observe_host(runtime::Routing& routing, std::uint32_t own_interface);

}  // namespace postern::client
