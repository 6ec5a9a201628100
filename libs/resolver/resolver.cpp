#include "resolver/resolver.hpp"

#include <algorithm>

#include "wire/dns_records.hpp"

namespace postern::resolver {

namespace {

constexpr std::uint16_t kClassInternet = 1;

std::optional<IpAddress> reverse_v4(std::string_view labels) {
  std::string text;
  while (!labels.empty()) {
    const std::size_t dot = labels.rfind('.');
    const std::size_t begin = dot == std::string_view::npos ? 0 : dot + 1;
    text += (text.empty() ? "" : ".") + std::string(labels.substr(begin));
    labels = labels.substr(0, dot == std::string_view::npos ? 0 : dot);
  }
  return IpAddress::parse(text);
}

std::optional<IpAddress> reverse_v6(std::string_view labels) {
  if (labels.size() != 63) return std::nullopt;  // 32 nibbles and the dots between them
  std::string hex;
  for (std::size_t i = 0; i < labels.size(); i += 2) {
    if (i > 0 && labels[i - 1] != '.') return std::nullopt;
    hex.insert(hex.begin(), labels[i]);
  }
  const auto bytes = from_hex(hex);
  return bytes ? IpAddress::from_bytes(*bytes) : std::nullopt;
}

}  // namespace

std::optional<IpAddress> parse_reverse_name(std::string_view name) {
  constexpr std::string_view kV4 = ".in-addr.arpa";
  constexpr std::string_view kV6 = ".ip6.arpa";
  if (name.ends_with(kV4)) return reverse_v4(name.substr(0, name.size() - kV4.size()));
  if (name.ends_with(kV6)) return reverse_v6(name.substr(0, name.size() - kV6.size()));
  return std::nullopt;
}

Resolution Resolver::resolve(Instant now, ByteView message, wire::DnsTransport transport) {
  auto query = wire::parse_dns_query(message);
  if (!query) {
    count(ResolverCount::Malformed);
    auto refusal = wire::refuse_dns_query(message, query.error());
    return refusal ? Resolution(Answer{std::move(*refusal)}) : Resolution(Drop{});
  }
  if (query->record_class == kClassInternet) {
    if (const auto address = parse_reverse_name(query->name); address && pool_.network().contains(*address)) {
      return Answer{wire::build_dns_answer(*query, answer_for(*address), transport)};
    }
    auto name = model::DnsName::parse(query->name);
    const bool is_ours = name && names_.has_resource_for(*name);
    if (is_ours && wire::is_passed_on(query->type)) {
      count(ResolverCount::Asked);
      return AskConnector{std::move(*query), std::move(*name)};
    }
    if (is_ours) {
      return Answer{wire::build_dns_answer(*query, answer_for(now, *name, query->type), transport)};
    }
  }
  count(ResolverCount::Forwarded);
  return Forward{std::move(*query)};
}

wire::DnsReply Resolver::answer_for(Instant now, const model::DnsName& name, wire::DnsType type) {
  wire::DnsReply reply{wire::DnsRcode::NoError, {}, kTtlSeconds, true};
  const bool is_ours = type == wire::DnsType::A || (type == wire::DnsType::Aaaa && answers_ipv6_);
  if (!is_ours) {
    count(ResolverCount::NoData);
    return reply;
  }
  const auto number = pool_.assign(now, name);
  if (!number) {
    count(ResolverCount::PoolExhausted);
    reply.rcode = wire::DnsRcode::ServFail;
    return reply;
  }
  count(ResolverCount::Answered);
  const IpFamily family = type == wire::DnsType::A ? IpFamily::V4 : IpFamily::V6;
  reply.addresses.push_back(pool_.network().at(family, *number));
  return reply;
}

wire::DnsReply Resolver::answer_for(const IpAddress& address) {
  const model::DnsName* name = pool_.look_up(address);
  if (name == nullptr || !names_.has_resource_for(*name)) {
    count(ResolverCount::NoData);
    return {wire::DnsRcode::NxDomain, {}, 0, true};
  }
  count(ResolverCount::Answered);
  return {wire::DnsRcode::NoError, {}, kTtlSeconds, true, name->text()};
}

}  // namespace postern::resolver
