// What is wrong with a certificate and a key that an administrator named, found before any agent has to.
#pragma once

#include <expected>
#include <string>

#include "base/time.hpp"

namespace postern::runtime {

struct CertificateFiles {
  std::string certificate_path{};  ///< for messages
  std::string certificate_pem{};   ///< leaf first, then what leads to its root
  std::string key_path{};
  std::string key_pem{};
};

/// Agents that check against public authorities accept only a certificate that is valid `now` and names `host` (a name
/// or an address). The error is one sentence for people: which file, why, and what to do.
[[nodiscard]] std::expected<void, std::string> check_certificate(const CertificateFiles& files, const std::string& host,
                                                                 WallTime now);

}  // namespace postern::runtime
