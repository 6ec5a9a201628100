// PROTOCOL.md §4.5, through the whole core: each step, and the order of the steps.
#include <gtest/gtest.h>

#include "connector_core/core_test_util.hpp"

namespace postern::connector {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::Bench;

TEST(Access, WithoutAnAcceptedHelloNothingIsReached) {
  Bench bench;
  const auto session = bench.establish();
  EXPECT_EQ(wire::REFUSAL_LEASE_EXPIRED, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
  EXPECT_TRUE(bench.is_quiet());
}

TEST(Access, TheLeaseMustNameTheResourceAlsoWhenTheTableKnowsIt) {
  Bench bench;
  const auto session = bench.establish();
  auto lease = bench.lease();
  lease.resources = {{1, lease.expires_at}};
  bench.hello(session, lease);
  EXPECT_EQ(wire::REFUSAL_NOT_IN_LEASE, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
  EXPECT_EQ(wire::REFUSAL_NOT_IN_LEASE, bench.refusal(session, bench.open_flow(session, 99, "192.168.1.20", 80)));
}

TEST(Access, TheTableMustKnowTheResourceAlsoWhenTheLeaseNamesIt) {
  Bench bench;
  const auto session = bench.establish();
  auto lease = bench.lease();
  lease.resources.push_back({99, lease.expires_at});
  bench.hello(session, lease);
  EXPECT_EQ(wire::REFUSAL_UNKNOWN_RESOURCE, bench.refusal(session, bench.open_flow(session, 99, "192.168.1.20", 80)));
}

TEST(Access, HostAddressAndPortMustBeInsideThatVeryEntry) {
  Bench bench;
  const auto session = bench.open_session();
  const auto refused = [&](std::uint64_t id, const char* target, std::uint32_t port) {
    return bench.refusal(session, bench.open_flow(session, id, target, port));
  };
  EXPECT_EQ(wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE, refused(2, "192.168.2.1", 80));
  EXPECT_EQ(wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE, refused(1, "other.home", 3000));
  EXPECT_EQ(wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE, refused(1, "192.168.1.20", 3000));
  EXPECT_EQ(wire::REFUSAL_PORT_NOT_ALLOWED, refused(1, "gitea.home", 22));
  EXPECT_EQ(wire::REFUSAL_SHADOWED, refused(2, "192.168.1.9", 80)) << "resource 3 is that very address";
  EXPECT_TRUE(bench.is_quiet());
}

TEST(Access, AddressesThatPointBackAtTheConnectorAreRefusedWhereverTheyComeFrom) {
  Bench bench;
  const auto session = bench.open_session();
  for (const char* address : {"127.0.1.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::",
                              "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"}) {
    const auto stream = bench.open_flow(session, 4, "rebind.lab", 80);
    const auto question = bench.take<ResolveName>();
    ASSERT_TRUE(question);
    bench.core.flows().handle_resolved(bench.now, question->flow, std::vector{*IpAddress::parse(address)});
    EXPECT_EQ(wire::REFUSAL_FORBIDDEN_ADDRESS, bench.refusal(session, stream)) << address;
    EXPECT_NE(std::string::npos,
              bench.reply(session, stream)->refused().detail().find("resource for that very address"));
  }
  EXPECT_TRUE(bench.is_quiet());
}

TEST(Access, OfSeveralAddressesOnlyTheForbiddenOnesAreLeftOut) {
  Bench bench;
  const auto session = bench.open_session();
  bench.open_flow(session, 4, "both.lab", 80);
  const auto question = bench.take<ResolveName>();
  bench.core.flows().handle_resolved(bench.now, question->flow,
                                     std::vector{*IpAddress::parse("127.0.0.1"), *IpAddress::parse("10.0.0.1")});
  const auto request = bench.take<ConnectTcp>();
  ASSERT_TRUE(request);
  EXPECT_EQ(std::vector{*SocketAddress::parse("10.0.0.1:80")}, request->addresses);
}

TEST(Access, AForbiddenAddressThatAResourceNamesLiterallyIsMeant) {
  Bench bench;
  auto update = bench.delta();
  *update.add_resources() = Bench::resource(5, "127.0.0.1");
  *update.add_resources() = Bench::resource(6, "127.0.0.0/8");
  bench.apply(update);
  const auto session = bench.establish();
  auto lease = bench.lease();
  lease.resources.push_back({5, lease.expires_at});
  lease.resources.push_back({6, lease.expires_at});
  bench.hello(session, lease);
  bench.open_flow(session, 5, "127.0.0.1", 80);
  EXPECT_TRUE(bench.take<ConnectTcp>());
  EXPECT_EQ(wire::REFUSAL_FORBIDDEN_ADDRESS, bench.refusal(session, bench.open_flow(session, 6, "127.0.0.2", 80)));
}

TEST(Access, ARevokedEdgeClosesItsFlowsAtOnceAndNoOthers) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.open_flow(session, 3, "192.168.1.9", 80);
  const auto other = bench.take<ConnectTcp>();
  ASSERT_TRUE(other);
  auto update = bench.delta();
  auto* record = update.add_revocations();
  record->set_user_id(testing::kUser);
  record->set_resource_id(2);
  record->set_min_pv(11);
  record->set_expires_at_ms(to_unix_ms(bench.core.network_time(bench.now)) + 5 * 3'600'000);
  bench.apply(update);
  const auto aborted = bench.take<AbortTarget>();
  ASSERT_TRUE(aborted);
  EXPECT_EQ(flow, aborted->flow);
  EXPECT_EQ(0x11U, (bench.port.streams[{session, stream}].reset));
  const auto told = bench.control_messages(session).back();
  ASSERT_TRUE(told.has_revoked());
  EXPECT_EQ(2U, told.revoked().resource_ids(0));
  EXPECT_TRUE(bench.is_quiet());
  EXPECT_EQ(wire::REFUSAL_REVOKED, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
}

TEST(Access, ARevokedDeviceLosesItsSessionAndCannotComeBackWithTheOldLease) {
  Bench bench;
  const auto session = bench.open_session();
  const FlowId flow = bench.connect(session);
  const auto old_lease = bench.lease();
  auto update = bench.delta();
  auto* record = update.add_revocations();
  record->set_device_id(testing::kDevice);
  record->set_min_pv(11);
  record->set_expires_at_ms(to_unix_ms(bench.core.network_time(bench.now)) + 5 * 3'600'000);
  bench.apply(update);
  EXPECT_EQ(flow, bench.take<AbortTarget>()->flow);
  EXPECT_EQ(4U, bench.port.closed.at(session).code);
  const auto again = bench.establish();
  bench.hello(again, old_lease);
  const auto reply = bench.control_messages(again).back().hello_reply();
  EXPECT_FALSE(reply.accepted());
  EXPECT_NE(std::string::npos, reply.reason().find("revoked"));
  auto renewed = bench.lease();
  renewed.policy_version = 11;
  const auto third = bench.establish();
  bench.hello(third, renewed);
  EXPECT_TRUE(bench.control_messages(third).back().hello_reply().accepted());
}

TEST(Access, ARemovedOrNarrowedResourceClosesTheFlowsThatNoLongerFit) {
  Bench bench;
  const auto session = bench.open_session();
  const FlowId kept = bench.connect(session);
  bench.open_flow(session, 3, "192.168.1.9", 80);
  const auto gone = bench.take<ConnectTcp>();
  auto update = bench.delta();
  update.add_removed_resources(3);
  bench.apply(update);
  EXPECT_EQ(gone->flow, bench.take<AbortTarget>()->flow);
  EXPECT_TRUE(bench.is_quiet());
  update = bench.delta();
  *update.add_resources() = Bench::resource(2, "192.168.1.0/24", "443");
  bench.apply(update);
  EXPECT_EQ(kept, bench.take<AbortTarget>()->flow);
}

TEST(Access, AResourceThatCannotBeUnderstoodIsNotReachable) {
  Bench bench;
  const auto session = bench.open_session();
  bench.connect(session);
  auto update = bench.delta();
  *update.add_resources() = Bench::resource(2, "192.168.1.5/24");
  bench.apply(update);
  EXPECT_TRUE(bench.take<AbortTarget>());
  EXPECT_EQ(1U, bench.core.policy().malformed_entries());
}

TEST(Access, ALeaseThatRanOutTakesItsFlowsWithItUnlessItWasRenewed) {
  Bench bench;
  const auto session = bench.open_session();
  const FlowId flow = bench.connect(session);
  bench.advance(hours(2));
  wire::SessionMessage renewal;
  renewal.mutable_lease()->set_lease(identity::sign_lease(bench.lease(), bench.network_key));
  bench.control(session, renewal);
  bench.advance(hours(2) + seconds(90));
  EXPECT_TRUE(bench.is_quiet()) << "the renewed lease holds";
  bench.advance(hours(2));
  const auto aborted = bench.take<AbortTarget>();
  ASSERT_TRUE(aborted);
  EXPECT_EQ(flow, aborted->flow);
  EXPECT_EQ(wire::REFUSAL_LEASE_EXPIRED, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
}

TEST(Access, AGrantMayEndBeforeItsLease) {
  Bench bench;
  const auto session = bench.establish();
  auto lease = bench.lease();
  lease.resources[1].expires_at = bench.unix_now() + 600;
  bench.hello(session, lease);
  bench.connect(session);
  bench.advance(seconds(590));
  EXPECT_TRUE(bench.is_quiet());
  bench.advance(seconds(80));
  EXPECT_TRUE(bench.take<AbortTarget>());
  EXPECT_EQ(wire::REFUSAL_LEASE_EXPIRED, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
  bench.open_flow(session, 3, "192.168.1.9", 80);
  EXPECT_TRUE(bench.take<ConnectTcp>());
}

TEST(Access, ADeltaThatDoesNotContinueWhatIsHeldChangesNothing) {
  Bench bench;
  wire::ConnectorUpdate update;
  update.set_from_version(50);
  update.set_version(51);
  update.add_removed_resources(2);
  EXPECT_EQ(UpdateOutcome::Gap, bench.core.handle_update(bench.now, update));
  EXPECT_NE(nullptr, bench.core.policy().table().find(model::ResourceId(2)));
}

TEST(Access, AFullUpdateForgetsWhatItDoesNotName) {
  Bench bench;
  wire::ConnectorUpdate update;
  update.set_full(true);
  update.set_version(20);
  *update.add_resources() = Bench::resource(3, "192.168.1.9");
  bench.apply(update);
  EXPECT_EQ(1U, bench.core.policy().table().all().size());
  EXPECT_FALSE(bench.core.policy().keys().empty()) << "keys stay until a set of them is named";
}

TEST(Revocations, AtTheBoundEverybodyNeedsANewerLeaseRatherThanAnybodyTooOld) {
  Revocations revocations(2);
  const auto add = [&](std::uint64_t user, std::uint64_t min_pv) {
    wire::Revocation record;
    record.set_user_id(user);
    record.set_min_pv(min_pv);
    record.set_expires_at_ms(1);
    revocations.add(record);
  };
  add(1, 5);
  add(2, 9);
  add(3, 7);
  identity::Lease lease;
  lease.user_id = 1;
  lease.policy_version = 4;
  EXPECT_TRUE(revocations.voids(lease)) << "the record that had to go still holds";
  lease.user_id = 99;
  EXPECT_TRUE(revocations.voids(lease));
  lease.policy_version = 5;
  EXPECT_FALSE(revocations.voids(lease));
  lease.user_id = 2;
  lease.policy_version = 8;
  EXPECT_TRUE(revocations.voids(lease));
  EXPECT_LE(revocations.size(), 2U);
}

TEST(Revocations, RecordsAreForgottenWhenNoLeaseCanNeedThem) {
  Revocations revocations;
  wire::Revocation record;
  record.set_key_digest(std::string(32, 'd'));
  record.set_min_pv(5);
  record.set_expires_at_ms(1000);
  revocations.add(record);
  identity::Lease lease;
  lease.device_key.fill('d');
  EXPECT_TRUE(revocations.voids(lease));
  revocations.prune(from_unix_ms(1000));
  EXPECT_FALSE(revocations.voids(lease));
}

}  // namespace
}  // namespace postern::connector
