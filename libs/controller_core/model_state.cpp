#include "controller_core/model_state.hpp"

#include <algorithm>

#include "identity/keys.hpp"

namespace postern::controller {

namespace {

template <typename Table, typename Key>
auto* find_in(const Table& table, const Key& key) {
  const auto found = table.find(key);
  return found == table.end() ? nullptr : &found->second;
}

template <typename Index, typename Key>
const auto& set_in(const Index& index, const Key& key) {
  static const typename Index::mapped_type kEmpty;
  const auto found = index.find(key);
  return found == index.end() ? kEmpty : found->second;
}

template <typename Index, typename Key, typename Value>
void unlink(Index& index, const Key& key, const Value& value) {
  const auto found = index.find(key);
  if (found == index.end()) return;
  found->second.erase(value);
  if (found->second.empty()) index.erase(found);
}

Digest key_digest(const Bytes& spki) {
  return identity::sha256(spki);
}

}  // namespace

std::string folded(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::size_t ModelState::DigestHash::operator()(const Digest& digest) const noexcept {
  std::size_t word = 0;
  std::memcpy(&word, digest.data(), sizeof word);
  return word;
}

void ModelState::put(const Record& record) {
  std::visit([this](const auto& each) { put(each); }, record);
}

void ModelState::drop(const Record& record) {
  std::visit([this](const auto& each) { drop(each); }, record);
}

void ModelState::apply(const ChangeSet& changes) {
  for (const Change& change : changes.changes) {
    if (const auto* upsert = std::get_if<Upsert>(&change)) {
      put(upsert->record);
    } else {
      drop(std::get<Remove>(change).record);
    }
  }
}

void ModelState::put(const NetworkRecord& record) {
  // Change sets that were planned side by side must not turn the counters back.
  const std::uint64_t policy_version = std::max(network_.policy_version, record.policy_version);
  const std::uint64_t next_id = std::max(network_.next_id, record.next_id);
  network_ = record;
  network_.policy_version = policy_version;
  network_.next_id = next_id;
}

void ModelState::put(const UserRecord& record) {
  drop(record);
  users_by_email_[record.email] = record.id;
  users_[record.id] = record;
}

void ModelState::drop(const UserRecord& record) {
  const auto found = users_.find(record.id);
  if (found == users_.end()) return;
  users_by_email_.erase(found->second.email);
  users_.erase(found);
}

void ModelState::put(const GroupRecord& record) {
  if (record.everyone) everyone_ = record.id;
  groups_[record.id] = record;
}

void ModelState::drop(const GroupRecord& record) {
  if (record.id == everyone_) everyone_ = {};
  groups_.erase(record.id);
}

void ModelState::put(const MembershipRecord& record) {
  members_[record.group].insert(record.user);
  groups_of_[record.user].insert(record.group);
}

void ModelState::drop(const MembershipRecord& record) {
  unlink(members_, record.group, record.user);
  unlink(groups_of_, record.user, record.group);
}

void ModelState::put(const RemoteNetworkRecord& record) {
  remote_networks_[record.id] = record;
}
void ModelState::drop(const RemoteNetworkRecord& record) {
  remote_networks_.erase(record.id);
}

void ModelState::put(const ConnectorRecord& record) {
  drop(record);
  if (record.token_generation != 0) connectors_by_token_[record.refresh_token_digest] = record.id;
  connectors_of_[record.remote_network].insert(record.id);
  connectors_[record.id] = record;
}

void ModelState::drop(const ConnectorRecord& record) {
  const auto found = connectors_.find(record.id);
  if (found == connectors_.end()) return;
  if (found->second.token_generation != 0) connectors_by_token_.erase(found->second.refresh_token_digest);
  unlink(connectors_of_, found->second.remote_network, record.id);
  connectors_.erase(found);
}

void ModelState::put(const InstanceRecord& record) {
  drop(record);
  instances_by_key_[key_digest(record.public_key)] = record.id;
  instances_of_[record.connector].insert(record.id);
  instances_[record.id] = record;
}

void ModelState::drop(const InstanceRecord& record) {
  const auto found = instances_.find(record.id);
  if (found == instances_.end()) return;
  const auto by_key = instances_by_key_.find(key_digest(found->second.public_key));
  if (by_key != instances_by_key_.end() && by_key->second == record.id) instances_by_key_.erase(by_key);
  unlink(instances_of_, found->second.connector, record.id);
  instances_.erase(found);
}

void ModelState::put(const DeviceRecord& record) {
  drop(record);
  devices_by_key_[key_digest(record.public_key)] = record.id;
  devices_of_[record.user].insert(record.id);
  devices_[record.id] = record;
}

void ModelState::drop(const DeviceRecord& record) {
  const auto found = devices_.find(record.id);
  if (found == devices_.end()) return;
  const auto by_key = devices_by_key_.find(key_digest(found->second.public_key));
  if (by_key != devices_by_key_.end() && by_key->second == record.id) devices_by_key_.erase(by_key);
  unlink(devices_of_, found->second.user, record.id);
  devices_.erase(found);
}

void ModelState::put(const ResourceRecord& record) {
  drop(record);
  resources_of_[record.resource.remote_network].insert(record.resource.id);
  for (const model::DnsName& alias : record.resource.aliases) resources_by_alias_[alias.text()] = record.resource.id;
  if (record.resource.is_bypass()) bypassed_.insert(record.resource.id);
  resources_[record.resource.id] = {record.resource, ++revision_};
}

void ModelState::drop(const ResourceRecord& record) {
  const auto found = resources_.find(record.resource.id);
  if (found == resources_.end()) return;
  for (const model::DnsName& alias : found->second.resource.aliases) {
    const auto owner = resources_by_alias_.find(alias.text());
    if (owner != resources_by_alias_.end() && owner->second == record.resource.id) resources_by_alias_.erase(owner);
  }
  unlink(resources_of_, found->second.resource.remote_network, record.resource.id);
  bypassed_.erase(record.resource.id);
  resources_.erase(found);
}

void ModelState::put(const AccessRecord& record) {
  AccessEdges& edges = access_[record.resource];
  if (record.group.value != 0) {
    edges.groups.insert(record.group);
    granted_to_group_[record.group].insert(record.resource);
  } else {
    edges.users.insert(record.user);
    granted_to_user_[record.user].insert(record.resource);
  }
}

void ModelState::drop(const AccessRecord& record) {
  const auto found = access_.find(record.resource);
  if (found == access_.end()) return;
  if (record.group.value != 0) {
    found->second.groups.erase(record.group);
    unlink(granted_to_group_, record.group, record.resource);
  } else {
    found->second.users.erase(record.user);
    unlink(granted_to_user_, record.user, record.resource);
  }
  if (found->second.groups.empty() && found->second.users.empty()) access_.erase(found);
}

void ModelState::put(const RevocationRecord& record) {
  revocations_[record.id] = record;
}
void ModelState::drop(const RevocationRecord& record) {
  revocations_.erase(record.id);
}

const UserRecord* ModelState::user(model::UserId id) const {
  return find_in(users_, id);
}
const GroupRecord* ModelState::group(model::GroupId id) const {
  return find_in(groups_, id);
}
const RemoteNetworkRecord* ModelState::remote_network(model::RemoteNetworkId id) const {
  return find_in(remote_networks_, id);
}
const ConnectorRecord* ModelState::connector(model::ConnectorId id) const {
  return find_in(connectors_, id);
}
const InstanceRecord* ModelState::instance(model::InstanceId id) const {
  return find_in(instances_, id);
}
const DeviceRecord* ModelState::device(model::DeviceId id) const {
  return find_in(devices_, id);
}
const RelayRecord* ModelState::relay(model::RelayId id) const {
  return find_in(relays_, id);
}
const ResourceEntry* ModelState::resource(model::ResourceId id) const {
  return find_in(resources_, id);
}

const ResourceEntry* ModelState::resource_by_alias(const model::DnsName& alias) const {
  const auto* id = find_in(resources_by_alias_, alias.text());
  return id == nullptr ? nullptr : resource(*id);
}
const UserRecord* ModelState::user_by_email(std::string_view email) const {
  const auto* id = find_in(users_by_email_, folded(email));
  return id == nullptr ? nullptr : user(*id);
}
const ConnectorRecord* ModelState::connector_by_token(const Digest& refresh_token) const {
  const auto* id = find_in(connectors_by_token_, refresh_token);
  return id == nullptr ? nullptr : connector(*id);
}
const InstanceRecord* ModelState::instance_by_key(const Digest& key) const {
  const auto* id = find_in(instances_by_key_, key);
  return id == nullptr ? nullptr : instance(*id);
}
const DeviceRecord* ModelState::device_by_key(const Digest& key) const {
  const auto* id = find_in(devices_by_key_, key);
  return id == nullptr ? nullptr : device(*id);
}

const RelayRecord* ModelState::relay_by_key(const Digest& key) const {
  const auto found = std::ranges::find_if(relays_, [&](const auto& entry) {
    return !entry.second.public_key.empty() && key_digest(entry.second.public_key) == key;
  });
  return found == relays_.end() ? nullptr : &found->second;
}
const RelayRecord* ModelState::relay_by_token(const Digest& token) const {
  const auto found =
      std::ranges::find_if(relays_, [&](const auto& entry) { return entry.second.token_digest == token; });
  return found == relays_.end() ? nullptr : &found->second;
}

const std::set<model::UserId>& ModelState::members(model::GroupId group) const {
  return set_in(members_, group);
}
const std::set<model::GroupId>& ModelState::groups_of(model::UserId user) const {
  return set_in(groups_of_, user);
}
const std::set<model::DeviceId>& ModelState::devices_of(model::UserId user) const {
  return set_in(devices_of_, user);
}
const std::set<model::ConnectorId>& ModelState::connectors_of(model::RemoteNetworkId remote_network) const {
  return set_in(connectors_of_, remote_network);
}
const std::set<model::InstanceId>& ModelState::instances_of(model::ConnectorId connector) const {
  return set_in(instances_of_, connector);
}
const std::set<model::ResourceId>& ModelState::resources_of(model::RemoteNetworkId remote_network) const {
  return set_in(resources_of_, remote_network);
}
const AccessEdges& ModelState::access(model::ResourceId resource) const {
  return set_in(access_, resource);
}
const std::set<model::ResourceId>& ModelState::granted_to(model::GroupId group) const {
  return set_in(granted_to_group_, group);
}
const std::set<model::ResourceId>& ModelState::granted_to(model::UserId user) const {
  return set_in(granted_to_user_, user);
}

}  // namespace postern::controller
