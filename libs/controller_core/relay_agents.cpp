// Relays in processes of their own (PROTOCOL.md §6.1): how they are let in, what they are told, what they report, and
// when agents hear of them.
//
// A relay that has enrolled is told of to agents whether its control channel is up or not: it forwards without the
// controller, and after a restart of the controller the sessions over it must find it again before it has come back.
#include "controller_core/commands/commands.hpp"
#include "controller_core/control_channel.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {

namespace {

constexpr std::string_view kTokenRefused =
    "the relay's token was replaced, was used by another relay already, or is not from this Network: make a new one "
    "with postern-server admin relay token";

wire::RevokedRoute wire_form(const RouteId& route, WallTime expires_at) {
  wire::RevokedRoute form;
  form.set_route_id(std::string(as_text(route.bytes)));
  form.set_expires_at_ms(to_unix_ms(expires_at));
  return form;
}

}  // namespace

void ControlChannel::load(Instant now, WallTime wall) {
  moment_ = {now, wall};
  for (const auto& [id, relay] : model_.relays()) {
    if (!relay.public_key.empty()) relays_.set(endpoint_of(relay));
  }
  for (const auto& [route, expires_at] : model_.revoked_routes()) routes_.refuse(route);
  expect_instances();
}

void ControlChannel::authenticate_relay(Agent& agent, const wire::Authenticate& request) {
  if (const RelayRecord* known = model_.relay_by_key(agent.key)) return admit_relay(agent, *known);
  const std::string& token = request.refresh_token();
  const RelayRecord* relay =
      identity::is_relay_token_shaped(token) ? model_.relay_by_token(identity::sha256(as_bytes(token))) : nullptr;
  if (relay == nullptr || !relay->public_key.empty()) return deny(agent.number, 410, kTokenRefused);
  const CommandContext context{"relay:" + std::to_string(relay->id.value), agent.address, moment_.wall};
  Plan plan(model_, ids_, random_, context, config_, keys_);
  CommandResult planned = plan_relay(plan, {relay->id, to_bytes(as_bytes(request.public_key())), request.hostname()});
  commit_enrolment(agent, relay->id, std::move(planned.changes));
}

void ControlChannel::finish_enrolment(Agent& agent, model::RelayId id) {
  const RelayRecord* relay = model_.relay(id);
  const bool is_still_its = relay != nullptr && relay == model_.relay_by_key(agent.key);
  if (!is_still_its) return deny(agent.number, 410, kTokenRefused);
  admit_relay(agent, *relay);
}

void ControlChannel::admit_relay(Agent& agent, const RelayRecord& relay) {
  if (Agent* older = agents_.find(relay.id)) close(older->number);
  agent.side = RelaySide{relay.id, {}};
  agent.state = AgentState::Authenticated;
  agents_.identify(agent);
  wire::ControllerMessage wrapped;
  wire::Welcome& message = *wrapped.mutable_welcome();
  message.set_network(model_.network().slug);
  message.set_network_name(model_.network().display_name);
  message.set_agent_id(relay.id.value);
  message.set_agent_name(relay.name);
  message.set_server_time_ms(to_unix_ms(moment_.wall));
  send(agent, std::move(wrapped));
  wire::ControllerMessage all;
  wire::RelayUpdate& update = *all.mutable_relay_update();
  update.set_full(true);
  update.set_seal_key(std::string(as_text(endpoint_of(relay).seal_key)));
  for (const auto& [route, expires_at] : model_.revoked_routes()) {
    if (expires_at > moment_.wall) *update.add_revoked_routes() = wire_form(route, expires_at);
  }
  send(agent, std::move(all));
}

void ControlChannel::relay_report(Agent& agent, const wire::RelayReport& report) {
  RelaySide& side = *agent.relay();
  const RelayRecord& record = *model_.relay(side.relay);
  // Every agent is told of a new epoch, so one connection can have only one.
  const bool is_first = side.report.sent_at() == 0;
  if (!is_first && report.epoch() != side.report.epoch()) {
    return deny(agent.number, 403, "a relay keeps its epoch while it is connected");
  }
  side.report = report;
  side.report.set_sent_at(std::max<std::uint64_t>(1, report.sent_at()));
  if (is_first) {
    RelayEndpoint endpoint = endpoint_of(record);
    endpoint.epoch = report.epoch();
    announce(endpoint);
  }
  wire::ControllerMessage reply;
  reply.mutable_heartbeat_reply()->set_sent_at(report.sent_at());
  reply.mutable_heartbeat_reply()->set_server_time_ms(to_unix_ms(moment_.wall));
  send(agent, std::move(reply));
}

/// With what is known of its epoch and of the addresses behind its names.
RelayEndpoint ControlChannel::endpoint_of(const RelayRecord& relay) const {
  RelayEndpoint endpoint{.name = relay.name, .addresses = {}, .seal_key = relay_seal_key(keys_.knock_secret, relay)};
  if (!relay.public_key.empty()) endpoint.key_digest = identity::sha256(relay.public_key);
  for (const std::string& text : relay.addresses) {
    if (const auto address = SocketAddress::parse(text)) endpoint.addresses.push_back(*address);
  }
  if (const auto named = relay_names_.find(relay.id); named != relay_names_.end()) {
    endpoint.addresses.insert(endpoint.addresses.end(), named->second.begin(), named->second.end());
  }
  if (const RelayEndpoint* known = relays_.find(relay.name); known != nullptr && known->seal_key == endpoint.seal_key) {
    endpoint.epoch = known->epoch;
  }
  return endpoint;
}

void ControlChannel::set_relay_names(Instant now, model::RelayId id, std::vector<SocketAddress> addresses) {
  pass_time(now);
  relay_names_[id] = std::move(addresses);
  const RelayRecord* relay = model_.relay(id);
  if (relay != nullptr && relays_.knows(relay->name)) announce(endpoint_of(*relay));
}

void ControlChannel::set_relay(Instant now, const RelayEndpoint& relay) {
  pass_time(now);
  announce(relay);
}

/// No agent is connected before the first call with a wall clock, so there is one wherever it is needed.
void ControlChannel::pass_time(Instant now) {
  moment_.wall += std::chrono::duration_cast<std::chrono::milliseconds>(now - moment_.now);
  moment_.now = now;
}

void ControlChannel::announce(const RelayEndpoint& relay) {
  if (!relays_.set(relay)) return;
  for (const auto& [number, entry] : agents_.all()) {
    if (!entry.uses_relays()) continue;
    Agent& agent = *agents_.find(number);
    wire::ControllerMessage message;
    *message.mutable_relay_up()->mutable_relay() = relay_info(agent, relay);
    send(agent, std::move(message));
  }
}

/// Nobody is sent there any more; instances that were bound nowhere else are absent until they are bound again.
void ControlChannel::withdraw(const std::string& name) {
  if (!relays_.erase(name)) return;
  for (const auto& [number, entry] : agents_.all()) {
    if (!entry.uses_relays()) continue;
    Agent& agent = *agents_.find(number);
    wire::ControllerMessage message;
    message.mutable_relay_down()->set_name(name);
    send(agent, std::move(message));
    std::erase(agent.relays, name);
    if (agent.connector() != nullptr) follow_relays(agent);
  }
}

/// After the model has changed.
void ControlChannel::follow_relay(const RelayRecord& record, bool is_removed) {
  const bool has_key = !is_removed && !record.public_key.empty();
  if (has_key) {
    if (relays_.knows(record.name)) announce(endpoint_of(record));
    return;  // one that has just enrolled is announced by its first report
  }
  withdraw(record.name);
  if (is_removed) relay_names_.erase(record.id);
  if (Agent* agent = agents_.find(record.id)) deny(agent->number, 410, kTokenRefused);
}

void ControlChannel::revoke_route(const RouteId& route) {
  outputs_.emplace_back(RevokeRoute{route});
  const auto found = model_.revoked_routes().find(route);
  const WallTime until = found != model_.revoked_routes().end() ? found->second : revoked_until(moment_.wall);
  for (const auto& [number, entry] : agents_.all()) {
    if (entry.relay() == nullptr) continue;
    wire::ControllerMessage message;
    *message.mutable_relay_update()->add_revoked_routes() = wire_form(route, until);
    send(*agents_.find(number), std::move(message));
  }
}

WallTime ControlChannel::revoked_until(WallTime now) const {
  return now + std::chrono::ceil<std::chrono::milliseconds>(config_.lease_life) + 2 * identity::kClockTolerance;
}

void ControlChannel::add_revoked_routes(ChangeSet& changes, WallTime now) const {
  std::vector<RouteId> lost;
  const auto lose = [&](const Bytes& public_key) {
    if (const auto route = routes_.find(identity::sha256(public_key))) lost.push_back(*route);
  };
  for (const Change& change : changes.changes) {
    if (const auto* removed = std::get_if<Remove>(&change)) {
      if (const auto* device = std::get_if<DeviceRecord>(&removed->record)) lose(device->public_key);
      if (const auto* instance = std::get_if<InstanceRecord>(&removed->record)) lose(instance->public_key);
      continue;
    }
    const auto* user = std::get_if<UserRecord>(&std::get<Upsert>(change).record);
    if (user == nullptr || user->state == UserState::Active) continue;
    for (const model::DeviceId id : model_.devices_of(user->id)) lose(model_.device(id)->public_key);
  }
  if (lost.empty()) return;
  std::size_t kept = model_.revoked_routes().size() + lost.size();
  for (const auto& [route, expires_at] : model_.revoked_routes()) {
    if (expires_at > now && kept <= kRevokedRoutesMax) continue;
    changes.changes.emplace_back(Remove{RevokedRouteRecord{route, expires_at}});
    --kept;
  }
  for (const RouteId& route : lost) changes.changes.emplace_back(Upsert{RevokedRouteRecord{route, revoked_until(now)}});
}

}  // namespace postern::controller
