// Leases (PROTOCOL.md §5.1): one for each Remote Network in which a device's user may reach something.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "controller_core/controller.hpp"
#include "controller_core/model_state.hpp"

namespace postern::controller {

/// What was given to a device for one Remote Network.
struct HeldLease {
  std::set<model::ResourceId> resources;
  std::string remote_network_name;
  WallTime expires_at;
  /// When half of its life has gone; none when a new one would not live longer (the sign-in ends first).
  std::optional<WallTime> renew_at;
};

struct LeaseTerms {
  const ModelState& model;
  const identity::PrivateKey& signing;
  Duration life;
  WallTime now;
};

/// When a lease for this device that is signed now ends.
[[nodiscard]] WallTime lease_end(const LeaseTerms& terms, const DeviceRecord& device);
[[nodiscard]] HeldLease make_lease(const LeaseTerms& terms, const DeviceRecord& device,
                                   model::RemoteNetworkId remote_network, std::set<model::ResourceId> resources);
[[nodiscard]] wire::RemoteNetworkLease sign_lease(const LeaseTerms& terms, const DeviceRecord& device,
                                                  model::RemoteNetworkId remote_network, const HeldLease& lease);

}  // namespace postern::controller
