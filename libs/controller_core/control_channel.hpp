// The control channel of all agents (PROTOCOL.md §6): proves their keys, tells them what they must know, and tells
// them again when it changes.
//
// What an agent should know is computed from the model; what it was told is in its view. A change marks the agents that
// it affects; 50 ms later one update carries the difference. Changes that take something away skip the wait: first the
// connectors get the revocations, then the clients their smaller leases.
#pragma once

#include <deque>
#include <map>
#include <unordered_map>

#include "controller_core/affected.hpp"
#include "controller_core/agent.hpp"
#include "controller_core/plan.hpp"
#include "controller_core/relays.hpp"
#include "controller_core/routes.hpp"

namespace postern::controller {

class ControlChannel {
 public:
  ControlChannel(const ControllerConfig& config, const ControllerKeys& keys, RandomSource& random, ModelState& model,
                 Counters& counters);

  /// What follows from the model as it was loaded, before any agent connects.
  void load(Instant now, WallTime wall);
  void handle_connect(Instant now, WallTime wall, ConnectionNumber connection, std::string_view address);
  void handle_message(Instant now, WallTime wall, ConnectionNumber connection, const wire::AgentMessage& message);
  void handle_disconnect(Instant now, WallTime wall, ConnectionNumber connection, ConnectionEnd end);
  void handle_committed(Instant now, WallTime wall, std::uint64_t ticket, bool ok);
  void handle_timeout(Instant now, WallTime wall);
  /// Changes the model and what follows from it for agents.
  void apply(Instant now, WallTime wall, const ChangeSet& changes);
  void set_relay(Instant now, const RelayEndpoint& relay);
  void set_relay_names(Instant now, model::RelayId id, std::vector<SocketAddress> addresses);
  /// Routes that fall with what `changes` take away, for the same commit: a server that starts again refuses them too.
  void add_revoked_routes(ChangeSet& changes, WallTime now) const;

  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] std::optional<Output> poll_output();
  [[nodiscard]] const AgentTable& agents() const { return agents_; }
  [[nodiscard]] const RelayBook& relays() const { return relays_; }
  [[nodiscard]] const ControllerCounters& counters() const { return counts_; }

 private:
  /// The moment of the call that is being handled.
  struct Moment {
    Instant now;
    WallTime wall;
  };
  struct PendingEnrolment {
    ConnectionNumber connection;
    model::ConnectorId connector;  ///< of an instance
    std::variant<model::InstanceId, model::RelayId> who;
    ChangeSet changes;
  };

  // authentication.cpp
  void authenticate(Agent& agent, const wire::Authenticate& request);
  void authenticate_client(Agent& agent);
  void authenticate_connector(Agent& agent, const wire::Authenticate& request);
  void enrol(Agent& agent, const ConnectorRecord& connector, const wire::Authenticate& request);
  void commit_enrolment(Agent& agent, std::variant<model::InstanceId, model::RelayId> who, ChangeSet changes,
                        model::ConnectorId connector = {});
  void finish_enrolment(Agent& agent, model::InstanceId id);
  [[nodiscard]] bool make_room(const ConnectorRecord& connector, const Digest& newcomer);
  void admit_client(Agent& agent, const DeviceRecord& device);
  void admit_connector(Agent& agent, const InstanceRecord& instance);
  void welcome(Agent& agent, identity::RelayRole role, wire::Welcome message);
  [[nodiscard]] std::set<model::InstanceId> connected_instances(model::ConnectorId connector);
  [[nodiscard]] std::size_t pending_enrolments(model::ConnectorId connector) const;

  // relay_agents.cpp
  void authenticate_relay(Agent& agent, const wire::Authenticate& request);
  void finish_enrolment(Agent& agent, model::RelayId id);
  void admit_relay(Agent& agent, const RelayRecord& relay);
  void relay_report(Agent& agent, const wire::RelayReport& report);
  [[nodiscard]] RelayEndpoint endpoint_of(const RelayRecord& relay) const;
  void pass_time(Instant now);
  void announce(const RelayEndpoint& relay);
  void withdraw(const std::string& name);
  void follow_relay(const RelayRecord& record, bool is_removed);
  void revoke_route(const RouteId& route);
  [[nodiscard]] WallTime revoked_until(WallTime now) const;

  // control_channel.cpp
  void heartbeat(Agent& agent, const wire::Heartbeat& message);
  void send(Agent& agent, wire::ControllerMessage message);
  void deny(ConnectionNumber connection, std::uint32_t code, std::string_view reason);
  void close(ConnectionNumber connection);
  void wake_up(Agent& agent);
  void reschedule(Agent& agent);
  [[nodiscard]] Instant instant_of(WallTime at) const;

  // presence.cpp
  void expect_instances();
  void follow_heartbeat(Agent& agent, const wire::Heartbeat& message);
  void follow_relays(Agent& agent);
  void show_instance(Agent& agent);
  void miss_instance(const Agent& agent);
  void end_instance(model::InstanceId id);
  void remove(const Agent& agent, ConnectionEnd end);
  void judge_absences(const ConnectorRecord& connector);
  void end_absences();

  // updates.cpp
  void mark(Agent& agent, bool at_once);
  void mark_clients_of(model::RemoteNetworkId remote_network, bool at_once);
  void mark_affected(const Affected& affected, bool at_once);
  void flush(Agent& agent, bool full);
  template <typename Update, typename Set>
  void send_update(Agent& agent, Update update, bool full, Set set);
  void push_revocations();
  void void_leases(const ChangeSet& changes);
  void cut_off(const ChangeSet& changes);
  void cut_off_surplus(const ConnectorRecord& connector);
  void cut_off_key(Agent* agent, const Bytes& public_key, std::uint32_t code, std::string_view reason);
  [[nodiscard]] WallTime ticket_end(const Agent& agent) const;
  [[nodiscard]] wire::RelayInfo relay_info(const Agent& agent, const RelayEndpoint& relay);
  void renew_tickets(Agent& agent);
  void plan_ticket_renewal(Agent& agent);
  [[nodiscard]] LeaseTerms terms() const { return {model_, keys_.signing, config_.lease_life, moment_.wall}; }

  const ControllerConfig& config_;
  const ControllerKeys& keys_;
  RandomSource& random_;
  ModelState& model_;
  Counters& ids_;
  RouteBook routes_;
  RelayBook relays_;
  std::map<model::RelayId, std::vector<SocketAddress>> relay_names_;
  InstanceBoard instances_;
  AgentTable agents_;
  std::map<std::uint64_t, PendingEnrolment> enrolments_;
  std::uint64_t next_ticket_ = 1;
  std::deque<Output> outputs_;
  ControllerCounters counts_;
  Moment moment_{};
};

}  // namespace postern::controller
