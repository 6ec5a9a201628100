#include "controller_core/access.hpp"
#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

namespace {

/// What `user` can reach through `group` and not in any other way.
std::set<model::ResourceId> lost_without(const ModelState& model, model::UserId user, model::GroupId group) {
  std::set<model::ResourceId> lost;
  for (const model::ResourceId resource : model.granted_to(group)) {
    const bool other = has_direct_edge(model, user, resource) || has_group_edge(model, user, resource, group);
    if (!other) lost.insert(resource);
  }
  return lost;
}

std::unexpected<CommandError> refuse_everyone(const char* what) {
  return refuse(CommandError::Kind::Conflict,
                std::string("the group Everyone holds every active user by itself: ") + what);
}

struct GroupAndUser {
  const GroupRecord* group;
  const UserRecord* user;
};
std::expected<GroupAndUser, CommandError> find_both(const ModelState& model, std::string_view group,
                                                    std::string_view user) {
  const auto found_group = find_group(model, group);
  if (!found_group) return std::unexpected(found_group.error());
  const auto found_user = find_user(model, user);
  if (!found_user) return std::unexpected(found_user.error());
  return GroupAndUser{*found_group, *found_user};
}

}  // namespace

PlanResult plan_command(Plan& plan, const CreateGroup& command) {
  auto name = valid_name("group", command.name);
  if (!name) return std::unexpected(name.error());
  if (find_group(plan.model(), *name)) {
    return refuse(CommandError::Kind::AlreadyExists, "there is a group " + *name + " already");
  }
  if (plan.model().groups().size() >= kGroupsMax) {
    return refuse(CommandError::Kind::Conflict, "the Network has the most groups it can have (10000)");
  }
  const GroupRecord group{model::GroupId(plan.draw_id()), std::move(*name), false};
  plan.audit("group.create", subject("group", group.id.value), {}, audit_text(group));
  plan.upsert(group);
  return plan.finish(group.id.value);
}

PlanResult plan_command(Plan& plan, const DeleteGroup& command) {
  const ModelState& model = plan.model();
  const auto found = find_group(model, command.group);
  if (!found) return std::unexpected(found.error());
  const GroupRecord& group = **found;
  if (group.everyone) return refuse_everyone("it cannot be deleted");
  plan.raise_policy_version();
  for (const model::UserId user : model.members(group.id)) {
    plan.revoke(user, lost_without(model, user, group.id));
    plan.remove(MembershipRecord{group.id, user});
  }
  for (const model::ResourceId resource : model.granted_to(group.id)) plan.remove(AccessRecord{resource, group.id, {}});
  plan.audit("group.delete", subject("group", group.id.value), audit_text(group), {});
  plan.remove(group);
  return plan.finish(group.id.value);
}

PlanResult plan_command(Plan& plan, const AddToGroup& command) {
  const auto found = find_both(plan.model(), command.group, command.user);
  if (!found) return std::unexpected(found.error());
  if (found->group->everyone) return refuse_everyone("nobody needs to be added");
  if (plan.model().members(found->group->id).contains(found->user->id)) {
    return refuse(CommandError::Kind::AlreadyExists,
                  found->user->email + " is in group " + found->group->name + " already");
  }
  const MembershipRecord membership{found->group->id, found->user->id};
  plan.raise_policy_version();
  plan.audit("group.add_member", subject("group", membership.group.value), {}, audit_text(membership));
  plan.upsert(membership);
  return plan.finish(membership.group.value);
}

PlanResult plan_command(Plan& plan, const RemoveFromGroup& command) {
  const ModelState& model = plan.model();
  const auto found = find_both(model, command.group, command.user);
  if (!found) return std::unexpected(found.error());
  if (found->group->everyone) return refuse_everyone("disable the user instead");
  const MembershipRecord membership{found->group->id, found->user->id};
  if (!model.members(membership.group).contains(membership.user)) {
    return refuse(CommandError::Kind::NotFound, found->user->email + " is not in group " + found->group->name);
  }
  plan.raise_policy_version();
  plan.revoke(membership.user, lost_without(model, membership.user, membership.group));
  plan.audit("group.remove_member", subject("group", membership.group.value), audit_text(membership), {});
  plan.remove(membership);
  return plan.finish(membership.group.value);
}

}  // namespace postern::controller
