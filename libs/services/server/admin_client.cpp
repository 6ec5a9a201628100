#include "services/server/admin_client.hpp"

#include <cstdio>
#include <iostream>

#include "config/parser.hpp"
#include "runtime/http/line_server.hpp"
#include "runtime/os/files.hpp"
#include "services/server/admin_exchange.hpp"
#include "services/server/admin_verbs.hpp"

namespace postern::server {
namespace {

using config::ExitCode;

constexpr std::size_t kPasswordFileMax = 4096;
constexpr std::chrono::seconds kAnswerMax{30};

ExitCode complain(ExitCode code, const std::string& message) {
  std::cerr << "postern-server: " << message << '\n';
  return code;
}

std::expected<AdminRequest, std::string> to_request(const config::Command& command, const config::Settings& settings) {
  AdminRequest request{.command = command.name, .arguments = settings.arguments()};
  for (const config::Option& option : command.options) {
    if (!settings.is_set(option.name)) continue;
    if (option.name == kPasswordFile) {
      auto password = read_password(settings.text(option.name));
      if (!password) return std::unexpected(password.error());
      request.options["password"] = {std::move(*password)};
    } else if (option.kind != config::ValueKind::Switch || settings.enabled(option.name)) {
      request.options[option.name] = settings.list(option.name);
    }
  }
  return request;
}

ExitCode ask(const std::string& socket, OutputForm form, const AdminRequest& request) {
  const auto line = runtime::exchange_line(socket, encode(request), kAnswerMax);
  if (!line) {
    using Kind = runtime::LineError::Kind;
    const Kind kind = line.error().kind;
    return complain(kind == Kind::NotRunning     ? ExitCode::NotRunning
                    : kind == Kind::NotPermitted ? ExitCode::NotPermitted
                                                 : ExitCode::Failure,
                    line.error().message);
  }
  const AdminResult result = decode_result(*line);
  if (!result) return complain(result.error().code, result.error().message);
  std::cout << (form == OutputForm::Json ? result->data + '\n' : result->text) << std::flush;
  return std::cout ? ExitCode::Ok : ExitCode::Failure;
}

}  // namespace

std::expected<std::string, std::string> read_password(const std::string& file) {
  std::string text;
  if (file == "-") {
    std::getline(std::cin, text);
  } else {
    auto read = runtime::read_text_file(file, kPasswordFileMax);
    if (!read) return std::unexpected(read.error().text);
    text = read->substr(0, read->find('\n'));
  }
  while (text.ends_with('\r') || text.ends_with('\n')) text.pop_back();
  if (text.empty())
    return std::unexpected("the password in " + (file == "-" ? std::string("standard input") : file) + " is empty");
  return text;
}

ExitCode run_admin(const std::string& socket, OutputForm form, std::vector<std::string> words) {
  const config::Program& program = admin_program();
  const auto selected = config::select(program, std::move(words));
  if (!selected) return complain(ExitCode::Usage, selected.error().message);
  if (selected->kind != config::Selection::Kind::Run || selected->command == nullptr) {
    std::cout << (selected->command == nullptr ? config::help(program) : config::help(program, *selected->command));
    return ExitCode::Ok;
  }
  config::Command command = *selected->command;
  // Also behind the verb, where people write them.
  command.options.push_back(
      {.name = "json", .sentence = "Prints one JSON document.", .kind = config::ValueKind::Switch});
  command.options.push_back({.name = "socket", .sentence = "The server's admin socket.", .value_name = "PATH"});
  const auto settings = config::parse(command, {.arguments = selected->arguments});
  if (!settings) return complain(ExitCode::Usage, settings.error().message);
  const auto request = to_request(*selected->command, *settings);
  if (!request) return complain(ExitCode::Usage, request.error());
  return ask(settings->find("socket").value_or(socket), settings->enabled("json") ? OutputForm::Json : form, *request);
}

}  // namespace postern::server
