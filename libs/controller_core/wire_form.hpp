// The model in the words of schema/control.proto, and updates cut into messages of a safe size.
#pragma once

#include <vector>

#include "controller_core/records.hpp"
#include "schema/control.pb.h"

namespace postern::controller {

[[nodiscard]] wire::Revocation wire_form(const RevocationRecord& record);

/// A message holds at most 4 MiB (PROTOCOL.md §8); an update is cut well below that.
inline constexpr std::size_t kUpdateSizeTarget = 1024 * 1024;

/// The same update as several: the first is full when `whole` is, the rest are deltas. Versions are left to the sender.
[[nodiscard]] std::vector<wire::ClientUpdate> split(wire::ClientUpdate whole, std::size_t target = kUpdateSizeTarget);
[[nodiscard]] std::vector<wire::ConnectorUpdate> split(wire::ConnectorUpdate whole,
                                                       std::size_t target = kUpdateSizeTarget);

}  // namespace postern::controller
