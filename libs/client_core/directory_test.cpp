#include "client_core/directory.hpp"

#include <gtest/gtest.h>

namespace postern::client {
namespace {

wire::Resource resource(std::uint64_t id) {
  wire::Resource entry;
  entry.set_id(id);
  entry.set_remote_network_id(1);
  entry.set_address("h" + std::to_string(id) + ".lan");
  entry.mutable_tcp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
  entry.mutable_udp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
  return entry;
}

wire::ConnectorInstance instance(std::uint64_t id) {
  wire::ConnectorInstance entry;
  entry.set_instance_id(id);
  entry.set_route_id("7 bytes");
  entry.set_certificate_digest(std::string(32, 'd'));
  return entry;
}

wire::RemoteNetworkLease lease(std::uint64_t id, const std::string& token) {
  wire::RemoteNetworkLease entry;
  entry.set_remote_network_id(id);
  entry.set_lease(token);
  return entry;
}

/// A Directory that holds as much of everything as it takes, numbered from 1.
class FullDirectory : public ::testing::Test {
 protected:
  FullDirectory() {
    wire::ClientUpdate update;
    update.set_full(true);
    update.set_version(1);
    for (std::uint64_t id = 1; id <= Directory::kResourcesMax; ++id) *update.add_resources() = resource(id);
    for (std::uint64_t id = 1; id <= Directory::kInstancesMax; ++id) *update.add_instances() = instance(id);
    for (std::uint64_t id = 1; id <= Directory::kLeasesMax; ++id) *update.add_leases() = lease(id, "first");
    EXPECT_TRUE(directory_.apply(update));
    EXPECT_EQ(0U, directory_.malformed_entries());
  }
  wire::ClientUpdate next() {
    wire::ClientUpdate update;
    update.set_from_version(directory_.version());
    update.set_version(directory_.version() + 1);
    return update;
  }

  Directory directory_;
};

TEST_F(FullDirectory, HoldsWhatItsBoundsSay) {
  EXPECT_EQ(65'536U, directory_.table().all().size());
  EXPECT_EQ(16'384U, directory_.instances().size());
  EXPECT_EQ(4'096U, directory_.leases().size());
}

TEST_F(FullDirectory, LeavesOutAndCountsWhatIsNewAndKeepsWhatIsOld) {
  auto update = next();
  *update.add_resources() = resource(Directory::kResourcesMax + 1);
  *update.add_instances() = instance(Directory::kInstancesMax + 1);
  *update.add_leases() = lease(Directory::kLeasesMax + 1, "first");
  const auto changes = directory_.apply(update);
  ASSERT_TRUE(changes);
  EXPECT_FALSE(changes->resources_changed);
  EXPECT_TRUE(changes->changed_instances.empty() && changes->new_leases.empty());
  EXPECT_EQ(3U, directory_.malformed_entries());
  EXPECT_EQ(nullptr, directory_.table().match(*model::DnsName::parse("h65537.lan")));
  EXPECT_NE(nullptr, directory_.table().match(*model::DnsName::parse("h65536.lan")));
  EXPECT_EQ(nullptr, directory_.find_instance(model::InstanceId(Directory::kInstancesMax + 1)));
  EXPECT_NE(nullptr, directory_.find_instance(model::InstanceId(1)));
  EXPECT_EQ(nullptr, directory_.find_lease(model::RemoteNetworkId(Directory::kLeasesMax + 1)));
}

TEST_F(FullDirectory, OldOnesStillChangeAndOneThatGoesMakesRoom) {
  auto update = next();
  *update.add_leases() = lease(7, "renewed");
  wire::Resource moved = resource(9);
  moved.set_address("moved.lan");
  *update.add_resources() = moved;
  update.add_removed_resources(8);
  *update.add_resources() = resource(Directory::kResourcesMax + 1);
  update.add_removed_instances(8);
  *update.add_instances() = instance(Directory::kInstancesMax + 1);
  ASSERT_TRUE(directory_.apply(update));
  EXPECT_EQ(0U, directory_.malformed_entries());
  EXPECT_EQ("renewed", directory_.find_lease(model::RemoteNetworkId(7))->token);
  EXPECT_NE(nullptr, directory_.table().match(*model::DnsName::parse("moved.lan")));
  EXPECT_NE(nullptr, directory_.table().match(*model::DnsName::parse("h65537.lan")));
  EXPECT_NE(nullptr, directory_.find_instance(model::InstanceId(Directory::kInstancesMax + 1)));
}

/// A Directory that was told of the instances 1 and 2 of the Remote Network 7.
class DirectoryOfTwo : public ::testing::Test {
 protected:
  static wire::ConnectorInstance instance_of_7(std::uint64_t id) {
    wire::ConnectorInstance entry = instance(id);
    entry.set_remote_network_id(7);
    return entry;
  }
  DirectoryOfTwo() {
    wire::ClientUpdate update = full();
    for (const std::uint64_t id : {1U, 2U}) *update.add_instances() = instance_of_7(id);
    EXPECT_TRUE(directory_.apply(update));
  }
  static wire::ClientUpdate full() {
    wire::ClientUpdate update;
    update.set_full(true);
    update.set_version(1);
    return update;
  }
  DirectoryChanges make_absent(std::uint64_t id) {
    wire::ClientUpdate update;
    update.set_from_version(directory_.version());
    update.set_version(directory_.version() + 1);
    update.add_absent_instances(id);
    return *directory_.apply(update);
  }
  using Networks = std::map<model::InstanceId, model::RemoteNetworkId>;
  const Networks only_one_{{model::InstanceId(1), model::RemoteNetworkId(7)}};

  Directory directory_;
};

TEST_F(DirectoryOfTwo, AnAbsentInstanceIsNotListedAndNotRemoved) {
  const auto changes = make_absent(1);
  EXPECT_EQ(only_one_, changes.absent_instances);
  EXPECT_TRUE(changes.removed_instances.empty());
  EXPECT_EQ(nullptr, directory_.find_instance(model::InstanceId(1)));
  EXPECT_TRUE(make_absent(1).absent_instances.empty()) << "that is known";
}

TEST_F(DirectoryOfTwo, AnAbsentInstanceComesBack) {
  make_absent(1);
  wire::ClientUpdate update = full();
  for (const std::uint64_t id : {1U, 2U}) *update.add_instances() = instance_of_7(id);
  const auto changes = directory_.apply(update);
  EXPECT_EQ(std::set{model::InstanceId(1)}, changes->changed_instances);
  EXPECT_NE(nullptr, directory_.find_instance(model::InstanceId(1)));
}

TEST_F(DirectoryOfTwo, AFullUpdateKeepsTheAbsentThatItNamesAndRemovesTheOthers) {
  make_absent(1);
  wire::ClientUpdate update = full();
  for (const std::uint64_t id : {1U, 2U, 3U}) update.add_absent_instances(id);
  auto changes = directory_.apply(update);
  EXPECT_TRUE(changes->removed_instances.empty());
  EXPECT_EQ((Networks{{model::InstanceId(2), model::RemoteNetworkId(7)}}), changes->absent_instances)
      << "and 3 was never listed";
  update.clear_absent_instances();
  update.add_absent_instances(2);
  changes = directory_.apply(update);
  EXPECT_EQ(only_one_, changes->removed_instances);
}

TEST_F(DirectoryOfTwo, AnAbsentInstanceCanBeRemoved) {
  make_absent(1);
  wire::ClientUpdate update;
  update.set_from_version(directory_.version());
  update.set_version(directory_.version() + 1);
  update.add_removed_instances(1);
  EXPECT_EQ(only_one_, directory_.apply(update)->removed_instances);
}

}  // namespace
}  // namespace postern::client
