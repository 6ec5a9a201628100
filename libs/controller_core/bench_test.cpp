// The workings of bench_test_util.hpp.
#include "controller_core/bench_test_util.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {

void FakeAgent::receive(const wire::ControllerMessage& message) {
  if (message.has_challenge()) {
    nonce = to_bytes(as_bytes(message.challenge().nonce()));
    network = message.challenge().network();
  } else if (message.has_welcome()) {
    welcome = message.welcome();
  } else if (message.has_denied()) {
    denied = message.denied();
  } else if (message.has_relay_up()) {
    relay_ups.push_back(message.relay_up().relay());
  } else if (message.has_relay_down()) {
    relay_downs.push_back(message.relay_down().name());
  } else if (message.has_relay_update()) {
    const auto& update = message.relay_update();
    if (update.full()) revoked_routes.clear();
    if (!update.seal_key().empty()) seal_key = to_bytes(as_bytes(update.seal_key()));
    for (const auto& route : update.revoked_routes()) revoked_routes.push_back(to_bytes(as_bytes(route.route_id())));
  } else if (message.has_heartbeat_reply()) {
    ++heartbeat_replies;
  } else if (message.has_client_update()) {
    receive(message.client_update());
  } else if (message.has_connector_update()) {
    receive(message.connector_update());
  }
}

void FakeAgent::receive(const wire::ClientUpdate& update) {
  ++updates;
  EXPECT_GT(update.version(), version);
  if (update.full()) {
    resources.clear();
    leases.clear();
    instances.clear();
    absent.clear();
  } else {
    EXPECT_EQ(update.from_version(), version);
  }
  version = update.version();
  for (const auto& each : update.resources()) resources[each.id()] = each;
  for (const auto& each : update.leases()) leases[each.remote_network_id()] = each;
  for (const auto& each : update.instances()) {
    instances[each.instance_id()] = each;
    absent.erase(each.instance_id());
  }
  for (const auto id : update.absent_instances()) {
    instances.erase(id);
    EXPECT_TRUE(absent.insert(id).second);
  }
  for (const auto id : update.removed_resources()) EXPECT_EQ(resources.erase(id), 1U);
  for (const auto id : update.removed_leases()) EXPECT_EQ(leases.erase(id), 1U);
  for (const auto id : update.removed_instances()) EXPECT_EQ(instances.erase(id) + absent.erase(id), 1U);
}

void FakeAgent::receive(const wire::ConnectorUpdate& update) {
  ++updates;
  EXPECT_GT(update.version(), version);
  if (update.full()) {
    resources.clear();
    revocations.clear();
  } else {
    EXPECT_EQ(update.from_version(), version);
  }
  version = update.version();
  for (const auto& each : update.resources()) resources[each.id()] = each;
  for (const auto id : update.removed_resources()) EXPECT_EQ(resources.erase(id), 1U);
  for (const auto& each : update.revocations()) revocations.push_back(each);
  if (!update.knock_key().empty()) knock_key = to_bytes(as_bytes(update.knock_key()));
  if (!update.keys().empty()) keys.clear();
  for (const auto& each : update.keys()) {
    keys.emplace(each.kid(), identity::PublicKey::from_spki(as_bytes(each.public_key())).value());
  }
}

Bench::Bench(ControllerConfig wanted) : config(wanted), signing(identity::PrivateKey::generate(random)) {
  commit(found_network({model::NetworkId(1), "home", "Home", "https://198.51.100.1", ""}, context()).value());
  start();
  controller->set_relay(now, relay());
}

RelayEndpoint Bench::relay(std::uint64_t epoch) const {
  RelayEndpoint relay;
  relay.name = "relay1";
  relay.addresses = {*SocketAddress::parse("198.51.100.1:443")};
  relay.seal_key.fill(7);
  relay.epoch = epoch;
  return relay;
}

void Bench::start() {
  controller = std::make_unique<Controller>(config, ControllerKeys{signing, Bytes(32, 9)}, random);
  controller->load(now, wall, records_of(stored));
}

void Bench::restart() {
  for (auto& [number, agent] : connected_) agent->open = false;
  connected_.clear();
  pending_.clear();
  start();
  controller->set_relay(now, relay(2));
}

void Bench::commit(const ChangeSet& changes) {
  stored.apply(changes);
  audit.insert(audit.end(), changes.audit.begin(), changes.audit.end());
}

std::vector<Record> records_of(const ModelState& stored) {
  std::vector<Record> records;
  records.emplace_back(stored.network());
  const auto add = [&](const auto& table) {
    for (const auto& [id, record] : table) records.emplace_back(record);
  };
  add(stored.users());
  add(stored.groups());
  add(stored.remote_networks());
  add(stored.connectors());
  add(stored.instances());
  add(stored.devices());
  add(stored.revocations());
  add(stored.relays());
  for (const auto& [route, expires_at] : stored.revoked_routes()) {
    records.emplace_back(RevokedRouteRecord{route, expires_at});
  }
  for (const auto& [id, entry] : stored.resources()) {
    records.emplace_back(ResourceRecord{entry.resource});
    for (const auto group : stored.access(id).groups) records.emplace_back(AccessRecord{id, group, {}});
    for (const auto user : stored.access(id).users) records.emplace_back(AccessRecord{id, {}, user});
  }
  for (const auto& [id, group] : stored.groups()) {
    for (const auto user : stored.members(id)) records.emplace_back(MembershipRecord{id, user});
  }
  return records;
}

CommandResult Bench::run(const Command& command) {
  auto planned = controller->plan(command, context());
  if (!planned) {
    ADD_FAILURE() << planned.error().message;
    return {};
  }
  commit(planned->changes);
  controller->apply(now, wall, planned->changes);
  deliver();
  return std::move(*planned);
}

CommandError Bench::refused(const Command& command) {
  auto planned = controller->plan(command, context());
  if (!planned) return planned.error();
  ADD_FAILURE() << "was not refused";
  return {};
}

void Bench::route(const Output& output) {
  if (const auto* send = std::get_if<SendMessage>(&output)) {
    const auto found = connected_.find(send->connection);
    ASSERT_NE(found, connected_.end());
    EXPECT_LE(send->message.ByteSizeLong(), 4U * 1024 * 1024);
    found->second->receive(send->message);
  } else if (const auto* close = std::get_if<CloseConnection>(&output)) {
    const auto found = connected_.find(close->connection);
    ASSERT_NE(found, connected_.end());
    found->second->open = false;
    connected_.erase(found);
  } else if (const auto* commit_first = std::get_if<CommitFirst>(&output)) {
    pending_.push_back(*commit_first);
  } else if (const auto* revoked = std::get_if<RevokeRoute>(&output)) {
    revoked_routes.push_back(revoked->route);
  } else {
    flows.push_back(std::get<FlowLogged>(output));
  }
}

void Bench::commit_pending() {
  while (!pending_.empty()) {
    const CommitFirst first = std::move(pending_.front());
    pending_.pop_front();
    if (store_works) commit(first.changes);
    controller->handle_committed(now, wall, first.ticket, store_works);
  }
  while (auto output = controller->poll_output()) route(*output);
}

void Bench::deliver() {
  while (auto output = controller->poll_output()) route(*output);
  if (!store_waits && !pending_.empty()) commit_pending();
}

void Bench::advance(Duration duration) {
  const Instant end = now + duration;
  const WallTime wall_start = wall;
  const Instant start = now;
  while (true) {
    const auto next = controller->next_timeout();
    if (!next || *next > end) break;
    now = std::max(now, *next);
    wall = wall_start + std::chrono::duration_cast<std::chrono::milliseconds>(now - start);
    controller->handle_timeout(now, wall);
    deliver();
  }
  now = end;
  wall = wall_start + std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

void Bench::connect(FakeAgent& agent) {
  agent.connection = ConnectionNumber(next_connection_++);
  agent.open = true;
  agent.welcome.reset();
  agent.denied.reset();
  agent.version = 0;
  connected_[agent.connection] = &agent;
  controller->handle_connect(now, wall, agent.connection, "203.0.113.7:5000");
  deliver();
}

void Bench::disconnect(FakeAgent& agent, ConnectionEnd end) {
  connected_.erase(agent.connection);
  agent.open = false;
  controller->handle_disconnect(now, wall, agent.connection, end);
  deliver();
}

wire::AgentMessage Bench::signed_request(const FakeAgent& agent, wire::AgentRole role,
                                         const std::string& network) const {
  const std::string word = role == wire::AGENT_ROLE_CLIENT  ? "client"
                           : role == wire::AGENT_ROLE_RELAY ? "relay"
                                                            : "connector";
  wire::AgentMessage message;
  auto& request = *message.mutable_authenticate();
  request.set_role(role);
  request.set_public_key(std::string(as_text(agent.key.public_key().spki())));
  const Bytes signature = agent.key.sign(identity::control_signature_input(agent.nonce, network, word));
  request.set_signature(std::string(as_text(signature)));
  request.set_software("postern/0.1.0");
  request.set_hostname(agent.hostname);
  return message;
}

void Bench::send(FakeAgent& agent, const wire::AgentMessage& message) {
  controller->handle_message(now, wall, agent.connection, message);
  deliver();
}

void Bench::authenticate(FakeAgent& agent, wire::AgentRole role, const std::string& refresh_token, const Bytes& route) {
  connect(agent);
  auto message = signed_request(agent, role, agent.network);
  message.mutable_authenticate()->set_refresh_token(refresh_token);
  message.mutable_authenticate()->set_route_id(std::string(as_text(route)));
  send(agent, message);
}

void Bench::report(FakeAgent& agent, std::uint64_t epoch) {
  wire::AgentMessage message;
  message.mutable_relay_report()->set_epoch(epoch);
  message.mutable_relay_report()->set_sent_at(static_cast<std::uint64_t>(to_nanoseconds(now)));
  message.mutable_relay_report()->set_bindings(3);
  send(agent, message);
}

void Bench::heartbeat(FakeAgent& agent, const std::vector<std::string>& relays) {
  wire::AgentMessage message;
  const Digest& digest = agent.key.public_key().digest();
  message.mutable_heartbeat()->set_certificate_digest(std::string(as_text(digest)));
  for (const auto& relay : relays) message.mutable_heartbeat()->add_relays(relay);
  send(agent, message);
}

FakeAgent Bench::enrolled_device(const std::string& user, std::chrono::hours signed_in) {
  FakeAgent agent(new_key());
  run(EnrolDevice{user, "laptop", agent.key.public_key().spki(), wall + signed_in});
  return agent;
}

HomeNetwork::HomeNetwork(Bench& bench) {
  bench.run(CreateUser{"admin@example.org", "hash", UserRole::Admin});
  bench.run(CreateUser{"ana@example.org", "hash"});
  bench.run(CreateUser{"ben@example.org", "hash"});
  bench.run(CreateGroup{"web"});
  bench.run(AddToGroup{"web", "ana@example.org"});
  remote_network = bench.run(CreateRemoteNetwork{"flat"}).id;
  connector = bench.run(CreateConnector{"pi", "flat"}).id;
  tokens = *bench.run(GenerateConnectorTokens{"pi"}).tokens;
  nginx = bench.run(CreateResource{"nginx", "flat", "nginx.home", {"web.home"}, "80,443"}).id;
  ssh = bench.run(CreateResource{"ssh", "flat", "192.168.1.0/24", {}, "22"}).id;
  bench.run(GrantAccess{"nginx", "web", ""});
}

}  // namespace postern::controller
