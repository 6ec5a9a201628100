// The addresses of this host's interfaces; needs no privilege.
#pragma once

#include <string>
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

}  // namespace postern::runtime
