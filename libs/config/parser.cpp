#include "config/parser.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "config/file.hpp"
#include "config/one_line.hpp"

namespace postern::config {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::optional<bool> truth(std::string_view text) {
  const std::string word = lower(text);
  if (word == "true" || word == "1" || word == "yes" || word == "on") return true;
  if (word == "false" || word == "0" || word == "no" || word == "off") return false;
  return std::nullopt;
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string quoted(const Option& option, std::string_view value) {
  return option.secret ? "the value" : '"' + std::string(value) + '"';
}

std::vector<std::string> split_commas(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, end);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    if (!item.empty()) items.emplace_back(item);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

/// Why `value` does not fit the option; empty when it does.
std::string why_wrong(const Option& option, std::string_view value) {
  switch (option.kind) {
    case ValueKind::Integer: {
      const auto parsed = number(value);
      if (!parsed) return quoted(option, value) + " is not a whole number";
      if (*parsed < option.minimum || *parsed > option.maximum) {
        return quoted(option, value) + " is out of bounds, use " + std::to_string(option.minimum) + " to " +
               std::to_string(option.maximum);
      }
      break;
    }
    case ValueKind::Switch:
      if (!truth(value)) return quoted(option, value) + " is neither true nor false";
      break;
    case ValueKind::Choice:
      if (std::ranges::find(option.choices, value) == option.choices.end()) {
        return quoted(option, value) + " is not one of " + joined(option.choices);
      }
      break;
    case ValueKind::Text:
    case ValueKind::List:
    case ValueKind::Map:
      break;
  }
  if (option.check == nullptr) return {};
  const std::string reason = option.check(value);
  return reason.empty() ? reason : quoted(option, value) + ' ' + reason;
}

bool is_placeholder(const Option& option) {
  return option.kind == ValueKind::Map;
}

}  // namespace

/// Gathers the values of one command, source after source; a later source never replaces an earlier one.
class Collector {
 public:
  explicit Collector(const Command& command) : command_(command) {
    for (const Option& option : command.options) {
      auto& value = settings_.values_[option.name];
      if (option.default_value.empty()) continue;
      value.items =
          option.kind == ValueKind::List ? split_commas(option.default_value) : std::vector{option.default_value};
    }
  }

  [[nodiscard]] bool ok() const { return error_.empty(); }
  std::expected<Settings, UsageError> finish();
  void read_flags(const std::vector<std::string>& arguments);
  void read_environment(const Variables& environment);
  void read_file(const FileReader& reader);

 private:
  using Arguments = std::vector<std::string>;

  const Option* find_flag(std::string_view name, bool& negated) const;
  void read_flag(const Arguments& arguments, std::size_t& at);
  void take_flag(const Option& option, std::string_view flag, std::string_view value);
  void store(const Option& option, Source source, std::string_view where, const std::string& value);
  void store_entry(const Option& option, Source source, std::string_view where, std::string key, std::string value);
  void read_prefixes(const Option& option, const Variables& environment);
  void read_entry(const FileEntry& entry, const std::string& path);
  void check_arguments();
  void fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
  }

  const Command& command_;
  Settings settings_;
  std::string error_;
};

const Option* Collector::find_flag(std::string_view name, bool& negated) const {
  negated = false;
  for (const Option& option : command_.options) {
    if (option.name == name) return &option;
    if (option.kind == ValueKind::Switch && name.starts_with("no-") && option.name == name.substr(3)) {
      negated = true;
      return &option;
    }
  }
  return nullptr;
}

void Collector::store_entry(const Option& option, Source source, std::string_view where, std::string key,
                            std::string value) {
  Settings::Value& slot = settings_.values_[option.name];
  if (slot.source > source) return;
  if (key.empty()) return fail(std::string(where) + ": the name before '=' is missing");
  slot.source = source;
  slot.entries[std::move(key)] = std::move(value);
}

void Collector::store(const Option& option, Source source, std::string_view where, const std::string& value) {
  if (option.kind == ValueKind::Map) {
    const std::size_t equals = value.find('=');
    if (equals == std::string::npos) return fail(std::string(where) + ": write it as KEY=VALUE");
    return store_entry(option, source, where, value.substr(0, equals), value.substr(equals + 1));
  }
  Settings::Value& slot = settings_.values_[option.name];
  if (slot.source > source) return;
  if (const std::string reason = why_wrong(option, value); !reason.empty()) {
    return fail(std::string(where) + ": " + reason);
  }
  if (slot.source != source || option.kind != ValueKind::List) slot.items.clear();
  slot.source = source;
  slot.items.push_back(value);
}

void Collector::read_flag(const Arguments& arguments, std::size_t& at) {
  const std::string& word = arguments[at];
  const std::size_t equals = word.find('=');
  const std::string flag = word.substr(0, equals);
  bool negated = false;
  const Option* option = find_flag(std::string_view(flag).substr(2), negated);
  if (option == nullptr) return fail("unknown option " + flag + "; --help lists what there is");
  if (option->secret) {
    return fail(flag + " cannot be given on the command line, where other users could read it; set " +
                (option->environment.empty() ? file_key(*option) + " in the configuration file"
                                             : option->environment.front() + " in the environment") +
                " instead");
  }
  if (option->kind == ValueKind::Switch) {
    if (negated && equals != std::string::npos) return fail(flag + " takes no value");
    return store(*option, Source::Flag, flag,
                 equals == std::string::npos ? (negated ? "false" : "true") : word.substr(equals + 1));
  }
  if (equals != std::string::npos) return store(*option, Source::Flag, flag, word.substr(equals + 1));
  if (at + 1 == arguments.size()) return fail(flag + " needs a value: " + flag + ' ' + option->value_name);
  store(*option, Source::Flag, flag, arguments[++at]);
}

void Collector::read_flags(const Arguments& arguments) {
  bool options_ended = false;
  for (std::size_t at = 0; at < arguments.size() && ok(); ++at) {
    const std::string& word = arguments[at];
    if (options_ended || word == "-" || !word.starts_with('-')) {
      settings_.arguments_.push_back(word);
      if (command_.takes_rest) options_ended = true;
    } else if (word == "--") {
      options_ended = true;
    } else if (!word.starts_with("--")) {
      fail("unknown option " + word + "; --help lists what there is");
    } else {
      read_flag(arguments, at);
    }
  }
}

void Collector::read_prefixes(const Option& option, const Variables& environment) {
  for (const std::string& name : option.environment) {
    const std::string_view prefix = std::string_view(name).substr(0, name.size() - (name.ends_with('*') ? 1 : 0));
    for (auto at = environment.lower_bound(prefix); at != environment.end() && at->first.starts_with(prefix); ++at) {
      std::string key = lower(std::string_view(at->first).substr(prefix.size()));
      if (key.empty() || settings_.values_[option.name].entries.contains(key)) continue;
      store_entry(option, Source::Environment, at->first, std::move(key), at->second);
    }
  }
}

void Collector::read_environment(const Variables& environment) {
  for (const Option& option : command_.options) {
    if (is_placeholder(option)) {
      read_prefixes(option, environment);
      continue;
    }
    for (const std::string& name : option.environment) {
      const auto found = environment.find(name);
      if (found == environment.end() || found->second.empty()) continue;
      if (settings_.values_[option.name].source > Source::Environment) break;
      if (option.kind == ValueKind::List) {
        for (const std::string& item : split_commas(found->second)) store(option, Source::Environment, name, item);
      } else {
        store(option, Source::Environment, name, found->second);
      }
      break;
    }
  }
}

void Collector::read_entry(const FileEntry& entry, const std::string& path) {
  const std::string where = path + ", line " + std::to_string(entry.line) + ": " + entry.key;
  for (const Option& option : command_.options) {
    if (option.kind == ValueKind::Map && !entry.table.empty() && entry.table == file_key(option)) {
      return store_entry(option, Source::File, where, entry.key, joined(entry.values));
    }
    const bool named = (entry.table.empty() && entry.key == file_key(option)) ||
                       std::ranges::find(option.environment, entry.key) != option.environment.end();
    if (!named) continue;
    if (option.kind != ValueKind::List && entry.values.size() != 1)
      return fail(where + ": takes one value, not a list");
    for (const std::string& value : entry.values) {
      if (value.empty()) continue;
      store(option, Source::File, where, value);
    }
    return;
  }
  fail(where + " is not an option of this program");
}

void Collector::read_file(const FileReader& reader) {
  const auto named = settings_.values_.find("config");
  if (!reader || named == settings_.values_.end() || named->second.items.empty()) return;
  const std::string path = named->second.items.front();
  const Source source = named->second.source;
  const auto text = reader(path);
  if (!text) return fail(path + ": " + text.error());
  if (!*text) {
    if (source != Source::Default) fail(path + ": there is no such file");
    return;
  }
  const auto entries = parse_file(**text);
  if (!entries) return fail(path + ", " + entries.error());
  for (const FileEntry& entry : *entries) read_entry(entry, path);
}

void Collector::check_arguments() {
  std::size_t least = 0;
  std::size_t most = 0;
  for (const Argument& argument : command_.arguments) {
    if (argument.presence == Presence::Required && settings_.arguments_.size() <= least) {
      return fail(argument.name + " is missing: " + argument.sentence);
    }
    if (argument.presence == Presence::Required) ++least;
    most = argument.presence == Presence::Repeated ? std::numeric_limits<std::size_t>::max() : most + 1;
    if (argument.presence == Presence::Repeated) break;
  }
  if (!command_.takes_rest && settings_.arguments_.size() > most) {
    fail('"' + settings_.arguments_[most] + "\" is one argument too many");
  }
}

std::expected<Settings, UsageError> Collector::finish() {
  for (const Option& option : command_.options) {
    const Settings::Value& value = settings_.values_[option.name];
    if (!option.required || !value.items.empty() || !value.entries.empty()) continue;
    std::string ways = option.secret ? "" : "--" + option.name + ' ' + option.value_name;
    if (!option.environment.empty()) ways += (ways.empty() ? "" : " or ") + option.environment.front();
    fail(ways + " is missing: " + option.sentence);
  }
  check_arguments();
  if (!ok()) return std::unexpected(UsageError{one_line(error_)});
  return std::move(settings_);
}

const Settings::Value& Settings::value(std::string_view option) const {
  const auto found = values_.find(option);
  if (found == values_.end()) {
    std::fprintf(stderr, "option \"%.*s\" is not declared\n", static_cast<int>(option.size()), option.data());
    std::abort();
  }
  return found->second;
}

const std::string& Settings::text(std::string_view option) const {
  static const std::string kNothing;
  const Value& found = value(option);
  return found.items.empty() ? kNothing : found.items.front();
}

std::optional<std::string> Settings::find(std::string_view option) const {
  const Value& found = value(option);
  return found.items.empty() ? std::nullopt : std::optional(found.items.front());
}

std::int64_t Settings::integer(std::string_view option) const {
  return number(text(option)).value_or(0);
}
bool Settings::enabled(std::string_view option) const {
  return truth(text(option)).value_or(false);
}
const std::vector<std::string>& Settings::list(std::string_view option) const {
  return value(option).items;
}
const std::map<std::string, std::string>& Settings::map(std::string_view option) const {
  return value(option).entries;
}
Source Settings::source(std::string_view option) const {
  return value(option).source;
}

std::expected<Settings, UsageError> parse(const Command& command, const Inputs& inputs) {
  Collector collector(command);
  collector.read_flags(inputs.arguments);
  if (collector.ok()) collector.read_environment(inputs.environment);
  if (collector.ok()) collector.read_file(inputs.read_file);
  return collector.finish();
}

}  // namespace postern::config
