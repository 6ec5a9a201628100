// /etc/resolv.conf that nobody looks after: a plain file, a link, a bind mount, or nothing. All names come to us, as a
// file cannot send only some of them, and we pass the others on to the servers that stood there.
#pragma once

#include <optional>

#include "services/client/dns/dns_manager.hpp"
#include "services/client/journal.hpp"
#include "services/client/resolv_conf.hpp"

namespace postern::client {

class FileDns final : public DnsManager {
 public:
  /// `owner` as in JournalEntry; the journal outlives this object.
  FileDns(Journal& journal, std::string owner, std::string path)
      : journal_(journal), owner_(std::move(owner)), path_(std::move(path)) {}

  [[nodiscard]] DnsManagerKind kind() const override { return DnsManagerKind::File; }
  /// A file that somebody has put over ours counts as the new original.
  [[nodiscard]] std::expected<DnsChange, std::string> apply(const DnsPlan& plan) override;
  [[nodiscard]] std::expected<void, std::string> remove() override;
  [[nodiscard]] std::vector<IpAddress> upstream(const DnsPlan& plan) override;
  [[nodiscard]] bool routes_by_domain() const override { return false; }
  /// What was there before us; null before the first apply().
  [[nodiscard]] const SavedFile* original() const { return original_ ? &*original_ : nullptr; }

 private:
  Journal& journal_;
  std::string owner_;
  std::string path_;
  std::optional<SavedFile> original_;
};

}  // namespace postern::client
