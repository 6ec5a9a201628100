// A Resource as it travels from the controller to clients and connectors (schema/control.proto), and back. Both ends of
// the control channel use this one border, so that they cannot disagree about what a message means.
#pragma once

#include <optional>

#include "model/resource.hpp"
#include "schema/control.pb.h"

namespace postern::policy {

[[nodiscard]] wire::Resource to_message(const model::Resource& resource);

/// Nothing when the id is 0, or the address, an alias or a port range is malformed. A port policy that this version
/// does not know allows nothing.
[[nodiscard]] std::optional<model::Resource> from_message(const wire::Resource& message);

}  // namespace postern::policy
