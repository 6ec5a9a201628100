// The options of postern-connector, and what they say when put together: who we are and where our server is.
//
// The pair of tokens alone is enough: the access token names the Network, the server's URL and its root's pin. The
// options network and url may narrow or move that; they must not contradict it (DESIGN §7).
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "config/exit_code.hpp"
#include "config/parser.hpp"
#include "identity/tokens.hpp"
#include "runtime/http/control_client.hpp"
#include "runtime/os/log.hpp"

namespace postern::connector {

/// The program with its commands: "" runs the connector, "health" asks a running one.
[[nodiscard]] config::Program program(std::string version);

/// One line for stderr (what, why, what to do) and the exit status.
struct Failure {
  config::ExitCode code = config::ExitCode::Failure;
  std::string message;
};

enum class AnalyticsFormat : std::uint8_t { Off, V1, V2 };

struct ConnectorSettings {
  identity::AccessToken token;  ///< read, not verified: its holder needs no key to know where its server is
  std::string refresh_token;
  runtime::ServerAddress server;
  runtime::ServerTrust trust;
  runtime::LogConfig log;
  AnalyticsFormat analytics = AnalyticsFormat::Off;
  std::vector<std::string> dns;
  std::map<std::string, std::string> labels;
  std::uint16_t health_port = 9999;  ///< 0: none
  std::uint16_t metrics_port = 0;    ///< 0: none
  std::string api_endpoint;          ///< unix socket of the health command
  Duration stop_patience = std::chrono::seconds(3);
  bool maps_port = false;  ///< the router is asked for a port
};

[[nodiscard]] std::expected<ConnectorSettings, Failure> make_settings(const config::Settings& values);

struct HealthQuestion {
  std::string api_endpoint;
  std::uint16_t health_port = 0;
};
[[nodiscard]] HealthQuestion make_health_question(const config::Settings& values);

/// https://HOST[:PORT][/]; the error says why not.
[[nodiscard]] std::expected<runtime::ServerAddress, std::string> parse_server_url(std::string_view url);
/// Does "home", "home.example.org" or "https://home.example.org" mean the token's Network?
[[nodiscard]] bool network_agrees(std::string_view network, const identity::AccessToken& token);

}  // namespace postern::connector
