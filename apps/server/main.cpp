// postern-server: init founds a Network, serve runs it, admin manages it.
#include <unistd.h>

#include <iostream>

#include "config/parser.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/os/files.hpp"
#include "runtime/os/random.hpp"
#include "services/server/admin_client.hpp"
#include "services/server/admin_verbs.hpp"
#include "services/server/relay_server.hpp"
#include "services/server/server.hpp"
#include "services/server/server_options.hpp"
#include "services/server/state.hpp"

namespace {

using namespace postern;
using config::ExitCode;

int complain(ExitCode code, const std::string& message) {
  std::cerr << "postern-server: " << message << '\n';
  return to_status(code);
}

config::Variables environment() {
  config::Variables variables;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry(*at);
    const std::size_t equals = entry.find('=');
    if (equals != std::string_view::npos) variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return variables;
}

std::expected<std::optional<std::string>, std::string> read_config(const std::string& path) {
  constexpr std::size_t kConfigMax = 1024 * 1024;
  auto text = runtime::read_text_file(path, kConfigMax);
  if (text) return std::move(*text);
  if (text.error().kind == runtime::FileErrorKind::NotFound) return std::nullopt;
  return std::unexpected(text.error().text);
}

int init(const config::Settings& settings) {
  const auto request = server::init_request(settings);
  if (!request) return complain(request.error().code, request.error().message);
  runtime::KernelRandom random;
  const auto made = server::init_state(*request, runtime::wall_now(), random);
  if (!made) return complain(made.error().code, made.error().message);
  const std::string state = request->folder.string();
  std::cout << "The Network \"" << request->slug << "\" is founded in " << state << ".\n\n";
  std::cout << "URL            " << made->url << "\nEnrolment URL  " << made->enrolment_url << "\n\n";
  if (made->setup_link) {
    std::cout << "Once the server runs, " << request->admin_email << " sets a password here, within 24 hours, once:\n"
              << *made->setup_link << "\n\n";
  }
  std::cout << "Next:\n  postern-server serve --state " << state << "\n  postern-server admin remote-network add home\n"
            << "  postern-server admin connector add attic --remote-network home\n"
            << "  postern-server admin connector tokens attic\n";
  return to_status(ExitCode::Ok);
}

int serve(const config::Settings& settings,
          const std::function<std::expected<config::Settings, config::UsageError>()>& parse) {
  const auto options = server::serve_options(settings);
  if (!options) return complain(options.error().code, options.error().message);
  const auto reread = [&parse]() -> std::expected<server::ServeOptions, server::ServerError> {
    const auto again = parse();
    if (!again) return std::unexpected(server::ServerError{ExitCode::Usage, again.error().message});
    return server::serve_options(*again);
  };
  const auto served = options->controller ? server::run_relay(*options, reread) : server::run_server(*options, reread);
  if (!served) return complain(served.error().code, served.error().message);
  return to_status(ExitCode::Ok);
}

int admin(const config::Settings& settings) {
  const auto form = settings.enabled("json") ? server::OutputForm::Json : server::OutputForm::Text;
  return to_status(server::run_admin(settings.text("socket"), form, settings.arguments()));
}

int run(const std::vector<std::string>& arguments) {
  const config::Program& program = server::server_program();
  const auto selected = config::select(program, arguments);
  if (!selected) return complain(ExitCode::Usage, selected.error().message);
  if (selected->kind == config::Selection::Kind::Version) {
    std::cout << "postern-server " << program.version << '\n';
    return to_status(ExitCode::Ok);
  }
  if (selected->kind == config::Selection::Kind::Help) {
    const bool is_admin = selected->command != nullptr && selected->command->name == "admin";
    std::cout << (is_admin                       ? config::help(server::admin_program())
                  : selected->command == nullptr ? config::help(program)
                                                 : config::help(program, *selected->command));
    return to_status(ExitCode::Ok);
  }
  const config::Command& command = *selected->command;
  const auto parse = [&] {
    return config::parse(command,
                         {.arguments = selected->arguments, .environment = environment(), .read_file = read_config});
  };
  const auto settings = parse();
  if (!settings) return complain(ExitCode::Usage, settings.error().message);
  if (command.name == "init") return init(*settings);
  if (command.name == "serve") return serve(*settings, parse);
  return admin(*settings);
}

}  // namespace

int main(int argc, char** argv) {
  return run(std::vector<std::string>(argv + 1, argv + argc));
}
