#include "controller_core/control_channel.hpp"

#include <algorithm>

namespace postern::controller {

namespace {

constexpr std::chrono::seconds kAuthenticationTime{10};  // PROTOCOL.md §8
/// A wall clock may lag the timer by its own resolution; asking again at once would spin.
constexpr std::chrono::milliseconds kWakeStep{1};

}  // namespace

ControlChannel::ControlChannel(const ControllerConfig& config, const ControllerKeys& keys, RandomSource& random,
                               ModelState& model, Counters& counters)
    : config_(config),
      keys_(keys),
      random_(random),
      model_(model),
      ids_(counters),
      routes_(keys.knock_secret, random),
      relays_(random) {}

void ControlChannel::handle_connect(Instant now, WallTime wall, ConnectionNumber connection, std::string_view address) {
  moment_ = {now, wall};
  if (agents_.unauthenticated() >= config_.unauthenticated_max) {
    ++counts_.unauthenticated_closed;
    close(*agents_.oldest_unauthenticated());
  }
  Agent& agent = agents_.add(connection);
  agent.address = address;
  agent.opened = agent.last_heard = now;
  agent.connected_at = wall;
  random_.fill(agent.nonce);
  wire::ControllerMessage message;
  wire::Challenge& challenge = *message.mutable_challenge();
  challenge.set_nonce(std::string(as_text(agent.nonce)));
  challenge.set_network(model_.network().slug);
  challenge.set_server_time_ms(to_unix_ms(wall));
  send(agent, std::move(message));
  reschedule(agent);
}

void ControlChannel::handle_message(Instant now, WallTime wall, ConnectionNumber connection,
                                    const wire::AgentMessage& message) {
  moment_ = {now, wall};
  Agent* agent = agents_.find(connection);
  if (agent == nullptr) {
    ++counts_.ignored_messages;  // it was closed while the message was on its way
    return;
  }
  agent->last_heard = now;
  const bool authenticated = agent->state == AgentState::Authenticated;
  if (agent->state == AgentState::Challenged) {
    if (message.has_authenticate()) {
      authenticate(*agent, message.authenticate());
    } else {
      deny(connection, 401, "the first message must be Authenticate");
    }
  } else if (authenticated && agent->relay() != nullptr) {
    message.has_relay_report() ? relay_report(*agent, message.relay_report()) : void(++counts_.ignored_messages);
  } else if (authenticated && message.has_heartbeat()) {
    heartbeat(*agent, message.heartbeat());
  } else if (authenticated && message.has_flow_record() && agent->connector() != nullptr) {
    outputs_.emplace_back(FlowLogged{agent->connector()->connector, message.flow_record()});
  } else {
    ++counts_.ignored_messages;
  }
  if (Agent* still = agents_.find(connection)) reschedule(*still);
}

void ControlChannel::handle_disconnect(Instant now, WallTime wall, ConnectionNumber connection, ConnectionEnd end) {
  moment_ = {now, wall};
  Agent* agent = agents_.find(connection);
  if (agent == nullptr) return;
  remove(*agent, end);
}

std::optional<Instant> ControlChannel::next_timeout() const {
  const auto wake = agents_.next_wake();
  const auto absence = instances_.next_end();
  return wake && absence ? std::min(wake, absence) : std::max(wake, absence);
}

void ControlChannel::handle_committed(Instant now, WallTime wall, std::uint64_t ticket, bool ok) {
  moment_ = {now, wall};
  const auto found = enrolments_.find(ticket);
  if (found == enrolments_.end()) return;
  const PendingEnrolment pending = std::move(found->second);
  enrolments_.erase(found);
  if (ok) apply(now, wall, pending.changes);
  Agent* agent = agents_.find(pending.connection);
  if (agent == nullptr || agent->state != AgentState::Enrolling) return;
  if (!ok) return deny(pending.connection, 503, "the server could not store the new key: try again later");
  std::visit([&](const auto id) { finish_enrolment(*agent, id); }, pending.who);
  if (Agent* still = agents_.find(pending.connection)) reschedule(*still);
}

void ControlChannel::handle_timeout(Instant now, WallTime wall) {
  moment_ = {now, wall};
  while (Agent* agent = agents_.due(now)) {
    const ConnectionNumber number = agent->number;
    wake_up(*agent);
    if (Agent* still = agents_.find(number)) reschedule(*still);
  }
  end_absences();
}

void ControlChannel::wake_up(Agent& agent) {
  if (agent.state != AgentState::Authenticated) {
    if (moment_.now < agent.opened + kAuthenticationTime) return;
    ++counts_.unauthenticated_closed;
    return close(agent.number);
  }
  if (moment_.now >= agent.last_heard + config_.connection_silence_max) {
    ++counts_.silent_closed;
    return close(agent.number);
  }
  if (const auto* client = agent.client()) {
    const DeviceRecord* device = model_.device(client->device);
    if (device == nullptr || device->signed_in_until <= moment_.wall) {
      return deny(agent.number, 401, "the sign-in of this device has ended: sign in again");
    }
    const auto renewal = client->view.next_renewal();
    if (renewal && *renewal <= moment_.wall) agent.flush_at = moment_.now;
  }
  if (agent.ticket_renew_at && *agent.ticket_renew_at <= moment_.wall) renew_tickets(agent);
  if (agent.flush_at && *agent.flush_at <= moment_.now) flush(agent, false);
}

Instant ControlChannel::instant_of(WallTime at) const {
  return std::max(moment_.now + kWakeStep, moment_.now + std::chrono::duration_cast<Duration>(at - moment_.wall));
}

void ControlChannel::reschedule(Agent& agent) {
  if (agent.state != AgentState::Authenticated) return agents_.schedule(agent, agent.opened + kAuthenticationTime);
  Instant wake = agent.last_heard + config_.connection_silence_max;
  if (agent.flush_at) wake = std::min(wake, *agent.flush_at);
  if (agent.ticket_renew_at) wake = std::min(wake, instant_of(*agent.ticket_renew_at));
  if (const auto* client = agent.client()) {
    if (const auto renewal = client->view.next_renewal()) wake = std::min(wake, instant_of(*renewal));
    if (const auto* device = model_.device(client->device)) wake = std::min(wake, instant_of(device->signed_in_until));
  }
  agents_.schedule(agent, wake);
}

void ControlChannel::heartbeat(Agent& agent, const wire::Heartbeat& message) {
  if (agent.connector() != nullptr) {
    const std::string_view digest = message.certificate_digest();
    // Clients pin what stands here: it can only be the key that was enrolled.
    if (!digest.empty() && digest != as_text(agent.key)) {
      return deny(agent.number, 403, "the certificate is not that of the enrolled key");
    }
    if (digest.empty()) ++counts_.ignored_messages;
    agent.flows = message.flows();
    follow_heartbeat(agent, message);
  } else {
    agent.relays.assign(message.relays().begin(), message.relays().end());
    std::erase_if(agent.relays, [&](const std::string& name) { return !relays_.knows(name); });
  }
  wire::ControllerMessage reply;
  reply.mutable_heartbeat_reply()->set_sent_at(message.sent_at());
  reply.mutable_heartbeat_reply()->set_server_time_ms(to_unix_ms(moment_.wall));
  send(agent, std::move(reply));
}

void ControlChannel::send(Agent& agent, wire::ControllerMessage message) {
  outputs_.emplace_back(SendMessage{agent.number, std::move(message)});
}

void ControlChannel::deny(ConnectionNumber connection, std::uint32_t code, std::string_view reason) {
  Agent* agent = agents_.find(connection);
  if (agent == nullptr) return;
  ++counts_.denied;
  wire::ControllerMessage message;
  message.mutable_denied()->set_code(code);
  message.mutable_denied()->set_reason(std::string(reason));
  send(*agent, std::move(message));
  if (const auto* side = agent->connector()) end_instance(side->instance);
  close(connection);
}

void ControlChannel::close(ConnectionNumber connection) {
  Agent* agent = agents_.find(connection);
  if (agent == nullptr) return;
  remove(*agent, ConnectionEnd::Lost);
  outputs_.emplace_back(CloseConnection{connection});
}

std::optional<Output> ControlChannel::poll_output() {
  if (outputs_.empty()) return std::nullopt;
  Output output = std::move(outputs_.front());
  outputs_.pop_front();
  return output;
}

}  // namespace postern::controller
