// `postern proxy` and `postern nc`: Postern for programs that speak to a proxy, without rights on the machine.
#pragma once

#include <string>

#include "services/client/cli.hpp"

namespace postern::client {

/// Where a person's own posternd keeps its state ($XDG_STATE_HOME/postern) and listens ($XDG_RUNTIME_DIR/postern).
[[nodiscard]] std::string own_state(const config::Variables& environment);
[[nodiscard]] std::string own_socket(const config::Variables& environment);

[[nodiscard]] config::Command proxy_command();
/// Runs a posternd of the person's own in proxy mode, signs in where needed, and stays until it ends.
int run_proxy(const CliWorld& world, const config::Settings& settings);

/// Standard input and output become a connection. Exit status: 0 both sides have ended; else why not, one line on
/// standard error.
int run_nc(const CliWorld& world, const config::Settings& settings);

}  // namespace postern::client
