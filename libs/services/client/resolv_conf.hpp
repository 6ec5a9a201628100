// The text of /etc/resolv.conf (resolv.conf(5)): what we take from the old one and how ours looks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"

namespace postern::client {

struct ResolvConf {
  std::vector<IpAddress> servers;    ///< at most 8; zoned link-local addresses are left out
  std::vector<std::string> search;   ///< the last `search` or `domain` line, as it stands
  std::vector<std::string> options;  ///< `options` and `sortlist` lines, as they stand

  [[nodiscard]] static ResolvConf parse(std::string_view text);
};

/// First line of every file that we install: how play-back knows it from somebody else's.
inline constexpr std::string_view kResolvConfMark =
    "# Made by posternd. The file that was here comes back when it ends.";

/// Ours: one nameserver (a plain file cannot send only some names to it, so our resolver passes the others on; a second
/// one would be asked for private names too), the search list and options of before.
[[nodiscard]] std::string render_resolv_conf(const IpAddress& resolver, const ResolvConf& before);
[[nodiscard]] bool is_ours(std::string_view text);
/// Whether `server`, an address as text, is among the name servers.
[[nodiscard]] bool names_server(std::string_view text, std::string_view server);

}  // namespace postern::client
