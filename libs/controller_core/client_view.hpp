// What one client has been told, and the difference to what it should know.
//
// A view remembers little: which revision of each resource was sent, which leases and which instances. Every update is
// the difference between that and the model now, so that no change can be forgotten and none is sent twice.
#pragma once

#include <map>
#include <set>

#include "controller_core/instances.hpp"
#include "controller_core/leases.hpp"

namespace postern::controller {

class ClientView {
 public:
  struct Sources {
    LeaseTerms terms;
    const InstanceBoard& instances;
    const DeviceRecord& device;
  };
  /// What is new since the last call; without any field set when nothing is. Leases whose renewal is due are renewed.
  [[nodiscard]] wire::ClientUpdate refresh(const Sources& sources);
  /// The leases were made void, or may live longer now: the next refresh() signs new ones.
  void drop_leases() { leases_void_ = true; }

  [[nodiscard]] std::optional<WallTime> next_renewal() const;
  [[nodiscard]] const std::map<model::RemoteNetworkId, HeldLease>& leases() const { return leases_; }

 private:
  struct ShownInstance {
    RouteId route;
    std::vector<std::string> relays;
    WallTime knock_expires_at;
    bool draining = false;
    bool absent = false;  ///< of which nothing else is told
    bool operator==(const ShownInstance&) const = default;
  };
  using Wanted = std::map<model::RemoteNetworkId, std::set<model::ResourceId>>;

  void refresh_resources(const Sources& sources, const Wanted& wanted, wire::ClientUpdate& update);
  void refresh_leases(const Sources& sources, const Wanted& wanted, wire::ClientUpdate& update);
  void refresh_instances(const Sources& sources, wire::ClientUpdate& update);
  [[nodiscard]] bool must_sign(const Sources& sources, model::RemoteNetworkId remote_network,
                               const std::set<model::ResourceId>& resources) const;

  std::map<model::ResourceId, std::uint64_t> resources_;  ///< revision that was sent
  std::map<model::RemoteNetworkId, HeldLease> leases_;
  std::map<model::InstanceId, ShownInstance> instances_;
  bool leases_void_ = false;
};

[[nodiscard]] bool is_empty(const wire::ClientUpdate& update);

}  // namespace postern::controller
