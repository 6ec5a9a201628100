#include "controller_core/client_view.hpp"

#include <algorithm>

#include "controller_core/access.hpp"
#include "controller_core/wire_form.hpp"
#include "policy/resource_message.hpp"

namespace postern::controller {

namespace {

bool is_draining(const ClientView::Sources& sources, model::InstanceId id) {
  const InstanceRecord* record = sources.terms.model.instance(id);
  return record != nullptr && record->draining;
}

wire::ConnectorInstance instance_message(const ClientView::Sources& sources, const LiveInstance& live,
                                         WallTime knock_expires_at) {
  wire::ConnectorInstance message;
  message.set_instance_id(live.id.value);
  message.set_connector_id(live.connector.value);
  if (const ConnectorRecord* connector = sources.terms.model.connector(live.connector)) {
    message.set_connector_name(connector->name);
  }
  message.set_remote_network_id(live.remote_network.value);
  message.set_route_id(std::string(as_text(live.route.bytes)));
  message.set_certificate_digest(std::string(as_text(live.certificate)));
  const identity::Knock knock{identity::sha256(sources.device.public_key), live.id.value,
                              to_unix_seconds(knock_expires_at)};
  message.set_knock(std::string(as_text(identity::make_knock(knock, live.knock_key))));
  for (const std::string& relay : live.relays) message.add_relays(relay);
  message.set_draining(is_draining(sources, live.id));
  return message;
}

}  // namespace

bool is_empty(const wire::ClientUpdate& update) {
  return update.resources().empty() && update.removed_resources().empty() && update.leases().empty() &&
         update.removed_leases().empty() && update.instances().empty() && update.removed_instances().empty() &&
         update.absent_instances().empty();
}

wire::ClientUpdate ClientView::refresh(const Sources& sources) {
  Wanted wanted;
  for (const model::ResourceId id : reachable_resources(sources.terms.model, sources.device.user)) {
    wanted[sources.terms.model.resource(id)->resource.remote_network].insert(id);
  }
  wire::ClientUpdate update;
  refresh_resources(sources, wanted, update);
  refresh_leases(sources, wanted, update);
  refresh_instances(sources, update);
  return update;
}

void ClientView::refresh_resources(const Sources& sources, const Wanted& wanted, wire::ClientUpdate& update) {
  std::map<model::ResourceId, std::uint64_t> now;
  const auto take = [&](model::ResourceId id) {
    const ResourceEntry& entry = *sources.terms.model.resource(id);
    now[id] = entry.revision;
    const auto sent = resources_.find(id);
    if (sent == resources_.end() || sent->second != entry.revision)
      *update.add_resources() = policy::to_message(entry.resource);
  };
  for (const auto& [remote_network, ids] : wanted) {
    for (const model::ResourceId id : ids) take(id);
  }
  for (const model::ResourceId id : sources.terms.model.bypassed()) take(id);
  for (const auto& [id, revision] : resources_) {
    if (!now.contains(id)) update.add_removed_resources(id.value);
  }
  resources_ = std::move(now);
}

bool ClientView::must_sign(const Sources& sources, model::RemoteNetworkId remote_network,
                           const std::set<model::ResourceId>& resources) const {
  const auto held = leases_.find(remote_network);
  if (leases_void_ || held == leases_.end() || held->second.resources != resources) return true;
  const RemoteNetworkRecord* record = sources.terms.model.remote_network(remote_network);
  if (record != nullptr && record->name != held->second.remote_network_name) return true;
  return held->second.renew_at && *held->second.renew_at <= sources.terms.now;
}

void ClientView::refresh_leases(const Sources& sources, const Wanted& wanted, wire::ClientUpdate& update) {
  for (const auto& [remote_network, resources] : wanted) {
    if (!must_sign(sources, remote_network, resources)) continue;
    HeldLease lease = make_lease(sources.terms, sources.device, remote_network, resources);
    *update.add_leases() = sign_lease(sources.terms, sources.device, remote_network, lease);
    leases_[remote_network] = std::move(lease);
  }
  std::erase_if(leases_, [&](const auto& held) {
    if (wanted.contains(held.first)) return false;
    update.add_removed_leases(held.first.value);
    return true;
  });
  leases_void_ = false;
}

void ClientView::refresh_instances(const Sources& sources, wire::ClientUpdate& update) {
  std::map<model::InstanceId, ShownInstance> now;
  for (const auto& [remote_network, lease] : leases_) {
    for (const auto& [id, absence] : sources.instances.absent(remote_network)) {
      const auto sent = instances_.find(id);
      if (sent == instances_.end() || !sent->second.absent) update.add_absent_instances(id.value);
      now[id].absent = true;
    }
    for (const auto& [id, live] : sources.instances.listed(remote_network)) {
      // A knock lives as long as the lease: who may not come in must not even be answered.
      ShownInstance shown{live.route, live.relays, lease.expires_at, is_draining(sources, id)};
      const auto sent = instances_.find(id);
      if (sent == instances_.end() || sent->second != shown) {
        *update.add_instances() = instance_message(sources, live, lease.expires_at);
      }
      now[id] = std::move(shown);
    }
  }
  for (const auto& [id, shown] : instances_) {
    if (!now.contains(id)) update.add_removed_instances(id.value);
  }
  instances_ = std::move(now);
}

std::optional<WallTime> ClientView::next_renewal() const {
  std::optional<WallTime> next;
  for (const auto& [remote_network, lease] : leases_) {
    if (lease.renew_at && (!next || *lease.renew_at < *next)) next = lease.renew_at;
  }
  return next;
}

}  // namespace postern::controller
