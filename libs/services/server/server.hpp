// The running server: the object graph of the controller's thread and the relay's.
#pragma once

#include <expected>

#include "runtime/os/log.hpp"
#include "services/server/server_error.hpp"
#include "services/server/server_options.hpp"

namespace postern::server {

/// Runs until SIGTERM or SIGINT. `reread` gives the options again at SIGHUP.
[[nodiscard]] std::expected<void, ServerError> run_server(
    const ServeOptions& options, const std::function<std::expected<ServeOptions, ServerError>()>& reread);

}  // namespace postern::server
