// postern-connector: sits in a private network, dials out only, and opens the connections that the server allows.
#include <signal.h>

#include <cstdio>
#include <exception>

#include "config/version.hpp"
#include "runtime/loop/signals.hpp"
#include "runtime/os/files.hpp"
#include "runtime/os/limits.hpp"
#include "runtime/os/notify.hpp"
#include "services/connector/connector_service.hpp"

extern char** environ;

namespace {

using namespace postern;
using config::ExitCode;

constexpr std::size_t kConfigFileMax = 1 << 20;

int fail(ExitCode code, const std::string& message) {
  std::fprintf(stderr, "postern-connector: %s\n", message.c_str());
  return to_status(code);
}

config::Variables environment() {
  config::Variables variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::expected<std::optional<std::string>, std::string> read_config(const std::string& path) {
  auto text = runtime::read_text_file(path, kConfigFileMax);
  if (text) return std::move(*text);
  if (text.error().kind == runtime::FileErrorKind::NotFound) return std::nullopt;
  return std::unexpected(text.error().text);
}

int ask_for_health(const config::Settings& values) {
  const connector::HealthQuestion question = connector::make_health_question(values);
  const connector::Health health = connector::ask_health(question.api_endpoint, question.health_port);
  std::puts(health.ok ? "OK" : health.reason.c_str());
  return to_status(health.ok ? ExitCode::Ok : ExitCode::Failure);
}

int run(const config::Settings& values) {
  auto settings = connector::make_settings(values);
  if (!settings) return fail(settings.error().code, settings.error().message);
  runtime::use_one_heap();
  runtime::EventLoop loop;
  connector::ConnectorService* running = nullptr;
  const runtime::SignalWatcher signals(loop, {SIGTERM, SIGINT}, [&](int) { running->stop(); });
  runtime::Logger log("connector", settings->log);
  connector::ConnectorService service(loop, log, std::move(*settings),
                                      "postern-connector/" + config::version() + " linux");
  running = &service;
  if (auto started = service.start(); !started) return fail(started.error().code, started.error().message);
  runtime::notify_ready();
  loop.run();
  if (service.failure()) return fail(service.failure()->code, service.failure()->message);
  return to_status(ExitCode::Ok);
}

int main_checked(std::vector<std::string> arguments) {
  const config::Program program = connector::program(config::version());
  const auto selection = config::select(program, std::move(arguments));
  if (!selection) return fail(ExitCode::Usage, selection.error().message);
  if (selection->kind == config::Selection::Kind::Version) {
    std::printf("postern-connector %s\n", program.version.c_str());
    return to_status(ExitCode::Ok);
  }
  if (selection->kind == config::Selection::Kind::Help) {
    const bool whole = selection->command == nullptr;
    std::fputs((whole ? help(program) : help(program, *selection->command)).c_str(), stdout);
    return to_status(ExitCode::Ok);
  }
  const auto values = config::parse(*selection->command, {selection->arguments, environment(), read_config});
  if (!values) return fail(ExitCode::Usage, values.error().message);
  return selection->command->name == "health" ? ask_for_health(*values) : run(*values);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_checked({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    return fail(ExitCode::Failure, error.what());
  }
}
