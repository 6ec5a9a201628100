// What the controller told this client: Resources, leases and the connector instances that can be reached. Parsed once,
// here; an entry that cannot be understood is left out and counted.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/route_id.hpp"
#include "base/time.hpp"
#include "model/ids.hpp"
#include "policy/resource_table.hpp"
#include "schema/control.pb.h"

namespace postern::client {

struct Instance {
  model::InstanceId id;
  model::ConnectorId connector;
  std::string connector_name;
  model::RemoteNetworkId remote_network;
  RouteId route;
  Digest certificate_digest{};
  Bytes knock;
  std::vector<std::string> relays;
  bool draining = false;  ///< new flows go to others, if there are any
};

struct Lease {
  model::RemoteNetworkId remote_network;
  std::string remote_network_name;
  std::string token;
  WallTime expires_at;
};

/// What an update changed, so that the owner can act on exactly that.
struct DirectoryChanges {
  bool resources_changed = false;
  std::set<model::ResourceId> removed_resources;  ///< also those that stand for another machine now
  std::set<model::ResourceId> changed_resources;  ///< with other ports, aliases or use of ICMP
  std::set<model::RemoteNetworkId> new_leases;
  std::set<model::RemoteNetworkId> removed_leases;
  std::set<model::InstanceId> changed_instances;  ///< added, or with other keys or route, or other use for new flows
  std::map<model::InstanceId, model::RemoteNetworkId> absent_instances;  ///< not listed, but may come back
  std::map<model::InstanceId, model::RemoteNetworkId> removed_instances;

  [[nodiscard]] bool may_end_flows() const {
    return !removed_resources.empty() || !changed_resources.empty() || !removed_leases.empty();
  }
};

class Directory {
 public:
  /// Bounds against a hostile or broken controller; what goes over them is left out and counted.
  static constexpr std::size_t kResourcesMax = 65'536;
  static constexpr std::size_t kInstancesMax = 16'384;
  static constexpr std::size_t kLeasesMax = 4'096;

  /// Nothing when the update does not continue what is held: the owner asks for a full one.
  [[nodiscard]] std::optional<DirectoryChanges> apply(const wire::ClientUpdate& update);
  void clear();

  [[nodiscard]] const policy::ResourceTable& table() const { return table_; }
  /// Those that can be reached, as far as the controller knows.
  [[nodiscard]] const std::map<model::InstanceId, Instance>& instances() const { return instances_; }
  [[nodiscard]] const std::map<model::RemoteNetworkId, Lease>& leases() const { return leases_; }
  [[nodiscard]] const Instance* find_instance(model::InstanceId id) const;
  [[nodiscard]] const Lease* find_lease(model::RemoteNetworkId id) const;
  [[nodiscard]] std::uint64_t version() const { return version_; }
  /// False until the first full update.
  [[nodiscard]] bool is_loaded() const { return loaded_; }
  [[nodiscard]] std::uint64_t malformed_entries() const { return malformed_; }

 private:
  void upsert(const wire::Resource& entry, DirectoryChanges& changes);
  void upsert(const wire::RemoteNetworkLease& entry, DirectoryChanges& changes);
  void upsert(const wire::ConnectorInstance& entry, DirectoryChanges& changes);
  void drop_missing(const wire::ClientUpdate& full, DirectoryChanges& changes);
  void drop_missing_instances(const wire::ClientUpdate& full, DirectoryChanges& changes);
  void note_absent(model::InstanceId id, DirectoryChanges& changes);
  void remove_instance(model::InstanceId id, DirectoryChanges& changes);
  void remove_resource(model::ResourceId id, DirectoryChanges& changes);

  policy::ResourceTable table_;
  std::map<model::InstanceId, Instance> instances_;
  std::map<model::InstanceId, model::RemoteNetworkId> absent_;
  std::map<model::RemoteNetworkId, Lease> leases_;
  std::uint64_t version_ = 0;
  std::uint64_t malformed_ = 0;
  bool loaded_ = false;
};

}  // namespace postern::client
