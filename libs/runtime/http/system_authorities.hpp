// The host's list of public certificate authorities, wherever its distribution keeps it.
#pragma once

#include <expected>
#include <string>

struct ssl_ctx_st;

namespace postern::runtime {

/// Makes the context check against the host's authorities. SSL_CERT_FILE and SSL_CERT_DIR name others, as everywhere.
/// `root` stands before every path, for tests. The error is one sentence for people.
[[nodiscard]] std::expected<void, std::string> use_system_authorities(ssl_ctx_st* context,
                                                                      const std::string& root = "");

}  // namespace postern::runtime
