// The options of postern-server, declared once, and checked values from them.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "config/parser.hpp"
#include "services/server/server_error.hpp"
#include "services/server/state.hpp"

namespace postern::server {

[[nodiscard]] const config::Program& server_program();

struct ServeOptions {
  std::string folder{};
  SocketAddress listen{};
  std::string admin_socket{};
  bool relay_role = true;
  std::vector<PublicAddress> public_addresses{};  ///< of the relay; empty: taken from the URL
  std::string certificate_file{};                 ///< a public certificate instead of the own CA
  std::string key_file{};
  std::string log_level{};
};
[[nodiscard]] std::expected<ServeOptions, ServerError> serve_options(const config::Settings& settings);
/// Reads the password file when one is named.
[[nodiscard]] std::expected<InitRequest, ServerError> init_request(const config::Settings& settings);

}  // namespace postern::server
