// Which DNS domains a host's resolver has to send to ours, so that it finds every Resource and as little else as
// possible. For resolvers that route by domain (systemd-resolved); a name below such a domain that is no Resource's is
// passed on by us.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/resource.hpp"

namespace postern::resolver {

struct RoutingDomains {
  /// systemd-resolved up to version 247 refuses a link with more.
  static constexpr std::size_t kDomainsMax = 256;

  std::vector<std::string> domains;  ///< sorted, none below another; "." stands for all names
  bool is_widened = false;           ///< the bound was met: parents took the place of the longest names
  std::size_t left_out = 0;          ///< did not fit even so; their names are not found

  bool operator==(const RoutingDomains&) const = default;
};

/// A pattern counts with the labels behind its last wildcard: `*.corp.int` gives corp.int, `*` gives all names. At the
/// bound the longest names are replaced by their parents, as long as these have two labels or more.
[[nodiscard]] RoutingDomains routing_domains(std::span<const model::DnsName> names,
                                             std::span<const model::DnsPattern> patterns,
                                             std::size_t domains_max = RoutingDomains::kDomainsMax);

}  // namespace postern::resolver
