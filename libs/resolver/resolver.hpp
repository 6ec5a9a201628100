// Answers DNS questions for names of Resources; says which others are to be passed on.
//
// A and AAAA of a Resource's name get its virtual address. Types that carry addresses too (HTTPS, SVCB), which would
// lead applications past it, get NODATA, and so does what is no type of records; all others are asked of the connector
// (PROTOCOL.md §4.8). Questions about the virtual ranges' reverse zones are
// nobody else's business and end here: PTR gives the name that an address was handed out for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <variant>

#include "base/time.hpp"
#include "resolver/address_pool.hpp"
#include "wire/dns.hpp"

namespace postern::resolver {

/// Which names lead to a Resource now (names, aliases, patterns).
class NameDirectory {
 public:
  virtual ~NameDirectory() = default;
  [[nodiscard]] virtual bool has_resource_for(const model::DnsName& name) const = 0;
};

struct Answer {
  Bytes message;
};
/// Not ours: to be asked of the servers that were there before us.
struct Forward {
  wire::DnsQuery query;
};
/// About the name of a Resource: to be asked of its connector.
struct AskConnector {
  wire::DnsQuery query;
  model::DnsName name;
};
/// Not even a question: nothing is sent.
struct Drop {};
using Resolution = std::variant<Answer, Forward, AskConnector, Drop>;

enum class ResolverCount : std::uint8_t { Answered, NoData, Forwarded, Asked, Malformed, PoolExhausted, kCount };

class Resolver {
 public:
  /// Applications may keep an answer this long after the Resource is gone, so it is short; the address itself stays.
  static constexpr std::uint32_t kTtlSeconds = 10;

  /// Both outlive the resolver.
  Resolver(AddressPool& pool, const NameDirectory& names) : pool_(pool), names_(names) {}

  /// Without, AAAA questions get NODATA.
  void set_answers_ipv6(bool answers) { answers_ipv6_ = answers; }
  [[nodiscard]] Resolution resolve(Instant now, ByteView message, wire::DnsTransport transport);
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(ResolverCount::kCount)>& counts() const {
    return counts_;
  }

 private:
  [[nodiscard]] wire::DnsReply answer_for(Instant now, const model::DnsName& name, wire::DnsType type);
  /// Of the virtual ranges: the name that it was given to.
  [[nodiscard]] wire::DnsReply answer_for(const IpAddress& address);
  void count(ResolverCount what) { ++counts_[static_cast<std::size_t>(what)]; }

  AddressPool& pool_;
  const NameDirectory& names_;
  bool answers_ipv6_ = true;
  std::array<std::uint64_t, static_cast<std::size_t>(ResolverCount::kCount)> counts_{};
};

/// The address that a reverse name (1.2.0.192.in-addr.arpa, …ip6.arpa) asks about.
[[nodiscard]] std::optional<IpAddress> parse_reverse_name(std::string_view name);

}  // namespace postern::resolver
