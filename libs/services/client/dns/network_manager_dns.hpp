// NetworkManager that writes /etc/resolv.conf itself: told by a file of configuration in its volatile folder that all
// names go to our resolver (`global-dns`, NetworkManager.conf(5)), and to read it. It then writes resolv.conf by
// whatever way it is set to, goes on doing so when networks change, and keeps to it over its own restart; a reboot
// forgets it.
//
// Its per-connection DNS would be the other way, but it leaves interfaces alone that others have made.
#pragma once

#include "runtime/dns/system_bus.hpp"
#include "services/client/dns/dns_manager.hpp"
#include "services/client/journal.hpp"

namespace postern::client {

class NetworkManagerDns final : public DnsManager {
 public:
  /// `journal` and `bus` outlive this object; `owner` as in JournalEntry.
  NetworkManagerDns(Journal& journal, std::string owner, std::string path, runtime::SystemBus& bus)
      : journal_(journal), owner_(std::move(owner)), path_(std::move(path)), bus_(bus) {}

  [[nodiscard]] DnsManagerKind kind() const override { return DnsManagerKind::NetworkManager; }
  [[nodiscard]] std::expected<DnsChange, std::string> apply(const DnsPlan& plan) override;
  [[nodiscard]] std::expected<void, std::string> remove() override;
  [[nodiscard]] std::vector<IpAddress> upstream(const DnsPlan& plan) override;
  [[nodiscard]] bool routes_by_domain() const override { return false; }

 private:
  [[nodiscard]] std::string current() const;
  [[nodiscard]] bool is_in_force(const std::string& resolver);
  /// What a program between us and applications has kept of our answers is wrong with other resources.
  void forget_answers();

  Journal& journal_;
  std::string owner_;
  std::string path_;
  runtime::SystemBus& bus_;
  std::vector<std::string> domains_;
  std::string search_;  ///< of resolv.conf before us: with `global-dns` NetworkManager forgets that of its connections
};

/// For Journal: takes the file away and has NetworkManager read its configuration again. False when the file was gone.
[[nodiscard]] bool undo_network_manager(const JournalEntry& entry);

}  // namespace postern::client
