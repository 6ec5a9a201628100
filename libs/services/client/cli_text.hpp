// What `postern` prints: from the daemon's JSON to lines for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace postern::client {

/// Begins with `Connected to NETWORK`, or says why it is not.
[[nodiscard]] std::string status_text(const nlohmann::json& status);
[[nodiscard]] std::string resources_text(const nlohmann::json& status);

}  // namespace postern::client
