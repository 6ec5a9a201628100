#include "controller_core/bench_test_util.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/plan.hpp"
#include "base/json.hpp"

namespace postern::controller {
namespace {

using Kind = CommandError::Kind;

struct CommandsTest : ::testing::Test {
  Bench bench;
  HomeNetwork home{bench};

  Kind kind(const Command& command) {
    const CommandError error = bench.refused(command);
    EXPECT_FALSE(error.message.empty());
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
    return error.kind;
  }
  template <typename T>
  std::size_t upserts(const ChangeSet& changes) {
    return static_cast<std::size_t>(std::ranges::count_if(changes.changes, [](const Change& change) {
      const auto* upsert = std::get_if<Upsert>(&change);
      return upsert != nullptr && std::holds_alternative<T>(upsert->record);
    }));
  }
};

TEST_F(CommandsTest, PlanningChangesNothingUntilItIsApplied) {
  const auto before = bench.controller->network();
  const auto planned = bench.controller->plan(CreateUser{"new@example.org", ""}, bench.context());
  ASSERT_TRUE(planned);
  EXPECT_FALSE(bench.controller->find_user("new@example.org"));
  EXPECT_EQ(bench.controller->network(), before);
  bench.controller->apply(bench.now, bench.wall, planned->changes);
  EXPECT_EQ(bench.controller->find_user("NEW@example.org")->id.value, planned->id);
  EXPECT_EQ(bench.controller->network().policy_version, before.policy_version + 1);
}

TEST_F(CommandsTest, IdsAreNeverUsedAgain) {
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(ids.insert(bench.run(CreateGroup{"temporary"}).id).second);
    bench.run(DeleteGroup{"temporary"});
    bench.restart();
    // Planned and never committed: the number is gone all the same.
    EXPECT_TRUE(ids.insert(bench.controller->plan(CreateGroup{"never"}, bench.context())->id).second);
  }
}

TEST_F(CommandsTest, EveryChangeIsAudited) {
  const std::size_t before = bench.audit.size();
  const auto id = bench.run(UpdateResource{"nginx", {}, "web.lan", {}, {}}).id;
  ASSERT_EQ(bench.audit.size(), before + 1);
  const AuditEntry& entry = bench.audit.back();
  EXPECT_EQ(entry.action, "resource.update");
  EXPECT_EQ(entry.subject, "resource:" + std::to_string(id));
  EXPECT_EQ(entry.actor, "admin:test");
  EXPECT_EQ(*json::parse(entry.before)->find("address")->as_string(), "nginx.home");
  EXPECT_EQ(*json::parse(entry.after)->find("address")->as_string(), "web.lan");
}

TEST_F(CommandsTest, TheAuditLogHasNoSecrets) {
  bench.run(SetPassword{"ana@example.org", "$argon2id$topsecret"});
  const auto tokens = *bench.run(GenerateConnectorTokens{"pi"}).tokens;
  for (const AuditEntry& entry : bench.audit) {
    for (const std::string& text : {entry.before, entry.after}) {
      EXPECT_EQ(text.find("topsecret"), std::string::npos);
      EXPECT_EQ(text.find(tokens.refresh_token), std::string::npos);
    }
  }
}

TEST_F(CommandsTest, EmailAddressesAreFoldedAndUnique) {
  EXPECT_EQ(bench.controller->find_user("ANA@Example.ORG")->email, "ana@example.org");
  EXPECT_EQ(kind(CreateUser{"Ana@Example.org", ""}), Kind::AlreadyExists);
  for (const char* bad : {"", "ana", "@example.org", "ana@", "a@b@c", "ana @example.org", "ana@exa\nmple.org"}) {
    EXPECT_EQ(kind(CreateUser{bad, ""}), Kind::Invalid) << bad;
  }
}

TEST_F(CommandsTest, NamesAreShownTextAndNotNumbers) {
  for (const std::string& bad : {std::string(), std::string("12"), std::string(" a"), std::string("a\x01"),
                                 std::string("\xff"), std::string(65, 'a')}) {
    EXPECT_EQ(kind(CreateGroup{bad}), Kind::Invalid) << bad;
  }
  EXPECT_EQ(kind(CreateGroup{"WEB"}), Kind::AlreadyExists);
  EXPECT_NE(bench.run(CreateGroup{"Büro 12"}).id, 0U);
}

TEST_F(CommandsTest, ThingsAreFoundByNameOrId) {
  const auto id = std::to_string(bench.controller->find_user("ben@example.org")->id.value);
  bench.run(AddToGroup{"web", id});
  bench.run(RemoveFromGroup{"WEB", "ben@example.org"});
  EXPECT_EQ(kind(AddToGroup{"web", "999999"}), Kind::NotFound);
  EXPECT_EQ(kind(AddToGroup{"web", "99999999999999999999999"}), Kind::NotFound);
  EXPECT_EQ(kind(AddToGroup{"nobody", "ben@example.org"}), Kind::NotFound);
  EXPECT_EQ(kind(DeleteResource{"nothing"}), Kind::NotFound);
}

TEST_F(CommandsTest, TheLastActiveAdminStays) {
  EXPECT_EQ(kind(SetUserState{"admin@example.org", UserState::Disabled}), Kind::Conflict);
  EXPECT_EQ(kind(DeleteUser{"admin@example.org"}), Kind::Conflict);
  bench.run(CreateUser{"second@example.org", "", UserRole::Admin});
  bench.run(DeleteUser{"admin@example.org"});
  EXPECT_EQ(kind(DeleteUser{"second@example.org"}), Kind::Conflict);
}

TEST_F(CommandsTest, ADeletedUserLeavesNothingBehind) {
  bench.run(GrantAccess{"ssh", "", "ana@example.org"});
  FakeAgent device = bench.enrolled_device("ana@example.org");
  const auto result = bench.run(DeleteUser{"ana@example.org"});
  EXPECT_EQ(upserts<RevocationRecord>(result.changes), 1U);
  EXPECT_TRUE(bench.controller->devices().empty());
  EXPECT_TRUE(bench.controller->access(model::ResourceId(home.ssh)).empty());
  for (const auto& group : bench.controller->groups()) {
    EXPECT_TRUE(group.everyone || bench.controller->members(group.id).empty());
  }
}

TEST_F(CommandsTest, EveryoneHoldsAllActiveUsersByItself) {
  const auto everyone = bench.controller->groups().front();
  EXPECT_TRUE(everyone.everyone);
  EXPECT_EQ(bench.controller->members(everyone.id).size(), 3U);
  bench.run(SetUserState{"ben@example.org", UserState::Disabled});
  EXPECT_EQ(bench.controller->members(everyone.id).size(), 2U);
  EXPECT_EQ(kind(AddToGroup{"Everyone", "ana@example.org"}), Kind::Conflict);
  EXPECT_EQ(kind(RemoveFromGroup{"Everyone", "ana@example.org"}), Kind::Conflict);
  EXPECT_EQ(kind(DeleteGroup{"Everyone"}), Kind::Conflict);
}

TEST_F(CommandsTest, ARemoteNetworkIsDeletedOnlyWhenItIsEmpty) {
  EXPECT_EQ(kind(DeleteRemoteNetwork{"flat"}), Kind::Conflict);
  bench.run(CreateRemoteNetwork{"empty"});
  EXPECT_EQ(kind(CreateRemoteNetwork{"Empty"}), Kind::AlreadyExists);
  bench.run(DeleteRemoteNetwork{"empty"});
}

TEST_F(CommandsTest, AResourceIsParsedAtTheBorder) {
  EXPECT_EQ(kind(CreateResource{"a", "flat", "10.0.0.1/24", {}, ""}), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "", {}, ""}), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "a b", {}, ""}), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "a.lan", {}, "80-"}), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "a.lan", {"10.0.0.1"}, ""}), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "a.lan", {"*.lan"}, ""}), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "a.lan", {"web.home"}, ""}), Kind::Conflict);
  EXPECT_EQ(kind(CreateResource{"nginx", "flat", "a.lan", {}, ""}), Kind::AlreadyExists);
  EXPECT_EQ(kind(CreateResource{"a", "nowhere", "a.lan", {}, ""}), Kind::NotFound);
  std::string ports = "1";
  for (int i = 3; i < 400; i += 2) ports += "," + std::to_string(i);
  EXPECT_EQ(kind(CreateResource{"a", "flat", "a.lan", {}, ports}), Kind::Invalid);
}

TEST_F(CommandsTest, OneNameOrAddressMayBypassAndNobodyHasAccessToIt) {
  const auto bypass = [](const std::string& address) {
    return CreateResource{"out", "flat", address, {}, "", "", true, model::Routing::Bypass, 0};
  };
  EXPECT_EQ(kind(bypass("10.0.0.0/24")), Kind::Invalid);
  EXPECT_EQ(kind(bypass("*.home")), Kind::Invalid);
  EXPECT_EQ(kind(CreateResource{"out", "flat", "a.home", {"b.home"}, "", "", true, model::Routing::Bypass, 0}),
            Kind::Invalid);
  bench.run(bypass("192.168.1.9"));
  EXPECT_EQ(kind(GrantAccess{"out", "web", ""}), Kind::Invalid);
}

TEST_F(CommandsTest, EveryClientIsToldOfWhatBypassesAndNoLeaseNamesIt) {
  FakeAgent ben = bench.enrolled_device("ben@example.org");
  bench.authenticate(ben, wire::AGENT_ROLE_CLIENT);
  EXPECT_TRUE(ben.resources.empty());
  const auto id =
      bench.run(CreateResource{"out", "flat", "192.168.1.9", {}, "", "", true, model::Routing::Bypass, 0}).id;
  bench.advance(std::chrono::milliseconds(100));
  ASSERT_TRUE(ben.resources.contains(id));
  EXPECT_EQ(ben.resources.at(id).routing(), wire::ROUTING_BYPASS);
  EXPECT_TRUE(ben.leases.empty());
  bench.run(DeleteResource{"out"});
  bench.advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(ben.resources.empty());
}

TEST_F(CommandsTest, TheSameAddressBehindTwoRemoteNetworksNeedsAnOrder) {
  bench.run(CreateRemoteNetwork{"office"});
  const auto office = [](std::uint32_t priority, const std::string& address = "192.168.1.0/24") {
    return CreateResource{"theirs", "office", address, {}, "", "", true, model::Routing::Through, priority};
  };
  EXPECT_EQ(kind(office(0)), Kind::Conflict);
  EXPECT_EQ(kind(office(1001)), Kind::Invalid);
  const auto made = bench.run(office(3));
  ASSERT_EQ(made.notes.size(), 1U);
  EXPECT_NE(made.notes[0].find("theirs wins"), std::string::npos) << made.notes[0];
  EXPECT_EQ(kind(UpdateResource{"theirs", {}, {}, {}, {}, {}, {}, 0}), Kind::Conflict);
  bench.run(UpdateResource{"ssh", {}, {}, {}, {}, {}, {}, 4});
  const auto narrower = bench.run(UpdateResource{"theirs", {}, "192.168.1.0/25", {}, {}, {}});
  ASSERT_EQ(narrower.notes.size(), 1U);
  EXPECT_NE(narrower.notes[0].find("being narrower theirs wins"), std::string::npos) << narrower.notes[0];
}

TEST_F(CommandsTest, AnUpdateChangesOnlyWhatItNames) {
  bench.run(UpdateResource{"nginx", "web", {}, std::vector<std::string>{}, {}});
  const auto resource = bench.controller->resources().front();
  EXPECT_EQ(resource.name, "web");
  EXPECT_EQ(resource.address.text(), "nginx.home");
  EXPECT_TRUE(resource.aliases.empty());
  EXPECT_EQ(resource.tcp.text(), "80,443");
  const auto unchanged = bench.run(UpdateResource{"web", "web", {}, {}, {}});
  EXPECT_TRUE(unchanged.changes.changes.empty());
  bench.run(CreateResource{"other", "flat", "other.lan", {"web.home"}, ""});
}

TEST_F(CommandsTest, AccessIsGivenToExactlyOneGroupOrUser) {
  EXPECT_EQ(kind(GrantAccess{"nginx", "", ""}), Kind::Invalid);
  EXPECT_EQ(kind(GrantAccess{"nginx", "web", "ana@example.org"}), Kind::Invalid);
  EXPECT_EQ(kind(GrantAccess{"nginx", "web", ""}), Kind::AlreadyExists);
  EXPECT_EQ(kind(RevokeAccess{"nginx", "", "ana@example.org"}), Kind::NotFound);
}

TEST_F(CommandsTest, RevocationsAreMadeOnlyForThoseWhoCanHoldALease) {
  const auto without_device = bench.run(RevokeAccess{"nginx", "web", ""});
  EXPECT_EQ(upserts<RevocationRecord>(without_device.changes), 0U);
  bench.run(GrantAccess{"nginx", "web", ""});
  const FakeAgent device = bench.enrolled_device("ana@example.org");
  const auto with_device = bench.run(RevokeAccess{"nginx", "web", ""});
  EXPECT_EQ(upserts<RevocationRecord>(with_device.changes), 1U);
}

TEST_F(CommandsTest, ManyLostEdgesOfAUserBecomeOneRecord) {
  FakeAgent device = bench.enrolled_device("ana@example.org");
  for (std::size_t i = 0; i < Plan::kEdgesPerUserMax + 1; ++i) {
    const std::string name = "r" + std::to_string(i);
    bench.run(CreateResource{name, "flat", name + ".lan", {}, ""});
    bench.run(GrantAccess{name, "web", ""});
  }
  bench.run(GrantAccess{"ssh", "", "ana@example.org"});
  bench.authenticate(device, wire::AGENT_ROLE_CLIENT);
  const auto lease = device.leases.begin()->second.lease();
  const auto result = bench.run(DeleteGroup{"web"});
  EXPECT_EQ(upserts<RevocationRecord>(result.changes), 1U);
  EXPECT_EQ(device.resources.size(), 1U);
  EXPECT_NE(device.leases.begin()->second.lease(), lease) << "the old lease is void as a whole";
}

TEST_F(CommandsTest, AKeyOfAnotherUserIsTakenOverWithARevocation) {
  const FakeAgent device = bench.enrolled_device("ana@example.org");
  const auto first = bench.controller->devices().front().id;
  const auto result = bench.run(
      EnrolDevice{"ben@example.org", "laptop", device.key.public_key().spki(), bench.wall + std::chrono::hours(1)});
  EXPECT_EQ(upserts<RevocationRecord>(result.changes), 1U);
  ASSERT_EQ(bench.controller->devices().size(), 1U);
  EXPECT_NE(bench.controller->devices().front().id, first);
}

TEST_F(CommandsTest, DevicesNeedAGoodKeyAndAnActiveUserAndAreBounded) {
  EXPECT_EQ(kind(EnrolDevice{"ana@example.org", "x", Bytes(10, 1), bench.wall}), Kind::Invalid);
  bench.run(SetUserState{"ben@example.org", UserState::Disabled});
  EXPECT_EQ(kind(EnrolDevice{"ben@example.org", "x", bench.new_key().public_key().spki(), bench.wall}), Kind::Conflict);
  for (std::size_t i = 0; i < kDevicesPerUserMax; ++i) (void)bench.enrolled_device("ana@example.org");
  EXPECT_EQ(kind(EnrolDevice{"ana@example.org", "x", bench.new_key().public_key().spki(), bench.wall}), Kind::Conflict);
  EXPECT_EQ(kind(DeleteDevice{"laptop"}), Kind::Conflict) << "32 devices have this name";
}

TEST_F(CommandsTest, ADeviceNameFromAMachineIsMadePresentable) {
  bench.run(EnrolDevice{"ana@example.org", "lap\x1b[31mtop\n", bench.new_key().public_key().spki(), bench.wall});
  EXPECT_EQ(bench.controller->devices().front().name, "lap[31mtop");
}

TEST_F(CommandsTest, TokensFindAndCheckTheirServerAndEveryPairIsNew) {
  const auto token = identity::read_access_token_unverified(home.tokens.access_token);
  ASSERT_TRUE(token);
  EXPECT_EQ(token->url, "https://198.51.100.1");
  EXPECT_EQ(token->network, "home");
  EXPECT_EQ(token->connector_id, home.connector);
  const auto again = *bench.run(GenerateConnectorTokens{"pi"}).tokens;
  EXPECT_NE(again.refresh_token, home.tokens.refresh_token);
  EXPECT_TRUE(identity::is_refresh_token_shaped(again.refresh_token));
}

TEST_F(CommandsTest, KeysOfProcessesThatAreGoneAreForgottenBeyondABound) {
  for (std::size_t i = 0; i < kIdleInstancesMax + 5; ++i) {
    FakeAgent agent(bench.new_key());
    bench.authenticate(agent, wire::AGENT_ROLE_CONNECTOR, home.tokens.refresh_token);
    ASSERT_TRUE(agent.welcome);
    bench.disconnect(agent);
  }
  EXPECT_EQ(bench.stored.instances().size(), kIdleInstancesMax);
}

TEST(FoundNetwork, RefusesSlugsThatCannotBeAHostLabel) {
  const CommandContext context{"admin:local", "test", {}};
  for (const std::string& bad : {std::string(), std::string("Home"), std::string("-a"), std::string("a-"),
                                 std::string("a.b"), std::string(64, 'a')}) {
    EXPECT_FALSE(found_network({model::NetworkId(1), bad, "", "", ""}, context)) << bad;
  }
  EXPECT_TRUE(found_network({model::NetworkId(1), "home", "", "", ""}, context));
}

TEST(FoundNetwork, TheTokenCarriesThePinOfTheRoot) {
  Bench bench;
  SeededRandom random(3);
  const auto root = identity::PrivateKey::generate(random);
  const auto pem = identity::make_root_certificate(root, "Postern root", bench.wall);
  Controller controller({}, {bench.signing, Bytes(32, 1)}, random);
  const auto founded = found_network({model::NetworkId(1), "home", "", "https://10.0.0.1", pem}, bench.context());
  for (const Change& change : founded->changes) {
    controller.load(bench.now, bench.wall, std::array{std::get<Upsert>(change).record});
  }
  for (const Command& command : {Command(CreateRemoteNetwork{"flat"}), Command(CreateConnector{"pi", "flat"})}) {
    controller.apply(bench.now, bench.wall, controller.plan(command, bench.context())->changes);
  }
  const auto tokens = controller.plan(GenerateConnectorTokens{"pi"}, bench.context())->tokens;
  EXPECT_EQ(identity::read_access_token_unverified(tokens->access_token)->ca, to_base64url(root.public_key().digest()));
}

}  // namespace
}  // namespace postern::controller
