#include "client_core/directory.hpp"

#include <algorithm>
#include <optional>

#include "policy/resource_message.hpp"

namespace postern::client {

namespace {

std::optional<Instance> parse_instance(const wire::ConnectorInstance& entry) {
  Instance instance;
  instance.id = model::InstanceId(entry.instance_id());
  instance.connector = model::ConnectorId(entry.connector_id());
  instance.connector_name = entry.connector_name();
  instance.remote_network = model::RemoteNetworkId(entry.remote_network_id());
  if (entry.route_id().size() != instance.route.bytes.size()) return std::nullopt;
  if (entry.certificate_digest().size() != instance.certificate_digest.size()) return std::nullopt;
  std::ranges::copy(as_bytes(entry.route_id()), instance.route.bytes.begin());
  std::ranges::copy(as_bytes(entry.certificate_digest()), instance.certificate_digest.begin());
  instance.knock = to_bytes(as_bytes(entry.knock()));
  instance.relays.assign(entry.relays().begin(), entry.relays().end());
  instance.draining = entry.draining();
  return instance;
}

bool is_usable_alike(const Instance& a, const Instance& b) {
  return a.route == b.route && a.certificate_digest == b.certificate_digest && a.draining == b.draining;
}

}  // namespace

std::optional<DirectoryChanges> Directory::apply(const wire::ClientUpdate& update) {
  if (!update.full() && (!loaded_ || update.from_version() != version_)) return std::nullopt;
  DirectoryChanges changes;
  if (update.full()) drop_missing(update, changes);
  for (const std::uint64_t id : update.removed_resources()) remove_resource(model::ResourceId(id), changes);
  for (const std::uint64_t id : update.removed_leases()) {
    if (leases_.erase(model::RemoteNetworkId(id)) > 0) changes.removed_leases.insert(model::RemoteNetworkId(id));
  }
  for (const std::uint64_t id : update.removed_instances()) {
    const auto gone = instances_.extract(model::InstanceId(id));
    if (!gone.empty()) changes.removed_instances[gone.key()] = gone.mapped().remote_network;
  }
  for (const auto& entry : update.resources()) upsert(entry, changes);
  for (const auto& entry : update.leases()) upsert(entry, changes);
  for (const auto& entry : update.instances()) upsert(entry, changes);
  version_ = update.version();
  loaded_ = true;
  return changes;
}

void Directory::clear() {
  table_.clear();
  instances_.clear();
  leases_.clear();
  version_ = 0;
  loaded_ = false;
}

const Instance* Directory::find_instance(model::InstanceId id) const {
  const auto found = instances_.find(id);
  return found == instances_.end() ? nullptr : &found->second;
}

const Lease* Directory::find_lease(model::RemoteNetworkId id) const {
  const auto found = leases_.find(id);
  return found == leases_.end() ? nullptr : &found->second;
}

void Directory::remove_resource(model::ResourceId id, DirectoryChanges& changes) {
  if (table_.find(id) == nullptr) return;
  table_.remove(id);
  changes.resources_changed = true;
  changes.removed_resources.insert(id);
}

void Directory::drop_missing(const wire::ClientUpdate& full, DirectoryChanges& changes) {
  std::set<std::uint64_t> resources;
  std::set<std::uint64_t> leases;
  std::set<std::uint64_t> instances;
  for (const auto& entry : full.resources()) resources.insert(entry.id());
  for (const auto& entry : full.leases()) leases.insert(entry.remote_network_id());
  for (const auto& entry : full.instances()) instances.insert(entry.instance_id());

  std::vector<model::ResourceId> gone;
  for (const auto& [id, resource] : table_.all()) {
    if (!resources.contains(id.value)) gone.push_back(id);
  }
  for (const model::ResourceId id : gone) remove_resource(id, changes);
  std::erase_if(leases_, [&](const auto& entry) {
    const bool is_gone = !leases.contains(entry.first.value);
    if (is_gone) changes.removed_leases.insert(entry.first);
    return is_gone;
  });
  std::erase_if(instances_, [&](const auto& entry) {
    const bool is_gone = !instances.contains(entry.first.value);
    if (is_gone) changes.removed_instances[entry.first] = entry.second.remote_network;
    return is_gone;
  });
}

void Directory::upsert(const wire::Resource& entry, DirectoryChanges& changes) {
  auto resource = policy::from_message(entry);
  const model::Resource* held = table_.find(model::ResourceId(entry.id()));
  if (!resource || (held == nullptr && table_.all().size() >= kResourcesMax)) {
    // What is not understood is not reachable: also an older form of it must go.
    remove_resource(model::ResourceId(entry.id()), changes);
    ++malformed_;
    return;
  }
  if (held != nullptr && *held == *resource) return;
  if (held != nullptr) {
    const bool moved = held->address != resource->address || held->remote_network != resource->remote_network;
    (moved ? changes.removed_resources : changes.changed_resources).insert(held->id);
  }
  table_.upsert(std::move(*resource));
  changes.resources_changed = true;
}

void Directory::upsert(const wire::RemoteNetworkLease& entry, DirectoryChanges& changes) {
  const model::RemoteNetworkId id(entry.remote_network_id());
  if (entry.lease().empty() || (!leases_.contains(id) && leases_.size() >= kLeasesMax)) {
    ++malformed_;
    return;
  }
  Lease& lease = leases_[id];
  if (lease.token != entry.lease()) changes.new_leases.insert(id);
  lease = {id, entry.remote_network_name(), entry.lease(), from_unix_ms(entry.expires_at_ms())};
}

void Directory::upsert(const wire::ConnectorInstance& entry, DirectoryChanges& changes) {
  auto instance = parse_instance(entry);
  const Instance* held = find_instance(model::InstanceId(entry.instance_id()));
  if (!instance || (held == nullptr && instances_.size() >= kInstancesMax)) {
    ++malformed_;
    return;
  }
  if (held == nullptr || !is_usable_alike(*held, *instance)) changes.changed_instances.insert(instance->id);
  instances_.insert_or_assign(instance->id, std::move(*instance));
}

}  // namespace postern::client
