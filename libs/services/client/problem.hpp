// What went wrong, for a person and for a script: one line and the exit code of the documented table.
#pragma once

#include <string>

#include "config/exit_code.hpp"

namespace postern::client {

struct Problem {
  config::ExitCode code = config::ExitCode::Failure;
  std::string text;  ///< what, why and what to do, in one line
};

}  // namespace postern::client
