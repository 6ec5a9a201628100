// Options, declared once: flag, environment, file key, help text, bounds and the reference page come from one record.
//
// A value is looked for in the flags, then in the environment, then in the configuration file, then in the default.
// Nothing here does IO: the caller passes arguments, environment and a function that reads the file.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace postern::config {

enum class ValueKind : std::uint8_t {
  Text,
  Integer,  ///< decimal, within minimum and maximum
  Switch,   ///< --name and --no-name; elsewhere true/false, 1/0, yes/no, on/off
  Choice,   ///< one of `choices`
  List,     ///< the flag may be repeated; in the environment separated by commas
  Map,      ///< --name KEY=VALUE repeated; environment PREFIX_KEY=VALUE; a [name] table in the file
};

/// Returns the reason why `value` is wrong ("is not an address and port"), empty when it is right.
using ValueCheck = std::string (*)(std::string_view value);

struct Option {
  std::string name{};      ///< "log-level": flag --log-level, file key log_level
  std::string sentence{};  ///< what it does, one sentence for people
  ValueKind kind = ValueKind::Text;
  std::string value_name = "VALUE";        ///< stands for the value in the help text
  std::string default_value{};             ///< as a person would write it; empty: none
  std::vector<std::string> environment{};  ///< the first that is set and not empty wins; Map: prefixes that end in '*'
  std::vector<std::string> choices{};
  std::int64_t minimum = 0;
  std::int64_t maximum = std::numeric_limits<std::int64_t>::max();
  ValueCheck check = nullptr;
  bool required = false;
  bool secret = false;      ///< never a flag (it would show in the process list) and never printed
  bool reloadable = false;  ///< a change in the file is taken over at SIGHUP
};

enum class Presence : std::uint8_t { Required, Optional, Repeated };

struct Argument {
  std::string name{};  ///< upper case
  std::string sentence{};
  Presence presence = Presence::Required;
};

struct Command {
  std::string name{};  ///< one or more words ("user add"); empty for a program that has no commands
  std::string sentence{};
  std::vector<Option> options{};
  std::vector<Argument> arguments{};
  /// The first argument ends the options; it and everything behind it become arguments as they are.
  bool takes_rest = false;
};

struct Program {
  std::string name{};
  std::string sentence{};
  std::string version{};
  std::vector<Command> commands{};
};

/// The file key of an option: '-' becomes '_'.
[[nodiscard]] std::string file_key(const Option& option);

/// Text of --help, wrapped at 100 columns.
[[nodiscard]] std::string help(const Program& program);
[[nodiscard]] std::string help(const Program& program, const Command& command);
/// Markdown with every command and option.
[[nodiscard]] std::string reference_page(const Program& program);

/// docs/exit-codes.md
[[nodiscard]] std::string exit_code_page();

}  // namespace postern::config
