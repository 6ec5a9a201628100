#include "wire/dns.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace postern::wire {
namespace {

Bytes question(std::string_view name, DnsType type) {
  return *build_dns_question(0x1234, name, type);
}

/// The same without the OPT record.
Bytes plain_question(std::string_view name, DnsType type) {
  const Bytes with_opt = question(name, type);
  Bytes message = to_bytes(ByteView(with_opt).first(with_opt.size() - 11));
  message[11] = 0;
  return message;
}

DnsQuery parsed(const Bytes& message) {
  const auto query = parse_dns_query(message);
  EXPECT_TRUE(query);
  return query.value_or(DnsQuery{});
}

DnsReply reply_of(std::initializer_list<const char*> addresses) {
  DnsReply reply;
  reply.ttl_s = 30;
  for (const char* text : addresses) reply.addresses.push_back(*IpAddress::parse(text));
  return reply;
}

TEST(DnsName, GoesToTheWireAndBack) {
  for (const std::string_view name : {"", "a", "nas.lan", "a.b.c.d", "x\\.y.z", "\\000\\255.a", "a\\\\b"}) {
    const auto wire = encode_dns_name(name);
    ASSERT_TRUE(wire) << name;
    std::size_t offset = 0;
    EXPECT_EQ(read_dns_name(*wire, offset), name);
    EXPECT_EQ(offset, wire->size());
  }
}

TEST(DnsName, IsReadInLowerCase) {
  std::size_t offset = 0;
  EXPECT_EQ(read_dns_name(*encode_dns_name("NaS.LaN"), offset), "nas.lan");
}

TEST(DnsName, BoundsOfLabelAndNameHold) {
  EXPECT_TRUE(encode_dns_name(std::string(63, 'a')));
  EXPECT_FALSE(encode_dns_name(std::string(64, 'a')));
  std::string name;
  for (int i = 0; i < 126; ++i) name += "a.";
  EXPECT_TRUE(encode_dns_name(name + "b"));
  EXPECT_FALSE(encode_dns_name(name + "bb"));
  for (const std::string_view bad : {".", ".a", "a..b", "a.", "a\\", "a\\25", "a\\256"}) {
    EXPECT_FALSE(encode_dns_name(bad)) << bad;
  }
}

TEST(DnsName, PointersMayLeadBackwardsOnly) {
  Bytes message(12);
  const Bytes name = *encode_dns_name("host.lan");
  message.insert(message.end(), name.begin(), name.end());
  const std::size_t start = message.size();
  message.insert(message.end(), {3, 'w', 'w', 'w', 0xc0, 12, 9, 9});
  std::size_t offset = start;
  EXPECT_EQ(read_dns_name(message, offset), "www.host.lan");
  EXPECT_EQ(offset, start + 6);
  for (const std::size_t target : {start, start + 4, start + 6, std::size_t{200}, std::size_t{0}}) {
    message[start + 5] = static_cast<std::uint8_t>(target);
    offset = start;
    EXPECT_FALSE(read_dns_name(message, offset)) << target;
  }
}

TEST(DnsName, AChainOfPointersEndsAtTheBoundOfANameAndNeverLoops) {
  Bytes message(12);
  std::size_t previous = 0;
  for (int i = 0; i < 200; ++i) {
    const std::size_t at = message.size();
    message.insert(message.end(), {1, 'a'});
    if (previous == 0) {
      message.push_back(0);
    } else {
      message.insert(message.end(),
                     {static_cast<std::uint8_t>(0xc0 | (previous >> 8)), static_cast<std::uint8_t>(previous)});
    }
    previous = at;
    std::size_t offset = at;
    EXPECT_EQ(read_dns_name(message, offset).has_value(), i < 127) << i;
  }
}

TEST(DnsQuery, IsReadWithItsEdns) {
  const DnsQuery query = parsed(question("Nas.LAN", DnsType::Aaaa));
  EXPECT_EQ(query.header.id, 0x1234);
  EXPECT_TRUE(query.header.recursion_desired);
  EXPECT_EQ(query.name, "nas.lan");
  EXPECT_EQ(query.type, DnsType::Aaaa);
  ASSERT_TRUE(query.edns);
  EXPECT_EQ(query.edns->udp_size, kDnsUdpSizeMax);
  EXPECT_FALSE(parsed(plain_question("nas.lan", DnsType::A)).edns);
}

TEST(DnsQuery, EveryTruncationIsRefused) {
  const Bytes message = question("nas.lan", DnsType::A);
  for (std::size_t size = 0; size < message.size(); ++size) {
    const auto query = parse_dns_query(ByteView(message).first(size));
    ASSERT_FALSE(query);
    EXPECT_EQ(query.error(), size < 12 ? DnsError::NotAQuery : DnsError::FormErr);
  }
}

TEST(DnsQuery, AnAnswerIsNeverAnswered) {
  Bytes message = question("nas.lan", DnsType::A);
  message[2] = 0x81;
  EXPECT_EQ(parse_dns_query(message).error(), DnsError::NotAQuery);
  EXPECT_FALSE(refuse_dns_query(message, DnsError::FormErr));
  EXPECT_FALSE(refuse_dns_query(ByteView(message).first(11), DnsError::FormErr));
}

TEST(DnsQuery, WhatItIsNotMadeForGetsTheRightError) {
  Bytes message = question("nas.lan", DnsType::A);
  message[2] = 0x28;  // UPDATE
  EXPECT_EQ(parse_dns_query(message).error(), DnsError::NotImplemented);
  const auto refusal = parse_dns_message(refuse_dns_query(message, DnsError::NotImplemented).value());
  EXPECT_EQ(refusal->header.rcode, 4);
  EXPECT_EQ(refusal->header.id, 0x1234);
  for (const std::uint8_t count : {std::uint8_t{0}, std::uint8_t{2}}) {
    message = question("nas.lan", DnsType::A);
    message[5] = count;
    EXPECT_EQ(parse_dns_query(message).error(), DnsError::FormErr);
  }
  EXPECT_EQ(parse_dns_message(refuse_dns_query(message, DnsError::FormErr).value())->header.rcode, 1);
}

TEST(DnsQuery, AnEdnsVersionAboveZeroGetsBadvers) {
  Bytes message = question("nas.lan", DnsType::A);
  message[message.size() - 5] = 1;
  EXPECT_EQ(parse_dns_query(message).error(), DnsError::BadVersion);
  const Bytes refusal = refuse_dns_query(message, DnsError::BadVersion).value();
  EXPECT_EQ(to_hex(refusal),
            "123481800000000000000001"
            "000029"
            "04d0"
            "01000000"
            "0000");
}

TEST(DnsQuery, TwoOptRecordsAreRefused) {
  Bytes message = question("nas.lan", DnsType::A);
  const Bytes opt(message.end() - 11, message.end());
  message.insert(message.end(), opt.begin(), opt.end());
  message[11] = 2;
  EXPECT_EQ(parse_dns_query(message).error(), DnsError::FormErr);
}

TEST(DnsQuery, AnnouncedRecordsAreBounded) {
  Bytes message = question("nas.lan", DnsType::A);
  store_u16(message.data() + 6, 0xffff);
  EXPECT_EQ(parse_dns_query(message).error(), DnsError::FormErr);
}

TEST(DnsAnswer, CarriesAddressesOfTheFamilyThatWasAskedFor) {
  const DnsReply reply = reply_of({"100.96.0.1", "fd00::1", "100.96.0.2"});
  const Bytes v4 = build_dns_answer(parsed(question("nas.lan", DnsType::A)), reply, DnsTransport::Udp);
  const auto answer = parse_dns_message(v4);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->header.is_response);
  EXPECT_TRUE(answer->header.recursion_available);
  EXPECT_EQ(answer->name, "nas.lan");
  ASSERT_EQ(answer->answers.size(), 2U);
  EXPECT_EQ(answer->answers[0].name, "nas.lan");
  EXPECT_EQ(answer->answers[0].ttl_s, 30U);
  EXPECT_EQ(addresses_of(*answer)[1].to_string(), "100.96.0.2");
  const Bytes v6 = build_dns_answer(parsed(question("nas.lan", DnsType::Aaaa)), reply, DnsTransport::Udp);
  EXPECT_EQ(addresses_of(*parse_dns_message(v6))[0].to_string(), "fd00::1");
}

TEST(DnsAnswer, RepeatsTheQuestionToTheBit) {
  const Bytes asked = question("nAs.LaN", DnsType::A);
  const Bytes answer = build_dns_answer(parsed(asked), reply_of({"100.96.0.1"}), DnsTransport::Udp);
  const std::size_t size = 9 + 4;
  EXPECT_TRUE(std::equal(asked.begin() + 12, asked.begin() + 12 + size, answer.begin() + 12));
}

TEST(DnsAnswer, OtherTypesOfAnExistingNameAreNodata) {
  for (const DnsType type : {DnsType::Https, DnsType::Svcb, DnsType::Txt, DnsType::Mx, DnsType{255}}) {
    const Bytes bytes =
        build_dns_answer(parsed(question("nas.lan", type)), reply_of({"100.96.0.1", "fd00::1"}), DnsTransport::Udp);
    const auto answer = parse_dns_message(bytes);
    EXPECT_EQ(answer->header.rcode, 0);
    EXPECT_TRUE(answer->answers.empty());
  }
}

TEST(DnsAnswer, ErrorsCarryNoRecords) {
  for (const DnsRcode rcode : {DnsRcode::NxDomain, DnsRcode::ServFail, DnsRcode::Refused}) {
    DnsReply reply = reply_of({"100.96.0.1"});
    reply.rcode = rcode;
    const Bytes bytes = build_dns_answer(parsed(question("nas.lan", DnsType::A)), reply, DnsTransport::Udp);
    EXPECT_EQ(parse_dns_message(bytes)->header.rcode, static_cast<int>(rcode));
    EXPECT_TRUE(parse_dns_message(bytes)->answers.empty());
  }
}

TEST(DnsAnswer, EchoesEdnsOnlyToWhoSpeaksIt) {
  Bytes asked = question("nas.lan", DnsType::A);
  asked[asked.size() - 4] = 0x80;  // DO
  const Bytes with = build_dns_answer(parsed(asked), {}, DnsTransport::Udp);
  EXPECT_EQ(to_hex(ByteView(with).last(11)),
            "000029"
            "04d0"
            "00008000"
            "0000");
  const Bytes without = build_dns_answer(parsed(plain_question("nas.lan", DnsType::A)), {}, DnsTransport::Udp);
  EXPECT_EQ(without.size() + 11, with.size());
  EXPECT_EQ(without[11], 0);
}

TEST(DnsAnswer, IsTruncatedOverUdpWhereItDoesNotFitAndWholeOverTcp) {
  DnsReply reply;
  for (int i = 0; i < 40; ++i) reply.addresses.push_back(IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(i)));
  const DnsQuery plain = parsed(plain_question("nas.lan", DnsType::A));
  const Bytes udp = build_dns_answer(plain, reply, DnsTransport::Udp);
  EXPECT_LE(udp.size(), 512U);
  EXPECT_TRUE(parse_dns_message(udp)->header.is_truncated);
  EXPECT_TRUE(parse_dns_message(udp)->answers.empty());
  const Bytes tcp = build_dns_answer(plain, reply, DnsTransport::Tcp);
  EXPECT_FALSE(parse_dns_message(tcp)->header.is_truncated);
  EXPECT_EQ(parse_dns_message(tcp)->answers.size(), 40U);
  const DnsQuery edns = parsed(question("nas.lan", DnsType::A));
  EXPECT_EQ(parse_dns_message(build_dns_answer(edns, reply, DnsTransport::Udp))->answers.size(), 40U);
}

TEST(Dns, SurvivesMutatedQuestionsAndAnswersThem) {
  SeededRandom random(9);
  const Bytes good = question("printer.office.lan", DnsType::A);
  const DnsReply reply = reply_of({"100.96.0.1", "fd00::1"});
  for (int round = 0; round < 200'000; ++round) {
    Bytes message = good;
    for (std::uint64_t edits = random.below(4); edits > 0; --edits) {
      message[random.below(message.size())] = static_cast<std::uint8_t>(random.next());
    }
    message.resize(random.below(8) == 0 ? random.below(message.size()) : message.size());
    if (const auto query = parse_dns_query(message)) {
      const Bytes answer = build_dns_answer(*query, reply, DnsTransport::Udp);
      ASSERT_LE(answer.size(), kDnsUdpSizeMax);
      ASSERT_TRUE(parse_dns_message(answer));
    } else if (const auto refusal = refuse_dns_query(message, query.error())) {
      ASSERT_TRUE(parse_dns_message(*refusal));
    }
  }
}

TEST(Dns, SurvivesGarbageAsAnAnswer) {
  SeededRandom random(10);
  const Bytes good = build_dns_answer(parsed(question("a.lan", DnsType::A)), reply_of({"10.0.0.1"}), DnsTransport::Udp);
  for (int round = 0; round < 200'000; ++round) {
    Bytes message = good;
    if (round % 2 == 0) {
      message.resize(random.below(80));
      random.fill(message);
      if (message.size() > 12) store_u16(message.data() + 4, 1);
    } else {
      message[random.below(message.size())] = static_cast<std::uint8_t>(random.next());
    }
    if (const auto read = parse_dns_message(message)) static_cast<void>(addresses_of(*read));
  }
}

}  // namespace
}  // namespace postern::wire
