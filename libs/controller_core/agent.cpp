#include "controller_core/agent.hpp"

namespace postern::controller {

Agent& AgentTable::add(ConnectionNumber number) {
  Agent& agent = agents_[number];
  agent.number = number;
  unauthenticated_.insert(number);
  return agent;
}

void AgentTable::remove(ConnectionNumber number) {
  const auto found = agents_.find(number);
  if (found == agents_.end()) return;
  const Agent& agent = found->second;
  schedule_.erase({agent.wake, number});
  unauthenticated_.erase(number);
  if (const auto* client = agent.client()) {
    const auto at = by_device_.find(client->device);
    if (at != by_device_.end() && at->second == number) by_device_.erase(at);
  }
  if (const auto* connector = agent.connector()) {
    const auto at = by_instance_.find(connector->instance);
    if (at != by_instance_.end() && at->second == number) by_instance_.erase(at);
  }
  if (const auto* relay = agent.relay()) {
    const auto at = by_relay_.find(relay->relay);
    if (at != by_relay_.end() && at->second == number) by_relay_.erase(at);
  }
  if (const auto networks = networks_of_.find(number); networks != networks_of_.end()) {
    for (const auto id : networks->second) {
      clients_of_[id].erase(number);
      if (clients_of_[id].empty()) clients_of_.erase(id);
    }
    networks_of_.erase(networks);
  }
  agents_.erase(found);
}

Agent* AgentTable::find(ConnectionNumber number) {
  const auto found = agents_.find(number);
  return found == agents_.end() ? nullptr : &found->second;
}

Agent* AgentTable::find(model::DeviceId device) {
  const auto found = by_device_.find(device);
  return found == by_device_.end() ? nullptr : find(found->second);
}

Agent* AgentTable::find(model::InstanceId instance) {
  const auto found = by_instance_.find(instance);
  return found == by_instance_.end() ? nullptr : find(found->second);
}

Agent* AgentTable::find(model::RelayId relay) {
  const auto found = by_relay_.find(relay);
  return found == by_relay_.end() ? nullptr : find(found->second);
}

void AgentTable::identify(Agent& agent) {
  unauthenticated_.erase(agent.number);
  if (const auto* client = agent.client()) by_device_[client->device] = agent.number;
  if (const auto* connector = agent.connector()) by_instance_[connector->instance] = agent.number;
  if (const auto* relay = agent.relay()) by_relay_[relay->relay] = agent.number;
}

void AgentTable::index_networks(const Agent& agent) {
  const auto* client = agent.client();
  if (client == nullptr) return;
  std::set<model::RemoteNetworkId> now;
  for (const auto& [id, lease] : client->view.leases()) now.insert(now.end(), id);
  std::set<model::RemoteNetworkId>& before = networks_of_[agent.number];
  if (before == now) return;
  for (const auto id : before) {
    if (now.contains(id)) continue;
    clients_of_[id].erase(agent.number);
    if (clients_of_[id].empty()) clients_of_.erase(id);
  }
  for (const auto id : now) clients_of_[id].insert(agent.number);
  before = std::move(now);
}

std::vector<ConnectionNumber> AgentTable::clients_of(model::RemoteNetworkId remote_network) const {
  const auto found = clients_of_.find(remote_network);
  if (found == clients_of_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

std::optional<ConnectionNumber> AgentTable::oldest_unauthenticated() const {
  if (unauthenticated_.empty()) return std::nullopt;
  return *unauthenticated_.begin();
}

void AgentTable::schedule(Agent& agent, Instant at) {
  schedule_.erase({agent.wake, agent.number});
  agent.wake = at;
  schedule_.insert({at, agent.number});
}

std::optional<Instant> AgentTable::next_wake() const {
  if (schedule_.empty()) return std::nullopt;
  return schedule_.begin()->first;
}

Agent* AgentTable::due(Instant now) {
  if (schedule_.empty() || schedule_.begin()->first > now) return nullptr;
  return find(schedule_.begin()->second);
}

}  // namespace postern::controller
