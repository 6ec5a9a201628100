// The host's resolver pointed at ours, and back: /etc/resolv.conf as a plain file, through the journal.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "services/client/journal.hpp"
#include "services/client/resolv_conf.hpp"

namespace postern::client {

class DnsSetup {
 public:
  /// `owner` as in JournalEntry. An empty `path` leaves the host's DNS alone.
  DnsSetup(Journal& journal, std::string owner, std::string path)
      : journal_(journal), owner_(std::move(owner)), path_(std::move(path)) {}

  /// The name servers that the host uses (or used before us), without `resolver` itself.
  [[nodiscard]] std::vector<IpAddress> previous_servers(const IpAddress& resolver) const;
  /// Points the host at `resolver`; again whenever somebody has overwritten the file, which then counts as the new
  /// original. True when it had to be written.
  [[nodiscard]] std::expected<bool, std::string> ensure(const IpAddress& resolver);
  /// Puts back what was there.
  [[nodiscard]] std::expected<PlayBack, std::string> remove();
  [[nodiscard]] bool is_installed() const { return installed_.has_value(); }

 private:
  Journal& journal_;
  std::string owner_;
  std::string path_;
  std::optional<ResolvConf> before_;
  std::optional<std::string> installed_;
};

}  // namespace postern::client
