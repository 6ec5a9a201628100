#include "controller_core/bench_test_util.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {
namespace {

using namespace std::chrono_literals;
constexpr auto kClient = wire::AGENT_ROLE_CLIENT;
constexpr auto kConnector = wire::AGENT_ROLE_CONNECTOR;

/// HomeNetwork with its connector and ana's laptop connected and bound.
struct ControlChannelTest : ::testing::Test {
  Bench bench;
  HomeNetwork home{bench};
  FakeAgent connector{bench.new_key()};
  FakeAgent laptop = bench.enrolled_device("ana@example.org");

  void connect_all() {
    bench.authenticate(connector, kConnector, home.tokens.refresh_token);
    bench.heartbeat(connector);
    bench.authenticate(laptop, kClient);
    bench.advance(100ms);
  }
  identity::Lease lease(FakeAgent& agent) {
    const identity::LeaseExpectation expected{"home", home.remote_network, agent.key.public_key().digest()};
    auto verified = identity::verify_lease(agent.leases.at(home.remote_network).lease(),
                                           bench.controller->verification_keys(), expected, bench.wall);
    EXPECT_TRUE(verified);
    return verified.value_or(identity::Lease{});
  }
  static std::set<std::uint64_t> named(const identity::Lease& lease) {
    std::set<std::uint64_t> ids;
    for (const auto& grant : lease.resources) ids.insert(grant.resource_id);
    return ids;
  }
};

TEST_F(ControlChannelTest, AConnectorEnrolsItsKeyOnceAndIsToldEverything) {
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  ASSERT_TRUE(connector.welcome);
  EXPECT_EQ(connector.welcome->connector_id(), home.connector);
  EXPECT_EQ(connector.welcome->agent_name(), "pi");
  EXPECT_EQ(connector.welcome->remote_network_name(), "flat");
  EXPECT_EQ(connector.welcome->route_id().size(), 7U);
  EXPECT_EQ(connector.resources.size(), 2U);
  EXPECT_EQ(connector.keys.size(), 1U);
  EXPECT_EQ(connector.knock_key.size(), 32U);
  EXPECT_EQ(bench.stored.instances().size(), 1U);
  EXPECT_EQ(bench.audit.back().action, "instance.enrol");
  EXPECT_EQ(bench.audit.back().actor, "connector:" + std::to_string(home.connector));
  const auto token = identity::verify_access_token(connector.welcome->access_token(),
                                                   bench.controller->verification_keys(), "home", bench.wall);
  ASSERT_TRUE(token);
  EXPECT_EQ(token->connector_id, home.connector);
}

TEST_F(ControlChannelTest, NothingIsSaidToAConnectorBeforeItsKeyIsStored) {
  bench.store_waits = true;
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  EXPECT_FALSE(connector.welcome);
  EXPECT_TRUE(bench.controller->instances(model::ConnectorId(home.connector)).empty());
  bench.commit_pending();
  EXPECT_TRUE(connector.welcome);
}

TEST_F(ControlChannelTest, AKeyThatCouldNotBeStoredIsDeniedAndMayTryAgain) {
  bench.store_works = false;
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  ASSERT_TRUE(connector.denied);
  EXPECT_EQ(connector.denied->code(), 503U);
  bench.store_works = true;
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  EXPECT_TRUE(connector.welcome);
}

TEST_F(ControlChannelTest, TokensThatAreRegeneratedWhileAKeyIsBeingStoredDoNotLetItIn) {
  bench.store_waits = true;
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  bench.run(GenerateConnectorTokens{"pi"});
  bench.commit_pending();
  EXPECT_FALSE(connector.welcome);
  ASSERT_TRUE(connector.denied);
  EXPECT_EQ(connector.denied->code(), 410U);
}

TEST_F(ControlChannelTest, AClientGetsExactlyWhatItsUserMayReach) {
  connect_all();
  ASSERT_TRUE(laptop.welcome);
  EXPECT_EQ(laptop.welcome->account(), "ana@example.org");
  ASSERT_EQ(laptop.resources.size(), 1U);
  EXPECT_EQ(laptop.resources.begin()->second.address(), "nginx.home");
  EXPECT_EQ(named(lease(laptop)), std::set<std::uint64_t>{home.nginx});
  EXPECT_EQ(lease(laptop).policy_version, bench.controller->network().policy_version);
  ASSERT_EQ(laptop.instances.size(), 1U);
  const auto& instance = laptop.instances.begin()->second;
  EXPECT_EQ(to_bytes(as_bytes(instance.route_id())), connector.route());
  EXPECT_EQ(as_bytes(instance.certificate_digest()).size(), 32U);
  const auto knock =
      identity::verify_knock(as_bytes(instance.knock()), connector.knock_key, instance.instance_id(), bench.wall);
  ASSERT_TRUE(knock);
  EXPECT_EQ(knock->device, laptop.key.public_key().digest());
  EXPECT_EQ(knock->expires_at, lease(laptop).expires_at);
}

TEST_F(ControlChannelTest, AUserWithoutAccessGetsNothing) {
  connect_all();
  FakeAgent other = bench.enrolled_device("ben@example.org");
  bench.authenticate(other, kClient);
  EXPECT_TRUE(other.welcome);
  EXPECT_TRUE(other.resources.empty());
  EXPECT_TRUE(other.leases.empty());
  EXPECT_TRUE(other.instances.empty());
}

TEST_F(ControlChannelTest, AGrantArrivesWithinTheCoalescingTimeAndSeveralAsOneUpdate) {
  connect_all();
  const int before = laptop.updates;
  bench.run(GrantAccess{"ssh", "", "ana@example.org"});
  bench.run(CreateResource{"wiki", "flat", "wiki.home", {}, ""});
  bench.run(GrantAccess{"wiki", "web", ""});
  EXPECT_EQ(laptop.updates, before);
  bench.advance(50ms);
  EXPECT_EQ(laptop.updates, before + 1);
  EXPECT_EQ(laptop.resources.size(), 3U);
  EXPECT_EQ(named(lease(laptop)).size(), 3U);
  EXPECT_EQ(connector.resources.size(), 3U);
}

TEST_F(ControlChannelTest, ARevocationIsAtTheConnectorAndTheClientInTheSameInstant) {
  connect_all();
  bench.run(RevokeAccess{"nginx", "web", ""});
  ASSERT_EQ(connector.revocations.size(), 1U);
  const auto& revocation = connector.revocations.front();
  EXPECT_EQ(revocation.resource_id(), home.nginx);
  EXPECT_NE(revocation.user_id(), 0U);
  EXPECT_GT(revocation.min_pv(), 1U);
  EXPECT_EQ(revocation.min_pv(), bench.controller->network().policy_version);
  EXPECT_TRUE(laptop.resources.empty());
  EXPECT_TRUE(laptop.leases.empty());
  EXPECT_TRUE(laptop.instances.empty());
  EXPECT_TRUE(laptop.open);
}

TEST_F(ControlChannelTest, ALeaseThatIsGrantedAgainIsNotVoidedByTheOldRevocation) {
  connect_all();
  bench.run(RevokeAccess{"nginx", "web", ""});
  bench.run(GrantAccess{"nginx", "web", ""});
  bench.advance(50ms);
  EXPECT_GE(lease(laptop).policy_version, connector.revocations.front().min_pv());
}

TEST_F(ControlChannelTest, LosingOneResourceLeavesTheRestOfTheLease) {
  bench.run(GrantAccess{"ssh", "", "ana@example.org"});
  connect_all();
  bench.run(RevokeAccess{"ssh", "", "ana@example.org"});
  EXPECT_EQ(named(lease(laptop)), std::set<std::uint64_t>{home.nginx});
  EXPECT_EQ(laptop.resources.size(), 1U);
  EXPECT_EQ(laptop.instances.size(), 1U);
}

TEST_F(ControlChannelTest, WhoReachesAResourceInAnotherWayLosesNothing) {
  bench.run(GrantAccess{"nginx", "", "ana@example.org"});
  connect_all();
  bench.run(RevokeAccess{"nginx", "web", ""});
  bench.run(RemoveFromGroup{"web", "ana@example.org"});
  EXPECT_TRUE(connector.revocations.empty());
  EXPECT_EQ(laptop.resources.size(), 1U);
}

TEST_F(ControlChannelTest, LeavingAGroupRevokesWhatOnlyTheGroupGave) {
  connect_all();
  bench.run(RemoveFromGroup{"web", "ana@example.org"});
  ASSERT_EQ(connector.revocations.size(), 1U);
  EXPECT_EQ(connector.revocations.front().resource_id(), home.nginx);
  EXPECT_TRUE(laptop.leases.empty());
}

TEST_F(ControlChannelTest, DeletingAResourceRemovesItEverywhereAtOnce) {
  connect_all();
  bench.run(DeleteResource{"nginx"});
  EXPECT_EQ(connector.resources.size(), 1U);
  EXPECT_EQ(connector.revocations.size(), 1U);
  EXPECT_TRUE(laptop.resources.empty());
}

TEST_F(ControlChannelTest, ADisabledUserIsCutOffAndComesBackOnlyWhenEnabled) {
  connect_all();
  const Bytes route = laptop.route();
  bench.run(SetUserState{"ana@example.org", UserState::Disabled});
  ASSERT_TRUE(laptop.denied);
  EXPECT_EQ(laptop.denied->code(), 403U);
  EXPECT_FALSE(laptop.open);
  ASSERT_EQ(bench.revoked_routes.size(), 1U);
  EXPECT_EQ(to_bytes(bench.revoked_routes.front().bytes), route);
  ASSERT_EQ(connector.revocations.size(), 1U);
  EXPECT_NE(connector.revocations.front().user_id(), 0U);
  EXPECT_EQ(connector.revocations.front().resource_id(), 0U);

  bench.authenticate(laptop, kClient, {}, route);
  EXPECT_EQ(laptop.denied->code(), 403U);
  bench.run(SetUserState{"ana@example.org", UserState::Active});
  bench.authenticate(laptop, kClient, {}, route);
  ASSERT_TRUE(laptop.welcome);
  EXPECT_NE(laptop.route(), route) << "a revoked route is not taken back";
  EXPECT_GE(lease(laptop).policy_version, connector.revocations.front().min_pv());
}

TEST_F(ControlChannelTest, ADeletedDeviceIsUnknownFromThenOn) {
  connect_all();
  bench.run(DeleteDevice{"laptop"});
  EXPECT_EQ(laptop.denied->code(), 401U);
  EXPECT_EQ(bench.revoked_routes.size(), 1U);
  EXPECT_NE(connector.revocations.front().device_id(), 0U);
  bench.authenticate(laptop, kClient);
  EXPECT_EQ(laptop.denied->code(), 401U);
}

TEST_F(ControlChannelTest, RegeneratedTokensCutOffEveryInstanceForGood) {
  connect_all();
  bench.run(GenerateConnectorTokens{"pi"});
  EXPECT_EQ(connector.denied->code(), 410U);
  EXPECT_EQ(bench.revoked_routes.size(), 1U);
  bench.advance(50ms);
  EXPECT_TRUE(laptop.instances.empty());
  EXPECT_EQ(laptop.leases.size(), 1U);
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  EXPECT_EQ(connector.denied->code(), 410U);
  bench.authenticate(connector, kConnector);
  EXPECT_EQ(connector.denied->code(), 410U);
}

TEST_F(ControlChannelTest, ADeletedConnectorIsRevoked) {
  connect_all();
  bench.run(DeleteConnector{"pi"});
  EXPECT_EQ(connector.denied->code(), 410U);
  bench.advance(50ms);
  EXPECT_TRUE(laptop.instances.empty());
}

TEST_F(ControlChannelTest, AnInstanceIsShownOnlyWhileItIsConnectedAndBound) {
  bench.authenticate(laptop, kClient);
  bench.authenticate(connector, kConnector, home.tokens.refresh_token);
  bench.advance(50ms);
  EXPECT_TRUE(laptop.instances.empty()) << "not bound yet";
  bench.heartbeat(connector, {"elsewhere"});
  bench.advance(50ms);
  EXPECT_TRUE(laptop.instances.empty()) << "no relay of ours";
  bench.heartbeat(connector);
  bench.advance(50ms);
  EXPECT_EQ(laptop.instances.size(), 1U);
  bench.heartbeat(connector, {});
  bench.advance(50ms);
  EXPECT_TRUE(laptop.instances.empty());
  bench.heartbeat(connector);
  bench.advance(50ms);
  bench.disconnect(connector);
  bench.advance(50ms);
  EXPECT_TRUE(laptop.instances.empty());
}

TEST_F(ControlChannelTest, ACertificateThatIsNotTheEnrolledKeyIsRefused) {
  connect_all();
  wire::AgentMessage message;
  message.mutable_heartbeat()->set_certificate_digest(std::string(32, 'x'));
  message.mutable_heartbeat()->add_relays("relay1");
  bench.send(connector, message);
  EXPECT_EQ(connector.denied->code(), 403U);
}

TEST_F(ControlChannelTest, LeasesAndTicketsAreRenewedAtHalfOfTheirLife) {
  connect_all();
  const auto first = lease(laptop);
  const auto first_knock = laptop.instances.begin()->second.knock();
  for (int i = 0; i < 7300 / 10; ++i) {
    bench.advance(10s);
    bench.heartbeat(laptop);
    bench.heartbeat(connector);
  }
  const auto second = lease(laptop);
  EXPECT_NEAR(static_cast<double>(second.issued_at - first.issued_at), 7200, 2);
  EXPECT_NE(laptop.instances.begin()->second.knock(), first_knock);
  ASSERT_EQ(laptop.relay_ups.size(), 1U);
  EXPECT_EQ(connector.relay_ups.size(), 1U);
  const auto ticket =
      identity::open_ticket(as_bytes(laptop.relay_ups[0].access_token()), bench.relay().seal_key, "relay1", bench.wall);
  ASSERT_TRUE(ticket);
  EXPECT_EQ(to_bytes(ticket->route.bytes), laptop.route());
  EXPECT_EQ(ticket->role, identity::RelayRole::Client);
}

TEST_F(ControlChannelTest, WhenTheSignInEndsLeasesEndAndTheDeviceIsToldToSignInAgain) {
  FakeAgent shortly = bench.enrolled_device("ana@example.org", 1h);
  connect_all();
  bench.authenticate(shortly, kClient);
  EXPECT_EQ(lease(shortly).expires_at - to_unix_seconds(bench.wall), 3600);
  for (int i = 0; i < 359; ++i) {
    bench.advance(10s);
    bench.heartbeat(shortly);
  }
  EXPECT_TRUE(shortly.open);
  EXPECT_TRUE(shortly.relay_ups.empty());
  bench.advance(10s);
  ASSERT_TRUE(shortly.denied);
  EXPECT_EQ(shortly.denied->code(), 401U);
  bench.authenticate(shortly, kClient);
  EXPECT_EQ(shortly.denied->code(), 401U);
}

TEST_F(ControlChannelTest, ANewSignInLengthensTheLeaseOfTheSameDevice) {
  FakeAgent shortly = bench.enrolled_device("ana@example.org", 1h);
  bench.authenticate(shortly, kClient);
  const auto id = shortly.welcome->agent_id();
  EXPECT_EQ(bench.run(EnrolDevice{"ana@example.org", "laptop", shortly.key.public_key().spki(), bench.wall + 240h}).id,
            id);
  bench.advance(50ms);
  EXPECT_GT(lease(shortly).expires_at - to_unix_seconds(bench.wall), 14000);
  EXPECT_TRUE(shortly.open);
  EXPECT_EQ(shortly.relay_ups.size(), 1U);
}

TEST_F(ControlChannelTest, EverythingComesBackFromTheRecordsAlone) {
  connect_all();
  bench.run(GrantAccess{"ssh", "", "ana@example.org"});
  bench.run(RevokeAccess{"ssh", "", "ana@example.org"});
  bench.advance(50ms);
  const Bytes laptop_route = laptop.route();
  const Bytes connector_route = connector.route();
  const Bytes knock_key = connector.knock_key;
  const auto version = laptop.version;
  bench.advance(1s);
  bench.restart();
  bench.authenticate(laptop, kClient, {}, laptop_route);
  bench.authenticate(connector, kConnector, {}, connector_route);
  bench.heartbeat(connector);
  bench.advance(50ms);
  EXPECT_EQ(laptop.route(), laptop_route);
  EXPECT_EQ(connector.route(), connector_route);
  EXPECT_EQ(connector.knock_key, knock_key);
  EXPECT_GT(laptop.version, version);
  EXPECT_EQ(laptop.instances.size(), 1U);
  EXPECT_EQ(named(lease(laptop)), std::set<std::uint64_t>{home.nginx});
  EXPECT_EQ(connector.revocations.size(), 1U);
  EXPECT_EQ(connector.welcome->relays(0).epoch(), 2U);
}

TEST_F(ControlChannelTest, AConnectorKeepsItsRouteOverARestartWithoutAsking) {
  connect_all();
  const Bytes route = connector.route();
  bench.restart();
  bench.authenticate(connector, kConnector);
  EXPECT_EQ(connector.route(), route);
}

TEST_F(ControlChannelTest, NobodyGetsTheRouteOfAnother) {
  connect_all();
  const Bytes route = laptop.route();
  bench.restart();
  FakeAgent thief = bench.enrolled_device("ben@example.org");
  bench.authenticate(thief, kClient, {}, route);
  EXPECT_NE(thief.route(), route);
  bench.authenticate(laptop, kClient, {}, route);
  EXPECT_EQ(laptop.route(), route);
}

TEST_F(ControlChannelTest, ARouteIsKeptOverReconnectsAndOfAWrongSizeIgnored) {
  connect_all();
  const Bytes route = laptop.route();
  bench.disconnect(laptop);
  bench.authenticate(laptop, kClient, {}, Bytes(6, 1));
  EXPECT_EQ(laptop.route(), route);
}

TEST_F(ControlChannelTest, RevocationsAreKeptUntilTheLongestLeaseHasEndedAndThenGo) {
  connect_all();
  bench.run(RevokeAccess{"nginx", "web", ""});
  bench.advance(3h);
  bench.authenticate(connector, kConnector);
  EXPECT_EQ(connector.revocations.size(), 1U);
  bench.advance(2h);
  bench.authenticate(connector, kConnector);
  EXPECT_TRUE(connector.revocations.empty());
  EXPECT_EQ(bench.stored.revocations().size(), 1U);
  bench.run(CreateGroup{"any"});
  EXPECT_TRUE(bench.stored.revocations().empty());
}

TEST_F(ControlChannelTest, AWrongSignatureIsDenied) {
  bench.connect(laptop);
  auto message = bench.signed_request(laptop, kClient, "home");
  message.mutable_authenticate()->mutable_signature()->back() ^= 1;
  bench.send(laptop, message);
  EXPECT_EQ(laptop.denied->code(), 401U);
  EXPECT_FALSE(laptop.open);
}

TEST_F(ControlChannelTest, AReplayedRequestIsDeniedOnAnotherConnection) {
  bench.connect(laptop);
  const auto message = bench.signed_request(laptop, kClient, "home");
  bench.send(laptop, message);
  ASSERT_TRUE(laptop.welcome);
  FakeAgent thief(laptop.key);
  bench.connect(thief);
  bench.send(thief, message);
  EXPECT_EQ(thief.denied->code(), 401U);
  EXPECT_TRUE(laptop.open);
}

TEST_F(ControlChannelTest, ASignatureForAnotherNetworkOrRoleIsDenied) {
  bench.connect(laptop);
  bench.send(laptop, bench.signed_request(laptop, kClient, "office"));
  EXPECT_EQ(laptop.denied->code(), 401U);
  bench.connect(laptop);
  auto message = bench.signed_request(laptop, kClient, "home");
  message.mutable_authenticate()->set_role(kConnector);
  bench.send(laptop, message);
  EXPECT_EQ(laptop.denied->code(), 401U);
  bench.connect(laptop);
  message = bench.signed_request(laptop, kClient, "home");
  message.mutable_authenticate()->set_role(wire::AGENT_ROLE_UNSPECIFIED);
  bench.send(laptop, message);
  EXPECT_EQ(laptop.denied->code(), 403U);
}

TEST_F(ControlChannelTest, WrongRefreshTokensAreFinal) {
  std::string altered = home.tokens.refresh_token;
  altered.back() = altered.back() == 'A' ? 'E' : 'A';
  for (const std::string& token :
       {std::string(), std::string("ptr1_"), std::string("nonsense"), altered, home.tokens.access_token}) {
    bench.authenticate(connector, kConnector, token);
    ASSERT_TRUE(connector.denied) << token;
    EXPECT_EQ(connector.denied->code(), 410U) << token;
  }
  EXPECT_TRUE(bench.stored.instances().empty());
}

TEST_F(ControlChannelTest, AKeyThatIsNotEnrolledIsUnknown) {
  FakeAgent stranger(bench.new_key());
  bench.authenticate(stranger, kClient);
  EXPECT_EQ(stranger.denied->code(), 401U);
}

TEST_F(ControlChannelTest, AConnectorHasAtMostTwoRunningInstances) {
  FakeAgent second(bench.new_key());
  FakeAgent third(bench.new_key());
  connect_all();
  bench.authenticate(second, kConnector, home.tokens.refresh_token);
  ASSERT_TRUE(second.welcome);
  bench.authenticate(third, kConnector, home.tokens.refresh_token);
  EXPECT_EQ(third.denied->code(), 409U);
  bench.authenticate(second, kConnector);
  EXPECT_TRUE(second.welcome) << "its own place is not taken by itself";

  bench.advance(9s);
  bench.heartbeat(connector);
  bench.advance(2s);
  bench.authenticate(third, kConnector, home.tokens.refresh_token);
  EXPECT_TRUE(third.welcome) << "the second has been silent for more than 10 s";
  EXPECT_EQ(second.denied->code(), 409U);
  EXPECT_TRUE(connector.open);
}

TEST_F(ControlChannelTest, ANewerConnectionOfTheSameKeyReplacesTheOlder) {
  connect_all();
  FakeAgent again(laptop.key);
  bench.authenticate(again, kClient, {}, laptop.route());
  EXPECT_TRUE(again.welcome);
  EXPECT_FALSE(laptop.open);
  EXPECT_EQ(again.route(), laptop.route());
  EXPECT_EQ(bench.controller->agents().size(), 2U);
}

TEST_F(ControlChannelTest, MessagesOutOfPlaceAreCountedAndDropped) {
  connect_all();
  const auto before = bench.controller->counters().ignored_messages;
  bench.send(laptop, wire::AgentMessage{});
  wire::AgentMessage flow;
  flow.mutable_flow_record()->set_user_id(7);
  bench.send(laptop, flow);
  bench.send(laptop, bench.signed_request(laptop, kClient, "home"));
  EXPECT_TRUE(bench.flows.empty());
  EXPECT_TRUE(laptop.open);
  FakeAgent gone(bench.new_key());
  gone.connection = ConnectionNumber(999'999);
  bench.send(gone, flow);
  EXPECT_EQ(bench.controller->counters().ignored_messages, before + 4);
  bench.send(connector, flow);
  ASSERT_EQ(bench.flows.size(), 1U);
  EXPECT_EQ(bench.flows.front().connector.value, home.connector);
}

TEST_F(ControlChannelTest, WhoeverDoesNotBeginWithAuthenticateIsClosed) {
  bench.connect(laptop);
  wire::AgentMessage message;
  message.mutable_heartbeat();
  bench.send(laptop, message);
  EXPECT_EQ(laptop.denied->code(), 401U);
}

TEST_F(ControlChannelTest, GarbageKeysAndSignaturesAreDenied) {
  for (int i = 0; i < 50; ++i) {
    FakeAgent agent(laptop.key);
    bench.connect(agent);
    auto message = bench.signed_request(agent, kClient, "home");
    auto& request = *message.mutable_authenticate();
    std::string& field = i % 2 == 0 ? *request.mutable_public_key() : *request.mutable_signature();
    field.resize(bench.random.below(field.size() + 20));
    for (char& c : field) c = static_cast<char>(bench.random.next());
    bench.send(agent, message);
    EXPECT_EQ(agent.denied->code(), 401U);
    EXPECT_FALSE(agent.open);
  }
}

TEST_F(ControlChannelTest, ASilentConnectionIsClosed) {
  connect_all();
  bench.advance(20s);
  bench.heartbeat(laptop);
  bench.advance(15s);
  EXPECT_FALSE(connector.open);
  EXPECT_TRUE(laptop.open);
  EXPECT_TRUE(laptop.instances.empty());
  EXPECT_EQ(bench.controller->counters().silent_closed, 1U);
}

TEST_F(ControlChannelTest, WhoDoesNotAuthenticateIsClosedAfterTenSeconds) {
  bench.connect(laptop);
  bench.advance(9s);
  EXPECT_TRUE(laptop.open);
  bench.advance(1s);
  EXPECT_FALSE(laptop.open);
}

TEST_F(ControlChannelTest, ARelayThatStartsAgainIsAnnouncedToAllAtOnce) {
  connect_all();
  bench.controller->set_relay(bench.now, bench.relay(5));
  bench.deliver();
  ASSERT_EQ(laptop.relay_ups.size(), 1U);
  EXPECT_EQ(laptop.relay_ups[0].epoch(), 5U);
  EXPECT_EQ(connector.relay_ups.size(), 1U);
  EXPECT_TRUE(identity::open_ticket(as_bytes(laptop.relay_ups[0].access_token()), bench.relay().seal_key, "relay1",
                                    bench.wall));
  bench.controller->set_relay(bench.now, bench.relay(5));
  bench.deliver();
  EXPECT_EQ(laptop.relay_ups.size(), 1U);
}

TEST(ControlChannel, AtTheBoundTheOldestUnauthenticatedConnectionIsClosed) {
  Bench bench(ControllerConfig{.unauthenticated_max = 3});
  std::deque<FakeAgent> agents;
  for (int i = 0; i < 4; ++i) {
    agents.emplace_back(bench.new_key());
    bench.connect(agents.back());
  }
  EXPECT_FALSE(agents[0].open);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_TRUE(agents[i].open);
  EXPECT_EQ(bench.controller->counters().unauthenticated_closed, 1U);
}

TEST(ControlChannel, ChangesReachOnlyThoseWhomTheyAffect) {
  Bench bench;
  HomeNetwork home(bench);
  bench.run(CreateRemoteNetwork{"cabin"});
  bench.run(CreateConnector{"shed", "cabin"});
  const auto tokens = *bench.run(GenerateConnectorTokens{"shed"}).tokens;
  FakeAgent pi(bench.new_key());
  FakeAgent shed(bench.new_key());
  FakeAgent ana = bench.enrolled_device("ana@example.org");
  FakeAgent ben = bench.enrolled_device("ben@example.org");
  bench.authenticate(pi, kConnector, home.tokens.refresh_token);
  bench.authenticate(shed, kConnector, tokens.refresh_token);
  bench.authenticate(ana, kClient);
  bench.authenticate(ben, kClient);
  bench.advance(100ms);
  const std::array before{pi.updates, shed.updates, ana.updates, ben.updates};
  bench.run(UpdateResource{"nginx", {}, {}, {}, "80"});
  bench.run(RemoveFromGroup{"web", "ana@example.org"});
  bench.heartbeat(pi);
  bench.advance(100ms);
  EXPECT_GT(pi.updates, before[0]);
  EXPECT_EQ(shed.updates, before[1]) << "an edge behind another remote network";
  EXPECT_GT(ana.updates, before[2]);
  EXPECT_EQ(ben.updates, before[3]);
}

TEST(ControlChannel, EveryoneReachesWhatEveryoneMayReach) {
  Bench bench;
  HomeNetwork home(bench);
  FakeAgent ben = bench.enrolled_device("ben@example.org");
  bench.authenticate(ben, kClient);
  bench.run(GrantAccess{"ssh", "Everyone", ""});
  bench.advance(50ms);
  EXPECT_EQ(ben.resources.size(), 1U);
  bench.run(RevokeAccess{"ssh", "everyone", ""});
  EXPECT_TRUE(ben.resources.empty());
}

TEST(ControlChannel, ALargeNetworkIsToldInMessagesThatFit) {
  Bench bench;
  HomeNetwork home(bench);
  for (int i = 0; i < 1400; ++i) {
    std::vector<std::string> aliases;
    for (int a = 0; a < 16; ++a)
      aliases.push_back("a" + std::to_string(a) + "." + std::to_string(i) + std::string(50, 'x') + "." +
                        std::string(60, 'y'));
    bench.run(CreateResource{"r" + std::to_string(i), "flat", "host" + std::to_string(i) + ".home", aliases, ""});
    bench.run(GrantAccess{"r" + std::to_string(i), "web", ""});
  }
  FakeAgent ana = bench.enrolled_device("ana@example.org");
  FakeAgent pi(bench.new_key());
  bench.authenticate(ana, kClient);
  bench.authenticate(pi, kConnector, home.tokens.refresh_token);
  EXPECT_GT(ana.updates, 1);
  EXPECT_EQ(ana.resources.size(), 1401U);
  EXPECT_EQ(pi.resources.size(), 1402U);
  EXPECT_LE(ana.leases.begin()->second.lease().size(), identity::kTokenSizeMax);
}

TEST(ControlChannel, OneChangeReachesHundredsOfClientsInOneTurn) {
  Bench bench;
  HomeNetwork home(bench);
  std::deque<FakeAgent> clients;
  for (int i = 0; i < 300; ++i) {
    const std::string user = "u" + std::to_string(i) + "@example.org";
    bench.run(CreateUser{user, ""});
    clients.push_back(bench.enrolled_device(user));
    bench.authenticate(clients.back(), kClient);
  }
  bench.run(GrantAccess{"ssh", "Everyone", ""});
  bench.advance(50ms);
  for (const FakeAgent& client : clients) ASSERT_EQ(client.resources.size(), 1U);
  bench.run(RevokeAccess{"ssh", "Everyone", ""});
  for (const FakeAgent& client : clients) ASSERT_TRUE(client.resources.empty());
}

}  // namespace
}  // namespace postern::controller
