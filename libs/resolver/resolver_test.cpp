#include "resolver/resolver.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resolver/forwarder.hpp"

namespace postern::resolver {
namespace {

using wire::DnsRcode;
using wire::DnsTransport;
using wire::DnsType;

class Names final : public NameDirectory {
 public:
  [[nodiscard]] bool has_resource_for(const model::DnsName& name) const override {
    return name.text() == "nginx.home.lan" || name.text().ends_with(".dev.lan");
  }
};

Bytes question(std::string_view name, DnsType type, std::uint16_t id = 7) {
  return *wire::build_dns_question(id, name, type);
}

class ResolverTest : public testing::Test {
 protected:
  wire::DnsMessage ask(std::string_view name, DnsType type) {
    const auto result = resolver_.resolve(Instant{}, question(name, type), DnsTransport::Udp);
    message_ = std::get<Answer>(result).message;
    return *wire::parse_dns_message(message_);
  }

  AddressPool pool_{VirtualNetwork{*IpPrefix::parse("100.96.0.0/12"), *IpPrefix::parse("fd00:1::/64")}};
  Names names_;
  Resolver resolver_{pool_, names_};
  Bytes message_;
};

TEST_F(ResolverTest, GivesResourceNamesOneVirtualAddressInEachFamily) {
  const auto v4 = wire::addresses_of(ask("nginx.home.lan", DnsType::A));
  const auto v6 = wire::addresses_of(ask("NGINX.home.lan", DnsType::Aaaa));
  ASSERT_EQ(v4.size(), 1U);
  ASSERT_EQ(v6.size(), 1U);
  EXPECT_EQ(pool_.name_of(Instant{}, v4[0])->text(), "nginx.home.lan");
  EXPECT_EQ(pool_.name_of(Instant{}, v6[0])->text(), "nginx.home.lan");
}

TEST_F(ResolverTest, GivesEachNameOfAPatternItsOwnAddress) {
  const auto a = wire::addresses_of(ask("a.dev.lan", DnsType::A));
  const auto b = wire::addresses_of(ask("b.dev.lan", DnsType::A));
  EXPECT_NE(a, b);
}

TEST_F(ResolverTest, AnswersTypesThatCarryAddressesAndWhatIsNoTypeWithNoData) {
  for (const auto type : {DnsType::Https, DnsType::Svcb, DnsType{255}, DnsType{252}, DnsType{38}}) {
    const auto answer = ask("nginx.home.lan", type);
    EXPECT_EQ(answer.header.rcode, 0);
    EXPECT_TRUE(answer.answers.empty());
  }
  EXPECT_EQ(pool_.size(), 0U);
}

TEST_F(ResolverTest, HasTheConnectorAskedForOtherTypesOfResourceNames) {
  for (const auto type : {DnsType::Txt, DnsType::Mx, DnsType::Srv, DnsType::Soa, DnsType{257}, DnsType{35}}) {
    const auto result = resolver_.resolve(Instant{}, question("_ldap._tcp.example.org", type), DnsTransport::Udp);
    EXPECT_TRUE(std::holds_alternative<Forward>(result)) << "of no resource";
    const auto ours = resolver_.resolve(Instant{}, question("_ldap._tcp.X.dev.lan", type), DnsTransport::Udp);
    ASSERT_TRUE(std::holds_alternative<AskConnector>(ours));
    EXPECT_EQ(std::get<AskConnector>(ours).name.text(), "_ldap._tcp.x.dev.lan");
    EXPECT_EQ(std::get<AskConnector>(ours).query.type, type);
  }
  EXPECT_EQ(pool_.size(), 0U);
}

TEST_F(ResolverTest, PassesOtherNamesOn) {
  const auto result = resolver_.resolve(Instant{}, question("example.org", DnsType::A), DnsTransport::Udp);
  ASSERT_TRUE(std::holds_alternative<Forward>(result));
  EXPECT_EQ(std::get<Forward>(result).query.name, "example.org");
}

TEST_F(ResolverTest, KeepsReverseQuestionsAboutItsOwnRangesToItself) {
  EXPECT_EQ(ask("5.0.96.100.in-addr.arpa", DnsType::Ptr).header.rcode, 3);
  EXPECT_EQ(*parse_reverse_name("1.2.0.192.in-addr.arpa"), *IpAddress::parse("192.0.2.1"));
  EXPECT_EQ(*parse_reverse_name("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
            *IpAddress::parse("2001:db8::1"));
  const auto other = resolver_.resolve(Instant{}, question("1.2.0.192.in-addr.arpa", DnsType::Ptr), DnsTransport::Udp);
  EXPECT_TRUE(std::holds_alternative<Forward>(other));
}

TEST_F(ResolverTest, AReverseQuestionAboutAnAddressThatItGaveIsAnsweredWithTheName) {
  const auto reverse = [](const IpAddress& address) {
    std::string name;
    if (address.is_v4()) {
      for (const std::uint8_t byte : address.bytes()) name = std::to_string(byte) + "." + name;
      return name + "in-addr.arpa";
    }
    for (const char nibble : to_hex(address.bytes())) name = std::string(1, nibble) + "." + name;
    return name + "ip6.arpa";
  };
  for (const DnsType type : {DnsType::A, DnsType::Aaaa}) {
    const auto address = wire::addresses_of(ask("box.dev.lan", type)).front();
    const auto answer = ask(reverse(address), DnsType::Ptr);
    ASSERT_EQ(answer.answers.size(), 1U) << reverse(address);
    EXPECT_EQ(answer.answers[0].type, DnsType::Ptr);
    std::size_t at = static_cast<std::size_t>(answer.answers[0].data.data() - message_.data());
    EXPECT_EQ(wire::read_dns_name(message_, at), "box.dev.lan");
    EXPECT_TRUE(ask(reverse(address), DnsType::Txt).answers.empty());
  }
}

TEST_F(ResolverTest, SaysServFailWhenNoAddressIsLeft) {
  pool_ = AddressPool(pool_.network(), {.names_max = 0});
  EXPECT_EQ(ask("nginx.home.lan", DnsType::A).header.rcode, 2);
}

TEST_F(ResolverTest, SurvivesGarbage) {
  SeededRandom random(11);
  const Bytes good = question("nginx.home.lan", DnsType::A);
  for (int i = 0; i < 20'000; ++i) {
    Bytes message = good;
    if (random.below(2) == 0) {
      message.resize(random.below(80));
      random.fill(message);
    }
    for (std::uint64_t flips = random.below(4); flips > 0 && !message.empty(); --flips) {
      message[random.below(message.size())] ^= static_cast<std::uint8_t>(1U << random.below(8));
    }
    if (!message.empty() && random.below(4) == 0) message.resize(random.below(message.size()));
    (void)resolver_.resolve(Instant{}, message, DnsTransport::Udp);
  }
}

class ForwarderTest : public testing::Test {
 protected:
  ForwarderTest() { forwarder_.set_servers({server(1), server(2)}); }
  static SocketAddress server(std::uint8_t n) { return {IpAddress::v4(192, 0, 2, n), 53}; }
  void submit(Instant now = Instant{}, std::uint64_t asker = 1) {
    const Bytes message = question("example.org", DnsType::A, 0x1234);
    forwarder_.submit(now, AskerId(asker), *wire::parse_dns_query(message), message, DnsTransport::Udp);
  }
  /// What a server would answer to `query`: the question back, with the response bit.
  static Bytes reply_to(const UpstreamQuery& query) {
    return wire::build_dns_answer(*wire::parse_dns_query(query.message),
                                  {DnsRcode::NoError, {IpAddress::v4(198, 51, 100, 1)}, 60, false}, DnsTransport::Udp);
  }

  SeededRandom random_{3};
  Forwarder forwarder_{random_, {.outstanding_max = 4, .try_time = std::chrono::seconds(2), .tries_max = 3}};
};

TEST_F(ForwarderTest, PassesAnAnswerBackUnderTheAskersId) {
  submit();
  const auto query = forwarder_.poll_query();
  ASSERT_TRUE(query);
  EXPECT_EQ(query->server, server(1));
  forwarder_.handle_answer(query->ticket, reply_to(*query));
  const auto reply = forwarder_.poll_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(wire::parse_dns_message(reply->message)->header.id, 0x1234);
  EXPECT_EQ(wire::addresses_of(*wire::parse_dns_message(reply->message)).size(), 1U);
  EXPECT_EQ(forwarder_.poll_done(), query->ticket);
  EXPECT_FALSE(forwarder_.next_timeout());
}

TEST_F(ForwarderTest, IgnoresAnswersWithAWrongIdOrQuestion) {
  submit();
  const auto query = forwarder_.poll_query();
  Bytes wrong_id = reply_to(*query);
  wrong_id[0] ^= 1;
  forwarder_.handle_answer(query->ticket, wrong_id);
  forwarder_.handle_answer(query->ticket, question("example.net", DnsType::A));
  forwarder_.handle_answer(Ticket(99), reply_to(*query));
  EXPECT_FALSE(forwarder_.poll_reply());
  forwarder_.handle_answer(query->ticket, reply_to(*query));
  EXPECT_TRUE(forwarder_.poll_reply());
}

TEST_F(ForwarderTest, AsksTheNextServerAfterSilenceOrAClosedPortAndGivesUpWithServFail) {
  submit();
  const auto first = forwarder_.poll_query();
  forwarder_.handle_timeout(Instant{} + std::chrono::seconds(2));
  const auto second = forwarder_.poll_query();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->server, server(2));
  EXPECT_EQ(forwarder_.poll_done(), first->ticket);
  forwarder_.handle_failure(Instant{} + std::chrono::seconds(2), second->ticket);
  const auto third = forwarder_.poll_query();
  EXPECT_EQ(third->server, server(1));
  forwarder_.handle_timeout(Instant{} + std::chrono::seconds(10));
  EXPECT_FALSE(forwarder_.poll_query());
  EXPECT_EQ(wire::parse_dns_message(forwarder_.poll_reply()->message)->header.rcode, 2);
}

TEST_F(ForwarderTest, AtTheBoundAnswersServFailAtOnce) {
  for (std::uint64_t i = 1; i <= 5; ++i) submit(Instant{}, i);
  const auto reply = forwarder_.poll_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->asker, AskerId(5));
  EXPECT_EQ(forwarder_.counts()[static_cast<std::size_t>(ForwarderCount::TableFull)], 1U);
}

TEST_F(ForwarderTest, LeavesTruncationToTheAsker) {
  submit();
  const auto query = forwarder_.poll_query();
  Bytes truncated = reply_to(*query);
  truncated[2] |= 0x02;
  forwarder_.handle_answer(query->ticket, truncated);
  EXPECT_TRUE(wire::parse_dns_message(forwarder_.poll_reply()->message)->header.is_truncated);
}

}  // namespace
}  // namespace postern::resolver
