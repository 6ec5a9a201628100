// What one connector instance has been told, and the difference to what it should know; like client_view.hpp.
#pragma once

#include <map>
#include <set>

#include "controller_core/model_state.hpp"
#include "schema/control.pb.h"

namespace postern::controller {

class ConnectorView {
 public:
  /// What is new since the last call. Revocations that have had their time are not sent; an agent forgets them by
  /// itself.
  [[nodiscard]] wire::ConnectorUpdate refresh(const ModelState& model, model::RemoteNetworkId remote_network,
                                              WallTime now);

 private:
  void refresh_revocations(const ModelState& model, model::RemoteNetworkId remote_network, WallTime now,
                           wire::ConnectorUpdate& update);

  std::map<model::ResourceId, std::uint64_t> resources_;
  std::uint64_t revocations_seen_ = 0;  ///< highest record id that was looked at: ids only grow
};

[[nodiscard]] bool is_empty(const wire::ConnectorUpdate& update);

}  // namespace postern::controller
