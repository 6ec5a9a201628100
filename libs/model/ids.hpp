// Ids of the things in a Network. Decimal in JSON and tokens; never 0 for a thing that exists.
#pragma once

#include "base/strong_id.hpp"

namespace postern::model {

using NetworkId = StrongId<struct NetworkTag>;
using UserId = StrongId<struct UserTag>;
using GroupId = StrongId<struct GroupTag>;
using DeviceId = StrongId<struct DeviceTag>;
using RemoteNetworkId = StrongId<struct RemoteNetworkTag>;
using ConnectorId = StrongId<struct ConnectorTag>;
using InstanceId = StrongId<struct InstanceTag>;
using ResourceId = StrongId<struct ResourceTag>;
using RelayId = StrongId<struct RelayTag>;

}  // namespace postern::model
