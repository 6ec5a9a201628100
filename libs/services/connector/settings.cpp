#include "services/connector/settings.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "runtime/os/files.hpp"
#include "runtime/udp/udp_socket.hpp"

namespace postern::connector {
namespace {

using config::ExitCode;
using config::Option;
using config::ValueKind;

constexpr const char* kApiEndpoint = "/run/postern-connector/connector.sock";
constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::size_t kTokenFileMax = identity::kTokenSizeMax + 16;

/// The names of a variable in both spellings, and older ones.
std::vector<std::string> variables(const std::string& name, std::vector<std::string> more = {}) {
  std::vector<std::string> names{"POSTERN_" + name, "TWINGATE_" + name};
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

std::string check_url(std::string_view text) {
  const auto url = parse_server_url(text);
  return url ? "" : url.error();
}

std::string check_log_level(std::string_view text) {
  return runtime::parse_log_level(text) ? "" : "is none of debug, info, warn, error, off, nor a number from -1 to 7";
}

std::string check_server(std::string_view text) {
  if (IpAddress::parse(text) || SocketAddress::parse(text)) return "";
  return "is not an address, with or without port";
}

std::vector<Option> health_options() {
  return {
      {.name = "health-port",
       .sentence = "Port on 127.0.0.1 and ::1 that answers GET /healthcheck, /healthz and /readyz; 0 switches it off.",
       .kind = ValueKind::Integer,
       .value_name = "PORT",
       .default_value = "9999",
       .environment = variables("HEALTH_PORT"),
       .maximum = 65'535},
      {.name = "api-endpoint",
       .sentence = "Unix socket that the health command asks.",
       .value_name = "PATH",
       .default_value = kApiEndpoint,
       .environment = variables("API_ENDPOINT")},
      {.name = "config",
       .sentence = "Configuration file.",
       .value_name = "FILE",
       .default_value = "/etc/postern/connector.toml",
       .environment = {"POSTERN_CONFIG"}},
  };
}

std::vector<Option> token_options() {
  return {
      {.name = "access-token",
       .sentence = "Access token of this connector; an expired one still works.",
       .environment = variables("ACCESS_TOKEN", {"ACCESS_TOKEN"}),
       .secret = true},
      {.name = "refresh-token",
       .sentence = "Refresh token of this connector.",
       .environment = variables("REFRESH_TOKEN", {"REFRESH_TOKEN"}),
       .secret = true},
      {.name = "access-token-file",
       .sentence = "File with the access token, such as a container secret.",
       .value_name = "FILE",
       .environment = variables("ACCESS_TOKEN_FILE")},
      {.name = "refresh-token-file",
       .sentence = "File with the refresh token.",
       .value_name = "FILE",
       .environment = variables("REFRESH_TOKEN_FILE")},
  };
}

Option port_mapping_option() {
  return {.name = "port-mapping",
          .sentence =
              "Asks the router of this network for a UDP port (NAT-PMP, UPnP), so that clients can do without the "
              "relay where they otherwise could not.",
          .kind = ValueKind::Switch,
          .default_value = "false",
          .environment = {"POSTERN_PORT_MAPPING"}};
}

std::vector<Option> run_options() {
  std::vector<Option> options{
      {.name = "network",
       .sentence = "Network that the tokens must belong to: its name, its host or its URL.",
       .value_name = "NAME",
       .environment = variables("NETWORK")},
      {.name = "url",
       .sentence = "Base URL of the server; wins over the one in the access token.",
       .value_name = "URL",
       .environment = variables("URL", {"TENANT_URL"}),
       .check = check_url},
      {.name = "log-level",
       .sentence = "What is logged: error, warn, info or debug, or a number (3 error, 4 warn, 6 info, 7 debug).",
       .value_name = "LEVEL",
       .default_value = "info",
       .environment = variables("LOG_LEVEL"),
       .check = check_log_level},
      {.name = "log-analytics",
       .sentence = "Print a line of JSON for each connection that opens or closes.",
       .kind = ValueKind::Choice,
       .value_name = "FORMAT",
       .environment = variables("LOG_ANALYTICS"),
       .choices = {"v1", "v2"}},
      {.name = "timestamp-format",
       .sentence = "Time at the start of log lines: 0 none, 1 relative, 2 absolute.",
       .kind = ValueKind::Integer,
       .value_name = "N",
       .default_value = "0",
       .environment = variables("TIMESTAMP_FORMAT"),
       .maximum = 2},
      {.name = "dns",
       .sentence = "DNS servers for the names of resources, instead of the host's.",
       .kind = ValueKind::List,
       .value_name = "ADDRESS",
       .environment = variables("DNS", {"DNS_SERVER"}),
       .check = check_server},
      {.name = "https-proxy",
       .sentence = std::string(runtime::kProxySentence),
       .value_name = "URL",
       .environment = {"POSTERN_HTTPS_PROXY", "https_proxy", "HTTPS_PROXY"},
       .check = runtime::check_proxy,
       .secret = true},
      {.name = "no-proxy",
       .sentence = std::string(runtime::kNoProxySentence),
       .value_name = "LIST",
       .environment = {"POSTERN_NO_PROXY", "no_proxy", "NO_PROXY"}},
      {.name = "label",
       .sentence = "Labels that the console shows for this connector.",
       .kind = ValueKind::Map,
       .environment = {"POSTERN_LABEL_*", "TWINGATE_LABEL_*"}},
      {.name = "stop-patience",
       .sentence = "Seconds that a stop waits for running connections to end; new ones go elsewhere meanwhile.",
       .kind = ValueKind::Integer,
       .value_name = "SECONDS",
       .default_value = "3",
       .environment = {"POSTERN_STOP_PATIENCE"},
       .maximum = 86'400},
      {.name = "metrics-port",
       .sentence = "Port on 127.0.0.1 and ::1 that answers GET /metrics; 0 switches it off.",
       .kind = ValueKind::Integer,
       .value_name = "PORT",
       .default_value = "0",
       .environment = variables("METRICS_PORT"),
       .maximum = 65'535},
  };
  options.push_back(port_mapping_option());
  for (auto& group : {token_options(), health_options()}) options.insert(options.end(), group.begin(), group.end());
  return options;
}

std::unexpected<Failure> fail(ExitCode code, std::string message) {
  return std::unexpected(Failure{code, std::move(message)});
}

/// What somebody meant who copied a value with the blanks or line ends around it, or with the quotes of a shell, which
/// container engines take for a part of the value.
std::string_view unwrapped(std::string_view text) {
  const auto trim = [&text] {
    const std::size_t first = text.find_first_not_of(kBlanks);
    text = first == std::string_view::npos ? std::string_view() : text.substr(first);
    text = text.substr(0, text.find_last_not_of(kBlanks) + 1);
  };
  trim();
  const bool is_quoted =
      text.size() >= 2 && text.front() == text.back() && (text.front() == '"' || text.front() == '\'');
  if (is_quoted) {
    text = text.substr(1, text.size() - 2);
    trim();
  }
  return text;
}

/// The value of `name`, or what stands in the file of `name`-file.
std::expected<std::string, Failure> secret(const config::Settings& values, const std::string& name) {
  std::string text = values.text(name);
  const std::string file = values.text(name + "-file");
  if (!text.empty() && !file.empty()) {
    return fail(ExitCode::Usage, name + " and " + name + "-file are both given; keep one of them");
  }
  if (!file.empty()) {
    auto read = runtime::read_text_file(file, kTokenFileMax);
    if (!read) {
      const bool forbidden = read.error().kind == runtime::FileErrorKind::NoPermission;
      return fail(forbidden ? ExitCode::NotPermitted : ExitCode::Usage, read.error().text);
    }
    text = std::move(*read);
  }
  const std::string_view meant = unwrapped(text);
  if (meant.find_first_of(kBlanks) != std::string_view::npos) {
    return fail(ExitCode::BadToken, "the " + name + " has a blank or a line end inside; copy it again, as one line");
  }
  return std::string(meant);
}

std::expected<identity::AccessToken, Failure> read_token(const config::Settings& values) {
  const auto text = secret(values, "access-token");
  if (!text) return std::unexpected(text.error());
  if (text->empty()) {
    return fail(
        ExitCode::Usage,
        "the access token is missing; set POSTERN_ACCESS_TOKEN to the one that the server made for this connector");
  }
  auto token = identity::read_access_token_unverified(*text);
  if (token) return *token;
  return fail(ExitCode::BadToken,
              "the access token cannot be used: " + std::string(identity::to_string(token.error())) +
                  "; copy it again from the server, or make new tokens");
}

std::expected<std::string, Failure> read_refresh_token(const config::Settings& values) {
  const auto text = secret(values, "refresh-token");
  if (!text) return std::unexpected(text.error());
  if (text->empty()) {
    return fail(
        ExitCode::Usage,
        "the refresh token is missing; set POSTERN_REFRESH_TOKEN to the one that the server made for this connector");
  }
  if (identity::is_refresh_token_shaped(*text)) return *text;
  return fail(ExitCode::BadToken, "the refresh token is malformed; copy it again from the server, or make new tokens");
}

std::string_view host_of(std::string_view text) {
  if (const auto scheme = text.find("://"); scheme != std::string_view::npos) text.remove_prefix(scheme + 3);
  text = text.substr(0, text.find_first_of("/?#"));
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    return end == std::string_view::npos ? std::string_view() : text.substr(1, end - 1);
  }
  return text.substr(0, text.find(':'));
}

std::expected<void, Failure> locate(const config::Settings& values, ConnectorSettings& settings) {
  const std::string network(unwrapped(values.text("network")));
  if (!network.empty() && !network_agrees(network, settings.token)) {
    return fail(ExitCode::WrongNetwork, "the access token belongs to the network \"" + settings.token.network +
                                            "\", not to \"" + network +
                                            "\"; correct POSTERN_NETWORK, or use the tokens of that network");
  }
  const bool given = !values.text("url").empty();
  const auto server = parse_server_url(given ? values.text("url") : settings.token.url);
  if (!server) {
    return fail(given ? ExitCode::Usage : ExitCode::BadToken,
                "the server's URL " + server.error() + "; set POSTERN_URL to https://HOST[:PORT]");
  }
  settings.server = *server;
  settings.server.proxies = *runtime::parse_proxies(values.text("https-proxy"), values.text("no-proxy"));
  if (settings.token.ca.empty()) return {};
  const auto pin = from_base64url(settings.token.ca);
  Digest digest{};
  if (!pin || pin->size() != digest.size()) {
    return fail(ExitCode::BadToken, "the access token names no usable server certificate; make new tokens");
  }
  std::ranges::copy(*pin, digest.begin());
  settings.trust.root_pin = digest;
  return {};
}

}  // namespace

config::Program program(std::string version) {
  return {
      .name = "postern-connector",
      .sentence = "Makes the services of a private network reachable for the people that the server lets in.",
      .version = std::move(version),
      .commands = {{.name = "", .sentence = "Runs the connector.", .options = run_options()},
                   {.name = "health",
                    .sentence = "Prints OK and ends with 0 while the connector is connected, else the reason and 1.",
                    .options = health_options()}}};
}

bool network_agrees(std::string_view network, const identity::AccessToken& token) {
  std::string wanted(network);
  std::ranges::transform(wanted, wanted.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (wanted == token.network) return true;
  const std::string_view host = host_of(wanted);
  if (host.empty()) return false;
  return host.substr(0, host.find('.')) == token.network || host == host_of(token.url);
}

std::expected<runtime::ServerAddress, std::string> parse_server_url(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return std::unexpected("does not begin with https://");
  const std::string_view rest = url.substr(kScheme.size());
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (const std::string_view path = rest.substr(authority.size()); !path.empty() && path != "/") {
    return std::unexpected("has something behind the host");
  }
  runtime::ServerAddress server;
  server.host = std::string(host_of(authority));
  const bool bracketed = authority.starts_with('[');
  const std::string_view behind =
      authority.substr(std::min(authority.size(), server.host.size() + (bracketed ? 2 : 0)));
  if (server.host.empty() || (bracketed && !IpAddress::parse(server.host))) return std::unexpected("has no host");
  if (server.host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:") !=
      std::string::npos) {
    return std::unexpected("has a host that is no name and no address");
  }
  if (behind.empty()) return server;
  const auto [end, code] = std::from_chars(behind.data() + 1, behind.data() + behind.size(), server.port);
  if (behind.front() != ':' || code != std::errc{} || end != behind.data() + behind.size() || server.port == 0) {
    return std::unexpected("has a port that is not 1 to 65535");
  }
  return server;
}

std::expected<ConnectorSettings, Failure> make_settings(const config::Settings& values) {
  ConnectorSettings settings;
  auto token = read_token(values);
  if (!token) return std::unexpected(token.error());
  settings.token = std::move(*token);
  auto refresh = read_refresh_token(values);
  if (!refresh) return std::unexpected(refresh.error());
  settings.refresh_token = std::move(*refresh);
  if (auto located = locate(values, settings); !located) return std::unexpected(located.error());
  settings.log = {*runtime::parse_log_level(values.text("log-level")),
                  static_cast<runtime::TimestampFormat>(values.integer("timestamp-format")),
                  runtime::LogStream::Stdout};
  const std::string analytics = values.text("log-analytics");
  if (!analytics.empty()) settings.analytics = analytics == "v1" ? AnalyticsFormat::V1 : AnalyticsFormat::V2;
  settings.dns = values.list("dns");
  settings.labels = values.map("label");
  settings.health_port = static_cast<std::uint16_t>(values.integer("health-port"));
  settings.metrics_port = static_cast<std::uint16_t>(values.integer("metrics-port"));
  settings.api_endpoint = values.text("api-endpoint");
  settings.maps_port = values.enabled("port-mapping");
  settings.stop_patience = std::chrono::seconds(values.integer("stop-patience"));
  return settings;
}

HealthQuestion make_health_question(const config::Settings& values) {
  return {values.text("api-endpoint"), static_cast<std::uint16_t>(values.integer("health-port"))};
}

}  // namespace postern::connector
