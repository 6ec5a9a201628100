// DNS messages as they come from applications and from name servers.
//
// Holds: a query that parses is answered by a message that parses, with the same id and question, within the size that
// was announced; what is refused is refused by a well-formed message; a name goes from the wire to text and back
// without change; no answer gives more addresses than records may be. What is told on of an answer is the same after it
// was put together afresh, answers what was asked, and has no addresses.
#include "fuzz.hpp"
#include "wire/dns.hpp"
#include "wire/dns_records.hpp"

namespace {

using namespace postern;
using namespace postern::wire;

void check_name(ByteView message) {
  std::size_t offset = 0;
  const auto name = read_dns_name(message, offset);
  if (!name) return;
  FUZZ_CHECK(offset <= message.size() && offset > 0);
  const auto encoded = encode_dns_name(*name);
  FUZZ_CHECK(encoded && encoded->size() <= kDnsNameMax);
  std::size_t end = 0;
  FUZZ_CHECK(read_dns_name(*encoded, end) == name && end == encoded->size());
}

void check_answer(const DnsQuery& query, const DnsReply& reply, DnsTransport transport) {
  const Bytes answer = build_dns_answer(query, reply, transport);
  if (transport == DnsTransport::Udp) FUZZ_CHECK(answer.size() <= kDnsUdpSizeMax);
  const auto message = parse_dns_message(answer);
  FUZZ_CHECK(message && message->header.is_response && message->header.id == query.header.id);
  FUZZ_CHECK(message->name == query.name && message->type == query.type);
  std::size_t wanted = 0;
  for (const IpAddress& address : reply.addresses) {
    wanted += query.type == (address.is_v4() ? DnsType::A : DnsType::Aaaa) ? 1U : 0U;
  }
  const bool answers = reply.rcode == DnsRcode::NoError && query.record_class == 1;
  if (answers && !message->header.is_truncated) FUZZ_CHECK(addresses_of(*message).size() == wanted);
  if (message->header.is_truncated) FUZZ_CHECK(message->answers.empty() && transport == DnsTransport::Udp);
}

void check_query(ByteView bytes) {
  const auto query = parse_dns_query(bytes);
  if (!query) {
    const auto refusal = refuse_dns_query(bytes, query.error());
    FUZZ_CHECK(refusal.has_value() == (query.error() != DnsError::NotAQuery));
    if (refusal)
      FUZZ_CHECK(refusal->size() >= kDnsHeaderSize && (*refusal)[0] == bytes[0] && (*refusal)[1] == bytes[1]);
    return;
  }
  DnsReply reply;
  reply.addresses = {IpAddress::v4(100, 96, 0, 17), *IpAddress::parse("fd00::17")};
  reply.ttl_s = 10;
  for (const auto transport : {DnsTransport::Udp, DnsTransport::Tcp}) {
    check_answer(*query, reply, transport);
    check_answer(*query, {.rcode = DnsRcode::NxDomain, .addresses = {}, .ttl_s = 0, .is_authoritative = true},
                 transport);
  }
  for (int i = 0; i < 40; ++i) reply.addresses.push_back(IpAddress::v4(100, 96, 1, static_cast<std::uint8_t>(i)));
  check_answer(*query, reply, DnsTransport::Udp);
}

void check_records(ByteView bytes, const DnsMessage& message) {
  const auto taken = take_dns_records(bytes, message.name, message.type);
  if (!taken) return;
  FUZZ_CHECK(is_passed_on(message.type));
  for (const DnsPlainRecord& record : *taken) {
    FUZZ_CHECK(record.type == message.type || record.type == DnsType::Cname);
  }
  const auto question = build_dns_question(7, message.name, message.type);
  FUZZ_CHECK(question.has_value());
  const auto query = parse_dns_query(*question);
  FUZZ_CHECK(query.has_value());
  for (const auto transport : {DnsTransport::Udp, DnsTransport::Tcp}) {
    const Bytes answer = build_dns_records(*query, *taken, transport);
    if (transport == DnsTransport::Udp) FUZZ_CHECK(answer.size() <= kDnsUdpSizeMax);
    const auto again = parse_dns_message(answer);
    FUZZ_CHECK(again && again->name == message.name && addresses_of(*again).empty());
    if (again->header.is_truncated) continue;
    FUZZ_CHECK(take_dns_records(answer, message.name, message.type) == taken);
  }
}

void check_message(ByteView bytes) {
  const auto message = parse_dns_message(bytes);
  if (!message) return;
  check_records(bytes, *message);
  FUZZ_CHECK(message->answers.size() <= kDnsRecordsMax);
  for (const DnsRecord& record : message->answers) {
    FUZZ_CHECK(record.data.empty() || (record.data.data() >= bytes.data() &&
                                       record.data.data() + record.data.size() <= bytes.data() + bytes.size()));
  }
  FUZZ_CHECK(addresses_of(*message).size() <= message->answers.size());
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const Bytes a = *build_dns_question(7, "Nginx.home.lan", DnsType::A);
  const Bytes aaaa = *build_dns_question(8, "a\\.b.home.lan", DnsType::Aaaa);
  const Bytes root = *build_dns_question(9, "", DnsType::Soa);
  Bytes edns = a;
  edns[11] = 1;
  const Bytes opt = *from_hex("0000291000000080000000");
  edns.insert(edns.end(), opt.begin(), opt.end());
  DnsReply reply;
  reply.addresses = {IpAddress::v4(100, 96, 0, 17), IpAddress::v4(100, 96, 0, 18)};
  const Bytes answer = build_dns_answer(*parse_dns_query(a), reply, DnsTransport::Udp);
  const Bytes alias = *from_hex(
      "000881800001000200000000036e67780468"
      "6f6d65000001000100"
      "c00c000500010000000a0006036e6778c010c02600010001000000"
      "0a0004c0a80107");
  return {a, aaaa, root, edns, answer, alias};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes(data, size);
  check_query(bytes);
  check_message(bytes);
  check_name(bytes);
  return 0;
}
