// The Network in memory: the records in tables, and the indexes that make every lookup cheap.
//
// put() and drop() are the only ways to change it, one record at a time, in any order; a record that refers to
// something that is not there is kept and simply leads nowhere (the store's foreign keys keep that from lasting).
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "controller_core/records.hpp"

namespace postern::controller {

/// A name as people compare it: ASCII folded to lower case.
[[nodiscard]] std::string folded(std::string_view text);

struct ResourceEntry {
  model::Resource resource;
  std::uint64_t revision = 0;  ///< grows with each change, so that views can remember what they have shown
};
/// Who has access to one resource.
struct AccessEdges {
  std::set<model::GroupId> groups;
  std::set<model::UserId> users;
};

class ModelState {
 public:
  void put(const Record& record);
  void drop(const Record& record);
  void apply(const ChangeSet& changes);

  [[nodiscard]] const NetworkRecord& network() const { return network_; }
  [[nodiscard]] const auto& users() const { return users_; }
  [[nodiscard]] const auto& groups() const { return groups_; }
  [[nodiscard]] const auto& remote_networks() const { return remote_networks_; }
  [[nodiscard]] const auto& connectors() const { return connectors_; }
  [[nodiscard]] const auto& instances() const { return instances_; }
  [[nodiscard]] const auto& devices() const { return devices_; }
  [[nodiscard]] const auto& resources() const { return resources_; }
  [[nodiscard]] const auto& revocations() const { return revocations_; }
  [[nodiscard]] const auto& relays() const { return relays_; }
  [[nodiscard]] const std::map<RouteId, WallTime>& revoked_routes() const { return revoked_routes_; }

  [[nodiscard]] const UserRecord* user(model::UserId id) const;
  [[nodiscard]] const UserRecord* user_by_email(std::string_view email) const;
  [[nodiscard]] const GroupRecord* group(model::GroupId id) const;
  [[nodiscard]] const RemoteNetworkRecord* remote_network(model::RemoteNetworkId id) const;
  [[nodiscard]] const ConnectorRecord* connector(model::ConnectorId id) const;
  [[nodiscard]] const ConnectorRecord* connector_by_token(const Digest& refresh_token) const;
  [[nodiscard]] const InstanceRecord* instance(model::InstanceId id) const;
  [[nodiscard]] const InstanceRecord* instance_by_key(const Digest& key) const;
  [[nodiscard]] const DeviceRecord* device(model::DeviceId id) const;
  [[nodiscard]] const DeviceRecord* device_by_key(const Digest& key) const;
  [[nodiscard]] const RelayRecord* relay(model::RelayId id) const;
  [[nodiscard]] const RelayRecord* relay_by_key(const Digest& key) const;
  [[nodiscard]] const RelayRecord* relay_by_token(const Digest& token) const;
  /// Resources that are reached without Postern: every client is told of them.
  [[nodiscard]] const std::set<model::ResourceId>& bypassed() const { return bypassed_; }
  [[nodiscard]] const ResourceEntry* resource(model::ResourceId id) const;
  [[nodiscard]] const ResourceEntry* resource_by_alias(const model::DnsName& alias) const;

  [[nodiscard]] model::GroupId everyone() const { return everyone_; }
  /// Without Everyone, whose members are all users and are not recorded.
  [[nodiscard]] const std::set<model::UserId>& members(model::GroupId group) const;
  [[nodiscard]] const std::set<model::GroupId>& groups_of(model::UserId user) const;
  [[nodiscard]] const std::set<model::DeviceId>& devices_of(model::UserId user) const;
  [[nodiscard]] const std::set<model::ConnectorId>& connectors_of(model::RemoteNetworkId remote_network) const;
  [[nodiscard]] const std::set<model::InstanceId>& instances_of(model::ConnectorId connector) const;
  [[nodiscard]] const std::set<model::ResourceId>& resources_of(model::RemoteNetworkId remote_network) const;
  [[nodiscard]] const AccessEdges& access(model::ResourceId resource) const;
  [[nodiscard]] const std::set<model::ResourceId>& granted_to(model::GroupId group) const;
  [[nodiscard]] const std::set<model::ResourceId>& granted_to(model::UserId user) const;

 private:
  template <typename Key, typename Value>
  using Index = std::unordered_map<Key, std::set<Value>>;
  struct DigestHash {
    std::size_t operator()(const Digest& digest) const noexcept;
  };

  void put(const NetworkRecord& record);
  void put(const UserRecord& record);
  void put(const GroupRecord& record);
  void put(const MembershipRecord& record);
  void put(const RemoteNetworkRecord& record);
  void put(const ConnectorRecord& record);
  void put(const InstanceRecord& record);
  void put(const DeviceRecord& record);
  void put(const ResourceRecord& record);
  void put(const AccessRecord& record);
  void put(const RevocationRecord& record);
  void put(const SecretRecord&) {}  // secrets are the service's business
  void put(const RelayRecord& record) { relays_[record.id] = record; }
  void put(const RevokedRouteRecord& record) { revoked_routes_[record.route] = record.expires_at; }
  void drop(const NetworkRecord&) {}
  void drop(const UserRecord& record);
  void drop(const GroupRecord& record);
  void drop(const MembershipRecord& record);
  void drop(const RemoteNetworkRecord& record);
  void drop(const ConnectorRecord& record);
  void drop(const InstanceRecord& record);
  void drop(const DeviceRecord& record);
  void drop(const ResourceRecord& record);
  void drop(const AccessRecord& record);
  void drop(const RevocationRecord& record);
  void drop(const SecretRecord&) {}
  void drop(const RelayRecord& record) { relays_.erase(record.id); }
  void drop(const RevokedRouteRecord& record) { revoked_routes_.erase(record.route); }

  NetworkRecord network_;
  std::map<model::UserId, UserRecord> users_;
  std::map<model::GroupId, GroupRecord> groups_;
  std::map<model::RemoteNetworkId, RemoteNetworkRecord> remote_networks_;
  std::map<model::ConnectorId, ConnectorRecord> connectors_;
  std::map<model::InstanceId, InstanceRecord> instances_;
  std::map<model::DeviceId, DeviceRecord> devices_;
  std::map<model::ResourceId, ResourceEntry> resources_;
  std::map<std::uint64_t, RevocationRecord> revocations_;
  std::map<model::RelayId, RelayRecord> relays_;  // a handful: see kRelaysMax
  std::map<RouteId, WallTime> revoked_routes_;
  std::uint64_t revision_ = 0;

  model::GroupId everyone_;
  std::unordered_map<std::string, model::UserId> users_by_email_;
  std::unordered_map<std::string, model::ResourceId> resources_by_alias_;
  std::set<model::ResourceId> bypassed_;
  std::unordered_map<Digest, model::ConnectorId, DigestHash> connectors_by_token_;
  std::unordered_map<Digest, model::InstanceId, DigestHash> instances_by_key_;
  std::unordered_map<Digest, model::DeviceId, DigestHash> devices_by_key_;
  Index<model::GroupId, model::UserId> members_;
  Index<model::UserId, model::GroupId> groups_of_;
  Index<model::UserId, model::DeviceId> devices_of_;
  Index<model::RemoteNetworkId, model::ConnectorId> connectors_of_;
  Index<model::ConnectorId, model::InstanceId> instances_of_;
  Index<model::RemoteNetworkId, model::ResourceId> resources_of_;
  std::unordered_map<model::ResourceId, AccessEdges> access_;
  Index<model::GroupId, model::ResourceId> granted_to_group_;
  Index<model::UserId, model::ResourceId> granted_to_user_;
};

}  // namespace postern::controller
