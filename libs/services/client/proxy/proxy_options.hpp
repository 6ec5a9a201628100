// Where the local proxy listens and what it asks for, from what a person has written.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "services/client/problem.hpp"
#include "services/client/proxy/proxy_server.hpp"

namespace postern::client {

/// "127.0.0.1:1080", "[::1]:1080", or "1080" for that port of 127.0.0.1.
[[nodiscard]] std::expected<SocketAddress, Problem> parse_proxy_address(std::string_view text);

/// Reads the password file (empty: none). Refuses an address that others can reach without a password.
[[nodiscard]] std::expected<ProxyConfig, Problem> load_proxy_config(const SocketAddress& listen,
                                                                    const std::string& password_file);

}  // namespace postern::client
