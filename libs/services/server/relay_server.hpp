// A relay in a process of its own: an agent of the controller, and one UDP socket (PROTOCOL.md §6.1).
//
// One thread runs the loop and owns the relay; the control channel has a thread of its own and posts its events. The
// relay knows the key that opens its tickets and which routes are void, nothing else of the Network; it keeps that
// while the controller is away, and over restarts.
#pragma once

#include <expected>
#include <functional>

#include "services/server/server_error.hpp"
#include "services/server/server_options.hpp"

namespace postern::server {

/// Runs until SIGTERM or SIGINT, or until the controller lets it in no more. `reread` gives the options at SIGHUP.
[[nodiscard]] std::expected<void, ServerError> run_relay(
    const ServeOptions& options, const std::function<std::expected<ServeOptions, ServerError>()>& reread);

}  // namespace postern::server
