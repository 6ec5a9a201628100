#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "connector_core/core_test_util.hpp"

namespace postern::connector {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Bench;

constexpr auto kReset = static_cast<std::uint64_t>(ResetCode::Reset);

std::string gathered(Bench& bench, FlowId flow) {
  std::array<ByteView, 16> pieces;
  std::string text;
  const std::size_t count = bench.core.flows().gather(flow, pieces);
  for (std::size_t i = 0; i < count; ++i) text += as_text(pieces[i]);
  return text;
}

TEST(Flows, AnAddressIsConnectedAndTheClientIsToldWhereAndHowFast) {
  Bench bench;
  const auto session = bench.open_session();
  const auto stream = bench.open_flow(session, 2, "192.168.1.20", 80);
  const auto request = bench.take<ConnectTcp>();
  ASSERT_TRUE(request);
  EXPECT_EQ(std::vector{*SocketAddress::parse("192.168.1.20:80")}, request->addresses);
  EXPECT_FALSE(bench.reply(session, stream)) << "nothing is promised before the target has answered";
  bench.core.flows().handle_connected(bench.now, request->flow, request->addresses[0], std::chrono::microseconds(250));
  const auto reply = bench.reply(session, stream);
  ASSERT_TRUE(reply && reply->has_opened());
  EXPECT_EQ(250U, reply->opened().connect_us());
  EXPECT_EQ(4U, reply->opened().address().size());
}

TEST(Flows, ANameIsResolvedHereAndItsAddressesAreRaced) {
  Bench bench;
  const auto session = bench.open_session();
  bench.open_flow(session, 1, "gitea.home", 3000);
  const auto question = bench.take<ResolveName>();
  ASSERT_TRUE(question);
  EXPECT_EQ("gitea.home", question->name.text());
  bench.core.flows().handle_resolved(bench.now, question->flow,
                                     std::vector{*IpAddress::parse("fd00::5"), *IpAddress::parse("10.0.0.5")});
  const auto request = bench.take<ConnectTcp>();
  ASSERT_TRUE(request);
  EXPECT_EQ((std::vector{*SocketAddress::parse("[fd00::5]:3000"), *SocketAddress::parse("10.0.0.5:3000")}),
            request->addresses);
}

TEST(Flows, AnAliasStandsForWhatItsResourceIs) {
  Bench bench;
  const auto session = bench.open_session();
  bench.open_flow(session, 1, "git.internal", 3000);
  const auto question = bench.take<ResolveName>();
  ASSERT_TRUE(question);
  EXPECT_EQ("gitea.home", question->name.text());
}

TEST(Flows, BytesGoBothWaysAndCreditIsReturnedOnlyForWhatTheTargetTook) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  auto& script = bench.port.streams[{session, stream}];
  const std::size_t before = script.consumed;
  bench.send(session, stream, "GET /");
  ASSERT_TRUE(bench.take<WriteTarget>());
  EXPECT_EQ("GET /", gathered(bench, flow));
  EXPECT_EQ(before, script.consumed);
  bench.core.flows().handle_written(bench.now, flow, 3);
  EXPECT_EQ(before + 3, script.consumed);
  EXPECT_EQ(" /", gathered(bench, flow));
  bench.core.flows().handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("200")));
  EXPECT_EQ("200", bench.payload(session, stream));
  EXPECT_EQ(0, bench.port.overconsumed);
}

TEST(Flows, WhatTheClientSaysBeforeTheTargetAnsweredIsHeldAndThenDelivered) {
  Bench bench;
  const auto session = bench.open_session();
  const session::StreamId stream(4);
  bench.event(session::StreamOpened{session, stream});
  Bytes first = Bench::head(2, "192.168.1.20", 80);
  first.insert(first.end(), {'e', 'a', 'r', 'l', 'y'});
  bench.send(session, stream, first);
  bench.send(session, stream, " later");
  const auto request = bench.take<ConnectTcp>();
  ASSERT_TRUE(request);
  EXPECT_EQ("", gathered(bench, request->flow));
  bench.core.flows().handle_connected(bench.now, request->flow, request->addresses[0], seconds(0));
  ASSERT_TRUE(bench.take<WriteTarget>());
  EXPECT_EQ("early later", gathered(bench, request->flow));
}

TEST(Flows, AHeadMayArriveByteByByte) {
  Bench bench;
  const auto session = bench.open_session();
  const session::StreamId stream(4);
  bench.event(session::StreamOpened{session, stream});
  for (const std::uint8_t byte : Bench::head(2, "192.168.1.20", 80)) {
    EXPECT_TRUE(bench.is_quiet());
    bench.send(session, stream, ByteView(&byte, 1));
  }
  EXPECT_TRUE(bench.take<ConnectTcp>());
}

TEST(Flows, AFullStreamStopsReadingTheTargetUntilThereIsRoom) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  auto& script = bench.port.streams[{session, stream}];
  EXPECT_GT(bench.core.flows().read_budget(bench.now, flow), 0U);
  script.writable = 0;
  EXPECT_EQ(0U, bench.core.flows().read_budget(bench.now, flow));
  EXPECT_TRUE(bench.is_quiet());
  script.writable = 1000;
  bench.event(session::StreamWritable{session, stream});
  EXPECT_TRUE(bench.take<ResumeTarget>());
  EXPECT_EQ(1000U, bench.core.flows().read_budget(bench.now, flow));
}

TEST(Flows, HalfClosedConnectionsGoOnInTheOtherDirection) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.send(session, stream, "last");
  bench.finish(session, stream);
  ASSERT_TRUE(bench.take<WriteTarget>());
  EXPECT_TRUE(bench.is_quiet()) << "FIN only after the last byte";
  bench.core.flows().handle_written(bench.now, flow, 4);
  ASSERT_TRUE(bench.take<FinishTarget>());
  bench.core.flows().handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("answer")));
  EXPECT_EQ("answer", bench.payload(session, stream));
  bench.core.flows().handle_target_finished(bench.now, flow);
  EXPECT_TRUE((bench.port.streams[{session, stream}].finished));
  EXPECT_TRUE(bench.take<CloseTarget>());
  EXPECT_EQ(0U, bench.core.flows().size());
}

TEST(Flows, ASlowTargetGetsEverythingAlsoAfterTheStreamHasEnded) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.send(session, stream, "slowly");
  bench.finish(session, stream);
  bench.core.flows().handle_target_finished(bench.now, flow);
  bench.event(session::StreamClosed{session, stream});
  ASSERT_TRUE(bench.take<WriteTarget>());
  EXPECT_EQ("slowly", gathered(bench, flow));
  bench.core.flows().handle_written(bench.now, flow, 6);
  ASSERT_TRUE(bench.take<FinishTarget>());
  ASSERT_TRUE(bench.take<CloseTarget>());
}

TEST(Flows, ResetsTravelAsResets) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  bench.connect(session, &stream);
  bench.event(session::StreamReset{session, stream, 0x10});
  EXPECT_TRUE(bench.take<AbortTarget>());
  const FlowId other = bench.connect(session, &stream);
  bench.core.flows().handle_target_reset(bench.now, other);
  EXPECT_EQ(0x10U, (bench.port.streams[{session, stream}].reset));
}

TEST(Flows, TheTargetsAnswerToConnectIsTheClientsRefusal) {
  Bench bench;
  const auto session = bench.open_session();
  const auto stream = bench.open_flow(session, 2, "192.168.1.20", 81);
  const auto request = bench.take<ConnectTcp>();
  bench.core.flows().handle_connect_failed(bench.now, request->flow, wire::REFUSAL_CONNECTION_REFUSED, "refused");
  EXPECT_EQ(wire::REFUSAL_CONNECTION_REFUSED, bench.refusal(session, stream));
  EXPECT_TRUE((bench.port.streams[{session, stream}].finished));
  EXPECT_FALSE((bench.port.streams[{session, stream}].reset)) << "a reset would take the reply with it";
}

TEST(Flows, ATargetThatDoesNotAnswerIsGivenUpAfterTenSeconds) {
  Bench bench;
  const auto session = bench.open_session();
  const auto stream = bench.open_flow(session, 2, "192.168.1.20", 80);
  ASSERT_TRUE(bench.take<ConnectTcp>());
  bench.advance(milliseconds(9900));
  EXPECT_TRUE(bench.is_quiet());
  bench.advance(milliseconds(200));
  EXPECT_TRUE(bench.take<AbortTarget>());
  EXPECT_EQ(wire::REFUSAL_TIMED_OUT, bench.refusal(session, stream));
}

TEST(Flows, NamesThatDoNotExistAndResolversThatDoNotAnswerAreToldApart) {
  Bench bench;
  const auto session = bench.open_session();
  for (const auto& [failure, reason] : {std::pair{ResolveFailure::NameNotFound, wire::REFUSAL_NAME_NOT_FOUND},
                                        std::pair{ResolveFailure::LookupFailed, wire::REFUSAL_NAME_LOOKUP_FAILED}}) {
    const auto stream = bench.open_flow(session, 4, "web.lab", 80);
    const auto question = bench.take<ResolveName>();
    ASSERT_TRUE(question);
    bench.core.flows().handle_resolved(bench.now, question->flow, std::unexpected(failure));
    EXPECT_EQ(reason, bench.refusal(session, stream));
  }
}

TEST(Flows, MalformedHeadsAreRefusedAndCounted) {
  Bench bench;
  const auto session = bench.open_session();
  std::int64_t next = 1000;
  const auto refused = [&](const Bytes& bytes, bool end = false) {
    const session::StreamId stream(next += 4);
    bench.event(session::StreamOpened{session, stream});
    bench.send(session, stream, bytes);
    if (end) bench.finish(session, stream);
    return bench.refusal(session, stream);
  };
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused({0x05, 0xff, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused({0x00})) << "an empty message";
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused({0x48, 0x00, 0x01})) << "2 KiB announced";
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused({0x05, 0x01}, true)) << "ends inside its head";
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused(Bench::head(2, "192.168.1.20", 0)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused(Bench::head(2, "192.168.1.20", 70000)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused(Bench::head(4, "Web.Lab", 80)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused(Bench::head(4, "web.lab.", 80)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused(Bench::head(4, "127.1", 80)));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, refused(Bench::head(4, "0x7f000001", 80)));
  EXPECT_EQ(10U, bench.core.flows().counters().bad_heads);
  EXPECT_TRUE(bench.is_quiet());
}

TEST(Flows, AStreamWithoutAHeadIsGivenUpAndARefusedOneThatNeverEndsIsForgotten) {
  Bench bench;
  const auto session = bench.open_session();
  const session::StreamId stream(4);
  bench.event(session::StreamOpened{session, stream});
  bench.advance(seconds(11));
  EXPECT_EQ(wire::REFUSAL_BAD_REQUEST, bench.refusal(session, stream));
  EXPECT_EQ(1U, bench.core.flows().size());
  bench.advance(seconds(11));
  EXPECT_EQ(0U, bench.core.flows().size());
}

TEST(Flows, NoRoomMeansARefusalThatSaysSo) {
  Bench bench;
  const auto session = bench.open_session();
  bench.port.budget = false;
  const auto stream = bench.open_flow(session, 2, "192.168.1.20", 80);
  EXPECT_EQ(wire::REFUSAL_RESOURCES, bench.refusal(session, stream));
}

TEST(Flows, AtTheBoundNewOnesAreRefusedAndOldOnesGoOn) {
  Bench bench({.flows_max = 8});
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId first = bench.connect(session, &stream);
  for (int i = 1; i < 8; ++i) (void)bench.connect(session);
  const auto refused = bench.open_flow(session, 2, "192.168.1.20", 80);
  EXPECT_EQ(wire::REFUSAL_RESOURCES, bench.refusal(session, refused));
  bench.core.flows().handle_target_bytes(bench.now, first, bench.pool.copy(as_bytes("still")));
  EXPECT_EQ("still", bench.payload(session, stream));
}

TEST(Flows, ThatNoTargetAnswersAreBoundedForEachSessionAndAnAnswerMakesRoom) {
  Bench bench({.opening_per_session_max = 8});
  const auto session = bench.open_session();
  const auto other = bench.open_session();
  session::StreamId stream;
  const FlowId open = bench.connect(session, &stream);
  session::StreamId silent;
  std::vector<FlowId> waiting;
  for (int i = 0; i < 8; ++i) {
    silent = bench.open_flow(session, 2, "192.168.1.20", 80);
    waiting.push_back(bench.take<ConnectTcp>().value().flow);
  }
  EXPECT_EQ(wire::REFUSAL_RESOURCES, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
  bench.core.flows().handle_target_bytes(bench.now, open, bench.pool.copy(as_bytes("still")));
  EXPECT_EQ("still", bench.payload(session, stream));
  (void)bench.connect(other);
  bench.core.flows().handle_connect_failed(bench.now, waiting.front(), wire::REFUSAL_TIMED_OUT, "");
  (void)bench.connect(session);
  bench.core.flows().handle_peer_reset(bench.now, session, silent, kReset);
  EXPECT_TRUE(bench.take<AbortTarget>());
  (void)bench.connect(session);
}

TEST(Flows, AResetOfTheTargetStaysBehindWhatItHadSent) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.core.flows().handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("too large")));
  bench.core.flows().handle_target_reset(bench.now, flow);
  EXPECT_EQ("too large", bench.payload(session, stream));
  EXPECT_EQ(kReset, bench.port.streams.at({session, stream}).reset);
  EXPECT_TRUE(bench.port.streams.at({session, stream}).reset_waits);
  EXPECT_EQ(0U, bench.core.flows().size());
}

TEST(Flows, AResetOfTheClientIsPassedOnWhenTheTargetHasTakenWhatCameBefore) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.send(session, stream, "last words");
  ASSERT_TRUE(bench.take<WriteTarget>());
  bench.core.flows().handle_peer_reset(bench.now, session, stream, kReset);
  EXPECT_FALSE(bench.take<AbortTarget>());
  EXPECT_EQ(0U, bench.core.flows().read_budget(bench.now, flow)) << "nobody is there for an answer";
  EXPECT_EQ("last words", gathered(bench, flow));
  bench.core.flows().handle_written(bench.now, flow, 10);
  EXPECT_TRUE(bench.take<AbortTarget>());
  EXPECT_EQ(0U, bench.core.flows().size());
  EXPECT_EQ(0, bench.port.overconsumed);
}

TEST(Flows, AResetOfTheClientDoesNotWaitForATargetThatTakesNothing) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  (void)bench.connect(session, &stream);
  bench.send(session, stream, "last words");
  bench.core.flows().handle_peer_reset(bench.now, session, stream, kReset);
  bench.advance(seconds(2));
  EXPECT_EQ(1U, bench.core.flows().size());
  bench.advance(seconds(2));
  EXPECT_EQ(0U, bench.core.flows().size());
  EXPECT_TRUE(bench.take<AbortTarget>());
}

TEST(Flows, ARevocationByTheClientDoesNotWait) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  (void)bench.connect(session, &stream);
  bench.send(session, stream, "last words");
  const auto revoked = static_cast<std::uint64_t>(ResetCode::Revoked);
  bench.core.flows().handle_peer_reset(bench.now, session, stream, revoked);
  EXPECT_EQ(0U, bench.core.flows().size());
}

TEST(Flows, RefusedOnesThatAreNotFinishedAreBoundedToo) {
  Bench bench({.flows_max = 8});
  const auto session = bench.open_session();
  for (int i = 0; i < 8; ++i) (void)bench.connect(session);
  EXPECT_EQ(wire::REFUSAL_RESOURCES, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
  const auto reset = bench.open_flow(session, 2, "192.168.1.20", 80);
  EXPECT_EQ(static_cast<std::uint64_t>(ResetCode::NoReply), bench.port.streams.at({session, reset}).reset);
  EXPECT_EQ(9U, bench.core.flows().size());
}

TEST(Flows, ReportsThatNobodyTakesAreBoundedAndTheOldestGiveWay) {
  Bench bench({.reports_max = 2});
  const auto session = bench.open_session();
  for (const std::uint32_t port : {1001U, 1002U, 1003U}) (void)bench.open_flow(session, 1, "gitea.home", port);
  const auto reports = bench.reports();
  ASSERT_EQ(2U, reports.size());
  EXPECT_EQ(1002U, reports[0].target.port);
  EXPECT_EQ(1003U, reports[1].target.port);
  EXPECT_EQ(1U, bench.core.flows().counters().reports_dropped);
}

TEST(Flows, WhileDrainingNewFlowsGoElsewhereAndOldOnesGoOn) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.core.drain(bench.now);
  EXPECT_EQ(wire::REFUSAL_DRAINING, bench.refusal(session, bench.open_flow(session, 2, "192.168.1.20", 80)));
  EXPECT_TRUE(bench.control_messages(session).back().has_drain());
  bench.core.flows().handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("still")));
  EXPECT_EQ("still", bench.payload(session, stream));
}

TEST(Flows, EveryFlowIsReportedWithWhoWhereAndHowMuch) {
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  bench.advance(seconds(2));
  bench.core.flows().handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("12345")));
  bench.core.flows().handle_target_reset(bench.now, flow);
  (void)bench.open_flow(session, 9, "192.168.1.20", 80);
  const auto reports = bench.reports();
  ASSERT_EQ(3U, reports.size());
  EXPECT_EQ(FlowReport::Kind::Opened, reports[0].kind);
  EXPECT_EQ(FlowReport::Kind::Closed, reports[1].kind);
  EXPECT_EQ(5U, reports[1].bytes_from_target);
  EXPECT_EQ(seconds(2), reports[1].duration);
  EXPECT_EQ(testing::kUser, reports[1].lease->user_id);
  EXPECT_EQ("192.168.1.20:80", reports[1].connected.to_string());
  EXPECT_EQ(FlowReport::Kind::Refused, reports[2].kind);
  EXPECT_EQ(wire::REFUSAL_NOT_IN_LEASE, reports[2].refusal);
  EXPECT_EQ(testing::kUser, reports[2].lease->user_id);
}

TEST(Flows, AReportSaysWhichWayTheSessionWentAndWhatWasWaitedFor) {
  using session::StallCause;
  Bench bench;
  const auto session = bench.open_session();
  session::StreamId stream;
  const FlowId flow = bench.connect(session, &stream);
  Flows& flows = bench.core.flows();
  const auto opened = bench.reports();
  ASSERT_EQ(1U, opened.size());
  EXPECT_EQ(bench.port.path, opened[0].path);
  EXPECT_EQ(std::chrono::microseconds(250), opened[0].connect_time);
  EXPECT_FALSE(opened[0].first_byte_time);

  bench.advance(seconds(1));
  flows.handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("first")));
  bench.advance(seconds(1));
  flows.handle_target_bytes(bench.now, flow, bench.pool.copy(as_bytes("second")));
  bench.port.streams[{session, stream}].writable = 0;
  bench.port.stream_pressure.is_peer_window_closed = true;
  EXPECT_EQ(0U, flows.read_budget(bench.now, flow));
  bench.advance(seconds(3));
  bench.port.streams[{session, stream}].writable = 1000;
  bench.event(session::StreamWritable{session, stream});
  bench.port.stream_pressure = {};
  bench.send(session, stream, "for a server that does not read");
  bench.advance(seconds(5));
  flows.handle_written(bench.now, flow, 31);
  bench.port.path = {session::kDirectLabel, {IpAddress::v4(198, 51, 100, 7), 4711}};
  bench.port.rtt = std::chrono::milliseconds(4);
  flows.handle_target_reset(bench.now, flow);
  const auto closed = bench.reports();
  ASSERT_EQ(1U, closed.size());
  EXPECT_EQ(bench.port.path, closed[0].path) << "the session has moved";
  EXPECT_EQ(std::chrono::milliseconds(4), closed[0].round_trip);
  EXPECT_EQ(seconds(1), closed[0].first_byte_time);
  const auto stalled = [&](StallCause cause) { return closed[0].stalls[static_cast<std::size_t>(cause)]; };
  EXPECT_EQ(seconds(3), stalled(StallCause::SlowReader));
  EXPECT_EQ(seconds(5), stalled(StallCause::SlowServer));
  EXPECT_EQ(seconds(0), stalled(StallCause::Path));
}

TEST(Flows, AReportOfASessionThatIsGoneSaysHowItWentWhenTheFlowWasOpened) {
  Bench bench;
  bench.port.path = {session::kDirectLabel, {IpAddress::v4(198, 51, 100, 7), 4711}};
  const auto session = bench.open_session();
  (void)bench.connect(session);
  bench.port.close(bench.now, session, 0, "");
  bench.event(session::StreamWritable{session, session::StreamId(0)});
  const auto reports = bench.reports();
  ASSERT_EQ(2U, reports.size());
  EXPECT_EQ(bench.port.path, reports[1].path);
  EXPECT_FALSE(reports[1].round_trip);
}

TEST(Flows, TheEndOfASessionEndsItsFlowsOnly) {
  Bench bench;
  const auto one = bench.open_session();
  const auto two = bench.open_session();
  const FlowId first = bench.connect(one);
  const FlowId second = bench.connect(two);
  bench.event(session::Closed{one, session::CloseReason::PeerClose, 0, ""});
  const auto aborted = bench.take<AbortTarget>();
  ASSERT_TRUE(aborted);
  EXPECT_EQ(first, aborted->flow);
  EXPECT_TRUE(bench.is_quiet());
  EXPECT_GT(bench.core.flows().read_budget(bench.now, second), 0U);
}

}  // namespace
}  // namespace postern::connector
