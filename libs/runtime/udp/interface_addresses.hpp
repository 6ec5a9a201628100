// The addresses of this host's interfaces; needs no privilege.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"

namespace postern::runtime {

struct HostAddress {
  std::string interface;
  IpAddress address;
  unsigned prefix_length = 0;
};

/// Of all interfaces that are up, but loopback; empty where the kernel or a sandbox refuses.
[[nodiscard]] std::vector<HostAddress> interface_addresses();

/// The largest packet that an interface of this host takes, but loopback and `but`; 0 where the kernel does not say.
[[nodiscard]] unsigned largest_mtu(std::string_view but);

}  // namespace postern::runtime
