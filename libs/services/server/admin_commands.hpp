// Verbs that change something: from a request to a command of the Controller, and what people are told afterwards.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "controller_core/controller.hpp"
#include "services/server/admin_exchange.hpp"

namespace postern::server {

/// Nothing when the verb is not one of these. `password_hash` is for user add and user set-password.
[[nodiscard]] std::optional<std::expected<controller::Command, ServerError>> to_command(
    const AdminRequest& request, const std::string& password_hash);
/// "The user a@example.org was added."
[[nodiscard]] std::string outcome_sentence(const AdminRequest& request);

}  // namespace postern::server
