// From arguments, environment and file to checked values.
#pragma once

#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/option.hpp"

namespace postern::config {

using Variables = std::map<std::string, std::string, std::less<>>;

/// Nothing: there is no such file. The error is one sentence for people.
using FileReader = std::function<std::expected<std::optional<std::string>, std::string>(const std::string& path)>;

struct Inputs {
  std::vector<std::string> arguments{};
  Variables environment{};
  /// Called with the value of the option "config" where the command has one. A missing file is an error only when it
  /// was named by a flag or by the environment.
  FileReader read_file{};
};

/// One sentence: what is wrong, where, and what would be right. Secrets are never part of it.
struct UsageError {
  std::string message{};
};

enum class Source : std::uint8_t { Default, File, Environment, Flag };

/// The values of one command. Asking for an option that the command does not declare is a broken invariant and aborts.
class Settings {
 public:
  /// Empty when it has neither value nor default.
  [[nodiscard]] const std::string& text(std::string_view option) const;
  [[nodiscard]] std::optional<std::string> find(std::string_view option) const;
  [[nodiscard]] std::int64_t integer(std::string_view option) const;
  [[nodiscard]] bool enabled(std::string_view option) const;
  [[nodiscard]] const std::vector<std::string>& list(std::string_view option) const;
  [[nodiscard]] const std::map<std::string, std::string>& map(std::string_view option) const;
  [[nodiscard]] Source source(std::string_view option) const;
  [[nodiscard]] bool is_set(std::string_view option) const { return source(option) != Source::Default; }
  [[nodiscard]] const std::vector<std::string>& arguments() const { return arguments_; }

 private:
  friend class Collector;
  struct Value {
    Source source = Source::Default;
    std::vector<std::string> items;  // one element for everything but List
    std::map<std::string, std::string> entries;
  };
  const Value& value(std::string_view option) const;

  std::map<std::string, Value, std::less<>> values_;
  std::vector<std::string> arguments_{};
};

[[nodiscard]] std::expected<Settings, UsageError> parse(const Command& command, const Inputs& inputs);

/// What the first words of a command line ask for.
struct Selection {
  enum class Kind : std::uint8_t { Run, Help, Version };
  Kind kind = Kind::Run;
  const Command* command = nullptr;  ///< Help: nothing for the program's own help text
  std::vector<std::string> arguments{};
};
/// Finds the command with the most matching words; `--help`, `-h`, `--version` are known everywhere.
[[nodiscard]] std::expected<Selection, UsageError> select(const Program& program, std::vector<std::string> arguments);

}  // namespace postern::config
