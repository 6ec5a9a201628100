// What a name server has answered about a name, taken apart and put together afresh (PROTOCOL.md §4.8): only records of
// the type that was asked for, and the aliases that lead to them from the name that was asked about.
//
// Never told on are addresses and records that carry them as hints. Names inside of data are written out, because the
// message that their compression points into is not passed on.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/dns.hpp"

namespace postern::wire {

struct DnsPlainRecord {
  std::string owner;
  DnsType type{};
  std::uint32_t ttl_s = 0;
  Bytes data;
  bool operator==(const DnsPlainRecord&) const = default;
};

enum class DnsAnswerError : std::uint8_t {
  Malformed,
  OtherQuestion,  ///< an answer to something that was not asked
  Failed,         ///< the server could not answer, or not all of it
};

/// Whether questions of this type are passed on at all: not those for addresses, HTTPS and SVCB (their hints are
/// addresses), and not those that are no types of records (RFC 6895 §3.1).
[[nodiscard]] bool is_passed_on(DnsType type);

/// No records for a name that the server does not know, or not with this type.
[[nodiscard]] std::expected<std::vector<DnsPlainRecord>, DnsAnswerError> take_dns_records(ByteView message,
                                                                                          std::string_view name,
                                                                                          DnsType type);

/// Answers `query` with these, as build_dns_answer() does: over UDP with TC and without records when they do not fit.
[[nodiscard]] Bytes build_dns_records(const DnsQuery& query, std::span<const DnsPlainRecord> records,
                                      DnsTransport transport);

}  // namespace postern::wire
