// The options of postern-server, declared once, and checked values from them.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "config/parser.hpp"
#include "runtime/http/tls.hpp"
#include "services/server/server_error.hpp"
#include "services/server/state.hpp"

namespace postern::server {

[[nodiscard]] const config::Program& server_program();

/// Where a relay of its own finds its controller.
struct ControllerTarget {
  runtime::ServerAddress server{};
  runtime::ServerTrust trust{};
};
/// "https://HOST[:PORT]/#ca=<digest>" or without the fragment; the error is what is wrong with it.
[[nodiscard]] std::expected<ControllerTarget, std::string> parse_controller_url(std::string_view url);

struct ServeOptions {
  std::string folder{};
  SocketAddress listen{};
  std::string admin_socket{};
  bool relay_role = true;
  std::vector<PublicAddress> public_addresses{};  ///< of the relay; empty: taken from the URL
  std::string certificate_file{};                 ///< a public certificate instead of the own CA
  std::string key_file{};
  std::string log_level{};
  std::optional<ControllerTarget> controller{};  ///< --roles relay: this process is a relay of that controller
  std::string relay_token{};                     ///< may be empty once the relay has enrolled
};
[[nodiscard]] std::expected<ServeOptions, ServerError> serve_options(const config::Settings& settings);
/// Reads the password file when one is named.
[[nodiscard]] std::expected<InitRequest, ServerError> init_request(const config::Settings& settings);

}  // namespace postern::server
