#include "wire/dns.hpp"

#include <algorithm>

namespace postern::wire {

namespace {

constexpr std::uint16_t kResponseBit = 0x8000;
constexpr std::uint16_t kAuthoritativeBit = 0x0400;
constexpr std::uint16_t kTruncatedBit = 0x0200;
constexpr std::uint16_t kRecursionDesiredBit = 0x0100;
constexpr std::uint16_t kRecursionAvailableBit = 0x0080;
constexpr std::uint16_t kCheckingDisabledBit = 0x0010;
constexpr std::uint16_t kClassInternet = 1;
constexpr std::uint32_t kDnssecOkBit = 0x8000;
/// Before the data: the name as a pointer to the question, type, class, TTL, length.
constexpr std::size_t kRecordHeaderSize = 12;
constexpr std::size_t kOptRecordSize = 11;
constexpr std::size_t kLabelMax = 63;
constexpr std::uint16_t kPointerToQuestion = 0xc000 | kDnsHeaderSize;

DnsHeader header_from(std::uint16_t id, std::uint16_t flags) {
  DnsHeader header;
  header.id = id;
  header.is_response = (flags & kResponseBit) != 0;
  header.opcode = static_cast<std::uint8_t>((flags >> 11) & 15);
  header.is_authoritative = (flags & kAuthoritativeBit) != 0;
  header.is_truncated = (flags & kTruncatedBit) != 0;
  header.recursion_desired = (flags & kRecursionDesiredBit) != 0;
  header.recursion_available = (flags & kRecursionAvailableBit) != 0;
  header.checking_disabled = (flags & kCheckingDisabledBit) != 0;
  header.rcode = static_cast<std::uint8_t>(flags & 15);
  return header;
}

std::uint16_t flags_of(const DnsHeader& header) {
  unsigned flags = (header.opcode & 15U) << 11 | (header.rcode & 15U);
  if (header.is_response) flags |= kResponseBit;
  if (header.is_authoritative) flags |= kAuthoritativeBit;
  if (header.is_truncated) flags |= kTruncatedBit;
  if (header.recursion_desired) flags |= kRecursionDesiredBit;
  if (header.recursion_available) flags |= kRecursionAvailableBit;
  if (header.checking_disabled) flags |= kCheckingDisabledBit;
  return static_cast<std::uint16_t>(flags);
}

void append_label_byte(std::string& text, std::uint8_t byte) {
  if (byte == '.' || byte == '\\') {
    text.push_back('\\');
    text.push_back(static_cast<char>(byte));
  } else if (byte <= ' ' || byte >= 0x7f) {
    text.push_back('\\');
    for (const int digit : {byte / 100, byte / 10 % 10, byte % 10}) text.push_back(static_cast<char>('0' + digit));
  } else {
    text.push_back(static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte));
  }
}

/// The next byte of a label in text form, with its escape undone. Nothing for a broken escape.
std::optional<std::uint8_t> take_label_byte(std::string_view& text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const char c = text.front();
  text.remove_prefix(1);
  if (c != '\\') return static_cast<std::uint8_t>(c);
  if (text.empty()) return std::nullopt;
  if (!is_digit(text[0])) {
    const char escaped = text[0];
    text.remove_prefix(1);
    return static_cast<std::uint8_t>(escaped);
  }
  if (text.size() < 3 || !is_digit(text[1]) || !is_digit(text[2])) return std::nullopt;
  const int value = (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0');
  text.remove_prefix(3);
  if (value > 255) return std::nullopt;
  return static_cast<std::uint8_t>(value);
}

struct RecordHead {
  std::string name;
  std::uint16_t type = 0;
  std::uint16_t record_class = 0;
  std::uint32_t ttl = 0;
  ByteView data;
};

/// Walks over the sections of a message; every read is bounded by its end.
class Cursor {
 public:
  explicit Cursor(ByteView message) : message_(message) {}

  [[nodiscard]] std::size_t offset() const { return offset_; }
  void skip_to(std::size_t offset) { offset_ = offset; }

  std::optional<std::string> name() { return read_dns_name(message_, offset_); }
  /// The fixed part behind a name.
  std::optional<ByteView> view(std::size_t size) {
    if (size > message_.size() - offset_) return std::nullopt;
    const ByteView result = message_.subspan(offset_, size);
    offset_ += size;
    return result;
  }
  std::optional<RecordHead> record() {
    auto owner = name();
    if (!owner) return std::nullopt;
    const auto fixed = view(10);
    if (!fixed) return std::nullopt;
    ByteReader reader(*fixed);
    RecordHead head;
    head.name = std::move(*owner);
    head.type = reader.u16();
    head.record_class = reader.u16();
    head.ttl = reader.u32();
    const auto data = view(reader.u16());
    if (!data) return std::nullopt;
    head.data = *data;
    return head;
  }

 private:
  ByteView message_;
  std::size_t offset_ = 0;
};

struct Counts {
  std::uint16_t questions = 0;
  std::uint16_t answers = 0;
  std::uint16_t others = 0;  ///< authority and additional, saturated
};

struct Start {
  DnsHeader header;
  Counts counts;
};

std::optional<Start> parse_start(ByteView message) {
  ByteReader reader(message);
  const std::uint16_t id = reader.u16();
  Start start{header_from(id, reader.u16()), {}};
  start.counts.questions = reader.u16();
  start.counts.answers = reader.u16();
  const std::uint32_t others = std::uint32_t{reader.u16()} + reader.u16();
  start.counts.others = static_cast<std::uint16_t>(std::min<std::uint32_t>(others, UINT16_MAX));
  if (!reader.ok()) return std::nullopt;
  return start;
}

bool too_many(const Counts& counts) {
  return std::size_t{counts.answers} + counts.others > kDnsRecordsMax;
}

/// Finds OPT among the records behind the question. False when the records are broken or hold two of them.
bool read_edns(Cursor& cursor, std::size_t records, std::optional<DnsEdns>& edns) {
  for (std::size_t i = 0; i < records; ++i) {
    const auto record = cursor.record();
    if (!record) return false;
    if (record->type != static_cast<std::uint16_t>(DnsType::Opt)) continue;
    if (edns || !record->name.empty()) return false;
    edns =
        DnsEdns{record->record_class, static_cast<std::uint8_t>(record->ttl >> 16), (record->ttl & kDnssecOkBit) != 0};
  }
  return true;
}

void write_opt(ByteWriter& writer, const DnsEdns& asked, std::uint16_t rcode) {
  writer.u8(0);
  writer.u16(static_cast<std::uint16_t>(DnsType::Opt));
  writer.u16(kDnsUdpSizeMax);
  writer.u32((std::uint32_t{rcode} >> 4) << 24 | (asked.dnssec_ok ? kDnssecOkBit : 0));
  writer.u16(0);
}

std::size_t size_limit(const DnsQuery& query, DnsTransport transport) {
  if (transport == DnsTransport::Tcp) return UINT16_MAX;
  if (!query.edns) return kDnsUdpSizeMin;
  return std::clamp<std::size_t>(query.edns->udp_size, kDnsUdpSizeMin, kDnsUdpSizeMax);
}

/// The data of the records that answer the type of the question.
std::vector<Bytes> record_data(const DnsQuery& query, const DnsReply& reply) {
  std::vector<Bytes> result;
  if (reply.rcode != DnsRcode::NoError || query.record_class != kClassInternet) return result;
  for (const IpAddress& address : reply.addresses) {
    if (query.type == (address.is_v4() ? DnsType::A : DnsType::Aaaa)) result.push_back(to_bytes(address.bytes()));
  }
  if (query.type == DnsType::Ptr && !reply.pointer.empty()) {
    if (auto name = encode_dns_name(reply.pointer)) result.push_back(std::move(*name));
  }
  return result;
}

void write_record(ByteWriter& writer, DnsType type, std::uint32_t ttl_s, ByteView data) {
  writer.u16(kPointerToQuestion);
  writer.u16(static_cast<std::uint16_t>(type));
  writer.u16(kClassInternet);
  writer.u32(ttl_s);
  writer.u16(static_cast<std::uint16_t>(data.size()));
  writer.view(data);
}

void write_start(ByteWriter& writer, const DnsHeader& header, std::uint16_t questions, std::size_t answers,
                 std::uint16_t additional) {
  writer.u16(header.id);
  writer.u16(flags_of(header));
  writer.u16(questions);
  writer.u16(static_cast<std::uint16_t>(answers));
  writer.u16(0);
  writer.u16(additional);
}

DnsHeader answer_header(const DnsHeader& asked, DnsRcode rcode) {
  DnsHeader header;
  header.id = asked.id;
  header.is_response = true;
  header.opcode = asked.opcode;
  header.recursion_desired = asked.recursion_desired;
  header.recursion_available = true;
  header.checking_disabled = asked.checking_disabled;
  header.rcode = static_cast<std::uint8_t>(static_cast<unsigned>(rcode) & 15U);
  return header;
}

}  // namespace

std::optional<std::string> read_dns_name(ByteView message, std::size_t& offset) {
  std::string text;
  std::size_t at = offset;
  std::size_t wire_size = 1;
  // A pointer may lead only to before the name or the part of it that holds the pointer: no loop can be built.
  std::size_t bound = offset;
  bool jumped = false;
  while (at < message.size()) {
    const std::uint8_t length = message[at++];
    if ((length & 0xc0) == 0xc0) {
      if (at >= message.size()) return std::nullopt;
      const std::size_t target = (std::size_t{length & 0x3fU} << 8) | message[at++];
      if (target >= bound || target < kDnsHeaderSize) return std::nullopt;
      if (!jumped) offset = at;
      jumped = true;
      at = bound = target;
      continue;
    }
    if (length > kLabelMax || length > message.size() - at) return std::nullopt;
    if (length == 0) {
      if (!jumped) offset = at;
      return text;
    }
    wire_size += length + 1U;
    if (wire_size > kDnsNameMax) return std::nullopt;
    if (!text.empty()) text.push_back('.');
    for (const std::uint8_t byte : message.subspan(at, length)) append_label_byte(text, byte);
    at += length;
  }
  return std::nullopt;
}

std::optional<Bytes> encode_dns_name(std::string_view name) {
  Bytes wire;
  while (!name.empty()) {
    const std::size_t head = wire.size();
    wire.push_back(0);
    while (!name.empty() && name.front() != '.') {
      const auto byte = take_label_byte(name);
      if (!byte || wire.size() - head > kLabelMax) return std::nullopt;
      wire.push_back(*byte);
    }
    const std::size_t length = wire.size() - head - 1;
    if (length == 0) return std::nullopt;
    wire[head] = static_cast<std::uint8_t>(length);
    if (name.empty()) break;
    name.remove_prefix(1);
    if (name.empty()) return std::nullopt;
  }
  wire.push_back(0);
  if (wire.size() > kDnsNameMax) return std::nullopt;
  return wire;
}

std::expected<DnsQuery, DnsError> parse_dns_query(ByteView message) {
  const auto start = parse_start(message);
  if (!start || start->header.is_response) return std::unexpected(DnsError::NotAQuery);
  if (start->header.opcode != 0) return std::unexpected(DnsError::NotImplemented);
  if (start->counts.questions != 1 || too_many(start->counts)) return std::unexpected(DnsError::FormErr);
  Cursor cursor(message);
  cursor.skip_to(kDnsHeaderSize);
  DnsQuery query;
  query.header = start->header;
  auto name = cursor.name();
  const auto fixed = name ? cursor.view(4) : std::nullopt;
  if (!fixed) return std::unexpected(DnsError::FormErr);
  query.name = std::move(*name);
  query.type = static_cast<DnsType>(load_u16(fixed->data()));
  query.record_class = load_u16(fixed->data() + 2);
  query.question = to_bytes(message.subspan(kDnsHeaderSize, cursor.offset() - kDnsHeaderSize));
  if (!read_edns(cursor, std::size_t{start->counts.answers} + start->counts.others, query.edns)) {
    return std::unexpected(DnsError::FormErr);
  }
  if (query.edns && query.edns->version != 0) return std::unexpected(DnsError::BadVersion);
  return query;
}

std::optional<Bytes> refuse_dns_query(ByteView message, DnsError error) {
  const auto start = parse_start(message);
  if (!start || start->header.is_response || error == DnsError::NotAQuery) return std::nullopt;
  const DnsRcode rcode = error == DnsError::NotImplemented ? DnsRcode::NotImp
                         : error == DnsError::BadVersion   ? DnsRcode::BadVersion
                                                           : DnsRcode::FormErr;
  Bytes answer(kDnsHeaderSize + kOptRecordSize);
  ByteWriter writer(answer);
  const bool extended = rcode == DnsRcode::BadVersion;
  write_start(writer, answer_header(start->header, rcode), 0, 0, extended ? 1 : 0);
  if (extended) write_opt(writer, {}, static_cast<std::uint16_t>(rcode));
  answer.resize(writer.size());
  return answer;
}

Bytes build_dns_answer(const DnsQuery& query, const DnsReply& reply, DnsTransport transport) {
  std::vector<Bytes> records = record_data(query, reply);
  std::size_t size = kDnsHeaderSize + query.question.size() + (query.edns ? kOptRecordSize : 0);
  const std::size_t fixed = size;
  for (const Bytes& data : records) size += kRecordHeaderSize + data.size();
  DnsHeader header = answer_header(query.header, reply.rcode);
  header.is_authoritative = reply.is_authoritative;
  header.is_truncated = size > size_limit(query, transport);
  if (header.is_truncated) records.clear();
  Bytes answer(header.is_truncated ? fixed : size);
  ByteWriter writer(answer);
  write_start(writer, header, 1, records.size(), query.edns ? 1 : 0);
  writer.view(query.question);
  for (const Bytes& data : records) write_record(writer, query.type, reply.ttl_s, data);
  if (query.edns) write_opt(writer, *query.edns, static_cast<std::uint16_t>(reply.rcode));
  return answer;
}

std::optional<Bytes> build_dns_question(std::uint16_t id, std::string_view name, DnsType type) {
  const auto encoded = encode_dns_name(name);
  if (!encoded) return std::nullopt;
  Bytes message(kDnsHeaderSize + encoded->size() + 4 + kOptRecordSize);
  ByteWriter writer(message);
  DnsHeader header;
  header.id = id;
  header.recursion_desired = true;
  write_start(writer, header, 1, 0, 1);
  writer.view(*encoded);
  writer.u16(static_cast<std::uint16_t>(type));
  writer.u16(kClassInternet);
  write_opt(writer, {}, 0);
  return message;
}

std::optional<DnsMessage> parse_dns_message(ByteView message) {
  const auto start = parse_start(message);
  if (!start || start->counts.questions > 1 || too_many(start->counts)) return std::nullopt;
  Cursor cursor(message);
  cursor.skip_to(kDnsHeaderSize);
  DnsMessage result;
  result.header = start->header;
  if (start->counts.questions == 1) {
    auto name = cursor.name();
    const auto fixed = name ? cursor.view(4) : std::nullopt;
    if (!fixed) return std::nullopt;
    result.name = std::move(*name);
    result.type = static_cast<DnsType>(load_u16(fixed->data()));
  }
  const std::size_t records = std::size_t{start->counts.answers} + start->counts.others;
  for (std::size_t i = 0; i < records; ++i) {
    auto record = cursor.record();
    if (!record) return std::nullopt;
    if (i >= start->counts.answers) continue;
    result.answers.push_back(
        {std::move(record->name), static_cast<DnsType>(record->type), record->record_class, record->ttl, record->data});
  }
  return result;
}

std::vector<IpAddress> addresses_of(const DnsMessage& message) {
  std::vector<IpAddress> addresses;
  for (const DnsRecord& record : message.answers) {
    const std::size_t size = record.type == DnsType::A ? 4 : record.type == DnsType::Aaaa ? 16 : 0;
    if (size == 0 || record.data.size() != size || record.record_class != kClassInternet) continue;
    addresses.push_back(*IpAddress::from_bytes(record.data));
  }
  return addresses;
}

}  // namespace postern::wire
