// What `postern` prints: from the daemon's JSON to lines for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace postern::client {

/// Begins with `Connected to NETWORK`, or says why it is not.
[[nodiscard]] std::string status_text(const nlohmann::json& status);
/// "direct", "relay/udp" or "relay/tls", from the path and transport of a session, a flow or an instance.
[[nodiscard]] std::string path_text(const nlohmann::json& of);
[[nodiscard]] std::string resources_text(const nlohmann::json& status);

}  // namespace postern::client
