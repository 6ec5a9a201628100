// The words of `postern-server admin`: one table gives the command line, its help and what the server understands.
#pragma once

#include "config/option.hpp"

namespace postern::server {

[[nodiscard]] const config::Program& admin_program();

/// In verbs that read a password; it travels as "password" in the request and never stands in argv.
inline constexpr std::string_view kPasswordFile = "password-file";

}  // namespace postern::server
