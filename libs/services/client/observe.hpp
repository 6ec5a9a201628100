// What `postern doctor` looks at: the daemon's status, the server over TCP and UDP, this computer's DNS, TUN and units.
// Everything here only looks. Nothing needs root, but without root and without the daemon the server is not known.
#pragma once

#include <expected>
#include <string>

#include "services/client/doctor.hpp"

namespace postern::client {

struct ObserveConfig {
  std::string socket;
  std::string state_directory;  ///< for the sign-in, where the daemon does not answer and the file may be read
  std::string url;              ///< a server to look at instead of the one that this device belongs to; may be empty
};

/// Blocks: up to 8 s for TCP and 3 s for UDP, which run at the same time. The problem is a wrong URL.
[[nodiscard]] std::expected<Observations, Problem> observe(const ObserveConfig& where);

}  // namespace postern::client
