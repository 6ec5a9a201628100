#include <gtest/gtest.h>

#include "connector_core/core_test_util.hpp"
#include "identity/tokens.hpp"

namespace postern::connector {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Bench;

TEST(Sessions, AValidLeaseIsAcceptedAndTheClientIsToldByWhom) {
  Bench bench;
  const auto session = bench.open_session();
  const auto messages = bench.control_messages(session);
  ASSERT_EQ(1U, messages.size());
  EXPECT_TRUE(messages[0].hello_reply().accepted());
  EXPECT_EQ(5U, messages[0].hello_reply().connector_id());
  EXPECT_TRUE(bench.port.closed.empty());
}

TEST(Sessions, ASessionWithoutHelloIsClosedAfterFiveSeconds) {
  Bench bench;
  const auto session = bench.establish();
  bench.advance(milliseconds(4900));
  EXPECT_TRUE(bench.port.closed.empty());
  bench.advance(milliseconds(200));
  EXPECT_EQ(2U, bench.port.closed.at(session).code);
  EXPECT_EQ(0U, bench.core.sessions().size());
}

TEST(Sessions, ARefusedLeaseIsAnsweredWithItsReasonAndThenClosed) {
  Bench bench;
  const auto refused = [&](auto change) {
    auto lease = bench.lease();
    change(lease);
    const auto session = bench.establish();
    bench.hello(session, lease);
    EXPECT_FALSE(bench.control_messages(session).back().hello_reply().accepted());
    const std::string reason = bench.control_messages(session).back().hello_reply().reason();
    EXPECT_FALSE(reason.empty());
    EXPECT_EQ(wire::REFUSAL_LEASE_EXPIRED, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
    bench.advance(milliseconds(300));
    EXPECT_EQ(3U, bench.port.closed.at(session).code);
    return reason;
  };
  refused([](auto& lease) { lease.issuer = "office"; });
  refused([](auto& lease) { lease.remote_network_id = 4; });
  refused([](auto& lease) { lease.device_key.fill(1); });
  refused([](auto& lease) { lease.expires_at -= 5 * 3600; });
  EXPECT_EQ(4U, bench.core.sessions().counters().leases_refused);
}

TEST(Sessions, ALeaseSignedByAForeignKeyIsRefused) {
  Bench bench;
  const auto session = bench.establish();
  const auto stranger = identity::PrivateKey::generate(bench.random);
  wire::SessionMessage message;
  message.mutable_hello()->set_protocol_version(1);
  message.mutable_hello()->set_lease(identity::sign_lease(bench.lease(), stranger));
  bench.control(session, message);
  EXPECT_FALSE(bench.control_messages(session).back().hello_reply().accepted());
}

TEST(Sessions, WhatIsNotAMessageEndsTheSession) {
  Bench bench;
  const auto garbage = bench.establish();
  bench.send(garbage, session::kControlStream, Bytes{0x03, 0xff, 0xff, 0xff});
  EXPECT_EQ(1U, bench.port.closed.at(garbage).code);
  const auto huge = bench.establish();
  bench.send(huge, session::kControlStream, Bytes{0x80, 0x02, 0x00, 0x00});
  EXPECT_EQ(1U, bench.port.closed.at(huge).code);
  const auto early = bench.establish();
  wire::SessionMessage lease;
  lease.mutable_lease()->set_lease("x");
  bench.control(early, lease);
  EXPECT_EQ(1U, bench.port.closed.at(early).code) << "the first message must be Hello";
  const auto twice = bench.open_session();
  bench.hello(twice, bench.lease());
  EXPECT_EQ(1U, bench.port.closed.at(twice).code);
  EXPECT_EQ(4U, bench.core.sessions().counters().protocol_errors);
}

TEST(Sessions, AnOlderLeaseDoesNotBringBackWhatANewerTookAway) {
  Bench bench;
  const auto session = bench.open_session();
  auto newer = bench.lease();
  newer.policy_version = 12;
  newer.resources = {{1, newer.expires_at}};
  wire::SessionMessage message;
  message.mutable_lease()->set_lease(identity::sign_lease(newer, bench.network_key));
  bench.control(session, message);
  message.mutable_lease()->set_lease(identity::sign_lease(bench.lease(), bench.network_key));
  bench.control(session, message);
  EXPECT_EQ(wire::REFUSAL_NOT_IN_LEASE, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
}

TEST(Sessions, ALeaseThatNamesLessClosesTheFlowsItLeavesOut) {
  Bench bench;
  const auto session = bench.open_session();
  const FlowId flow = bench.connect(session);
  auto narrower = bench.lease();
  narrower.policy_version = 12;
  narrower.resources = {{1, narrower.expires_at}};
  wire::SessionMessage message;
  message.mutable_lease()->set_lease(identity::sign_lease(narrower, bench.network_key));
  bench.control(session, message);
  EXPECT_EQ(flow, bench.take<AbortTarget>()->flow);
}

TEST(Sessions, AFloodOfLeasesIsAProtocolError) {
  Bench bench;
  const auto session = bench.open_session();
  wire::SessionMessage message;
  message.mutable_lease()->set_lease("not a lease");
  for (int i = 0; i < 8; ++i) bench.control(session, message);
  EXPECT_TRUE(bench.port.closed.empty());
  bench.control(session, message);
  EXPECT_EQ(1U, bench.port.closed.at(session).code);
}

TEST(Sessions, PingIsAnsweredWithItsNumber) {
  Bench bench;
  const auto session = bench.open_session();
  wire::SessionMessage message;
  message.mutable_ping()->set_number(42);
  bench.control(session, message);
  EXPECT_EQ(42U, bench.control_messages(session).back().pong().number());
}

TEST(Sessions, AKilledClientsSessionGoesWhenItsDeviceComesAgain) {
  Bench bench;
  const auto dead = bench.open_session();
  bench.advance(seconds(60));
  const auto alive = bench.open_session();
  EXPECT_EQ(1, bench.port.pings[dead]);
  bench.advance(seconds(6));
  EXPECT_TRUE(bench.port.closed.contains(dead));
  EXPECT_FALSE(bench.port.closed.contains(alive));
}

TEST(Sessions, TwoLiveSessionsOfOneDeviceStay) {
  Bench bench;
  const auto one = bench.open_session();
  const auto two = bench.open_session();
  bench.advance(seconds(1));
  bench.port.heard[one] = bench.now;
  bench.advance(seconds(10));
  EXPECT_TRUE(bench.port.closed.empty());
  EXPECT_TRUE(bench.core.sessions().knows(two));
}

TEST(KnockGate, OnlyKnocksForThisInstanceThatHaveNotEndedOpenIt) {
  Bench bench;
  const Bytes key(32, 'k');
  identity::Knock knock{bench.device_key.public_key().digest(), testing::kInstance, bench.unix_now() + 60};
  const auto verify = [&](const Bytes& token) { return bench.core.knocks().verify(bench.now, token); };
  ASSERT_TRUE(verify(identity::make_knock(knock, key)));
  EXPECT_EQ(knock.device, verify(identity::make_knock(knock, key))->device);
  EXPECT_EQ(session::DropReason::KnockMissing, verify({}).error());
  EXPECT_EQ(session::DropReason::KnockInvalid, verify(Bytes(81)).error());
  EXPECT_EQ(session::DropReason::KnockInvalid, verify(identity::make_knock(knock, Bytes(32, 'x'))).error());
  knock.instance_id += 1;
  EXPECT_EQ(session::DropReason::KnockInvalid, verify(identity::make_knock(knock, key)).error());
  knock.instance_id -= 1;
  knock.expires_at -= 200;
  EXPECT_EQ(session::DropReason::KnockExpired, verify(identity::make_knock(knock, key)).error());
}

}  // namespace
}  // namespace postern::connector
