#include "services/server/admin_exchange.hpp"

#include <nlohmann/json.hpp>

namespace postern::server {
namespace {

using config::ExitCode;
using nlohmann::json;

std::string dumped(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_text_list(const json& value) {
  return value.is_array() && std::ranges::all_of(value, [](const json& item) { return item.is_string(); });
}

}  // namespace

std::string AdminRequest::option(std::string_view name) const {
  const auto found = options.find(name);
  return found == options.end() || found->second.empty() ? "" : found->second.front();
}

std::vector<std::string> AdminRequest::list(std::string_view name) const {
  const auto found = options.find(name);
  return found == options.end() ? std::vector<std::string>() : found->second;
}

std::string AdminRequest::argument(std::size_t index) const {
  return index < arguments.size() ? arguments[index] : "";
}

std::string encode(const AdminRequest& request) {
  return dumped({{"command", request.command}, {"arguments", request.arguments}, {"options", request.options}});
}

std::expected<AdminRequest, ServerError> decode_request(std::string_view line) {
  const auto malformed = [] { return std::unexpected(ServerError{ExitCode::Usage, "the request is malformed"}); };
  const json value = json::parse(line, nullptr, false);
  if (!value.is_object() || !value.contains("command") || !value["command"].is_string()) return malformed();
  AdminRequest request{.command = value["command"]};
  const json arguments = value.value("arguments", json::array());
  const json options = value.value("options", json::object());
  if (!is_text_list(arguments) || !options.is_object()) return malformed();
  request.arguments = arguments.get<std::vector<std::string>>();
  for (const auto& [name, values] : options.items()) {
    if (!is_text_list(values)) return malformed();
    request.options[name] = values.get<std::vector<std::string>>();
  }
  return request;
}

std::string encode(const AdminResult& result) {
  if (!result) {
    return dumped({{"ok", false}, {"exit_code", to_status(result.error().code)}, {"message", result.error().message}});
  }
  return dumped({{"ok", true}, {"data", json::parse(result->data, nullptr, false)}, {"text", result->text}});
}

AdminResult decode_result(std::string_view line) {
  const json value = json::parse(line, nullptr, false);
  if (!value.is_object()) return std::unexpected(ServerError{ExitCode::Failure, "the server's answer is malformed"});
  if (!value.value("ok", false)) {
    const int code = value.value("exit_code", to_status(ExitCode::Failure));
    return std::unexpected(
        ServerError{static_cast<ExitCode>(code), value.value("message", "the server gave no reason")});
  }
  return AdminReply{.data = value.contains("data") ? value["data"].dump(2) : "{}", .text = value.value("text", "")};
}

}  // namespace postern::server
