// What a person types after `postern login`: an enrolment URL (PROTOCOL.md §5.4) or the server's name.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "runtime/http/tls.hpp"

namespace postern::client {

struct ServerTarget {
  runtime::ServerAddress server;
  runtime::ServerTrust trust;
};

/// "https://HOST[:PORT]/#ca=DIGEST", "https://HOST", "HOST[:PORT]"; `fingerprint` is a digest in base64url or in hex,
/// with or without colons, and may be empty. Never http. The error is one sentence.
[[nodiscard]] std::expected<ServerTarget, std::string> parse_server_target(std::string_view text,
                                                                           std::string_view fingerprint);

}  // namespace postern::client
