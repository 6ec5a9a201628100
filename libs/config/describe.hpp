// The words for an option that the help text, the reference page and the manual share.
#pragma once

#include <string>

#include "config/option.hpp"

namespace postern::config {

/// "--state DIR", "--json", "--label KEY=VALUE".
[[nodiscard]] std::string flag_of(const Option& option);
/// "default info; environment A, B", empty when there is nothing to say.
[[nodiscard]] std::string details_of(const Option& option);
/// The sentence with its details behind it, in parentheses.
[[nodiscard]] std::string described(const Option& option);
/// The flag, or what a secret is called where it may be given.
[[nodiscard]] std::string heading_of(const Option& option);
/// One line: program, command, required options, arguments.
[[nodiscard]] std::string synopsis(const Program& program, const Command& command);

}  // namespace postern::config
