// `postern flows`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "services/client/cli.hpp"

namespace postern::client {

/// What people read of the daemon's answer.
[[nodiscard]] std::string flows_text(const nlohmann::json& answer);
int run_flows(const CliWorld& world, const config::Settings& settings);

}  // namespace postern::client
