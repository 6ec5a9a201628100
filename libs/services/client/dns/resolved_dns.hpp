// systemd-resolved: our resolver for our link, asked for the domains of Resources only (route-only domains), never for
// anything else. What it knows about a link ends with the link, that is with the daemon, so there is no journal.
#pragma once

#include <optional>

#include "runtime/dns/system_bus.hpp"
#include "services/client/dns/dns_manager.hpp"

namespace postern::client {

class ResolvedDns final : public DnsManager {
 public:
  /// `bus` outlives this object.
  explicit ResolvedDns(runtime::SystemBus& bus) : bus_(bus) {}

  [[nodiscard]] DnsManagerKind kind() const override { return DnsManagerKind::Resolved; }
  [[nodiscard]] std::expected<DnsChange, std::string> apply(const DnsPlan& plan) override;
  [[nodiscard]] std::expected<void, std::string> remove() override;
  [[nodiscard]] std::vector<IpAddress> upstream(const DnsPlan& plan) override;
  [[nodiscard]] bool routes_by_domain() const override { return true; }

 private:
  [[nodiscard]] bool is_in_force(const DnsPlan& plan);
  [[nodiscard]] std::expected<void, std::string> set(const char* method, runtime::BusCall call);
  [[nodiscard]] std::expected<void, std::string> set_link(const DnsPlan& plan);
  void set_modes(const DnsPlan& plan);

  runtime::SystemBus& bus_;
  std::optional<DnsPlan> applied_;
};

}  // namespace postern::client
