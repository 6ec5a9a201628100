#include "services/client/cli.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "config/exit_code.hpp"
#include "services/client/cli_doctor.hpp"
#include "services/client/cli_explain.hpp"
#include "services/client/cli_flows.hpp"
#include "services/client/cli_proxy.hpp"
#include "services/client/cli_text.hpp"
#include "services/client/daemon_line.hpp"
#include "services/client/ipc_protocol.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/text_table.hpp"

namespace postern::client {

namespace {

using config::ExitCode;
using nlohmann::json;

constexpr const char* kDefaultSocket = "/run/postern/posternd.sock";

config::Option text_option(std::string name, std::string sentence, std::string value_name) {
  config::Option option;
  option.name = std::move(name);
  option.sentence = std::move(sentence);
  option.value_name = std::move(value_name);
  return option;
}

config::Option switch_option(std::string name, std::string sentence) {
  config::Option option;
  option.name = std::move(name);
  option.sentence = std::move(sentence);
  option.kind = config::ValueKind::Switch;
  return option;
}

config::Command command(std::string name, std::string sentence, std::vector<config::Option> options = {}) {
  config::Command result;
  result.name = std::move(name);
  result.sentence = std::move(sentence);
  result.options = std::move(options);
  config::Option socket = text_option("socket", "The daemon's socket.", "PATH");
  socket.default_value = kDefaultSocket;
  socket.environment = {"POSTERN_SOCKET"};
  result.options.push_back(std::move(socket));
  return result;
}

// --- commands ------------------------------------------------------------------------------------------------------

int show_status(const CliWorld& world, const config::Settings& settings, const json& status) {
  if (settings.enabled("short")) {
    world.out << text_field(status, "state") << std::endl;
  } else if (settings.enabled("json")) {
    world.out << status.dump(settings.enabled("watch") ? -1 : 2) << std::endl;
  } else {
    world.out << status_text(status) << std::flush;
  }
  return 0;
}

int run_status(const CliWorld& world, const config::Settings& settings) {
  auto daemon = DaemonLine::open(settings.text("socket"));
  if (!daemon) {
    if (settings.enabled("short") && daemon.error().code == ExitCode::NotRunning) {
      world.out << to_string(ClientState::NotRunning) << std::endl;
      return config::to_status(ExitCode::NotRunning);
    }
    return fail(world, daemon.error());
  }
  const bool watch = settings.enabled("watch");
  daemon->send({RequestType::Status, watch, "", ""});
  std::string shown;
  while (true) {
    const auto answer = daemon->next();
    if (!answer) return fail(world, answer.error());
    const json& status = (*answer)["status"];
    const std::string word = text_field(status, "state");
    // With --short only the word counts; otherwise each answer is a change.
    if (!settings.enabled("short") || word != shown) show_status(world, settings, status);
    shown = word;
    if (!watch || flag_field(*answer, "final")) return 0;
    if (!settings.enabled("short") && !settings.enabled("json")) world.out << std::endl;
  }
}

int run_simple(const CliWorld& world, const config::Settings& settings, RequestType type) {
  auto daemon = DaemonLine::open(settings.text("socket"));
  if (!daemon) return fail(world, daemon.error());
  daemon->send({type, false, "", ""});
  const auto answer = daemon->next();
  if (!answer) return fail(world, answer.error());
  if (type == RequestType::Resources) {
    const json& status = (*answer)["status"];
    if (settings.enabled("json")) {
      world.out << status["resources"].dump(2) << std::endl;
    } else {
      world.out << resources_text(status) << std::flush;
    }
  } else {
    world.out << text_field(*answer, "message") << std::endl;
  }
  return 0;
}

/// In the background and quiet: a page that opens by itself is a courtesy, the printed URL is what counts.
void open_browser(const std::string& url) {
  if (!url.starts_with("https://")) return;
  const pid_t child = ::fork();
  if (child != 0) {
    if (child > 0) ::waitpid(child, nullptr, 0);
    return;
  }
  if (::fork() != 0) ::_exit(0);
  ::setsid();
  if (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr)
    ::_exit(1);
  ::execlp("xdg-open", "xdg-open", url.c_str(), nullptr);
  ::_exit(127);
}

void show_invitation(const CliWorld& world, const config::Settings& settings, const json& answer) {
  const std::string url = text_field(answer, "url");
  world.out << "Open " << url << "\nand enter the code " << text_field(answer, "code") << "\n"
            << "Waiting for you to sign in (the code is good for " << number_field(answer, "expires_in") / 60
            << " minutes; Ctrl-C gives up) ..." << std::endl;
  const auto display = world.environment.find("DISPLAY");
  if (!settings.enabled("no-browser") && display != world.environment.end() && !display->second.empty()) {
    open_browser(text_field(answer, "complete_url"));
  }
}

int run_login(const CliWorld& world, const config::Settings& settings) {
  return sign_in_at(world, settings, settings.text("socket"));
}

int run_version(const CliWorld& world, const config::Settings& settings, const std::string& version) {
  world.out << "postern " << version << std::endl;
  auto daemon = DaemonLine::open(settings.text("socket"));
  if (!daemon) return 0;
  daemon->send({RequestType::Version, false, "", ""});
  const auto answer = daemon->next();
  if (answer) world.out << "posternd " << text_field(*answer, "version") << std::endl;
  return 0;
}

int dispatch(const CliWorld& world, const config::Settings& settings, const std::string& name,
             const std::string& version) {
  if (name == "status") return run_status(world, settings);
  if (name == "resources") return run_simple(world, settings, RequestType::Resources);
  if (name == "explain") return run_explain(world, settings);
  if (name == "doctor") return run_doctor(world, settings);
  if (name == "flows") return run_flows(world, settings);
  if (name == "nc") return run_nc(world, settings);
  if (name == "proxy") return run_proxy(world, settings);
  if (name == "login") return run_login(world, settings);
  if (name == "logout") return run_simple(world, settings, RequestType::Logout);
  if (name == "connect") return run_simple(world, settings, RequestType::Connect);
  if (name == "disconnect") return run_simple(world, settings, RequestType::Disconnect);
  return run_version(world, settings, version);
}

}  // namespace

int fail(const CliWorld& world, const Problem& problem) {
  world.error << "postern: " << printable(problem.text) << std::endl;
  return config::to_status(problem.code);
}

int sign_in_at(const CliWorld& world, const config::Settings& settings, const std::string& socket) {
  auto daemon = DaemonLine::open(socket);
  if (!daemon) return fail(world, daemon.error());
  daemon->send({RequestType::Login, false, settings.arguments().front(), settings.text("fingerprint")});
  while (true) {
    const auto answer = daemon->next();
    if (!answer) return fail(world, answer.error());
    if (text_field(*answer, "event") == "invitation") show_invitation(world, settings, *answer);
    if (!flag_field(*answer, "final")) continue;
    world.out << "Signed in to " << text_field(*answer, "network") << " as " << text_field(*answer, "account")
              << std::endl;
    return 0;
  }
}

config::Program cli_program(const std::string& version) {
  config::Program program{"postern", "Reaches private services through a Postern network.", version, {}};
  config::Command login = command(
      "login", "Signs this device in.",
      {switch_option("no-browser", "Only print the page and the code, never open a browser."),
       text_option("fingerprint", "SHA-256 of the server's root key, for a server with its own CA.", "DIGEST")});
  login.arguments = {
      {"URL", "The enrolment URL (https://HOST/#ca=…), or the server's name.", config::Presence::Required}};
  config::Command explain = command("explain", "Shows whether and how a destination is reached, and why.",
                                    {switch_option("json", "As JSON.")});
  explain.arguments = {{"HOST[:PORT]", "A name or an address, IPv6 in brackets.", config::Presence::Required},
                       {"PORT", "The port, where it does not stand behind HOST.", config::Presence::Optional}};
  config::Option state = text_option("state", "The daemon's state folder, for what it does not say itself.", "DIR");
  state.default_value = "/var/lib/postern";
  state.environment = {"POSTERN_STATE"};
  config::Command doctor =
      command("doctor", "Checks daemon, server, clock, DNS, routes and TUN, and names the fix for what is wrong.",
              {switch_option("json", "As JSON."), std::move(state)});
  doctor.arguments = {
      {"URL", "A server to check instead of the one that this device belongs to.", config::Presence::Optional}};
  config::Command nc =
      command("nc", "Connects standard input and output to a TCP port of a resource, for ssh's ProxyCommand.");
  nc.arguments = {{"HOST", "A name or an address of a resource.", config::Presence::Required},
                  {"PORT", "The port.", config::Presence::Required}};
  program.commands = {
      std::move(login),
      command("logout", "Signs out and removes this device from the server."),
      command("connect", "Connects, and stays connected over restarts."),
      command("disconnect", "Disconnects until `postern connect`."),
      command("status", "Shows network, account, resources, sessions and paths.",
              {switch_option("json", "As JSON."),
               switch_option("short",
                             "One word: not-running, offline, authenticating, connecting, "
                             "online or paused."),
               switch_option("watch", "Again at each change, until Ctrl-C.")}),
      std::move(explain),
      std::move(doctor),
      command("flows", "Shows the connections that run and the ones that ended last: path, times, bytes, stalls.",
              {switch_option("json", "As JSON; with --watch one line each time."),
               switch_option("watch", "Again each second, until Ctrl-C.")}),
      std::move(nc),
      proxy_command(),
      command("resources", "Lists the resources that you may reach.", {switch_option("json", "As JSON.")}),
      command("version", "Shows the versions of this program and of the daemon."),
      command("help", "Shows this text.")};
  return program;
}

int run_cli(const std::string& version, std::vector<std::string> arguments, CliWorld world) {
  // --socket is for every command, so it may also stand before it.
  std::vector<std::string> leading;
  while (!arguments.empty() && arguments.front().starts_with("--socket")) {
    const std::size_t count = arguments.front() == "--socket" && arguments.size() > 1 ? 2 : 1;
    leading.insert(leading.end(), arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(count));
    arguments.erase(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(count));
  }
  const config::Program program = cli_program(version);
  if (arguments.empty()) {
    world.error << config::help(program);
    return config::to_status(ExitCode::Usage);
  }
  const auto selected = config::select(program, std::move(arguments));
  if (!selected) return fail(world, {ExitCode::Usage, selected.error().message});
  if (selected->kind == config::Selection::Kind::Version) {
    world.out << "postern " << version << std::endl;
    return 0;
  }
  const bool is_help = selected->kind == config::Selection::Kind::Help;
  if (is_help || selected->command->name == "help") {
    world.out << (is_help && selected->command != nullptr ? config::help(program, *selected->command)
                                                          : config::help(program));
    return 0;
  }
  config::Inputs inputs;
  inputs.arguments = leading;
  inputs.arguments.insert(inputs.arguments.end(), selected->arguments.begin(), selected->arguments.end());
  inputs.environment = world.environment;
  // A person's own `postern proxy` is meant before the daemon of the machine.
  const std::string own = own_socket(world.environment);
  if (!inputs.environment.contains("POSTERN_SOCKET") && DaemonLine::open(own))
    inputs.environment["POSTERN_SOCKET"] = own;
  const auto settings = config::parse(*selected->command, inputs);
  if (!settings) return fail(world, {ExitCode::Usage, settings.error().message});
  return dispatch(world, *settings, selected->command->name, version);
}

}  // namespace postern::client
