// Verbs that only look.
#pragma once

#include <optional>

#include "services/server/admin_context.hpp"
#include "services/server/admin_exchange.hpp"

namespace postern::server {

/// Nothing when the verb is not one of these; `status` is told what the relay said.
[[nodiscard]] std::optional<AdminResult> answer_query(const AdminContext& context, const AdminRequest& request,
                                                      const std::optional<RelaySnapshot>& relay);

}  // namespace postern::server
