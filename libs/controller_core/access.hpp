// Who may reach what: user → groups (and Everyone) → resources. Only active users reach anything.
#pragma once

#include <set>

#include "controller_core/model_state.hpp"

namespace postern::controller {

[[nodiscard]] std::set<model::ResourceId> reachable_resources(const ModelState& model, model::UserId user);
/// Active or not: everybody whom an edge to this resource names, directly or through a group.
[[nodiscard]] std::set<model::UserId> users_with_edge(const ModelState& model, model::ResourceId resource);
/// Everyone has all users.
[[nodiscard]] std::set<model::UserId> users_in(const ModelState& model, model::GroupId group);

[[nodiscard]] bool has_direct_edge(const ModelState& model, model::UserId user, model::ResourceId resource);
/// Through any group but `except`.
[[nodiscard]] bool has_group_edge(const ModelState& model, model::UserId user, model::ResourceId resource,
                                  model::GroupId except = {});

}  // namespace postern::controller
