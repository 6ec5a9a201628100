// `postern explain HOST[:PORT]`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "services/client/cli.hpp"

namespace postern::client {

int run_explain(const CliWorld& world, const config::Settings& settings);

/// What a person reads, from the daemon's answer.
[[nodiscard]] std::string explanation_text(const nlohmann::json& explanation);

}  // namespace postern::client
