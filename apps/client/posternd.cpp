// posternd: the client daemon. Options, object graph, run.
#include <cstdio>
#include <string>
#include <vector>

#include "config/exit_code.hpp"
#include "config/parser.hpp"
#include "config/version.hpp"
#include "runtime/os/files.hpp"
#include "runtime/os/limits.hpp"
#include "services/client/daemon.hpp"
#include "services/client/daemon_options.hpp"
#include "services/client/environment.hpp"
#include "services/client/proxy/proxy_options.hpp"

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
  const config::Program about = client::daemon_program(config::version());
  const auto selected = config::select(about, arguments);
  if (!selected) return fail(ExitCode::Usage, selected.error().message);
  if (selected->kind == config::Selection::Kind::Help) {
    std::fputs(config::help(about, about.commands.front()).c_str(), stdout);
    return 0;
  }
  if (selected->kind == config::Selection::Kind::Version) {
    std::puts(("posternd " + config::version()).c_str());
    return 0;
  }
  const auto settings = config::parse(*selected->command, {selected->arguments, client::environment(), read_file});
  if (!settings) return fail(ExitCode::Usage, settings.error().message);
  if (settings->enabled("restore")) return restore(settings->text("state"));
  const auto level = runtime::parse_log_level(settings->text("log-level"));
  if (!level) return fail(ExitCode::Usage, "--log-level: \"" + settings->text("log-level") + "\" is no level");
  std::optional<SocketAddress> proxy;
  if (!settings->text("proxy").empty()) {
    const auto address = client::parse_proxy_address(settings->text("proxy"));
    if (!address) return fail(address.error().code, address.error().text);
    proxy = *address;
  }
  const auto or_empty = [&](const char* option) {
    return settings->text(option) == "none" ? std::string() : settings->text(option);
  };
  auto https_proxy = *runtime::parse_proxies(settings->text("https-proxy"), settings->text("no-proxy"));
  // A shell that sends its programs through us shall not send us through ourselves.
  if (https_proxy && proxy && https_proxy->proxy().name() == proxy->to_string()) https_proxy = nullptr;
  runtime::use_one_heap();
  client::DaemonConfig config{settings->text("state"),
                              settings->text("socket"),
                              or_empty("tun"),
                              or_empty("resolv-conf"),
                              config::version(),
                              {.level = *level},
                              proxy,
                              settings->text("proxy-password-file"),
                              https_proxy,
                              settings->enabled("port-mapping")};
  client::Daemon daemon(std::move(config));
  const auto ended = daemon.run();
  return ended ? config::to_status(ExitCode::Ok) : fail(ended.error().code, ended.error().text);
}
