// Questions for records of Resources' names: a whole client in virtual time, real sessions, scripted connectors that
// answer with what a name server may say, good or bad.
#include "client_core/questions.hpp"

#include <gmock/gmock.h>

#include "client_core/client_test_util.hpp"

namespace postern::client {
namespace {

using test::ConnectorSide;
using test::World;
using wire::DnsType;
using namespace std::chrono_literals;

/// A name server's message: `text` as the TXT record of `owner`, in an answer about `name`.
Bytes message_about(std::string_view name, std::string_view owner, std::string_view text) {
  wire::DnsQuery query = *wire::parse_dns_query(*wire::build_dns_question(1, name, DnsType::Txt));
  Bytes data(text.size() + 1, static_cast<std::uint8_t>(text.size()));
  std::ranges::copy(text, data.begin() + 1);
  const std::vector<wire::DnsPlainRecord> records{{std::string(owner), DnsType::Txt, 60, data}};
  return wire::build_dns_records(query, records, wire::DnsTransport::Tcp);
}

struct QuestionsTest : testing::Test {
  QuestionsTest() { world.bring_up(); }
  void ask(std::string_view name, DnsType type = DnsType::Txt, std::uint16_t id = 7) {
    world.send_udp({IpAddress::v4(100, 96, 0, 1), 5353}, {world.client->network().resolver(IpFamily::V4), 53},
                   *wire::build_dns_question(id, name, type));
  }
  /// What the application has been told; the message is kept in `last`.
  std::optional<wire::DnsMessage> answer(Duration limit = 2s) {
    if (!world.run_until([&] { return !world.udp.empty(); }, limit)) return std::nullopt;
    last = to_bytes(wire::UdpView::parse(wire::IpView::parse(world.udp.front())->payload)->payload);
    world.udp.clear();
    return wire::parse_dns_message(last);
  }

  World world;
  ConnectorSide& connector = world.add_connector();
  Bytes last;
};

TEST_F(QuestionsTest, AreAnsweredWithTheRecordsOfTheConnectorsNameServer) {
  connector.dns_message = message_about("nginx.home.lan", "nginx.home.lan", "v=spf1 -all");
  ask("NGINX.home.lan");
  const auto told = answer();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->header.id, 7);
  ASSERT_EQ(told->answers.size(), 1U);
  EXPECT_TRUE(as_text(told->answers[0].data).ends_with("v=spf1 -all"));
  EXPECT_EQ(connector.last_flow()->head.resolve().host(), "nginx.home.lan");
  EXPECT_EQ(connector.last_flow()->head.resolve().type(), 16U);
  EXPECT_TRUE(connector.last_flow()->ended);
  EXPECT_TRUE(world.client->flows(world.now, 10).flows.empty()) << "no connection of an application";
}

TEST_F(QuestionsTest, AboutAnAliasAreAnsweredUnderTheAlias) {
  auto update = world.full_update();
  update.mutable_client_update()->mutable_resources(0)->add_aliases("web.internal");
  world.control(update);
  connector.dns_message = message_about("nginx.home.lan", "nginx.home.lan", "real");
  ask("web.internal");
  const auto told = answer();
  ASSERT_TRUE(told);
  ASSERT_EQ(told->answers.size(), 1U);
  EXPECT_EQ(told->answers[0].name, "web.internal");
}

TEST_F(QuestionsTest, AreNotAnsweredWithWhatSomebodyElseIsSaidToHave) {
  connector.dns_message = message_about("nginx.home.lan", "bank.example", "mine");
  ask("nginx.home.lan");
  auto told = answer();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->header.rcode, 0);
  EXPECT_TRUE(told->answers.empty());
  connector.dns_message = message_about("bank.example", "bank.example", "mine");
  ask("nginx.home.lan");
  told = answer();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->header.rcode, 2) << "an answer to another question is none";
  connector.dns_message = Bytes(65'535, 0xc0);
  ask("nginx.home.lan");
  EXPECT_EQ(answer()->header.rcode, 2);
  connector.dns_message = {};
  ask("nginx.home.lan");
  EXPECT_EQ(answer()->header.rcode, 2) << "nothing at all";
}

TEST_F(QuestionsTest, AreAnsweredWithServFailWhereNobodyCanSay) {
  connector.refusal = wire::REFUSAL_NAME_LOOKUP_FAILED;
  ask("nginx.home.lan");
  EXPECT_EQ(answer()->header.rcode, 2);
  connector.refusal = wire::REFUSAL_NAME_NOT_FOUND;
  ask("nginx.home.lan");
  auto told = answer();
  EXPECT_EQ(told->header.rcode, 0) << "the name has its address, and no records";
  EXPECT_TRUE(told->answers.empty());
  connector.refusal.reset();
  connector.answers = false;
  ask("nginx.home.lan");
  EXPECT_FALSE(answer(10s));
  EXPECT_EQ(answer(3s)->header.rcode, 2);
  world.run_for(Client::kSettleTime);
  auto update = world.full_update();
  update.mutable_client_update()->clear_instances();
  connector.is_dead = true;
  world.control(update);
  world.run_for(20s);
  ask("nginx.home.lan");
  EXPECT_EQ(answer(1s)->header.rcode, 2) << "there is no connector";
}

TEST_F(QuestionsTest, GoToAnotherInstanceWhenTheirsStopsEvenInTheMiddleOfTheAnswer) {
  ConnectorSide& other = world.add_connector();
  world.control(world.full_update());
  for (ConnectorSide* side : {&connector, &other}) {
    side->dns_message = message_about("nginx.home.lan", "nginx.home.lan", "same");
    side->finishes = false;  // the message has come, the end of it has not
  }
  ask("nginx.home.lan");
  EXPECT_FALSE(answer(500ms));
  const bool is_first = connector.last_flow() != nullptr;
  ConnectorSide& asked = is_first ? connector : other;
  (is_first ? other : connector).finishes = true;
  asked.endpoint.close(world.now, *asked.session, 5, "it stops");
  const auto told = answer(3s);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->answers.size(), 1U);
}

TEST_F(QuestionsTest, AreBoundedAndEndWithTheirResource) {
  connector.answers = false;
  for (std::uint16_t i = 0; i < DnsFront::kRecordQuestionsMax; ++i) ask("nginx.home.lan", DnsType::Txt, i);
  EXPECT_FALSE(answer(1s));
  ask("nginx.home.lan", DnsType::Txt, 999);
  EXPECT_EQ(answer(1s)->header.id, 999) << "one too many is told at once";
  wire::ControllerMessage message;
  message.mutable_client_update()->set_from_version(1);
  message.mutable_client_update()->set_version(2);
  message.mutable_client_update()->add_removed_resources(1);
  world.control(message);
  world.run_for(10ms);
  EXPECT_EQ(world.udp.size(), DnsFront::kRecordQuestionsMax);
  world.udp.clear();
  connector.answers = true;
  connector.dns_message = message_about("nginx.home.lan", "nginx.home.lan", "again");
  world.control(world.full_update());
  ask("nginx.home.lan");
  EXPECT_EQ(answer()->answers.size(), 1U) << "there is room again";
}

TEST_F(QuestionsTest, ThatWaitWhenTheControllerGivesAnotherRouteAreAnswered) {
  connector.answers = false;
  ask("nginx.home.lan");
  EXPECT_FALSE(answer(500ms));
  world.control(world.welcome(2));
  EXPECT_EQ(answer(1s)->header.rcode, 2);
}

TEST_F(QuestionsTest, ForAddressesAndTheirHintsNeverLeaveThisHost) {
  for (const DnsType type : {DnsType::Https, DnsType::Svcb, DnsType{255}}) {
    ask("nginx.home.lan", type);
    const auto told = answer(10ms);
    ASSERT_TRUE(told);
    EXPECT_TRUE(told->answers.empty());
  }
  EXPECT_TRUE(connector.flows.empty());
}

}  // namespace
}  // namespace postern::client
