#include "wire/dns_records.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace postern::wire {
namespace {

/// An answer as a server writes it: owners and names in data as given, e.g. a pointer.
struct Answer {
  explicit Answer(std::string_view name, DnsType type) {
    const Bytes question = *build_dns_question(7, name, type);
    bytes = to_bytes(ByteView(question).first(question.size() - 11));  // without OPT
    bytes[11] = 0;
    bytes[2] |= 0x80;
  }
  Answer& add(const Bytes& owner, int type, const Bytes& data, int record_class = 1, std::uint32_t ttl = 60) {
    bytes.insert(bytes.end(), owner.begin(), owner.end());
    for (const int value : {type, record_class, static_cast<int>(ttl >> 16), static_cast<int>(ttl & 0xFFFF),
                            static_cast<int>(data.size())}) {
      bytes.push_back(static_cast<std::uint8_t>(value >> 8));
      bytes.push_back(static_cast<std::uint8_t>(value));
    }
    bytes.insert(bytes.end(), data.begin(), data.end());
    ++bytes[7];
    return *this;
  }
  Bytes bytes;
};
const Bytes kQuestion = {0xc0, 12};
/// Of "home.lan" in a question about "mail.home.lan".
const Bytes kParent = {0xc0, 17};

Bytes text(std::string_view value) {
  Bytes data(value.size() + 1);
  data[0] = static_cast<std::uint8_t>(value.size());
  std::ranges::copy(value, data.begin() + 1);
  return data;
}
Bytes name(std::string_view value) {
  return *encode_dns_name(value);
}
Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}
DnsQuery query(std::string_view about, DnsType type, std::uint16_t udp_size = 1232) {
  Bytes message = *build_dns_question(9, about, type);
  store_u16(&message[message.size() - 8], udp_size);
  return *parse_dns_query(message);
}

TEST(DnsRecords, NamesInDataAreWrittenOut) {
  const Bytes preference = {0, 10};
  const auto taken = take_dns_records(
      Answer("mail.home.lan", DnsType::Mx).add(kQuestion, 15, joined({preference, {2, 'm', 'x'}, kParent})).bytes,
      "mail.home.lan", DnsType::Mx);
  ASSERT_TRUE(taken);
  ASSERT_EQ(taken->size(), 1U);
  EXPECT_EQ((*taken)[0].data, joined({preference, name("mx.home.lan")}));
  EXPECT_EQ((*taken)[0].ttl_s, 60U);
  const Bytes answer = build_dns_records(query("mail.home.lan", DnsType::Mx), *taken, DnsTransport::Udp);
  const auto read = take_dns_records(answer, "mail.home.lan", DnsType::Mx);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, *taken);
}

TEST(DnsRecords, AliasesAreFollowedAndNothingElseIsToldOn) {
  const auto taken = take_dns_records(Answer("mail.home.lan", DnsType::Txt)
                                          .add(kQuestion, 5, name("real.home.lan"))
                                          .add(name("real.home.lan"), 16, text("mine"))
                                          .add(name("real.home.lan"), 1, {192, 168, 1, 20})
                                          .add(name("bank.example"), 16, text("not mine"))
                                          .add(name("real.home.lan"), 65, {0, 1, 0, 0, 4, 0, 4, 10, 0, 0, 1})
                                          .add(name("real.home.lan"), 16, text("chaos"), 3)
                                          .bytes,
                                      "mail.home.lan", DnsType::Txt);
  ASSERT_TRUE(taken);
  ASSERT_EQ(taken->size(), 2U);
  EXPECT_EQ((*taken)[0].type, DnsType::Cname);
  EXPECT_EQ((*taken)[1].owner, "real.home.lan");
  EXPECT_EQ((*taken)[1].data, text("mine"));
}

TEST(DnsRecords, NobodyIsToldToBelieveThemForLong) {
  const auto taken = take_dns_records(Answer("a.lan", DnsType::Txt)
                                          .add(kQuestion, 16, text("long"), 1, 0x7FFF'FFFF)
                                          .add(kQuestion, 16, text("negative"), 1, 0x8000'0000)
                                          .bytes,
                                      "a.lan", DnsType::Txt);
  ASSERT_TRUE(taken);
  ASSERT_EQ(taken->size(), 2U);
  EXPECT_EQ((*taken)[0].ttl_s, 3600U);
  EXPECT_EQ((*taken)[1].ttl_s, 0U);
}

TEST(DnsRecords, NamesThatPointAtEachOtherAreRefusedAndManyThatAreWrittenOutAreBounded) {
  const std::size_t at = Answer("a.lan", DnsType::Mx).bytes.size();
  const Bytes loop = {0xc0, static_cast<std::uint8_t>(at + 12 + 2)};  // to itself: behind owner, fields and preference
  EXPECT_FALSE(take_dns_records(Answer("a.lan", DnsType::Mx).add(kQuestion, 15, joined({{0, 1}, loop})).bytes, "a.lan",
                                DnsType::Mx));
  const std::string label(61, 'x');
  const std::string longest = label + "." + label + "." + label + "." + std::string(60, 'y');
  Answer many(longest, DnsType::Soa);
  for (int i = 0; i < 255; ++i) many.add(kQuestion, 6, joined({kQuestion, kQuestion, Bytes(20)}));
  const auto taken = take_dns_records(many.bytes, longest, DnsType::Soa);
  ASSERT_TRUE(taken);
  const Bytes answer = build_dns_records(query(longest, DnsType::Soa), *taken, DnsTransport::Tcp);
  EXPECT_LE(answer.size(), 65'535U);
  EXPECT_EQ(parse_dns_message(answer)->header.rcode, 2) << "more than a message holds";
}

TEST(DnsRecords, AliasesInACircleEnd) {
  const auto taken = take_dns_records(Answer("a.lan", DnsType::Txt)
                                          .add(kQuestion, 5, name("b.lan"))
                                          .add(name("b.lan"), 5, name("a.lan"))
                                          .add(name("b.lan"), 16, text("x"))
                                          .bytes,
                                      "a.lan", DnsType::Txt);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->size(), 3U);
}

TEST(DnsRecords, AnswersToOtherQuestionsAndBrokenOnesAreRefused) {
  const auto refused = [](const Bytes& message) {
    const auto taken = take_dns_records(message, "mail.home.lan", DnsType::Txt);
    EXPECT_FALSE(taken);
    return taken ? DnsAnswerError() : taken.error();
  };
  EXPECT_EQ(refused(Answer("other.home.lan", DnsType::Txt).bytes), DnsAnswerError::OtherQuestion);
  EXPECT_EQ(refused(Answer("mail.home.lan", DnsType::Mx).bytes), DnsAnswerError::OtherQuestion);
  EXPECT_EQ(refused(*build_dns_question(7, "mail.home.lan", DnsType::Txt)), DnsAnswerError::Malformed);
  EXPECT_EQ(refused(Answer("mail.home.lan", DnsType::Txt).add(kQuestion, 5, {0xc0}).bytes), DnsAnswerError::Malformed);
  EXPECT_EQ(refused(Answer("mail.home.lan", DnsType::Txt).add(kQuestion, 5, joined({name("x"), {0}})).bytes),
            DnsAnswerError::Malformed);
  Bytes truncated = Answer("mail.home.lan", DnsType::Txt).bytes;
  truncated[2] |= 2;
  EXPECT_EQ(refused(truncated), DnsAnswerError::Failed);
  Bytes failed = Answer("mail.home.lan", DnsType::Txt).bytes;
  failed[3] = 2;
  EXPECT_EQ(refused(failed), DnsAnswerError::Failed);
}

TEST(DnsRecords, ANameThatTheServerDoesNotKnowHasNone) {
  Bytes unknown = Answer("mail.home.lan", DnsType::Txt).bytes;
  unknown[3] = 3;
  const auto taken = take_dns_records(unknown, "mail.home.lan", DnsType::Txt);
  ASSERT_TRUE(taken);
  EXPECT_TRUE(taken->empty());
}

TEST(DnsRecords, OverUdpTheAskersSizeIsKeptAndTcpTakesAll) {
  std::vector<DnsPlainRecord> records;
  for (int i = 0; i < 10; ++i) records.push_back({"mail.home.lan", DnsType::Txt, 60, text(std::string(200, 'x'))});
  const auto small = query("mail.home.lan", DnsType::Txt, 512);
  const Bytes cut = build_dns_records(small, records, DnsTransport::Udp);
  EXPECT_LE(cut.size(), 512U);
  EXPECT_TRUE(parse_dns_message(cut)->header.is_truncated);
  EXPECT_TRUE(parse_dns_message(cut)->answers.empty());
  const Bytes whole = build_dns_records(small, records, DnsTransport::Tcp);
  EXPECT_EQ(parse_dns_message(whole)->answers.size(), 10U);
  EXPECT_EQ(*take_dns_records(whole, "mail.home.lan", DnsType::Txt), records);
}

TEST(DnsRecords, QuestionsForAddressesAndHintsAreNotPassedOn) {
  for (const int type : {0, 1, 28, 41, 64, 65, 252, 255})
    EXPECT_FALSE(is_passed_on(static_cast<DnsType>(type))) << type;
  for (const int type : {2, 5, 6, 12, 15, 16, 33, 35, 52, 257, 300}) {
    EXPECT_TRUE(is_passed_on(static_cast<DnsType>(type))) << type;
  }
}

}  // namespace
}  // namespace postern::wire
