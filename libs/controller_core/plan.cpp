#include "controller_core/plan.hpp"

#include "identity/tokens.hpp"

namespace postern::controller {

std::uint64_t Plan::draw_id() {
  counters_changed_ = true;
  return counters_.next_id++;
}

void Plan::audit(std::string_view action, std::string subject, std::string before, std::string after) {
  changes_.audit.push_back({context_.now, context_.actor, context_.origin, std::string(action), std::move(subject),
                            std::move(before), std::move(after)});
}

void Plan::raise_policy_version() {
  counters_changed_ = true;
  ++counters_.policy_version;
}

void Plan::add_revocation(RevocationRecord record) {
  record.id = draw_id();
  record.min_policy_version = counters_.policy_version;
  // Clocks of connectors may be behind by the tolerance, and so believe in a lease that much longer.
  record.expires_at =
      context_.now + std::chrono::ceil<std::chrono::milliseconds>(config_.lease_life) + 2 * identity::kClockTolerance;
  upsert(record);
}

void Plan::revoke(model::UserId user) {
  if (model_.devices_of(user).empty()) return;  // nobody to whom a lease was ever given
  RevocationRecord record;
  record.user = user;
  add_revocation(record);
}

void Plan::revoke(model::DeviceId device) {
  RevocationRecord record;
  record.device = device;
  add_revocation(record);
}

void Plan::revoke(model::UserId user, const std::set<model::ResourceId>& lost) {
  if (lost.size() > kEdgesPerUserMax) return revoke(user);
  if (model_.devices_of(user).empty()) return;
  for (const model::ResourceId resource : lost) {
    RevocationRecord record;
    record.user = user;
    record.resource = resource;
    add_revocation(record);
  }
}

CommandResult Plan::finish(std::uint64_t id, std::vector<std::string> notes) {
  for (const auto& [number, revocation] : model_.revocations()) {
    if (revocation.expires_at <= context_.now) remove(revocation);
  }
  if (counters_changed_) {
    NetworkRecord network = model_.network();
    network.policy_version = counters_.policy_version;
    network.next_id = counters_.next_id;
    upsert(std::move(network));
  }
  CommandResult result;
  result.changes = std::move(changes_);
  result.id = id;
  result.notes = std::move(notes);
  return result;
}

}  // namespace postern::controller
