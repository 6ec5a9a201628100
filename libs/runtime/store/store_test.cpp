#include "runtime/store/store.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "base/random.hpp"
#include "controller_core/controller.hpp"

namespace postern::runtime {
namespace {

namespace fs = std::filesystem;
using namespace controller;
const model::NetworkId kHome(1);
const model::NetworkId kOffice(2);

struct StoreTest : ::testing::Test {
  StoreTest() {
    std::string pattern = (fs::temp_directory_path() / "postern-store-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
    file = folder / "postern.db";
  }
  ~StoreTest() override { fs::remove_all(folder); }

  Store open(StoreOptions options = {}) {
    auto opened = Store::open(file, options);
    if (!opened) ADD_FAILURE() << opened.error().message;
    return std::move(*opened);
  }
  StoreError refused(StoreOptions options = {}) {
    auto opened = Store::open(file, options);
    if (opened) {
      ADD_FAILURE() << "was opened";
      return {};
    }
    EXPECT_NE(opened.error().message.find(folder.string()), std::string::npos) << opened.error().message;
    EXPECT_EQ(opened.error().message.find('\n'), std::string::npos);
    return opened.error();
  }
  void sql(const std::string& text) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
    sqlite3_close(database);
  }

  fs::path folder;
  fs::path file;
  SeededRandom random{1};
};

WallTime at(std::int64_t seconds) {
  return from_unix_ms(seconds * 1000);
}

NetworkRecord network(model::NetworkId id = kHome) {
  return {id, "net" + std::to_string(id.value), "Home", "https://x", "PEM", 4, 100, at(5)};
}

ChangeSet upserts(std::vector<Record> records) {
  ChangeSet changes;
  for (Record& record : records) changes.changes.emplace_back(Upsert{std::move(record)});
  return changes;
}

/// One record of every kind, in an order that load() gives them back in.
std::vector<Record> one_of_each() {
  model::Resource resource{model::ResourceId(8),
                           "nginx",
                           model::RemoteNetworkId(5),
                           *model::ResourceAddress::parse("*.home"),
                           {*model::DnsName::parse("web.home"), *model::DnsName::parse("w")},
                           *model::ProtocolRule::parse("80,443-450"),
                           *model::ProtocolRule::parse("none"),
                           false};
  Digest digest{};
  digest.fill(3);
  return {network(),
          UserRecord{model::UserId(2), "ana@example.org", "$argon2id$x", UserRole::Admin, UserState::Disabled, at(7)},
          GroupRecord{model::GroupId(1), "Everyone", true},
          GroupRecord{model::GroupId(3), "web", false},
          MembershipRecord{model::GroupId(3), model::UserId(2)},
          DeviceRecord{model::DeviceId(9), model::UserId(2), "laptop ü", Bytes{1, 0, 2}, at(8), at(9)},
          RemoteNetworkRecord{model::RemoteNetworkId(5), "flat"},
          ConnectorRecord{model::ConnectorId(6), model::RemoteNetworkId(5), "pi", 3, 2, digest},
          InstanceRecord{model::InstanceId(7), model::ConnectorId(6), 2, Bytes{0, 9}, "host", at(10)},
          RelayRecord{model::RelayId(13),
                      "frankfurt",
                      {"203.0.113.11:443", "relay.example.org:8443"},
                      digest,
                      Bytes{4, 5},
                      "vps",
                      at(11)},
          RelayRecord{model::RelayId(14), "new", {"[2001:db8::1]:443"}, digest, Bytes{}, "", at(0)},
          RevokedRouteRecord{RouteId{{1, 2, 3, 4, 5, 6, 0}}, at(20)},
          ResourceRecord{resource},
          AccessRecord{model::ResourceId(8), {}, model::UserId(2)},
          AccessRecord{model::ResourceId(8), model::GroupId(3), {}},
          RevocationRecord{11, model::UserId(2), {}, {}, model::ResourceId(8), 4, at(20)},
          RevocationRecord{12, {}, {}, digest, {}, 4, at(20)},
          SecretRecord{"signing", Bytes{}},
          SecretRecord{"zone", Bytes{0, 1, 2}}};
}

TEST_F(StoreTest, GivesBackEveryRecordAsItWas) {
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
  }
  EXPECT_EQ(open().load(kHome).value(), one_of_each());
}

TEST_F(StoreTest, UpsertReplacesAndRemoveRemovesEveryKind) {
  Store store = open();
  ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
  ASSERT_TRUE(store.commit(kHome, upserts(one_of_each()))) << "the same again";
  EXPECT_EQ(store.load(kHome).value(), one_of_each());
  ChangeSet changes;
  for (const Record& record : one_of_each()) changes.changes.emplace_back(Remove{record});
  const auto removed = store.commit(kHome, changes);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(store.load(kHome)->empty());
}

TEST_F(StoreTest, NetworksDoNotSeeEachOther) {
  Store store = open();
  ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
  ASSERT_TRUE(
      store.commit(kOffice, upserts({network(kOffice), UserRecord{model::UserId(2), "ana@example.org", "",
                                                                  UserRole::Member, UserState::Active, at(1)}})));
  EXPECT_EQ(store.networks()->size(), 2U);
  EXPECT_EQ(store.load(kOffice)->size(), 2U);
  ChangeSet removal;
  removal.changes.emplace_back(Remove{UserRecord{model::UserId(2), {}, {}, UserRole::Member, UserState::Active, {}}});
  ASSERT_TRUE(store.commit(kOffice, removal));
  EXPECT_EQ(store.load(kHome).value(), one_of_each());
  EXPECT_TRUE(store.load(model::NetworkId(99))->empty());
  EXPECT_EQ(store.commit(kOffice, upserts({network(kHome)})).error().kind, StoreErrorKind::Conflict);
}

TEST_F(StoreTest, ACommitIsAllOrNothing) {
  Store store = open();
  ASSERT_TRUE(store.commit(kHome, upserts({network()})));
  auto changes =
      upserts({GroupRecord{model::GroupId(1), "a", false}, MembershipRecord{model::GroupId(1), model::UserId(77)}});
  changes.audit.push_back({at(1), "a", "b", "c", "d", "", ""});
  const auto result = store.commit(kHome, changes);
  ASSERT_FALSE(result) << "the user does not exist";
  EXPECT_EQ(result.error().kind, StoreErrorKind::Conflict);
  EXPECT_EQ(store.load(kHome)->size(), 1U);
  EXPECT_TRUE(store.audit(kHome, 10)->empty());
  ASSERT_TRUE(store.commit(kHome, upserts({GroupRecord{model::GroupId(1), "a", false}}))) << "the store works on";
  EXPECT_EQ(store.commit(kHome, upserts({GroupRecord{model::GroupId(2), "a", false}})).error().kind,
            StoreErrorKind::Conflict);
}

TEST_F(StoreTest, CountersOfANetworkNeverGoBack) {
  Store store = open();
  ASSERT_TRUE(store.commit(kHome, upserts({network()})));
  NetworkRecord older = network();
  older.policy_version = 1;
  older.next_id = 2;
  older.display_name = "New";
  ASSERT_TRUE(store.commit(kHome, upserts({older})));
  EXPECT_EQ(store.networks()->front().policy_version, 4U);
  EXPECT_EQ(store.networks()->front().next_id, 100U);
  EXPECT_EQ(store.networks()->front().display_name, "New");
}

TEST_F(StoreTest, TheAuditLogIsReadNewestFirstAndCannotBeChanged) {
  {
    Store store = open();
    for (int i = 0; i < 5; ++i) {
      ChangeSet changes = i == 0 ? upserts({network()}) : ChangeSet{};
      changes.audit.push_back({at(i), "admin", "socket", "x" + std::to_string(i), "user:1", "{}", ""});
      ASSERT_TRUE(store.commit(kHome, changes));
    }
    const auto newest = store.audit(kHome, 2).value();
    ASSERT_EQ(newest.size(), 2U);
    EXPECT_EQ(newest[0].entry.action, "x4");
    EXPECT_EQ(newest[0].entry.at, at(4));
    EXPECT_EQ(store.audit(kHome, 10, newest[1].number)->size(), 3U);
    EXPECT_TRUE(store.audit(kOffice, 10)->empty());
  }
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  for (const char* forbidden : {"UPDATE audit SET actor = 'x'", "DELETE FROM audit"}) {
    EXPECT_NE(sqlite3_exec(database, forbidden, nullptr, nullptr, nullptr), SQLITE_OK) << forbidden;
  }
  sqlite3_close(database);
}

FlowLogEntry flow(std::int64_t seconds) {
  FlowLogEntry entry;
  entry.at = at(seconds);
  entry.connector = model::ConnectorId(6);
  entry.user = model::UserId(2);
  entry.target = "192.168.1.20:80";
  entry.refusal = 3;
  entry.bytes_to_target = 1ULL << 40;
  entry.started_at = at(seconds - 1);
  entry.duration_ms = 17;
  entry.path = "relay";
  return entry;
}

TEST_F(StoreTest, TheFlowLogIsBoundedByRows) {
  StoreOptions options;
  options.flow_rows_max = 10;
  Store store = open(options);
  ASSERT_TRUE(store.commit(kHome, upserts({network()})));
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(store.append_flows(kHome, std::array{flow(1000 + i)}));
  const auto flows = store.flows(kHome, 100).value();
  ASSERT_EQ(flows.size(), 10U);
  FlowLogEntry expected = flow(1024);
  expected.number = flows.front().number;
  EXPECT_EQ(flows.front(), expected);
  EXPECT_EQ(flows.back().at, at(1015));
  EXPECT_EQ(store.flows(kHome, 3, flows[4].number)->front(), flows[5]);
  EXPECT_FALSE(store.append_flows(kOffice, std::array{flow(1)})) << "no such Network";
}

TEST_F(StoreTest, TheFlowLogIsBoundedByAge) {
  StoreOptions options;
  options.flow_age_max = std::chrono::days(1);
  Store store = open(options);
  ASSERT_TRUE(store.commit(kHome, upserts({network()})));
  const std::vector<FlowLogEntry> old(6, flow(1000));
  ASSERT_TRUE(store.append_flows(kHome, old));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store.append_flows(kHome, std::array{flow(1000 + 90'000 + i)}));
  EXPECT_EQ(store.flows(kHome, 100)->size(), 3U);
}

TEST_F(StoreTest, TheFileIsForItsOwnerOnly) {
  Store store = open();
  ASSERT_TRUE(store.commit(kHome, upserts({network()})));
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".lock") continue;  // holds a process id
    struct stat status {};
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 077U, 0U) << entry.path();
  }
}

TEST_F(StoreTest, ASecondServerIsKeptOff) {
  const Store store = open();
  EXPECT_EQ(refused().kind, StoreErrorKind::Locked);
}

TEST_F(StoreTest, OpenModesSayWhatTheyMiss) {
  EXPECT_EQ(refused({.mode = OpenMode::Existing}).kind, StoreErrorKind::NotFound);
  { const Store store = open({.mode = OpenMode::CreateNew}); }
  EXPECT_EQ(refused({.mode = OpenMode::CreateNew}).kind, StoreErrorKind::Exists);
  { const Store store = open({.mode = OpenMode::Existing}); }
}

TEST_F(StoreTest, WhatIsNotOurDatabaseIsRefusedAndLeftAlone) {
  std::ofstream(file) << "this is a text file, and a long one, so that it is not taken for an empty database at all";
  EXPECT_EQ(refused().kind, StoreErrorKind::Corrupt);
  EXPECT_EQ(fs::file_size(file), 89U);
  fs::remove(file);
  sql("CREATE TABLE theirs (x)");
  EXPECT_EQ(refused().kind, StoreErrorKind::Corrupt);
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(refused().kind, StoreErrorKind::Unreadable);
  file = folder / "no such folder" / "postern.db";
  EXPECT_EQ(refused().kind, StoreErrorKind::Unreadable);
}

TEST_F(StoreTest, ADamagedFileIsFound) {
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
  }
  {
    std::fstream damage(file, std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(100);
    damage << std::string(4000, '\x5a');
  }
  EXPECT_EQ(refused().kind, StoreErrorKind::Corrupt);
}

TEST_F(StoreTest, AFileThatCannotBeWrittenByThisUserIsRefused) {
  { const Store store = open(); }
  fs::permissions(folder, fs::perms(0755));
  fs::permissions(file, fs::perms(0444));
  // As another user, because root may write everywhere.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(100);
    const auto opened = Store::open(file);
    ::_exit(opened ? 101 : static_cast<int>(opened.error().kind));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(StoreErrorKind::ReadOnly));
}

TEST_F(StoreTest, ABackupIsAWholeDatabase) {
  const fs::path copy = folder / "copy.db";
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
    ASSERT_TRUE(store.backup(copy));
    EXPECT_EQ(store.backup(copy).error().kind, StoreErrorKind::Exists);
  }
  file = copy;
  EXPECT_EQ(open().load(kHome).value(), one_of_each());
}

// --- migrations ----------------------------------------------------------------------------------------------------

struct MigrationTest : StoreTest {
  StoreOptions with(std::vector<std::string_view> later) {
    steps.assign(embedded_migrations().begin(), embedded_migrations().end());
    for (const auto text : later) steps.push_back({static_cast<std::uint32_t>(steps.size() + 1), "later.sql", text});
    StoreOptions options;
    options.migrations = steps;
    return options;
  }
  std::vector<Migration> steps;
};

TEST_F(MigrationTest, AnOlderFileIsCopiedAndMigratedAndKeepsItsRecords) {
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
  }
  const auto options =
      with({"CREATE TABLE more (network_id INTEGER, x TEXT) STRICT", "ALTER TABLE more ADD COLUMN y TEXT"});
  {
    const Store store = open(options);
    EXPECT_EQ(store.schema_version(), embedded_migrations().size() + 2);
    EXPECT_EQ(store.load(kHome).value(), one_of_each());
  }
  const fs::path copy = file.string() + ".before-" + std::to_string(embedded_migrations().size() + 1);
  ASSERT_TRUE(fs::exists(copy));
  EXPECT_EQ(refused().kind, StoreErrorKind::NewerVersion) << "the older program says so";
  file = copy;
  EXPECT_EQ(open().load(kHome).value(), one_of_each()) << "and can go on with the copy";
}

TEST_F(MigrationTest, AFailedStepTakesAllStepsBack) {
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, upserts(one_of_each())));
  }
  EXPECT_EQ(refused(with({"CREATE TABLE more (x TEXT); DELETE FROM secret", "CREATE TABLE more (x TEXT)"})).kind,
            StoreErrorKind::Migration);
  EXPECT_EQ(refused(with({"DELETE FROM user_account"})).kind, StoreErrorKind::Migration)
      << "leaves devices without users";
  const Store store = open();
  EXPECT_EQ(store.schema_version(), embedded_migrations().size());
  EXPECT_EQ(store.load(kHome).value(), one_of_each());
}

TEST_F(MigrationTest, ASchemaThatWasChangedByHandIsRefused) {
  { const Store store = open(); }
  sql("CREATE TABLE mine (x TEXT)");
  EXPECT_EQ(refused().kind, StoreErrorKind::Corrupt);
  sql("DROP TABLE mine");
  { const Store store = open(); }
}

// --- kill -9 -------------------------------------------------------------------------------------------------------

/// Commits pairs of groups with an audit entry and tells each number through the pipe once it was acknowledged.
[[noreturn]] void commit_for_ever(const fs::path& file, int pipe) {
  auto store = Store::open(file);
  if (!store) ::_exit(1);
  std::uint64_t done = store->load(kHome)->size();
  for (std::uint64_t i = done;; ++i) {
    auto changes = upserts({GroupRecord{model::GroupId(2 * i + 1), "a" + std::to_string(i), false},
                            GroupRecord{model::GroupId(2 * i + 2), "b" + std::to_string(i), false}});
    changes.audit.push_back({at(1), "a", "b", "c", std::to_string(i), "", ""});
    if (!store->commit(kHome, changes)) ::_exit(2);
    if (::write(pipe, &i, sizeof i) != sizeof i) ::_exit(3);
  }
}

TEST_F(StoreTest, NothingThatWasAcknowledgedIsLostByAKill) {
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, upserts({network()})));
  }
  std::set<std::uint64_t> acknowledged;
  for (int round = 0; round < 12; ++round) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) commit_for_ever(file, ends[1]);
    ::close(ends[1]);
    std::uint64_t number = 0;
    for (std::uint64_t wanted = 1 + random.below(30); wanted > 0; --wanted) {
      ASSERT_EQ(::read(ends[0], &number, sizeof number), static_cast<ssize_t>(sizeof number));
      acknowledged.insert(number);
    }
    // Somewhere inside the next commit.
    for (volatile std::uint64_t spin = random.below(400'000); spin > 0;) spin = spin - 1;
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    while (::read(ends[0], &number, sizeof number) == static_cast<ssize_t>(sizeof number)) acknowledged.insert(number);
    ::close(ends[0]);

    const Store store = open({.mode = OpenMode::Existing});
    std::map<std::uint64_t, int> found;
    const std::vector<Record> records = store.load(kHome).value();
    for (const Record& record : records) {
      if (const auto* group = std::get_if<GroupRecord>(&record)) ++found[(group->id.value - 1) / 2];
    }
    for (const auto& [i, halves] : found) ASSERT_EQ(halves, 2) << "half a change set";
    for (const std::uint64_t i : acknowledged) ASSERT_TRUE(found.contains(i)) << i;
    ASSERT_LE(found.size(), acknowledged.size() + static_cast<std::size_t>(round) + 1);
    ASSERT_EQ(store.audit(kHome, 1'000'000)->size(), found.size());
  }
}

TEST_F(StoreTest, AControllerGoesOnFromWhatWasStored) {
  const auto signing = identity::PrivateKey::generate(random);
  const auto begin = [&](Store& store) {
    auto fresh = std::make_unique<Controller>(ControllerConfig{}, ControllerKeys{signing, Bytes(32, 1)}, random);
    fresh->load({}, at(100), store.load(kHome).value());
    return fresh;
  };
  const CommandContext context{"admin:local", "test", at(100)};
  std::uint64_t last = 0;
  {
    Store store = open();
    ASSERT_TRUE(store.commit(kHome, found_network({kHome, "home", "Home", "https://x", ""}, context).value()));
    auto controller = begin(store);
    const std::vector<Command> commands = {CreateUser{"ana@example.org", "h", UserRole::Admin},
                                           CreateGroup{"web"},
                                           AddToGroup{"web", "ana@example.org"},
                                           CreateRemoteNetwork{"flat"},
                                           CreateConnector{"pi", "flat"},
                                           GenerateConnectorTokens{"pi"},
                                           CreateResource{"nginx", "flat", "nginx.home", {"web.home"}, "80"},
                                           GrantAccess{"nginx", "web", ""},
                                           CreateGroup{"gone"},
                                           DeleteGroup{"gone"}};
    for (const Command& command : commands) {
      const auto planned = controller->plan(command, context);
      ASSERT_TRUE(planned) << planned.error().message;
      ASSERT_TRUE(store.commit(kHome, planned->changes));
      controller->apply(Instant{}, at(100), planned->changes);
      last = std::max(last, planned->id);
    }
    EXPECT_EQ(begin(store)->network(), controller->network());
    EXPECT_EQ(begin(store)->resources(), controller->resources());
    EXPECT_EQ(begin(store)->connectors(), controller->connectors());
    EXPECT_EQ(store.audit(kHome, 100)->size(), commands.size() + 1);
  }
  Store store = open();
  EXPECT_GT(begin(store)->plan(CreateGroup{"new"}, context)->id, last);
}

}  // namespace
}  // namespace postern::runtime
