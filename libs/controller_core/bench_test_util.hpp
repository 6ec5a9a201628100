// A Network in virtual time for tests: a controller, the "store" as a list of committed change sets, and fake agents
// that sign what they are challenged with and remember everything that they were sent.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>

#include "controller_core/controller.hpp"
#include "controller_core/model_state.hpp"

namespace postern::controller {

/// What one connection has been sent, applied the way an agent would.
struct FakeAgent {
  explicit FakeAgent(identity::PrivateKey held) : key(std::move(held)) {}

  identity::PrivateKey key;
  std::string hostname = "host1";
  ConnectionNumber connection;
  bool open = false;
  Bytes nonce;
  std::string network;
  std::optional<wire::Welcome> welcome;
  std::optional<wire::Denied> denied;
  std::map<std::uint64_t, wire::Resource> resources;
  std::map<std::uint64_t, wire::RemoteNetworkLease> leases;
  std::map<std::uint64_t, wire::ConnectorInstance> instances;
  std::set<std::uint64_t> absent;  ///< instances
  std::vector<wire::Revocation> revocations;
  Bytes knock_key;
  identity::KeySet keys;
  std::vector<wire::RelayInfo> relay_ups;
  std::vector<std::string> relay_downs;
  Bytes seal_key;
  std::vector<Bytes> revoked_routes;
  std::uint64_t version = 0;
  int updates = 0;
  int heartbeat_replies = 0;

  void receive(const wire::ControllerMessage& message);
  void receive(const wire::ClientUpdate& update);
  void receive(const wire::ConnectorUpdate& update);
  [[nodiscard]] Bytes route() const { return to_bytes(as_bytes(welcome->route_id())); }
};

/// What a store that holds `stored` gives back when a server starts.
[[nodiscard]] std::vector<Record> records_of(const ModelState& stored);

class Bench {
 public:
  explicit Bench(ControllerConfig config = {});

  /// Plans, commits and applies; the command must be good.
  CommandResult run(const Command& command);
  [[nodiscard]] CommandError refused(const Command& command);
  [[nodiscard]] CommandContext context() const { return {"admin:test", "admin socket", wall}; }

  /// kill -9 and start again: all connections are gone, only what was committed comes back.
  void restart();
  /// Virtual time; timers fire on the way.
  void advance(Duration duration);
  /// Lets every output reach its receiver; without time passing.
  void deliver();

  void connect(FakeAgent& agent);
  void disconnect(FakeAgent& agent, ConnectionEnd end = ConnectionEnd::Cut);
  /// connect() and Authenticate as this role; `refresh_token` and `route` as the agent would send them.
  void authenticate(FakeAgent& agent, wire::AgentRole role, const std::string& refresh_token = {},
                    const Bytes& route = {});
  void send(FakeAgent& agent, const wire::AgentMessage& message);
  /// A relay's report with this epoch.
  void report(FakeAgent& agent, std::uint64_t epoch);
  void heartbeat(FakeAgent& agent, const std::vector<std::string>& relays = {"relay1"});
  [[nodiscard]] wire::AgentMessage signed_request(const FakeAgent& agent, wire::AgentRole role,
                                                  const std::string& network) const;

  [[nodiscard]] identity::PrivateKey new_key() { return identity::PrivateKey::generate(random); }
  [[nodiscard]] RelayEndpoint relay(std::uint64_t epoch = 1) const;
  /// An enrolled device of a user that exists.
  [[nodiscard]] FakeAgent enrolled_device(const std::string& user,
                                          std::chrono::hours signed_in = std::chrono::hours(240));

  SeededRandom random{1};
  ControllerConfig config;
  identity::PrivateKey signing;
  Instant now{std::chrono::seconds(1000)};
  WallTime wall{std::chrono::milliseconds(1'800'000'000'000)};
  std::unique_ptr<Controller> controller;
  ModelState stored;  ///< what a store would hold
  std::vector<AuditEntry> audit;
  std::vector<RouteId> revoked_routes;
  std::vector<FlowLogged> flows;
  bool store_works = true;
  bool store_waits = false;  ///< keeps enrolments uncommitted until commit_pending()
  void commit_pending();

 private:
  void commit(const ChangeSet& changes);
  void start();
  void route(const Output& output);

  std::map<ConnectionNumber, FakeAgent*> connected_;
  std::deque<CommitFirst> pending_;
  std::uint64_t next_connection_ = 1;
};

/// home: nginx, ssh and db behind one connector; ana may reach nginx through group web, ben nothing.
struct HomeNetwork {
  explicit HomeNetwork(Bench& bench);
  std::uint64_t nginx = 0;
  std::uint64_t ssh = 0;
  std::uint64_t remote_network = 0;
  std::uint64_t connector = 0;
  ConnectorTokens tokens;
};

}  // namespace postern::controller
