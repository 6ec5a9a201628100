#include "controller_core/access.hpp"

#include <algorithm>

namespace postern::controller {

std::set<model::ResourceId> reachable_resources(const ModelState& model, model::UserId user) {
  const UserRecord* record = model.user(user);
  if (record == nullptr || record->state != UserState::Active) return {};
  std::set<model::ResourceId> result = model.granted_to(user);
  const auto add = [&](model::GroupId group) {
    const auto& granted = model.granted_to(group);
    result.insert(granted.begin(), granted.end());
  };
  std::ranges::for_each(model.groups_of(user), add);
  add(model.everyone());
  std::erase_if(result, [&](model::ResourceId id) { return model.resource(id) == nullptr; });
  return result;
}

std::set<model::UserId> users_in(const ModelState& model, model::GroupId group) {
  if (group != model.everyone()) return model.members(group);
  std::set<model::UserId> all;
  for (const auto& [id, user] : model.users()) all.insert(all.end(), id);
  return all;
}

std::set<model::UserId> users_with_edge(const ModelState& model, model::ResourceId resource) {
  const AccessEdges& edges = model.access(resource);
  std::set<model::UserId> result = edges.users;
  for (const model::GroupId group : edges.groups) result.merge(users_in(model, group));
  return result;
}

bool has_direct_edge(const ModelState& model, model::UserId user, model::ResourceId resource) {
  return model.granted_to(user).contains(resource);
}

bool has_group_edge(const ModelState& model, model::UserId user, model::ResourceId resource, model::GroupId except) {
  const auto leads_there = [&](model::GroupId group) {
    return group != except && model.granted_to(group).contains(resource);
  };
  return leads_there(model.everyone()) || std::ranges::any_of(model.groups_of(user), leads_there);
}

}  // namespace postern::controller
