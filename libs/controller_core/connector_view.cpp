#include "controller_core/connector_view.hpp"

#include <algorithm>

#include "controller_core/wire_form.hpp"
#include "policy/resource_message.hpp"

namespace postern::controller {

namespace {

/// An edge to a resource behind another Remote Network is no business of this connector. Where the resource is gone,
/// nobody knows any more, and everybody is told.
bool concerns(const ModelState& model, const RevocationRecord& record, model::RemoteNetworkId remote_network) {
  if (record.resource.value == 0) return true;
  const ResourceEntry* entry = model.resource(record.resource);
  return entry == nullptr || entry->resource.remote_network == remote_network;
}

}  // namespace

bool is_empty(const wire::ConnectorUpdate& update) {
  return update.resources().empty() && update.removed_resources().empty() && update.keys().empty() &&
         update.revocations().empty() && update.knock_key().empty();
}

wire::ConnectorUpdate ConnectorView::refresh(const ModelState& model, model::RemoteNetworkId remote_network,
                                             WallTime now) {
  wire::ConnectorUpdate update;
  refresh_revocations(model, remote_network, now, update);
  const auto& wanted = model.resources_of(remote_network);
  for (const model::ResourceId id : wanted) {
    const ResourceEntry& entry = *model.resource(id);
    const auto [sent, added] = resources_.try_emplace(id, 0);
    if (sent->second == entry.revision) continue;
    sent->second = entry.revision;
    *update.add_resources() = policy::to_message(entry.resource);
  }
  std::erase_if(resources_, [&](const auto& sent) {
    if (wanted.contains(sent.first)) return false;
    update.add_removed_resources(sent.first.value);
    return true;
  });
  return update;
}

void ConnectorView::refresh_revocations(const ModelState& model, model::RemoteNetworkId remote_network, WallTime now,
                                        wire::ConnectorUpdate& update) {
  for (auto at = model.revocations().upper_bound(revocations_seen_); at != model.revocations().end(); ++at) {
    const RevocationRecord& record = at->second;
    revocations_seen_ = record.id;
    if (record.expires_at > now && concerns(model, record, remote_network))
      *update.add_revocations() = wire_form(record);
  }
}

}  // namespace postern::controller
