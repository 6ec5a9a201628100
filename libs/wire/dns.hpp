// DNS messages for the resolver inside the TUN (RFC 1035, 2308, 6891): reads questions, writes answers, and reads
// answers of other servers where one is asked.
//
// Names are text: lower case, labels joined by '.', no dot at the end, the root is "". A '.' or '\' inside a label is
// escaped by '\', a byte outside of printable ASCII is \DDD, so that two names are equal exactly when their text is.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/ip.hpp"

namespace postern::wire {

inline constexpr std::size_t kDnsHeaderSize = 12;
inline constexpr std::size_t kDnsNameMax = 255;      ///< on the wire, with the root label (RFC 1035 §2.3.4)
inline constexpr std::size_t kDnsUdpSizeMin = 512;   ///< without EDNS0
inline constexpr std::size_t kDnsUdpSizeMax = 1232;  ///< what we announce and never exceed over UDP
inline constexpr std::size_t kDnsRecordsMax = 256;   ///< of one message, in all sections

/// Only the types that something here cares about; others pass as numbers.
enum class DnsType : std::uint16_t {
  A = 1,
  Cname = 5,
  Soa = 6,
  Ptr = 12,
  Mx = 15,
  Txt = 16,
  Aaaa = 28,
  Srv = 33,
  Opt = 41,
  Svcb = 64,
  Https = 65
};
enum class DnsRcode : std::uint8_t {
  NoError = 0,
  FormErr = 1,
  ServFail = 2,
  NxDomain = 3,
  NotImp = 4,
  Refused = 5,
  BadVersion = 16
};
enum class DnsTransport : std::uint8_t { Udp, Tcp };

struct DnsHeader {
  std::uint16_t id = 0;
  bool is_response = false;
  std::uint8_t opcode = 0;
  bool is_authoritative = false;
  bool is_truncated = false;
  bool recursion_desired = false;
  bool recursion_available = false;
  bool checking_disabled = false;
  std::uint8_t rcode = 0;  ///< the four bits of the header
};

/// What came with an OPT record.
struct DnsEdns {
  std::uint16_t udp_size = 0;
  std::uint8_t version = 0;
  bool dnssec_ok = false;
};

struct DnsQuery {
  DnsHeader header;
  std::string name;
  DnsType type{};
  std::uint16_t record_class = 1;
  std::optional<DnsEdns> edns;
  Bytes question;  ///< the question section as it came, which an answer must repeat to the bit (0x20 casing)
};

enum class DnsError : std::uint8_t {
  NotAQuery,       ///< shorter than a header, or an answer: say nothing
  FormErr,         ///< broken, or not exactly one question
  NotImplemented,  ///< another opcode than QUERY
  BadVersion,      ///< EDNS version above 0
};

[[nodiscard]] std::expected<DnsQuery, DnsError> parse_dns_query(ByteView message);
/// The answer to what parse_dns_query() refused: FORMERR, NOTIMP or BADVERS; nothing for NotAQuery.
[[nodiscard]] std::optional<Bytes> refuse_dns_query(ByteView message, DnsError error);

struct DnsReply {
  DnsRcode rcode = DnsRcode::NoError;
  /// Those of the family that the question asks for become records, the others are left out. With NoError and none
  /// left the answer is NODATA.
  std::vector<IpAddress> addresses;
  std::uint32_t ttl_s = 0;
  bool is_authoritative = false;
  /// Becomes the record of a PTR question; a name that cannot be encoded is left out.
  std::string pointer{};
};
/// Repeats the question and EDNS0. Over UDP an answer that does not fit what the asker takes, at most kDnsUdpSizeMax,
/// is sent without records and with TC, so that he asks again over TCP.
[[nodiscard]] Bytes build_dns_answer(const DnsQuery& query, const DnsReply& reply, DnsTransport transport);

/// Nothing when `name` is not a name (label over 63 bytes, name over 255, empty label).
[[nodiscard]] std::optional<Bytes> build_dns_question(std::uint16_t id, std::string_view name, DnsType type);

struct DnsRecord {
  std::string name;
  DnsType type{};
  std::uint16_t record_class = 1;
  std::uint32_t ttl_s = 0;
  ByteView data;  ///< into the message
};
struct DnsMessage {
  DnsHeader header;
  std::string name;  ///< of the question; empty when there was none
  DnsType type{};
  std::vector<DnsRecord> answers;
};
/// An answer from a server. Authority and additional sections are walked over for their form only.
[[nodiscard]] std::optional<DnsMessage> parse_dns_message(ByteView message);
/// Addresses of the A and AAAA records of an answer, aliases not followed (their targets are in the same answer).
[[nodiscard]] std::vector<IpAddress> addresses_of(const DnsMessage& message);

/// Text to wire form and back. read_dns_name() follows compression pointers, each strictly backwards, and moves
/// `offset` behind the name; nothing when the name is broken.
[[nodiscard]] std::optional<Bytes> encode_dns_name(std::string_view name);
[[nodiscard]] std::optional<std::string> read_dns_name(ByteView message, std::size_t& offset);

}  // namespace postern::wire
