#include "services/server/server_options.hpp"

#include <algorithm>

#include "config/version.hpp"
#include "runtime/os/files.hpp"
#include "runtime/os/log.hpp"
#include "services/server/admin_client.hpp"

namespace postern::server {
namespace {

using config::Option;
using config::ValueKind;

constexpr std::size_t kTokenFileMax = 4096;
constexpr const char* kAdminSocket = "/run/postern-server/admin.sock";

std::string check_listen(std::string_view text) {
  return SocketAddress::parse(text) ? "" : "is not an address and a port, such as [::]:443 or 0.0.0.0:8443";
}
std::string check_public_ip(std::string_view text) {
  return PublicAddress::parse_ip(text) ? "" : "is not an IP address, such as 203.0.113.10 or 203.0.113.10:8443";
}
std::string check_public_name(std::string_view text) {
  return PublicAddress::parse_name(text) ? "" : "is not a host name, such as postern.example.org";
}
std::string check_roles(std::string_view text) {
  if (text == "controller,relay" || text == "relay,controller" || text == "controller" || text == "relay") return "";
  return "is none of controller,relay, controller, relay";
}
std::string check_controller(std::string_view text) {
  const auto target = parse_controller_url(text);
  return target ? "" : target.error();
}
std::string check_log_level(std::string_view text) {
  return runtime::parse_log_level(text) ? "" : "is not one of trace, debug, info, warn, error, off";
}

const Option kState{.name = "state",
                    .sentence = "Folder with the database and the master key.",
                    .value_name = "DIR",
                    .default_value = "/var/lib/postern-server",
                    .environment = {"POSTERN_STATE"}};
const Option kSocket{.name = "admin-socket",
                     .sentence = "Unix socket for postern-server admin; only its owner may use it.",
                     .value_name = "PATH",
                     .default_value = kAdminSocket,
                     .environment = {"POSTERN_ADMIN_SOCKET"}};

config::Command init_command() {
  return {.name = "init",
          .sentence = "Founds a Network: its keys, its own certificate authority and the first administrator.",
          .options = {
              kState,
              {.name = "network",
               .sentence = "Short name of the Network: a-z, 0-9 and '-'.",
               .value_name = "SLUG",
               .environment = {"POSTERN_NETWORK"},
               .required = true},
              {.name = "display-name", .sentence = "Name of the Network for people.", .value_name = "TEXT"},
              {.name = "domain",
               .sentence = "Host name under which the server is reached, with a port when it is not 443.",
               .value_name = "NAME",
               .environment = {"POSTERN_DOMAIN"},
               .check = check_public_name},
              {.name = "address",
               .sentence = "Or the IP address under which it is reached, with a port when it is not 443.",
               .value_name = "IP[:PORT]",
               .environment = {"POSTERN_ADDRESS"},
               .check = check_public_ip},
              {.name = "admin-email",
               .sentence = "E-mail address of the first administrator.",
               .value_name = "EMAIL",
               .environment = {"POSTERN_ADMIN_EMAIL"},
               .required = true},
              {.name = "password-file",
               .sentence = "Reads the administrator's password from FILE, - is standard input; without it a one-time "
                           "link is printed where it is set.",
               .value_name = "FILE"}}};
}

config::Command serve_command_of_controller() {
  return {.name = "serve",
          .sentence = "Runs the server until it is told to stop.",
          .options = {
              {.name = "config",
               .sentence = "Configuration file; flags and environment win over it.",
               .value_name = "FILE",
               .default_value = "/etc/postern/server.toml",
               .environment = {"POSTERN_CONFIG"}},
              kState,
              {.name = "listen",
               .sentence = "Address and port, the same for TCP and UDP.",
               .value_name = "ADDR:PORT",
               .default_value = "[::]:443",
               .environment = {"POSTERN_LISTEN"},
               .check = check_listen},
              kSocket,
              {.name = "roles",
               .sentence = "What this process does: controller,relay or one of them alone.",
               .value_name = "ROLES",
               .default_value = "controller,relay",
               .environment = {"POSTERN_ROLES"},
               .check = check_roles},
              {.name = "public-address",
               .sentence = "Address of the relay as agents reach it; without it, the address of the server's URL.",
               .kind = ValueKind::List,
               .value_name = "IP[:PORT]",
               .environment = {"POSTERN_PUBLIC_ADDRESS"},
               .check = check_public_ip},
              {.name = "certificate",
               .sentence = "PEM file with a certificate of a public authority and its chain, instead of the own CA.",
               .value_name = "FILE",
               .environment = {"POSTERN_CERTIFICATE"}},
              {.name = "key",
               .sentence = "PEM file with the key of --certificate; both are read again at SIGHUP.",
               .value_name = "FILE",
               .environment = {"POSTERN_KEY"}},
              {.name = "log-level",
               .sentence = "How much is logged: trace, debug, info, warn, error or off.",
               .value_name = "LEVEL",
               .default_value = "info",
               .environment = {"POSTERN_LOG_LEVEL"},
               .check = check_log_level,
               .reloadable = true}}};
}

/// Of a relay in a process of its own.
std::vector<Option> relay_options() {
  return {{.name = "controller",
           .sentence = "With --roles relay: the controller's enrolment URL.",
           .value_name = "URL",
           .environment = {"POSTERN_CONTROLLER"},
           .check = check_controller},
          {.name = "relay-token",
           .sentence = "With --roles relay: the token that postern-server admin relay add printed; not needed any more "
                       "once the relay has enrolled.",
           .environment = {"POSTERN_RELAY_TOKEN"},
           .secret = true},
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
          {.name = "relay-token-file",
           .sentence = "File with the relay's token.",
           .value_name = "FILE",
           .environment = {"POSTERN_RELAY_TOKEN_FILE"}}};
}

config::Command serve_command() {
  config::Command command = serve_command_of_controller();
  for (Option& option : relay_options()) command.options.push_back(std::move(option));
  return command;
}

config::Command admin_command() {
  return {.name = "admin",
          .sentence = "Manages users, resources and access of the server that runs on this machine.",
          .options = {{.name = "socket",
                       .sentence = "The server's admin socket.",
                       .value_name = "PATH",
                       .default_value = kAdminSocket,
                       .environment = {"POSTERN_ADMIN_SOCKET"}},
                      {.name = "json", .sentence = "Prints one JSON document.", .kind = ValueKind::Switch}},
          .arguments = {{.name = "NOUN VERB…",
                         .sentence = "What to do; postern-server admin help lists it.",
                         .presence = config::Presence::Repeated}},
          .takes_rest = true};
}

ServerError usage(std::string message) {
  return {config::ExitCode::Usage, std::move(message)};
}

}  // namespace

const config::Program& server_program() {
  static const config::Program kProgram{.name = "postern-server",
                                        .sentence = "The Postern server: controller and relay in one process.",
                                        .version = config::version(),
                                        .commands = {init_command(), serve_command(), admin_command()}};
  return kProgram;
}

std::expected<ControllerTarget, std::string> parse_controller_url(std::string_view url) {
  constexpr std::string_view kPin = "ca=";
  const auto address = PublicAddress::parse_url(url.substr(0, url.find('#')));
  if (!address) return std::unexpected("is no enrolment URL, such as https://203.0.113.10/#ca=…");
  ControllerTarget target;
  target.server.host = address->host;
  target.server.port = address->port;
  const std::size_t mark = url.find('#');
  if (mark == std::string_view::npos) return target;
  const std::string_view fragment = url.substr(mark + 1);
  const auto pin = fragment.starts_with(kPin) ? from_base64url(fragment.substr(kPin.size())) : std::nullopt;
  if (!pin || pin->size() != sizeof(Digest)) {
    return std::unexpected("has a damaged digest behind #ca=: copy the whole enrolment URL");
  }
  std::ranges::copy(*pin, target.trust.root_pin.emplace().begin());
  return target;
}

namespace {

std::expected<std::string, ServerError> relay_token(const config::Settings& settings) {
  const auto file = settings.find("relay-token-file");
  std::string token = settings.find("relay-token").value_or("");
  if (file && !token.empty()) {
    return std::unexpected(usage("POSTERN_RELAY_TOKEN and --relay-token-file contradict each other: give one of them"));
  }
  if (file) {
    auto text = runtime::read_text_file(*file, kTokenFileMax);
    if (!text) return std::unexpected(usage(text.error().text));
    token = std::move(*text);
  }
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!token.empty() && is_blank(token.back())) token.pop_back();
  while (!token.empty() && is_blank(token.front())) token.erase(token.begin());
  if (!token.empty() && !identity::is_relay_token_shaped(token)) {
    return std::unexpected(ServerError{config::ExitCode::BadToken,
                                       "the relay's token is damaged: copy it again as postern-server admin relay add "
                                       "printed it, without quotes"});
  }
  return token;
}

/// What belongs to other roles than those that were chosen.
std::expected<void, ServerError> check_roles_agree(const config::Settings& settings) {
  const std::string roles = settings.text("roles");
  const bool alone = roles == "relay";
  for (const char* name : {"certificate", "key", "public-address"}) {
    if (!alone || !settings.is_set(name)) continue;
    return std::unexpected(
        usage("--" + std::string(name) + " belongs to a controller, not to --roles relay" +
              (std::string_view(name) == "public-address" ? ": the controller tells agents the relay's address, as "
                                                            "postern-server admin relay add was given it"
                                                          : "")));
  }
  for (const char* name : {"controller", "relay-token", "relay-token-file"}) {
    if (alone || !settings.is_set(name)) continue;
    return std::unexpected(usage("--" + std::string(name) + " is for a relay of its own: use it with --roles relay"));
  }
  if (roles == "controller" && settings.is_set("public-address")) {
    return std::unexpected(usage("--public-address is that of this process's relay, and --roles controller has none"));
  }
  if (alone && !settings.is_set("controller")) {
    return std::unexpected(
        usage("--roles relay needs its controller: give --controller with the enrolment URL that "
              "postern-server admin relay add printed"));
  }
  return {};
}

}  // namespace

std::expected<ServeOptions, ServerError> serve_options(const config::Settings& settings) {
  if (auto agreed = check_roles_agree(settings); !agreed) return std::unexpected(agreed.error());
  ServeOptions options{.folder = settings.text("state"),
                       .listen = *SocketAddress::parse(settings.text("listen")),
                       .admin_socket = settings.text("admin-socket"),
                       .relay_role = settings.text("roles") != "controller",
                       .certificate_file = settings.text("certificate"),
                       .key_file = settings.text("key"),
                       .log_level = settings.text("log-level")};
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return std::unexpected(usage("--certificate and --key belong together: give both or none"));
  }
  for (const std::string& text : settings.list("public-address")) {
    options.public_addresses.push_back(*PublicAddress::parse_ip(text));
  }
  if (settings.text("roles") != "relay") return options;
  options.controller = *parse_controller_url(settings.text("controller"));
  options.controller->server.proxies = *runtime::parse_proxies(settings.text("https-proxy"), settings.text("no-proxy"));
  auto token = relay_token(settings);
  if (!token) return std::unexpected(token.error());
  options.relay_token = std::move(*token);
  return options;
}

std::expected<InitRequest, ServerError> init_request(const config::Settings& settings) {
  const auto domain = settings.find("domain");
  const auto address = settings.find("address");
  if (domain.has_value() == address.has_value()) {
    return std::unexpected(usage("give either --domain NAME or --address IP: it becomes the server's URL"));
  }
  InitRequest request{.folder = settings.text("state"),
                      .slug = settings.text("network"),
                      .display_name = settings.text("display-name"),
                      .address = domain ? *PublicAddress::parse_name(*domain) : *PublicAddress::parse_ip(*address),
                      .admin_email = settings.text("admin-email")};
  if (const auto file = settings.find("password-file")) {
    auto password = read_password(*file);
    if (!password) return std::unexpected(usage(password.error()));
    request.admin_password = std::move(*password);
  }
  return request;
}

}  // namespace postern::server
