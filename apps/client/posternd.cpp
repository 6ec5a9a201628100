// posternd: the client daemon. Options, object graph, run.
#include <cstdio>
#include <string>
#include <vector>

#include "config/exit_code.hpp"
#include "config/option.hpp"
#include "config/parser.hpp"
#include "runtime/os/files.hpp"
#include "services/client/daemon.hpp"
#include "services/client/environment.hpp"

namespace {

using namespace postern;
using config::ExitCode;

/// `posternd --restore [--state DIR]`: what ExecStopPost= and boot call.
int restore(const std::string& state_directory) {
  const auto done = client::Journal(state_directory).play_back(std::nullopt);
  if (done) return config::to_status(ExitCode::Ok);
  std::fprintf(stderr, "posternd: DNS could not be put back: %s\n", done.error().c_str());
  return config::to_status(ExitCode::StateUnusable);
}

config::Option option(std::string name, std::string sentence, std::string value_name, std::string default_value) {
  config::Option result;
  result.name = std::move(name);
  result.sentence = std::move(sentence);
  result.value_name = std::move(value_name);
  result.default_value = std::move(default_value);
  std::string variable = "POSTERN_" + result.name;
  for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  result.environment = {variable};
  return result;
}

config::Program program() {
  config::Command run;
  run.sentence = "Runs the client daemon until it is told to stop.";
  run.options = {option("state", "Folder for the device key, the sign-in and the journal.", "DIR", "/var/lib/postern"),
                 option("socket", "Where `postern` finds the daemon.", "PATH", "/run/postern/posternd.sock"),
                 option("tun", "Name of the network interface.", "NAME", "postern0"),
                 option("resolv-conf", "The host's resolver configuration; \"none\" leaves DNS alone.", "PATH",
                        "/etc/resolv.conf"),
                 option("log-level", "trace, debug, info, warn, error or off.", "LEVEL", "info"),
                 option("config", "Configuration file.", "PATH", "/etc/postern/client.toml")};
  config::Option restore_switch;
  restore_switch.name = "restore";
  restore_switch.sentence = "Only undo what a daemon that was killed has left, then end.";
  restore_switch.kind = config::ValueKind::Switch;
  run.options.push_back(std::move(restore_switch));
  return {"posternd", "The Postern client daemon.", POSTERN_VERSION, {std::move(run)}};
}

std::expected<std::optional<std::string>, std::string> read_file(const std::string& path) {
  auto text = runtime::read_text_file(path, 1U << 20);
  if (text) return std::optional(std::move(*text));
  if (text.error().kind == runtime::FileErrorKind::NotFound) return std::optional<std::string>{};
  return std::unexpected(text.error().text);
}

int fail(ExitCode code, const std::string& text) {
  std::fprintf(stderr, "posternd: %s\n", text.c_str());
  return config::to_status(code);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 3 && arguments[0] == client::kWatchdogVerb) {
    return client::run_watchdog(arguments[1], arguments[2]);
  }
  const config::Program about = program();
  const auto selected = config::select(about, arguments);
  if (!selected) return fail(ExitCode::Usage, selected.error().message);
  if (selected->kind == config::Selection::Kind::Help) {
    std::fputs(config::help(about, about.commands.front()).c_str(), stdout);
    return 0;
  }
  if (selected->kind == config::Selection::Kind::Version) {
    std::puts("posternd " POSTERN_VERSION);
    return 0;
  }
  const auto settings = config::parse(*selected->command, {selected->arguments, client::environment(), read_file});
  if (!settings) return fail(ExitCode::Usage, settings.error().message);
  if (settings->enabled("restore")) return restore(settings->text("state"));
  const auto level = runtime::parse_log_level(settings->text("log-level"));
  if (!level) return fail(ExitCode::Usage, "--log-level: \"" + settings->text("log-level") + "\" is no level");
  client::DaemonConfig config{
      settings->text("state"), settings->text("socket"),
      settings->text("tun"),   settings->text("resolv-conf") == "none" ? "" : settings->text("resolv-conf"),
      POSTERN_VERSION,         {.level = *level}};
  client::Daemon daemon(std::move(config));
  const auto ended = daemon.run();
  return ended ? config::to_status(ExitCode::Ok) : fail(ended.error().code, ended.error().text);
}
