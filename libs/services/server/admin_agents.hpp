// Verbs that look at connectors and relays: what is registered, and what of it runs.
#pragma once

#include <string>
#include <vector>

#include "services/server/admin_context.hpp"
#include "services/server/admin_exchange.hpp"

namespace postern::server {

[[nodiscard]] AdminResult list_connectors(const AdminContext& context, const AdminRequest& request);
[[nodiscard]] AdminResult show_connector(const AdminContext& context, const AdminRequest& request);
[[nodiscard]] AdminResult list_relays(const AdminContext& context, const AdminRequest& request);

/// One connection of the control channel, as a JSON document.
[[nodiscard]] std::string agent_json(const controller::AgentStatus& agent, const std::string& name);
[[nodiscard]] const char* role_name(wire::AgentRole role);
[[nodiscard]] std::string comma_separated(const std::vector<std::string>& items);

}  // namespace postern::server
