#include "connector_core/policy_store.hpp"

#include <algorithm>
#include <set>

#include "policy/resource_message.hpp"

namespace postern::connector {

UpdateOutcome PolicyStore::apply(const wire::ConnectorUpdate& update, WallTime now) {
  if (!update.full() && (!loaded_ || update.from_version() > version_)) return UpdateOutcome::Gap;
  if (update.full()) {
    drop_missing(update);
    revocations_.clear();
  }
  for (const wire::Resource& entry : update.resources()) upsert(entry);
  for (const std::uint64_t id : update.removed_resources()) table_.remove(model::ResourceId(id));
  for (const wire::Revocation& record : update.revocations()) revocations_.add(record);
  revocations_.prune(now);
  replace_keys(update);
  version_ = update.version();
  loaded_ = true;
  return UpdateOutcome::Applied;
}

void PolicyStore::upsert(const wire::Resource& entry) {
  auto resource = policy::from_message(entry);
  const bool full = table_.all().size() >= kResourcesMax && table_.find(model::ResourceId(entry.id())) == nullptr;
  if (!resource || full) {
    // What is not understood is not reachable: also an older form of it must go.
    table_.remove(model::ResourceId(entry.id()));
    ++malformed_;
    return;
  }
  const model::Resource* held = table_.find(resource->id);
  if (held == nullptr || *held != *resource) table_.upsert(std::move(*resource));
}

void PolicyStore::drop_missing(const wire::ConnectorUpdate& full) {
  std::set<model::ResourceId> keep;
  for (const wire::Resource& entry : full.resources()) keep.insert(model::ResourceId(entry.id()));
  std::vector<model::ResourceId> gone;
  for (const auto& [id, resource] : table_.all()) {
    if (!keep.contains(id)) gone.push_back(id);
  }
  for (const model::ResourceId id : gone) table_.remove(id);
}

void PolicyStore::replace_keys(const wire::ConnectorUpdate& update) {
  if (update.keys().empty()) return;
  identity::KeySet keys;
  for (const wire::VerificationKey& entry : update.keys()) {
    auto key = identity::PublicKey::from_spki(as_bytes(entry.public_key()));
    if (key) {
      keys.emplace(entry.kid(), std::move(*key));
    } else {
      ++malformed_;
    }
  }
  keys_ = std::move(keys);
}

}  // namespace postern::connector
