// How an agent proves its key and is let in (PROTOCOL.md §6): known keys at once, a connector's new key by its refresh
// token and only after it has been stored.
#include <algorithm>

#include "controller_core/commands/commands.hpp"
#include "controller_core/connector_token.hpp"
#include "controller_core/control_channel.hpp"
#include "controller_core/names.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {

namespace {

constexpr std::string_view kTokensRevoked =
    "the connector's tokens were revoked or are not from this Network: generate new ones";

std::string_view role_word(wire::AgentRole role) {
  switch (role) {
    case wire::AGENT_ROLE_CLIENT:
      return "client";
    case wire::AGENT_ROLE_CONNECTOR:
      return "connector";
    case wire::AGENT_ROLE_RELAY:
      return "relay";
    default:
      return {};
  }
}

std::string full_text(const ConnectorRecord& connector) {
  return "the connector " + connector.name + " has as many running instances as it may have (" +
         std::to_string(connector.instances_max) +
         "): stop one, or let it have more with postern-server admin connector update --max-instances";
}

}  // namespace

void ControlChannel::authenticate(Agent& agent, const wire::Authenticate& request) {
  const std::string_view word = role_word(request.role());
  if (word.empty()) return deny(agent.number, 403, "only clients, connectors and relays are served here");
  const auto key = identity::PublicKey::from_spki(as_bytes(request.public_key()));
  if (!key) return deny(agent.number, 401, "the key is not a P-256 public key");
  const Bytes signed_bytes = identity::control_signature_input(agent.nonce, model_.network().slug, word);
  if (!key->verify(signed_bytes, as_bytes(request.signature()))) {
    return deny(agent.number, 401, "the signature does not prove the key for this Network");
  }
  agent.role = request.role();
  agent.key = key->digest();
  agent.software = shown_name(request.software());
  agent.proposed_route = to_bytes(as_bytes(request.route_id()));
  if (agent.role == wire::AGENT_ROLE_CLIENT) {
    authenticate_client(agent);
  } else if (agent.role == wire::AGENT_ROLE_RELAY) {
    authenticate_relay(agent, request);
  } else {
    authenticate_connector(agent, request);
  }
}

void ControlChannel::authenticate_client(Agent& agent) {
  const DeviceRecord* device = model_.device_by_key(agent.key);
  if (device == nullptr) return deny(agent.number, 401, "this device is not enrolled: sign in");
  const UserRecord* user = model_.user(device->user);
  if (user == nullptr || user->state != UserState::Active) return deny(agent.number, 403, "the user is disabled");
  if (device->signed_in_until <= moment_.wall) {
    return deny(agent.number, 401, "the sign-in of this device has ended: sign in again");
  }
  admit_client(agent, *device);
}

void ControlChannel::authenticate_connector(Agent& agent, const wire::Authenticate& request) {
  const InstanceRecord* instance = model_.instance_by_key(agent.key);
  const ConnectorRecord* connector = instance == nullptr ? nullptr : model_.connector(instance->connector);
  if (connector != nullptr && connector->token_generation == instance->token_generation) {
    if (!make_room(*connector, agent.key)) return deny(agent.number, 409, full_text(*connector));
    return admit_connector(agent, *instance);
  }
  const std::string& token = request.refresh_token();
  if (!identity::is_refresh_token_shaped(token)) return deny(agent.number, 410, kTokensRevoked);
  connector = model_.connector_by_token(identity::sha256(as_bytes(token)));
  if (connector == nullptr) return deny(agent.number, 410, kTokensRevoked);
  if (!make_room(*connector, agent.key)) return deny(agent.number, 409, full_text(*connector));
  enrol(agent, *connector, request);
}

void ControlChannel::enrol(Agent& agent, const ConnectorRecord& connector, const wire::Authenticate& request) {
  const CommandContext context{"connector:" + std::to_string(connector.id.value), agent.address, moment_.wall};
  Plan plan(model_, ids_, random_, context, config_, keys_);
  CommandResult planned = plan_instance(plan, {connector.id, to_bytes(as_bytes(request.public_key())),
                                               request.hostname(), connected_instances(connector.id)});
  add_revoked_routes(planned.changes, moment_.wall);
  commit_enrolment(agent, model::InstanceId(planned.id), std::move(planned.changes), connector.id);
}

void ControlChannel::commit_enrolment(Agent& agent, std::variant<model::InstanceId, model::RelayId> who,
                                      ChangeSet changes, model::ConnectorId connector) {
  agent.state = AgentState::Enrolling;
  const std::uint64_t ticket = next_ticket_++;
  outputs_.emplace_back(CommitFirst{ticket, changes});
  enrolments_[ticket] = {agent.number, connector, who, std::move(changes)};
}

void ControlChannel::finish_enrolment(Agent& agent, model::InstanceId id) {
  const InstanceRecord* instance = model_.instance(id);
  const ConnectorRecord* connector = instance == nullptr ? nullptr : model_.connector(instance->connector);
  if (connector == nullptr || connector->token_generation != instance->token_generation) {
    return deny(agent.number, 410, "the connector's tokens were revoked");
  }
  admit_connector(agent, *instance);
}

std::set<model::InstanceId> ControlChannel::connected_instances(model::ConnectorId connector) {
  std::set<model::InstanceId> connected;
  for (const model::InstanceId id : model_.instances_of(connector)) {
    if (agents_.find(id) != nullptr) connected.insert(id);
  }
  return connected;
}

std::size_t ControlChannel::pending_enrolments(model::ConnectorId connector) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(enrolments_, [&](const auto& each) { return each.second.connector == connector; }));
}

/// True when one more instance may run; one that has been silent makes room for the newcomer.
bool ControlChannel::make_room(const ConnectorRecord& connector, const Digest& newcomer) {
  std::size_t running = pending_enrolments(connector.id);
  Agent* quietest = nullptr;
  for (const model::InstanceId id : connected_instances(connector.id)) {
    Agent* agent = agents_.find(id);
    if (agent->key == newcomer) continue;  // it comes back and takes its own place
    ++running;
    if (quietest == nullptr || agent->last_heard < quietest->last_heard) quietest = agent;
  }
  if (running < connector.instances_max) return true;
  if (quietest == nullptr || moment_.now - quietest->last_heard < config_.instance_silence_max) return false;
  deny(quietest->number, 409, "a newer instance took the place of this one, which had been silent");
  return true;
}

void ControlChannel::admit_client(Agent& agent, const DeviceRecord& device) {
  if (Agent* older = agents_.find(device.id)) close(older->number);
  agent.side = ClientSide{device.id, {}};
  wire::Welcome message;
  message.set_agent_id(device.id.value);
  message.set_agent_name(device.name);
  message.set_account(model_.user(device.user)->email);
  welcome(agent, identity::RelayRole::Client, std::move(message));
}

void ControlChannel::admit_connector(Agent& agent, const InstanceRecord& instance) {
  if (Agent* older = agents_.find(instance.id)) close(older->number);
  const ConnectorRecord& connector = *model_.connector(instance.connector);
  agent.side = ConnectorSide{instance.id, connector.id, connector.remote_network, {}};
  wire::Welcome message;
  message.set_agent_id(instance.id.value);
  message.set_agent_name(connector.name);
  message.set_connector_id(connector.id.value);
  message.set_remote_network_id(connector.remote_network.value);
  if (const auto* network = model_.remote_network(connector.remote_network)) {
    message.set_remote_network_name(network->name);
  }
  message.set_access_token(make_access_token(model_.network(), connector, keys_.signing, moment_.wall, random_));
  welcome(agent, identity::RelayRole::Connector, std::move(message));
}

void ControlChannel::welcome(Agent& agent, identity::RelayRole role, wire::Welcome message) {
  agent.state = AgentState::Authenticated;
  agents_.identify(agent);
  agent.route = routes_.claim(agent.key, role, agent.proposed_route);
  message.set_network(model_.network().slug);
  message.set_network_name(model_.network().display_name);
  message.set_route_id(std::string(as_text(agent.route.bytes)));
  message.set_server_time_ms(to_unix_ms(moment_.wall));
  for (const auto& [name, relay] : relays_.all()) *message.add_relays() = relay_info(agent, relay);
  plan_ticket_renewal(agent);
  wire::ControllerMessage wrapped;
  *wrapped.mutable_welcome() = std::move(message);
  send(agent, std::move(wrapped));
  flush(agent, true);
}

}  // namespace postern::controller
