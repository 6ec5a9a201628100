// Who has to hear of a change set: asked before it is applied and after, because an edge may be there only before or
// after.
#pragma once

#include <set>

#include "controller_core/model_state.hpp"

namespace postern::controller {

struct Affected {
  bool all_users = false;
  std::set<model::UserId> users;
  /// Connectors behind these have other resources now.
  std::set<model::RemoteNetworkId> connectors_of;
  /// Clients that hold a lease for these see other names or instances now.
  std::set<model::RemoteNetworkId> clients_of;
};

void add_affected(const ModelState& model, const ChangeSet& changes, Affected& affected);

}  // namespace postern::controller
