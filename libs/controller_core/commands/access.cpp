#include "controller_core/access.hpp"

#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

namespace {

/// The edge that people named, and their words for its end.
struct Edge {
  AccessRecord record;
  std::string who;
  std::string resource;
};

std::expected<Edge, CommandError> find_edge(const ModelState& model, std::string_view resource, std::string_view group,
                                            std::string_view user) {
  const auto found = find_resource(model, resource);
  if (!found) return std::unexpected(found.error());
  if (group.empty() == user.empty()) {
    return refuse(CommandError::Kind::Invalid, "access is given to a group or to a user: name exactly one of them");
  }
  if ((*found)->is_bypass()) {
    return refuse(CommandError::Kind::Invalid,
                  (*found)->name + " bypasses Postern for everybody: there is no access to it to give or take");
  }
  Edge edge{{(*found)->id, {}, {}}, {}, (*found)->name};
  if (!group.empty()) {
    const auto found_group = find_group(model, group);
    if (!found_group) return std::unexpected(found_group.error());
    edge.record.group = (*found_group)->id;
    edge.who = "group " + (*found_group)->name;
    return edge;
  }
  const auto found_user = find_user(model, user);
  if (!found_user) return std::unexpected(found_user.error());
  edge.record.user = (*found_user)->id;
  edge.who = (*found_user)->email;
  return edge;
}

bool exists(const ModelState& model, const AccessRecord& record) {
  const AccessEdges& edges = model.access(record.resource);
  return record.group.value != 0 ? edges.groups.contains(record.group) : edges.users.contains(record.user);
}

/// Those who reach the resource by this edge only.
void revoke_losers(Plan& plan, const AccessRecord& edge) {
  const ModelState& model = plan.model();
  if (edge.user.value != 0) {
    if (!has_group_edge(model, edge.user, edge.resource)) plan.revoke(edge.user, {edge.resource});
    return;
  }
  for (const model::UserId user : users_in(model, edge.group)) {
    const bool other =
        has_direct_edge(model, user, edge.resource) || has_group_edge(model, user, edge.resource, edge.group);
    if (!other) plan.revoke(user, {edge.resource});
  }
}

}  // namespace

PlanResult plan_command(Plan& plan, const GrantAccess& command) {
  const auto edge = find_edge(plan.model(), command.resource, command.group, command.user);
  if (!edge) return std::unexpected(edge.error());
  if (exists(plan.model(), edge->record)) {
    return refuse(CommandError::Kind::AlreadyExists, edge->who + " has access to " + edge->resource + " already");
  }
  plan.raise_policy_version();
  plan.audit("access.grant", subject("resource", edge->record.resource.value), {}, audit_text(edge->record));
  plan.upsert(edge->record);
  return plan.finish(edge->record.resource.value);
}

PlanResult plan_command(Plan& plan, const RevokeAccess& command) {
  const auto edge = find_edge(plan.model(), command.resource, command.group, command.user);
  if (!edge) return std::unexpected(edge.error());
  if (!exists(plan.model(), edge->record)) {
    return refuse(CommandError::Kind::NotFound,
                  edge->who + " has no access of its own to " + edge->resource + ": look at the groups that have it");
  }
  plan.raise_policy_version();
  revoke_losers(plan, edge->record);
  plan.audit("access.revoke", subject("resource", edge->record.resource.value), audit_text(edge->record), {});
  plan.remove(edge->record);
  return plan.finish(edge->record.resource.value);
}

}  // namespace postern::controller
