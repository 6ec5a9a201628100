#include "wire/dns_records.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace postern::wire {

namespace {

constexpr std::uint16_t kClassInternet = 1;
constexpr std::uint16_t kPointerToQuestion = 0xc000 | kDnsHeaderSize;
constexpr std::uint16_t kTruncatedBit = 0x0200;
constexpr std::size_t kAliasesMax = 16;
/// Longer than that nobody is told to believe what somebody else's name server says.
constexpr std::uint32_t kTtlMax = 3600;

/// Where names are inside the data, which servers may compress (RFC 3597 §4).
struct Layout {
  std::uint16_t type;
  std::size_t before;
  std::size_t names;
  std::size_t after;
};
constexpr std::array kLayouts = {
    Layout{2, 0, 1, 0},   // NS
    Layout{5, 0, 1, 0},   // CNAME
    Layout{6, 0, 2, 20},  // SOA
    Layout{12, 0, 1, 0},  // PTR
    Layout{14, 0, 2, 0},  // MINFO
    Layout{15, 2, 1, 0},  // MX
    Layout{17, 0, 2, 0},  // RP
    Layout{18, 2, 1, 0},  // AFSDB
    Layout{21, 2, 1, 0},  // RT
    Layout{26, 2, 2, 0},  // PX
    Layout{33, 6, 1, 0},  // SRV
    Layout{36, 2, 1, 0},  // KX
    Layout{39, 0, 1, 0},  // DNAME
};

std::optional<Bytes> plain_data(ByteView message, const DnsRecord& record) {
  const auto layout = std::ranges::find(kLayouts, static_cast<std::uint16_t>(record.type), &Layout::type);
  if (layout == kLayouts.end()) return to_bytes(record.data);
  const std::size_t begin = static_cast<std::size_t>(record.data.data() - message.data());
  const std::size_t end = begin + record.data.size();
  if (record.data.size() < layout->before + layout->after) return std::nullopt;
  Bytes plain = to_bytes(record.data.first(layout->before));
  std::size_t at = begin + layout->before;
  for (std::size_t i = 0; i < layout->names; ++i) {
    const auto name = at < end ? read_dns_name(message, at) : std::nullopt;
    const auto encoded = name ? encode_dns_name(*name) : std::nullopt;
    if (!encoded) return std::nullopt;
    plain.insert(plain.end(), encoded->begin(), encoded->end());
  }
  if (at + layout->after != end) return std::nullopt;
  const ByteView rest = message.subspan(at, layout->after);
  plain.insert(plain.end(), rest.begin(), rest.end());
  return plain;
}

/// The question's name and what it is an alias of.
std::vector<std::string> owners_of(const std::vector<DnsPlainRecord>& records, std::string_view name) {
  std::vector<std::string> owners{std::string(name)};
  for (std::size_t i = 0; i < owners.size() && owners.size() < kAliasesMax; ++i) {
    const auto alias = std::ranges::find_if(
        records, [&](const DnsPlainRecord& r) { return r.type == DnsType::Cname && r.owner == owners[i]; });
    if (alias == records.end()) break;
    std::size_t at = 0;
    auto target = read_dns_name(alias->data, at);
    if (!target || std::ranges::find(owners, *target) != owners.end()) break;
    owners.push_back(std::move(*target));
  }
  return owners;
}

std::size_t size_limit(const DnsQuery& query, DnsTransport transport) {
  if (transport == DnsTransport::Tcp) return UINT16_MAX;
  if (!query.edns) return kDnsUdpSizeMin;
  return std::clamp<std::size_t>(query.edns->udp_size, kDnsUdpSizeMin, kDnsUdpSizeMax);
}

void append_u16(Bytes& bytes, std::size_t value) {
  bytes.push_back(static_cast<std::uint8_t>(value >> 8));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

/// Nothing for an owner that is no name, or data that is too long.
std::optional<Bytes> encode_record(const DnsPlainRecord& record, std::string_view question) {
  Bytes bytes;
  if (record.owner == question) {
    append_u16(bytes, kPointerToQuestion);
  } else {
    const auto owner = encode_dns_name(record.owner);
    if (!owner) return std::nullopt;
    bytes = *owner;
  }
  if (record.data.size() > UINT16_MAX) return std::nullopt;
  append_u16(bytes, static_cast<std::uint16_t>(record.type));
  append_u16(bytes, kClassInternet);
  append_u16(bytes, record.ttl_s >> 16);
  append_u16(bytes, record.ttl_s & 0xFFFF);
  append_u16(bytes, record.data.size());
  bytes.insert(bytes.end(), record.data.begin(), record.data.end());
  return bytes;
}

}  // namespace

bool is_passed_on(DnsType type) {
  constexpr std::array<std::uint16_t, 7> kNever = {0, 1, 11, 28, 38, 64, 65};  // A, WKS, AAAA, A6, SVCB, HTTPS
  const auto number = static_cast<std::uint16_t>(type);
  if (number == 41 || (number >= 128 && number <= 255)) return false;
  return std::ranges::find(kNever, number) == kNever.end();
}

std::expected<std::vector<DnsPlainRecord>, DnsAnswerError> take_dns_records(ByteView message, std::string_view name,
                                                                            DnsType type) {
  const auto answer = parse_dns_message(message);
  if (!answer || !answer->header.is_response || answer->header.opcode != 0) {
    return std::unexpected(DnsAnswerError::Malformed);
  }
  if (answer->name != name || answer->type != type || !is_passed_on(type)) {
    return std::unexpected(DnsAnswerError::OtherQuestion);
  }
  const auto rcode = static_cast<DnsRcode>(answer->header.rcode);
  if (rcode == DnsRcode::NxDomain) return std::vector<DnsPlainRecord>();
  if (rcode != DnsRcode::NoError || answer->header.is_truncated) return std::unexpected(DnsAnswerError::Failed);
  std::vector<DnsPlainRecord> records;
  for (const DnsRecord& record : answer->answers) {
    if ((record.type != type && record.type != DnsType::Cname) || record.record_class != kClassInternet) continue;
    auto data = plain_data(message, record);
    if (!data) return std::unexpected(DnsAnswerError::Malformed);
    // RFC 2181 §8: with the highest bit it is 0.
    const std::uint32_t ttl = record.ttl_s > INT32_MAX ? 0 : std::min(record.ttl_s, kTtlMax);
    records.push_back({record.name, record.type, ttl, std::move(*data)});
  }
  const auto owners = owners_of(records, name);
  std::erase_if(records, [&](const DnsPlainRecord& r) { return std::ranges::find(owners, r.owner) == owners.end(); });
  return records;
}

Bytes build_dns_records(const DnsQuery& query, std::span<const DnsPlainRecord> records, DnsTransport transport) {
  Bytes answer = build_dns_answer(query, {}, transport);  // NODATA: header, question, and OPT where it was asked for
  const std::size_t opt = kDnsHeaderSize + query.question.size();
  Bytes section;
  std::size_t count = 0;
  for (const DnsPlainRecord& record : records) {
    const auto encoded = encode_record(record, query.name);
    if (!encoded) continue;
    section.insert(section.end(), encoded->begin(), encoded->end());
    ++count;
  }
  if (answer.size() + section.size() > size_limit(query, transport)) {
    // Names that were written out may be longer than any message.
    if (transport == DnsTransport::Tcp) return build_dns_answer(query, {DnsRcode::ServFail, {}, 0, false}, transport);
    store_u16(&answer[2], load_u16(&answer[2]) | kTruncatedBit);
    return answer;
  }
  store_u16(&answer[6], static_cast<std::uint16_t>(count));
  answer.insert(answer.begin() + static_cast<std::ptrdiff_t>(opt), section.begin(), section.end());
  return answer;
}

}  // namespace postern::wire
