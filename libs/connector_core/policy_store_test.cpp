#include "connector_core/policy_store.hpp"

#include <gtest/gtest.h>

namespace postern::connector {
namespace {

wire::Resource resource(std::uint64_t id, const std::string& address) {
  wire::Resource entry;
  entry.set_id(id);
  entry.set_address(address);
  entry.mutable_tcp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
  return entry;
}

TEST(PolicyStore, AtTheBoundLeavesOutAndCountsWhatIsNewAndKeepsWhatIsOld) {
  ASSERT_EQ(65'536U, PolicyStore::kResourcesMax);
  PolicyStore store;
  const WallTime now = from_unix_ms(1'800'000'000'000);
  wire::ConnectorUpdate full;
  full.set_full(true);
  full.set_version(1);
  for (std::uint64_t id = 1; id <= PolicyStore::kResourcesMax; ++id) {
    *full.add_resources() = resource(id, "h" + std::to_string(id) + ".lan");
  }
  ASSERT_EQ(UpdateOutcome::Applied, store.apply(full, now));
  wire::ConnectorUpdate more;
  more.set_from_version(1);
  more.set_version(2);
  *more.add_resources() = resource(PolicyStore::kResourcesMax + 1, "new.lan");
  *more.add_resources() = resource(9, "moved.lan");
  ASSERT_EQ(UpdateOutcome::Applied, store.apply(more, now));
  EXPECT_EQ(1U, store.malformed_entries());
  EXPECT_EQ(PolicyStore::kResourcesMax, store.table().all().size());
  EXPECT_EQ(nullptr, store.table().match(*model::DnsName::parse("new.lan")));
  EXPECT_NE(nullptr, store.table().match(*model::DnsName::parse("moved.lan")));
  EXPECT_NE(nullptr, store.table().match(*model::DnsName::parse("h65536.lan")));
}

}  // namespace
}  // namespace postern::connector
