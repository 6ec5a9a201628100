// A name asked of given name servers, past the resolver that the host is set to (which may be ours): glibc's own
// resolver with another list of servers. c-ares could do it too, but costs the daemon memory all its life.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"

namespace postern::client {

/// What a hosts file (hosts(5)) says of a name, in its order.
[[nodiscard]] std::vector<std::string> addresses_in_hosts(std::string_view text, std::string_view host);

/// Addresses as text, those of /etc/hosts where it has the name, as the host itself would find it; empty when no server
/// answers. Only IPv4 servers are asked, at most three. Waits, so it is for a thread that may.
[[nodiscard]] std::vector<std::string> look_up_at(const std::vector<IpAddress>& servers, const std::string& host);

}  // namespace postern::client
