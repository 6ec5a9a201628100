// `postern doctor`.
#pragma once

#include "services/client/cli.hpp"
#include "services/client/doctor.hpp"

namespace postern::client {

int run_doctor(const CliWorld& world, const config::Settings& settings);

/// One line for each check, with its fix where it is not ok.
[[nodiscard]] std::string checks_text(const std::vector<Check>& checks);

}  // namespace postern::client
