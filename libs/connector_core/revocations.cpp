#include "connector_core/revocations.hpp"

#include <algorithm>

namespace postern::connector {

void Revocations::add(const wire::Revocation& record) {
  Subject subject;
  subject.resource = record.resource_id();
  if (record.user_id() != 0) {
    subject.kind = Kind::User;
    subject.id = record.user_id();
  } else if (record.device_id() != 0) {
    subject.kind = Kind::Device;
    subject.id = record.device_id();
  } else if (record.key_digest().size() == subject.key.size()) {
    subject.kind = Kind::Key;
    std::ranges::copy(as_bytes(record.key_digest()), subject.key.begin());
  } else {
    return;  // names nobody
  }
  if (!records_.contains(subject) && records_.size() >= records_max_) make_room();
  Record& held = records_[subject];
  held.min_pv = std::max(held.min_pv, record.min_pv());
  held.expires_at_ms = std::max(held.expires_at_ms, record.expires_at_ms());
}

void Revocations::make_room() {
  const auto lowest = std::ranges::min_element(
      records_, [](const auto& a, const auto& b) { return a.second.min_pv < b.second.min_pv; });
  if (lowest == records_.end()) return;
  floor_ = std::max(floor_, lowest->second.min_pv);
  std::erase_if(records_, [&](const auto& entry) { return entry.second.min_pv <= floor_; });
}

void Revocations::prune(WallTime now) {
  std::erase_if(records_, [&](const auto& entry) { return entry.second.expires_at_ms <= to_unix_ms(now); });
}

void Revocations::clear() {
  records_.clear();
  floor_ = 0;
}

bool Revocations::covers(const Subject& subject, std::uint64_t policy_version) const {
  const auto found = records_.find(subject);
  return found != records_.end() && policy_version < found->second.min_pv;
}

bool Revocations::voids(const identity::Lease& lease) const {
  return voids(lease, model::ResourceId(0));
}

bool Revocations::voids(const identity::Lease& lease, model::ResourceId resource) const {
  if (lease.policy_version < floor_) return true;
  for (const std::uint64_t edge : {std::uint64_t{0}, resource.value}) {
    if (covers({Kind::User, lease.user_id, {}, edge}, lease.policy_version)) return true;
    if (covers({Kind::Device, lease.device_id, {}, edge}, lease.policy_version)) return true;
    if (covers({Kind::Key, 0, lease.device_key, edge}, lease.policy_version)) return true;
    if (resource.value == 0) break;
  }
  return false;
}

}  // namespace postern::connector
