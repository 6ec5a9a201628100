// resolvconf, Debian's own or openresolv: given a record with our resolver, in front of those of the real interfaces.
// openresolv can be told to use ours alone; Debian's writes the others behind it, where they are asked when ours is
// silent.
#pragma once

#include <string>

#include "services/client/dns/dns_manager.hpp"
#include "services/client/journal.hpp"

namespace postern::client {

class ResolvconfDns final : public DnsManager {
 public:
  /// `journal` outlives this object; `owner` as in JournalEntry; `program` is the path of resolvconf.
  ResolvconfDns(Journal& journal, std::string owner, std::string path, std::string program)
      : journal_(journal), owner_(std::move(owner)), path_(std::move(path)), program_(std::move(program)) {}

  [[nodiscard]] DnsManagerKind kind() const override { return DnsManagerKind::Resolvconf; }
  [[nodiscard]] std::expected<DnsChange, std::string> apply(const DnsPlan& plan) override;
  [[nodiscard]] std::expected<void, std::string> remove() override;
  [[nodiscard]] std::vector<IpAddress> upstream(const DnsPlan& plan) override;
  [[nodiscard]] bool routes_by_domain() const override { return false; }

 private:
  [[nodiscard]] bool is_first(const IpAddress& resolver) const;
  [[nodiscard]] std::expected<void, std::string> add(const DnsPlan& plan, const std::string& record) const;

  Journal& journal_;
  std::string owner_;
  std::string path_;
  std::string program_;
  std::vector<IpAddress> before_;  ///< what stood in resolv.conf
};

/// For Journal: takes the record away; has the file written again where it still names our resolver. `lock` is the
/// journal's, for the program to keep. True: the record was there; an error: it still is.
[[nodiscard]] std::expected<bool, std::string> undo_resolvconf(const JournalEntry& entry, int lock);

}  // namespace postern::client
