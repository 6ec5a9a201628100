#include "config/describe.hpp"

#include <algorithm>
#include <limits>

namespace postern::config {
namespace {

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? std::string() : std::string(between)) + word;
  return text;
}

}  // namespace

std::string file_key(const Option& option) {
  std::string key = option.name;
  std::ranges::replace(key, '-', '_');
  return key;
}

std::string flag_of(const Option& option) {
  if (option.kind == ValueKind::Switch) {
    return (option.default_value == "true" ? "--no-" : "--") + option.name;
  }
  if (option.kind == ValueKind::Map) return "--" + option.name + " KEY=VALUE";
  return "--" + option.name + ' ' + option.value_name;
}

std::string details_of(const Option& option) {
  std::vector<std::string> details;
  if (option.kind == ValueKind::Choice) details.push_back("one of " + joined(option.choices, ", "));
  if (option.kind == ValueKind::Integer && option.maximum != std::numeric_limits<std::int64_t>::max()) {
    details.push_back(std::to_string(option.minimum) + " to " + std::to_string(option.maximum));
  }
  if (option.kind == ValueKind::List || option.kind == ValueKind::Map) details.emplace_back("may be repeated");
  if (!option.default_value.empty() && option.kind != ValueKind::Switch) {
    details.push_back("default " + option.default_value);
  }
  if (option.required) details.emplace_back("required");
  if (option.reloadable) details.emplace_back("taken over at SIGHUP");
  if (!option.environment.empty()) details.push_back("environment " + joined(option.environment, ", "));
  return joined(details, "; ");
}

std::string described(const Option& option) {
  const std::string details = details_of(option);
  return option.sentence + (details.empty() ? "" : " (" + details + ')');
}

std::string heading_of(const Option& option) {
  return option.secret ? file_key(option) + " (not a flag: it is a secret)" : flag_of(option);
}

std::string synopsis(const Program& program, const Command& command) {
  std::string line = program.name + (command.name.empty() ? "" : ' ' + command.name);
  bool optional = false;
  for (const Option& option : command.options) {
    if (option.required && !option.secret) line += ' ' + flag_of(option);
    optional = optional || !option.required;
  }
  if (optional) line += " [OPTION]…";
  for (const Argument& argument : command.arguments) {
    if (argument.presence == Presence::Required) line += ' ' + argument.name;
    if (argument.presence == Presence::Optional) line += " [" + argument.name + ']';
    if (argument.presence == Presence::Repeated) line += " [" + argument.name + "]…";
  }
  return line;
}

}  // namespace postern::config
