// The person's command line: `postern`.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "config/option.hpp"
#include "config/parser.hpp"
#include "services/client/problem.hpp"

namespace postern::client {

/// Commands and options, for parsing, help and the reference page.
[[nodiscard]] config::Program cli_program(const std::string& version);

struct CliWorld {
  config::Variables environment;
  std::ostream& out;
  std::ostream& error;
};
/// Says what went wrong, in one line; returns the exit status.
int fail(const CliWorld& world, const Problem& problem);
/// Asks the daemon at `socket` to sign in and guides the person through it.
int sign_in_at(const CliWorld& world, const config::Settings& settings, const std::string& socket);
/// Runs one command line; returns the exit status.
int run_cli(const std::string& version, std::vector<std::string> arguments, CliWorld world);

}  // namespace postern::client
