// The connector instances that clients are told of. Listed are those that clients may be sent to: connected, with the
// right certificate, and bound at a relay. Absent are those that are not, and may come back: their network is away,
// they look for a relay, or this controller has just started. What runs through an absent one waits for it, as it
// would in a local network; only one that is known to have ended is taken away.
#pragma once

#include <map>
#include <optional>
#include <set>
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
  struct Absence {
    Instant until;   ///< after that it is taken for ended
    WallTime heard;  ///< the last time that anything came from it, as far as is known
  };
  using Absences = std::map<model::InstanceId, Absence>;

  void list(LiveInstance instance);
  /// It is not heard, and may come back until then.
  void expect(model::RemoteNetworkId remote_network, model::InstanceId id, const Absence& absence);
  /// The same for one that clients know. One that is absent already keeps the earlier end, one that has ended stays so.
  /// False when clients need not hear of it.
  bool miss(model::InstanceId id, const Absence& absence);
  /// It has ended: the Remote Network whose clients knew of it.
  std::optional<model::RemoteNetworkId> end(model::InstanceId id);

  [[nodiscard]] const Instances& listed(model::RemoteNetworkId remote_network) const;
  [[nodiscard]] const Absences& absent(model::RemoteNetworkId remote_network) const;
  [[nodiscard]] std::optional<Instant> next_end() const;
  /// The first absent one whose time is over.
  [[nodiscard]] std::optional<model::InstanceId> due(Instant now) const;

 private:
  [[nodiscard]] const Absence* find_absence(model::InstanceId id) const;

  std::unordered_map<model::InstanceId, model::RemoteNetworkId> networks_;  ///< of all, listed and absent
  std::unordered_map<model::RemoteNetworkId, Instances> listed_;
  std::unordered_map<model::RemoteNetworkId, Absences> absent_;
  std::set<std::pair<Instant, model::InstanceId>> ends_;  ///< of absences
};

/// The key under which knocks for this instance are made (PROTOCOL.md §4.2): 32 bytes.
[[nodiscard]] Bytes instance_knock_key(ByteView knock_secret, const InstanceRecord& instance);

}  // namespace postern::controller
