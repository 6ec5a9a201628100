// Questions about names of resources: who may ask, what is asked, what goes back, and the bounds.
#include "connector_core/core_test_util.hpp"

namespace postern::connector {
namespace {

using std::chrono::seconds;
using testing::Bench;

constexpr std::uint32_t kTxt = 16;

Bytes head(std::uint64_t resource, const std::string& host, std::uint32_t type) {
  wire::FlowHead message;
  message.mutable_resolve()->set_resource_id(resource);
  message.mutable_resolve()->set_host(host);
  message.mutable_resolve()->set_type(type);
  return wire::frame_message(as_bytes(message.SerializeAsString()));
}

struct QuestionsTest : ::testing::Test {
  session::StreamId ask(std::uint64_t resource, const std::string& host, std::uint32_t type = kTxt) {
    const session::StreamId stream(bench.next_stream += 4);
    bench.event(session::StreamOpened{session, stream});
    bench.port.streams[{session, stream}].incoming_finished = true;
    bench.send(session, stream, head(resource, host, type));
    return stream;
  }
  void answer(FlowId flow, std::expected<Bytes, ResolveFailure> message) {
    bench.core.flows().handle_answer(bench.now, flow, std::move(message));
  }

  Bench bench;
  session::SessionId session = bench.open_session();
};

TEST_F(QuestionsTest, AreAskedWithoutAPortAndAnsweredWithTheWholeMessage) {
  const auto stream = ask(1, "gitea.home");
  const auto asked = bench.take<AskNameServer>();
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->name.text(), "gitea.home");
  EXPECT_EQ(asked->type, wire::DnsType::Txt);
  answer(asked->flow, Bytes(60'000, 'x'));
  ASSERT_TRUE(bench.reply(session, stream)->has_opened());
  EXPECT_EQ(bench.payload(session, stream), std::string(60'000, 'x'));
  EXPECT_TRUE(bench.port.streams.at({session, stream}).finished);
  EXPECT_TRUE(bench.is_quiet());
  EXPECT_TRUE(bench.reports().empty()) << "nothing was connected";
  bench.event(session::StreamClosed{session, stream});
  EXPECT_EQ(bench.core.flows().size(), 0U);
}

TEST_F(QuestionsTest, AboutAnAliasAreAboutTheNameItStandsFor) {
  ask(1, "git.internal");
  EXPECT_EQ(bench.take<AskNameServer>()->name.text(), "gitea.home");
}

TEST_F(QuestionsTest, AboutAnAliasOfAnAddressHaveNoAnswer) {
  auto update = bench.delta();
  *update.add_resources() = Bench::resource(3, "192.168.1.9");
  update.mutable_resources(0)->add_aliases("box.internal");
  bench.apply(update);
  EXPECT_EQ(bench.refusal(session, ask(3, "box.internal")), wire::REFUSAL_NAME_NOT_FOUND);
}

TEST_F(QuestionsTest, FollowTheSameRulesAsFlowsToThatName) {
  EXPECT_EQ(bench.refusal(session, ask(9, "gitea.home")), wire::REFUSAL_NOT_IN_LEASE);
  EXPECT_EQ(bench.refusal(session, ask(1, "other.home")), wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE);
  EXPECT_EQ(bench.refusal(session, ask(2, "gitea.home")), wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE);
  auto update = bench.delta();
  *update.add_resources() = Bench::resource(8, "secret.lab");
  bench.apply(update);
  EXPECT_EQ(bench.refusal(session, ask(4, "secret.lab")), wire::REFUSAL_SHADOWED);
  bench.core.drain(bench.now);
  EXPECT_EQ(bench.refusal(session, ask(4, "other.lab")), wire::REFUSAL_DRAINING);
  EXPECT_TRUE(bench.is_quiet()) << "no name server hears of any of them";
  const auto reports = bench.reports();
  ASSERT_FALSE(reports.empty());
  EXPECT_EQ(reports.front().target.to_string(), "gitea.home/dns");
}

TEST_F(QuestionsTest, ForAddressesAndAboutAddressesAreBadRequests) {
  for (const std::uint32_t type : {0U, 1U, 28U, 65U, 255U, 65'536U + 16U}) {
    EXPECT_EQ(bench.refusal(session, ask(1, "gitea.home", type)), wire::REFUSAL_BAD_REQUEST) << type;
  }
  for (const char* host : {"", "192.168.1.9", "0x7f000001", "Gitea.home", "a..b"}) {
    EXPECT_EQ(bench.refusal(session, ask(3, host)), wire::REFUSAL_BAD_REQUEST) << host;
  }
}

TEST_F(QuestionsTest, ThatNobodyAnswersAreRefusedInTime) {
  const auto silent = ask(1, "gitea.home");
  const auto failed = ask(1, "gitea.home");
  (void)bench.take<AskNameServer>();
  answer(bench.take<AskNameServer>()->flow, std::unexpected(ResolveFailure::LookupFailed));
  EXPECT_EQ(bench.refusal(session, failed), wire::REFUSAL_NAME_LOOKUP_FAILED);
  bench.advance(seconds(11));
  EXPECT_EQ(bench.refusal(session, silent), wire::REFUSAL_NAME_LOOKUP_FAILED);
}

TEST_F(QuestionsTest, OfOneClientAreBoundedAndAnAnswerMakesRoom) {
  std::vector<FlowId> asked;
  for (std::size_t i = 0; i < FlowLimits{}.questions_per_session_max; ++i) {
    ask(1, "gitea.home");
    asked.push_back(bench.take<AskNameServer>()->flow);
  }
  EXPECT_EQ(bench.refusal(session, ask(1, "gitea.home")), wire::REFUSAL_RESOURCES);
  answer(asked.front(), Bytes(20));
  ask(1, "gitea.home");
  EXPECT_TRUE(bench.take<AskNameServer>());
  bench.event(session::Closed{session, session::CloseReason::PeerClose, 0, ""});
  session = bench.open_session();
  while (bench.core.flows().poll_request()) {
  }
  ask(1, "gitea.home");
  EXPECT_TRUE(bench.take<AskNameServer>()) << "another session starts afresh";
}

TEST_F(QuestionsTest, OfAClientThatIsGoneAreForgotten) {
  const auto stream = ask(1, "gitea.home");
  const auto asked = bench.take<AskNameServer>();
  bench.event(session::StreamReset{session, stream, 0x10});
  answer(asked->flow, Bytes(20));
  EXPECT_TRUE(bench.port.streams.at({session, stream}).written.empty());
}

}  // namespace
}  // namespace postern::connector
