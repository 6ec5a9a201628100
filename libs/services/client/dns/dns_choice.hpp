// Who owns the DNS of this host? Decided by what programs really read: /etc/resolv.conf and, where glibc asks
// systemd-resolved directly, /etc/nsswitch.conf. That some service runs does not make it the owner.
#pragma once

#include <string>

#include "runtime/dns/system_bus.hpp"
#include "services/client/dns/dns_manager.hpp"
#include "services/client/journal.hpp"

namespace postern::client {

/// What was seen.
struct HostDns {
  std::string path;  ///< of resolv.conf
  FileKind kind = FileKind::Missing;
  std::string real_path;  ///< where links lead to; empty when missing
  std::string content;
  bool nss_asks_resolved = false;  ///< `resolve` in the `hosts` line of nsswitch.conf
  bool bus_answers = false;
  bool resolved_runs = false;
  bool network_manager_runs = false;
  std::string resolvconf_program;  ///< its path; empty where there is none
};

struct DnsChoice {
  DnsManagerKind kind = DnsManagerKind::File;
  std::string reason;  ///< half a sentence: "/etc/resolv.conf is a plain file"
  /// One sentence, where nothing shall be done because the owner is away for the moment.
  std::string waits{};

  bool operator==(const DnsChoice&) const = default;
};

[[nodiscard]] DnsChoice choose_dns_manager(const HostDns& host);
/// `bus` may be null.
[[nodiscard]] std::expected<HostDns, std::string> observe_host_dns(const std::string& path, runtime::SystemBus* bus);

/// The same with another file in the place of resolv.conf: the one of before us.
void take_for_resolv_conf(HostDns& host, const SavedFile& file);

inline constexpr const char* kResolvedService = "org.freedesktop.resolve1";
inline constexpr const char* kNetworkManagerService = "org.freedesktop.NetworkManager";

}  // namespace postern::client
