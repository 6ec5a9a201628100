// Whoever owns the DNS of this host, asked to send questions for Resources to our resolver.
//
// One implementation for each kind of owner; dns_choice.hpp says which one fits, DnsKeeper uses it. All calls wait for
// files, programs or the bus, so they come from the keeper's thread. Whatever survives our death is in the journal
// before it is done.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"

namespace postern::client {

enum class DnsManagerKind : std::uint8_t { None, Resolved, NetworkManager, Resolvconf, File };
[[nodiscard]] std::string_view to_string(DnsManagerKind kind);

/// What the host's DNS shall do.
struct DnsPlan {
  std::uint32_t interface_index = 0;
  std::string interface_name;
  IpAddress resolver;                ///< where ours answers, inside the TUN
  std::vector<std::string> domains;  ///< that lead to Resources; "." is all names

  bool operator==(const DnsPlan&) const = default;
};

enum class DnsChange : std::uint8_t { None, Made };

class DnsManager {
 public:
  virtual ~DnsManager() = default;
  [[nodiscard]] virtual DnsManagerKind kind() const = 0;
  /// Makes it so, or checks that it still is. Errors are a sentence for people.
  [[nodiscard]] virtual std::expected<DnsChange, std::string> apply(const DnsPlan& plan) = 0;
  /// Undoes it. Not called before a first apply().
  [[nodiscard]] virtual std::expected<void, std::string> remove() = 0;
  /// The name servers that the host would use without us.
  [[nodiscard]] virtual std::vector<IpAddress> upstream(const DnsPlan& plan) = 0;
  /// True when only the plan's domains come to us, false when all names do.
  [[nodiscard]] virtual bool routes_by_domain() const = 0;
};

}  // namespace postern::client
