// What agents are told after a change: marks, updates, revocations, tickets, and the end of those that are cut off.
#include <algorithm>

#include "controller_core/access.hpp"
#include "controller_core/control_channel.hpp"
#include "controller_core/wire_form.hpp"

namespace postern::controller {

void ControlChannel::apply(Instant now, WallTime wall, const ChangeSet& changes) {
  moment_ = {now, wall};
  Affected affected;
  add_affected(model_, changes, affected);
  model_.apply(changes);
  ids_.next_id = std::max(ids_.next_id, model_.network().next_id);
  ids_.policy_version = std::max(ids_.policy_version, model_.network().policy_version);
  add_affected(model_, changes, affected);

  const bool takes_away = std::ranges::any_of(changes.changes, [](const Change& change) {
    const auto* upsert = std::get_if<Upsert>(&change);
    return upsert != nullptr && std::holds_alternative<RevocationRecord>(upsert->record);
  });
  if (takes_away) push_revocations();
  cut_off(changes);
  void_leases(changes);
  mark_affected(affected, takes_away);
}

/// Every connector looks at what is new; one without news gets nothing.
void ControlChannel::push_revocations() {
  for (const auto& [number, entry] : agents_.all()) {
    if (entry.state != AgentState::Authenticated || entry.connector() == nullptr) continue;
    mark(*agents_.find(number), true);
  }
}

/// Void leases must be replaced even where they would name the same resources, and a new sign-in lets leases live
/// longer.
void ControlChannel::void_leases(const ChangeSet& changes) {
  const auto drop = [this](model::DeviceId device) {
    Agent* agent = agents_.find(device);
    if (agent == nullptr) return;
    agent->client()->view.drop_leases();
    agent->ticket_renew_at = moment_.wall;
    mark(*agent, false);
  };
  for (const Change& change : changes.changes) {
    const auto* upsert = std::get_if<Upsert>(&change);
    if (upsert == nullptr) continue;
    if (const auto* device = std::get_if<DeviceRecord>(&upsert->record)) drop(device->id);
    const auto* revocation = std::get_if<RevocationRecord>(&upsert->record);
    if (revocation == nullptr || revocation->resource.value != 0) continue;
    drop(revocation->device);
    for (const model::DeviceId id : model_.devices_of(revocation->user)) drop(id);
  }
}

/// Whole agents that may not go on: their connection, their route, and what others were told of them.
void ControlChannel::cut_off(const ChangeSet& changes) {
  for (const Change& change : changes.changes) {
    if (const auto* removed = std::get_if<Remove>(&change)) {
      if (const auto* device = std::get_if<DeviceRecord>(&removed->record)) {
        cut_off_key(agents_.find(device->id), device->public_key, 401, "this device was removed: sign in again");
      } else if (const auto* instance = std::get_if<InstanceRecord>(&removed->record)) {
        end_instance(instance->id);
        cut_off_key(agents_.find(instance->id), instance->public_key, 410, "the connector's tokens were revoked");
      } else if (const auto* relay = std::get_if<RelayRecord>(&removed->record)) {
        follow_relay(*relay, true);
      }
      continue;
    }
    const Record& record = std::get<Upsert>(change).record;
    if (const auto* relay = std::get_if<RelayRecord>(&record)) follow_relay(*relay, false);
    if (const auto* connector = std::get_if<ConnectorRecord>(&record)) cut_off_surplus(*connector);
    const auto* user = std::get_if<UserRecord>(&record);
    if (user == nullptr || user->state == UserState::Active) continue;
    for (const model::DeviceId id : model_.devices_of(user->id)) {
      cut_off_key(agents_.find(id), model_.device(id)->public_key, 403, "the user is disabled");
    }
  }
}

/// Fewer may run than do: the youngest go, so that the sessions of the others go on.
void ControlChannel::cut_off_surplus(const ConnectorRecord& connector) {
  std::vector<const Agent*> running;
  for (const model::InstanceId id : connected_instances(connector.id)) running.push_back(agents_.find(id));
  if (running.size() <= connector.instances_max) return;
  std::ranges::sort(running, {}, [](const Agent* agent) { return agent->number; });
  std::vector<ConnectionNumber> surplus;
  for (const Agent* agent : running) surplus.push_back(agent->number);
  surplus.erase(surplus.begin(), surplus.begin() + connector.instances_max);
  for (const ConnectionNumber number : surplus) {
    deny(number, 409,
         "the connector may have fewer running instances now (" + std::to_string(connector.instances_max) + ")");
  }
}

void ControlChannel::cut_off_key(Agent* agent, const Bytes& public_key, std::uint32_t code, std::string_view reason) {
  if (const auto route = routes_.revoke(identity::sha256(public_key))) revoke_route(*route);
  if (agent != nullptr) deny(agent->number, code, reason);
}

void ControlChannel::mark(Agent& agent, bool at_once) {
  if (agent.state != AgentState::Authenticated) return;
  if (at_once) {
    flush(agent, false);
  } else {
    const Instant at = moment_.now + config_.coalesce;
    if (!agent.flush_at || *agent.flush_at > at) agent.flush_at = at;
  }
  reschedule(agent);
}

void ControlChannel::mark_clients_of(model::RemoteNetworkId remote_network, bool at_once) {
  for (const ConnectionNumber number : agents_.clients_of(remote_network)) mark(*agents_.find(number), at_once);
}

void ControlChannel::mark_affected(const Affected& affected, bool at_once) {
  const auto mark_user = [&](model::UserId user) {
    for (const model::DeviceId device : model_.devices_of(user)) {
      if (Agent* agent = agents_.find(device)) mark(*agent, at_once);
    }
  };
  for (const auto id : affected.connectors_of) {
    for (const auto connector : model_.connectors_of(id)) {
      for (const auto instance : connected_instances(connector)) mark(*agents_.find(instance), at_once);
    }
  }
  if (affected.all_users) {
    for (const auto& [number, entry] : agents_.all()) {
      if (entry.client() != nullptr) mark(*agents_.find(number), at_once);
    }
  } else {
    std::ranges::for_each(affected.users, mark_user);
  }
  for (const auto id : affected.clients_of) mark_clients_of(id, at_once);
}

template <typename Update, typename Set>
void ControlChannel::send_update(Agent& agent, Update update, bool full, Set set) {
  if (!full && is_empty(update)) return;
  update.set_full(full);
  for (Update& part : split(std::move(update))) {
    part.set_from_version(part.full() ? 0 : agent.version);
    // Grows over restarts of the controller too, because the clock does.
    agent.version =
        std::max(agent.version + 1, static_cast<std::uint64_t>(std::max<std::int64_t>(0, to_unix_ms(moment_.wall))));
    part.set_version(agent.version);
    wire::ControllerMessage message;
    *set(message) = std::move(part);
    send(agent, std::move(message));
  }
}

void ControlChannel::flush(Agent& agent, bool full) {
  agent.flush_at.reset();
  if (auto* client = agent.client()) {
    const DeviceRecord* device = model_.device(client->device);
    if (device == nullptr || device->signed_in_until <= moment_.wall) return;  // wake_up() ends it
    auto update = client->view.refresh({terms(), instances_, *device});
    agents_.index_networks(agent);
    send_update(agent, std::move(update), full, [](auto& message) { return message.mutable_client_update(); });
  } else if (auto* connector = agent.connector()) {
    auto update = connector->view.refresh(model_, connector->remote_network, moment_.wall);
    if (full) {
      auto* key = update.add_keys();
      key->set_kid(identity::key_id(keys_.signing.public_key()));
      key->set_public_key(std::string(as_text(keys_.signing.public_key().spki())));
      const Bytes knock_key = instance_knock_key(keys_.knock_secret, *model_.instance(connector->instance));
      update.set_knock_key(std::string(as_text(knock_key)));
    }
    send_update(agent, std::move(update), full, [](auto& message) { return message.mutable_connector_update(); });
  }
}

WallTime ControlChannel::ticket_end(const Agent& agent) const {
  const auto* client = agent.client();
  const DeviceRecord* device = client == nullptr ? nullptr : model_.device(client->device);
  if (device != nullptr) return lease_end(terms(), *device);
  return moment_.wall + std::chrono::duration_cast<std::chrono::milliseconds>(config_.lease_life);
}

wire::RelayInfo ControlChannel::relay_info(const Agent& agent, const RelayEndpoint& relay) {
  const auto role = agent.client() != nullptr ? identity::RelayRole::Client : identity::RelayRole::Connector;
  return relays_.info(relay, {model_.network().id, agent.route, role, moment_.wall, ticket_end(agent)});
}

void ControlChannel::renew_tickets(Agent& agent) {
  for (const auto& [name, relay] : relays_.all()) {
    wire::ControllerMessage message;
    *message.mutable_relay_up()->mutable_relay() = relay_info(agent, relay);
    send(agent, std::move(message));
  }
  plan_ticket_renewal(agent);
}

/// At half of a ticket's life; never when the sign-in ends before a new ticket would.
void ControlChannel::plan_ticket_renewal(Agent& agent) {
  agent.ticket_renew_at.reset();
  const WallTime end = ticket_end(agent);
  const auto* client = agent.client();
  const DeviceRecord* device = client == nullptr ? nullptr : model_.device(client->device);
  if (device != nullptr && end >= device->signed_in_until) return;
  agent.ticket_renew_at = moment_.wall + (end - moment_.wall) / 2;
}

}  // namespace postern::controller
