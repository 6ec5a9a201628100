// `postern-server admin`: checks the words, asks the server over its socket, prints the answer.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "config/exit_code.hpp"

namespace postern::server {

enum class OutputForm : std::uint8_t { Text, Json };

/// Prints to standard output, and one line to standard error when it fails.
[[nodiscard]] config::ExitCode run_admin(const std::string& socket, OutputForm form, std::vector<std::string> words);

/// A password from a file or, for "-", from standard input: its first line. The error is one sentence.
[[nodiscard]] std::expected<std::string, std::string> read_password(const std::string& file);

}  // namespace postern::server
