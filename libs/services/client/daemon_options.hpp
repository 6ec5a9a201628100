// The options of posternd, declared once.
#pragma once

#include <string>

#include "config/option.hpp"

namespace postern::client {

[[nodiscard]] config::Program daemon_program(std::string version);

}  // namespace postern::client
