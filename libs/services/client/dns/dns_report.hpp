// What the client says about the host's DNS, as a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "services/client/dns/dns_manager.hpp"

namespace postern::client {

enum class DnsState : std::uint8_t {
  Off,        ///< not connected, or `--resolv-conf none`
  Installed,  ///< names of Resources lead to our resolver
  Contested,  ///< another program keeps writing over it; tried again every 30 s
  Failed,     ///< names of Resources are not found
};
[[nodiscard]] std::string_view to_string(DnsState state);

struct DnsReport {
  DnsManagerKind manager = DnsManagerKind::None;
  DnsState state = DnsState::Off;
  std::string reason;   ///< why this manager: half a sentence
  std::string problem;  ///< one sentence, empty when all is well
  bool routes_by_domain = false;
  std::vector<IpAddress> upstream;  ///< the servers that the host would use without us

  bool operator==(const DnsReport&) const = default;
};

}  // namespace postern::client
