// One connection of the control channel, and the table of all of them with their deadlines.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <variant>

#include "base/route_id.hpp"
#include "controller_core/client_view.hpp"
#include "controller_core/connector_view.hpp"
#include "controller_core/controller.hpp"

namespace postern::controller {

/// handle_connect()
///       │ Challenge sent
///       ▼
///   Challenged ──── key unknown, refresh token valid ───► Enrolling
///       │                                                   │ handle_committed(ok)
///       │ key known                                         ▼
///       └──────────────────────────────────────────► Authenticated
///
/// From every state a connection leaves by being closed: Denied, silence, the bound, a newer connection of the same
/// key, or handle_disconnect(). Nothing goes back.
enum class AgentState : std::uint8_t { Challenged, Enrolling, Authenticated };

struct ClientSide {
  model::DeviceId device;
  ClientView view;
};
struct ConnectorSide {
  model::InstanceId instance;
  model::ConnectorId connector;
  model::RemoteNetworkId remote_network;
  ConnectorView view;
};

struct RelaySide {
  model::RelayId relay;
  wire::RelayReport report;  ///< the last one; sent_at 0: none yet
};

struct Agent {
  ConnectionNumber number;
  std::string address;
  AgentState state = AgentState::Challenged;
  std::array<std::uint8_t, 32> nonce{};
  Instant opened;
  Instant last_heard;
  WallTime connected_at;
  wire::AgentRole role = wire::AGENT_ROLE_UNSPECIFIED;
  std::string software;
  Digest key{};
  Bytes proposed_route;
  RouteId route;
  std::vector<std::string> relays;  ///< where it says it is bound
  std::uint32_t flows = 0;          ///< of a connector, as of its last heartbeat
  std::variant<std::monostate, ClientSide, ConnectorSide, RelaySide> side;
  std::optional<Instant> flush_at;  ///< something changed; an update goes out then
  std::optional<WallTime> ticket_renew_at;
  std::uint64_t version = 0;  ///< of the last update sent
  Instant wake;               ///< its place in the schedule

  [[nodiscard]] ClientSide* client() { return std::get_if<ClientSide>(&side); }
  [[nodiscard]] const ClientSide* client() const { return std::get_if<ClientSide>(&side); }
  [[nodiscard]] ConnectorSide* connector() { return std::get_if<ConnectorSide>(&side); }
  [[nodiscard]] const ConnectorSide* connector() const { return std::get_if<ConnectorSide>(&side); }
  [[nodiscard]] RelaySide* relay() { return std::get_if<RelaySide>(&side); }
  [[nodiscard]] const RelaySide* relay() const { return std::get_if<RelaySide>(&side); }
  /// Clients and connectors that were let in.
  [[nodiscard]] bool uses_relays() const { return state == AgentState::Authenticated && relay() == nullptr; }
};

class AgentTable {
 public:
  Agent& add(ConnectionNumber number);
  void remove(ConnectionNumber number);
  [[nodiscard]] Agent* find(ConnectionNumber number);
  [[nodiscard]] Agent* find(model::DeviceId device);
  [[nodiscard]] Agent* find(model::InstanceId instance);
  [[nodiscard]] Agent* find(model::RelayId relay);
  [[nodiscard]] const std::map<ConnectionNumber, Agent>& all() const { return agents_; }

  /// Makes an authenticated agent findable by what it is.
  void identify(Agent& agent);
  /// Clients by the Remote Networks that they hold leases for; call after each refresh of the view.
  void index_networks(const Agent& agent);
  [[nodiscard]] std::vector<ConnectionNumber> clients_of(model::RemoteNetworkId remote_network) const;

  [[nodiscard]] std::size_t unauthenticated() const { return unauthenticated_.size(); }
  [[nodiscard]] std::optional<ConnectionNumber> oldest_unauthenticated() const;

  void schedule(Agent& agent, Instant at);
  [[nodiscard]] std::optional<Instant> next_wake() const;
  /// The first agent whose time has come.
  [[nodiscard]] Agent* due(Instant now);

 private:
  std::map<ConnectionNumber, Agent> agents_;  // numbers grow, so this is the order of arrival
  std::set<ConnectionNumber> unauthenticated_;
  std::unordered_map<model::DeviceId, ConnectionNumber> by_device_;
  std::unordered_map<model::InstanceId, ConnectionNumber> by_instance_;
  std::unordered_map<model::RelayId, ConnectionNumber> by_relay_;
  std::map<model::RemoteNetworkId, std::set<ConnectionNumber>> clients_of_;
  std::unordered_map<ConnectionNumber, std::set<model::RemoteNetworkId>> networks_of_;
  std::set<std::pair<Instant, ConnectionNumber>> schedule_;
};

}  // namespace postern::controller
