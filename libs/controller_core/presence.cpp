// Which connector instances clients are told of, and what becomes of one that is not heard (PROTOCOL.md §6).
#include <algorithm>

#include "controller_core/control_channel.hpp"

namespace postern::controller {

/// After a start nobody is connected yet: whoever was enrolled before may run on, and comes back.
void ControlChannel::expect_instances() {
  for (const auto& [id, record] : model_.instances()) {
    const ConnectorRecord* connector = model_.connector(record.connector);
    if (connector == nullptr || connector->token_generation != record.token_generation) continue;
    instances_.expect(connector->remote_network, id, {moment_.now + config_.absence_max, moment_.wall});
  }
}

void ControlChannel::follow_heartbeat(Agent& agent, const wire::Heartbeat& message) {
  agent.relays.clear();
  if (message.leaving()) return end_instance(agent.connector()->instance);
  if (!message.certificate_digest().empty()) agent.relays.assign(message.relays().begin(), message.relays().end());
  std::erase_if(agent.relays, [&](const std::string& name) { return !relays_.knows(name); });
  std::ranges::sort(agent.relays);
  agent.relays.erase(std::ranges::unique(agent.relays).begin(), agent.relays.end());
  follow_relays(agent);
}

void ControlChannel::follow_relays(Agent& agent) {
  agent.relays.empty() ? miss_instance(agent) : show_instance(agent);
}

/// Clients are sent to an instance while it is bound at a relay that we know.
void ControlChannel::show_instance(Agent& agent) {
  const ConnectorSide& side = *agent.connector();
  const InstanceRecord* record = model_.instance(side.instance);
  if (record == nullptr) return;
  const auto& listed = instances_.listed(side.remote_network);
  const auto before = listed.find(side.instance);
  const bool is_new = before == listed.end();
  if (!is_new && before->second.relays == agent.relays && before->second.route == agent.route) return;
  instances_.list({side.instance, side.connector, side.remote_network, agent.route, agent.key, agent.relays,
                   instance_knock_key(keys_.knock_secret, *record)});
  mark_clients_of(side.remote_network, false);
  if (is_new) judge_absences(*model_.connector(side.connector));
}

void ControlChannel::miss_instance(const Agent& agent) {
  const auto* side = agent.connector();
  if (side == nullptr) return;
  const auto silent = std::chrono::duration_cast<std::chrono::milliseconds>(moment_.now - agent.last_heard);
  const bool is_news = instances_.miss(side->instance, {moment_.now + config_.absence_max, moment_.wall - silent});
  if (is_news) mark_clients_of(side->remote_network, false);
}

void ControlChannel::end_instance(model::InstanceId id) {
  if (const auto remote_network = instances_.end(id)) mark_clients_of(*remote_network, false);
}

/// Forgets the connection; what it was to others depends on how it ended.
void ControlChannel::remove(const Agent& agent, ConnectionEnd end) {
  const auto* side = agent.connector();
  const ConnectorRecord* connector = side == nullptr ? nullptr : model_.connector(side->connector);
  if (side != nullptr) end == ConnectionEnd::Cut ? end_instance(side->instance) : miss_instance(agent);
  agents_.remove(agent.number);
  if (connector != nullptr) judge_absences(*connector);
}

/// A process that has enrolled since an absent one was heard may have taken its place: surely on the same host.
void ControlChannel::judge_absences(const ConnectorRecord& connector) {
  const auto absences = instances_.absent(connector.remote_network);  // a copy: some end
  const auto connected = connected_instances(connector.id);
  for (const auto& [id, absence] : absences) {
    const InstanceRecord* missed = model_.instance(id);
    if (missed == nullptr || missed->connector != connector.id || connected.contains(id)) continue;
    for (const model::InstanceId other : connected) {
      const InstanceRecord& newer = *model_.instance(other);
      if (newer.id <= id || newer.enrolled_at <= absence.heard) continue;
      instances_.miss(id, {moment_.now + config_.absence_max_beside_newer, absence.heard});
      if (newer.hostname == missed->hostname) end_instance(id);
    }
  }
}

void ControlChannel::end_absences() {
  while (const auto id = instances_.due(moment_.now)) {
    // One that is connected and looks for a relay is alive, however long that takes.
    if (const Agent* agent = agents_.find(*id)) {
      instances_.expect(agent->connector()->remote_network, *id, {moment_.now + config_.absence_max, moment_.wall});
    } else {
      end_instance(*id);
    }
  }
}

}  // namespace postern::controller
