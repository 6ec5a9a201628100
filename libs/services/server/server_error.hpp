// What stops a command of the server program, with the exit status that tells it to scripts.
#pragma once

#include <string>

#include "config/exit_code.hpp"
#include "controller_core/controller.hpp"
#include "runtime/store/store.hpp"

namespace postern::server {

struct ServerError {
  config::ExitCode code = config::ExitCode::Failure;
  std::string message{};  ///< one sentence for people: what, why, what to do
};

[[nodiscard]] ServerError to_server_error(const controller::CommandError& error);
[[nodiscard]] ServerError to_server_error(const runtime::StoreError& error);

}  // namespace postern::server
