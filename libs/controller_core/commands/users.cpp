#include <algorithm>

#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

namespace {

bool is_last_active_admin(const ModelState& model, const UserRecord& user) {
  if (user.role != UserRole::Admin || user.state != UserState::Active) return false;
  return std::ranges::none_of(model.users(), [&](const auto& each) {
    const UserRecord& other = each.second;
    return other.id != user.id && other.role == UserRole::Admin && other.state == UserState::Active;
  });
}

std::unexpected<CommandError> refuse_last_admin(const UserRecord& user) {
  return refuse(CommandError::Kind::Conflict,
                user.email + " is the last active admin: make another user an admin first, or nobody can sign in");
}

void remove_what_refers_to(Plan& plan, const UserRecord& user) {
  const ModelState& model = plan.model();
  for (const model::GroupId group : model.groups_of(user.id)) plan.remove(MembershipRecord{group, user.id});
  for (const model::ResourceId resource : model.granted_to(user.id)) plan.remove(AccessRecord{resource, {}, user.id});
  for (const model::DeviceId device : model.devices_of(user.id)) plan.remove(*model.device(device));
  plan.remove(SecretRecord{setup_link_secret(user.id), {}});
  plan.remove(SecretRecord{factors_secret(user.id), {}});
}

}  // namespace

PlanResult plan_command(Plan& plan, const CreateUser& command) {
  auto email = valid_email(command.email);
  if (!email) return std::unexpected(email.error());
  if (plan.model().user_by_email(*email) != nullptr) {
    return refuse(CommandError::Kind::AlreadyExists, "there is a user " + *email + " already");
  }
  if (plan.model().users().size() >= kUsersMax) {
    return refuse(CommandError::Kind::Conflict, "the Network has the most users it can have (100000)");
  }
  UserRecord user{model::UserId(plan.draw_id()),
                  std::move(*email),
                  command.password_hash,
                  command.role,
                  UserState::Active,
                  plan.now()};
  plan.raise_policy_version();
  plan.audit("user.create", subject("user", user.id.value), {}, audit_text(user));
  plan.upsert(user);
  return plan.finish(user.id.value);
}

PlanResult plan_command(Plan& plan, const SetPassword& command) {
  const auto found = find_user(plan.model(), command.user);
  if (!found) return std::unexpected(found.error());
  UserRecord user = **found;
  const std::string before = audit_text(user);
  user.password_hash = command.password_hash;
  plan.audit("user.set_password", subject("user", user.id.value), before, audit_text(user));
  plan.upsert(user);
  return plan.finish(user.id.value);
}

PlanResult plan_command(Plan& plan, const SetUserState& command) {
  const auto found = find_user(plan.model(), command.user);
  if (!found) return std::unexpected(found.error());
  UserRecord user = **found;
  if (user.state == command.state) return plan.finish(user.id.value);
  if (is_last_active_admin(plan.model(), user)) return refuse_last_admin(user);
  const std::string before = audit_text(user);
  user.state = command.state;
  plan.raise_policy_version();
  const bool disabled = command.state == UserState::Disabled;
  if (disabled) plan.revoke(user.id);
  plan.audit(disabled ? "user.disable" : "user.enable", subject("user", user.id.value), before, audit_text(user));
  plan.upsert(user);
  return plan.finish(user.id.value);
}

PlanResult plan_command(Plan& plan, const DeleteUser& command) {
  const auto found = find_user(plan.model(), command.user);
  if (!found) return std::unexpected(found.error());
  const UserRecord& user = **found;
  if (is_last_active_admin(plan.model(), user)) return refuse_last_admin(user);
  plan.raise_policy_version();
  plan.revoke(user.id);
  remove_what_refers_to(plan, user);
  plan.audit("user.delete", subject("user", user.id.value), audit_text(user), {});
  plan.remove(user);
  return plan.finish(user.id.value);
}

}  // namespace postern::controller
