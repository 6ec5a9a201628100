// The connector instances that clients may be sent to: connected, with the right certificate, and bound at a relay.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/route_id.hpp"
#include "controller_core/records.hpp"

namespace postern::controller {

struct LiveInstance {
  model::InstanceId id;
  model::ConnectorId connector;
  model::RemoteNetworkId remote_network;
  RouteId route;
  Digest certificate{};
  std::vector<std::string> relays;
  Bytes knock_key;
};

class InstanceBoard {
 public:
  using Instances = std::map<model::InstanceId, LiveInstance>;

  void put(LiveInstance instance) { by_network_[instance.remote_network][instance.id] = std::move(instance); }
  void erase(model::RemoteNetworkId remote_network, model::InstanceId id) {
    const auto found = by_network_.find(remote_network);
    if (found == by_network_.end()) return;
    found->second.erase(id);
    if (found->second.empty()) by_network_.erase(found);
  }
  [[nodiscard]] const Instances& of(model::RemoteNetworkId remote_network) const {
    static const Instances kNone;
    const auto found = by_network_.find(remote_network);
    return found == by_network_.end() ? kNone : found->second;
  }

 private:
  std::unordered_map<model::RemoteNetworkId, Instances> by_network_;
};

/// The key under which knocks for this instance are made (PROTOCOL.md §4.2): 32 bytes.
[[nodiscard]] Bytes instance_knock_key(ByteView knock_secret, const InstanceRecord& instance);

}  // namespace postern::controller
