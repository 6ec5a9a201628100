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
  for (const std::uint64_t id : update.removed_instances()) remove_instance(model::InstanceId(id), changes);
  for (const std::uint64_t id : update.absent_instances()) note_absent(model::InstanceId(id), changes);
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
  absent_.clear();
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
  for (const auto& entry : full.resources()) resources.insert(entry.id());
  for (const auto& entry : full.leases()) leases.insert(entry.remote_network_id());

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
  drop_missing_instances(full, changes);
}

void Directory::drop_missing_instances(const wire::ClientUpdate& full, DirectoryChanges& changes) {
  std::set<std::uint64_t> named(full.absent_instances().begin(), full.absent_instances().end());
  for (const auto& entry : full.instances()) named.insert(entry.instance_id());
  std::vector<model::InstanceId> gone;
  const auto look = [&](const auto& held) {
    for (const auto& [id, rest] : held) {
      if (!named.contains(id.value)) gone.push_back(id);
    }
  };
  look(instances_);
  look(absent_);
  for (const model::InstanceId id : gone) remove_instance(id, changes);
}

/// One that this client was never told of is nothing to it.
void Directory::note_absent(model::InstanceId id, DirectoryChanges& changes) {
  const auto held = instances_.extract(id);
  if (held.empty()) return;
  const model::RemoteNetworkId network = held.mapped().remote_network;
  // A controller that fills this list in vain is not worth remembering for.
  if (absent_.size() >= kInstancesMax) {
    changes.removed_instances[id] = network;
    return;
  }
  absent_[id] = network;
  changes.absent_instances[id] = network;
}

void Directory::remove_instance(model::InstanceId id, DirectoryChanges& changes) {
  if (const auto held = instances_.extract(id); !held.empty()) {
    changes.removed_instances[id] = held.mapped().remote_network;
  }
  if (const auto absent = absent_.extract(id); !absent.empty()) changes.removed_instances[id] = absent.mapped();
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
  absent_.erase(instance->id);
  instances_.insert_or_assign(instance->id, std::move(*instance));
}

}  // namespace postern::client
