#include "policy/resource_table.hpp"

#include <algorithm>

namespace postern::policy {

using model::DnsName;
using model::DnsPattern;
using model::Resource;
using model::ResourceId;

void ResourceTable::upsert(Resource resource) {
  remove(resource.id);
  const auto [at, inserted] = resources_.emplace(resource.id, std::move(resource));
  index(at->second);
}

void ResourceTable::remove(ResourceId id) {
  const auto found = resources_.find(id);
  if (found == resources_.end()) return;
  unindex(found->second);
  resources_.erase(found);
}

void ResourceTable::clear() {
  *this = ResourceTable();
}

const Resource* ResourceTable::find(ResourceId id) const {
  const auto found = resources_.find(id);
  return found == resources_.end() ? nullptr : &found->second;
}

std::map<unsigned, std::size_t, std::greater<>>& ResourceTable::lengths(IpFamily family) {
  return family == IpFamily::V4 ? lengths_v4_ : lengths_v6_;
}

const std::map<unsigned, std::size_t, std::greater<>>& ResourceTable::lengths(IpFamily family) const {
  return family == IpFamily::V4 ? lengths_v4_ : lengths_v6_;
}

void ResourceTable::index(const Resource& resource) {
  for (const DnsName& alias : resource.aliases) by_name_[alias.text()].insert(Rank(resource));
  const auto& value = resource.address.value();
  if (const auto* name = std::get_if<DnsName>(&value)) {
    by_name_[name->text()].insert(Rank(resource));
  } else if (const auto* pattern = std::get_if<DnsPattern>(&value)) {
    patterns_.insert({pattern->literal_characters(), Rank(resource)});
  } else {
    const auto& prefix = std::get<IpPrefix>(value);
    by_prefix_[prefix].insert(Rank(resource));
    ++lengths(prefix.address().family())[prefix.length()];
  }
}

void ResourceTable::unindex(const Resource& resource) {
  const auto forget_name = [&](const DnsName& name) {
    const auto found = by_name_.find(name.text());
    if (found == by_name_.end()) return;
    found->second.erase(Rank(resource));
    if (found->second.empty()) by_name_.erase(found);
  };
  for (const DnsName& alias : resource.aliases) forget_name(alias);
  const auto& value = resource.address.value();
  if (const auto* name = std::get_if<DnsName>(&value)) {
    forget_name(*name);
  } else if (const auto* pattern = std::get_if<DnsPattern>(&value)) {
    patterns_.erase({pattern->literal_characters(), Rank(resource)});
  } else {
    const auto& prefix = std::get<IpPrefix>(value);
    const auto found = by_prefix_.find(prefix);
    found->second.erase(Rank(resource));
    if (found->second.empty()) by_prefix_.erase(found);
    auto& counts = lengths(prefix.address().family());
    if (--counts[prefix.length()] == 0) counts.erase(prefix.length());
  }
}

template <typename Visitor>
void ResourceTable::visit_matches(const DnsName& name, Visitor visit) const {
  const auto literal = by_name_.find(name.text());
  if (literal != by_name_.end()) {
    for (const Rank& rank : literal->second) {
      if (!visit(*find(rank.id))) return;
    }
  }
  for (const PatternRank& pattern : patterns_) {
    const Resource* resource = find(pattern.rank.id);
    if (!resource->address.matches(name)) continue;
    // By an alias it has had its place already.
    if (literal != by_name_.end() && literal->second.contains(pattern.rank)) continue;
    if (!visit(*resource)) return;
  }
}

template <typename Visitor>
void ResourceTable::visit_matches(const IpAddress& address, Visitor visit) const {
  for (const auto& [length, count] : lengths(address.family())) {
    const auto found = by_prefix_.find(IpPrefix::containing(address, length));
    if (found == by_prefix_.end()) continue;
    for (const Rank& rank : found->second) {
      if (!visit(*find(rank.id))) return;
    }
  }
}

namespace {

/// Visitors: the best one only, and all of them.
struct First {
  const Resource*& found;
  bool operator()(const Resource& resource) const {
    found = &resource;
    return false;
  }
};
struct All {
  std::vector<const Resource*>& found;
  bool operator()(const Resource& resource) const {
    found.push_back(&resource);
    return true;
  }
};

}  // namespace

const Resource* ResourceTable::match(const DnsName& name) const {
  const Resource* best = nullptr;
  visit_matches(name, First{best});
  return best;
}

const Resource* ResourceTable::match(const IpAddress& address) const {
  const Resource* best = nullptr;
  visit_matches(address, First{best});
  return best;
}

std::vector<const Resource*> ResourceTable::matches(const DnsName& name) const {
  std::vector<const Resource*> all;
  visit_matches(name, All{all});
  return all;
}

std::vector<const Resource*> ResourceTable::matches(const IpAddress& address) const {
  std::vector<const Resource*> all;
  visit_matches(address, All{all});
  return all;
}

std::expected<const Resource*, TableRefusal> ResourceTable::check(ResourceId id, const DnsName& host,
                                                                  model::Protocol protocol, std::uint16_t port) const {
  const Resource* resource = find(id);
  if (resource == nullptr) return std::unexpected(TableRefusal::UnknownResource);
  const auto literal = by_name_.find(host.text());
  const bool literally = literal != by_name_.end() && literal->second.contains(Rank(*resource));
  if (!literally && !resource->address.matches(host)) return std::unexpected(TableRefusal::AddressNotInResource);
  if (!resource->allows(protocol, port)) return std::unexpected(TableRefusal::PortNotAllowed);
  if (!literally && literal != by_name_.end()) return std::unexpected(TableRefusal::Shadowed);
  return resource;
}

std::expected<const Resource*, TableRefusal> ResourceTable::check(ResourceId id, const IpAddress& address,
                                                                  model::Protocol protocol, std::uint16_t port) const {
  const Resource* resource = find(id);
  if (resource == nullptr) return std::unexpected(TableRefusal::UnknownResource);
  if (!resource->address.matches(address)) return std::unexpected(TableRefusal::AddressNotInResource);
  if (!resource->allows(protocol, port)) return std::unexpected(TableRefusal::PortNotAllowed);
  if (!resource->address.is_literal() && names_literally(address)) return std::unexpected(TableRefusal::Shadowed);
  return resource;
}

bool ResourceTable::names_literally(const IpAddress& address) const {
  return by_prefix_.contains(IpPrefix::containing(address, address.is_v4() ? 32 : 128));
}

namespace {

/// The IPv4 address that a v4-mapped, NAT64 or 6to4 address stands for; any other address as it is.
IpAddress normalised(const IpAddress& address) {
  if (address.is_v4()) return address;
  static const IpPrefix mapped = *IpPrefix::parse("::ffff:0:0/96");
  static const IpPrefix nat64 = *IpPrefix::parse("64:ff9b::/96");     // RFC 6052 §2.1
  static const IpPrefix six_to_four = *IpPrefix::parse("2002::/16");  // RFC 3056 §2
  if (mapped.contains(address) || nat64.contains(address)) return *IpAddress::from_bytes(address.bytes().last(4));
  if (six_to_four.contains(address)) return *IpAddress::from_bytes(address.bytes().subspan(2, 4));
  return address;
}

struct ForbiddenRange {
  IpPrefix prefix;
  ForbiddenKind kind;
};

/// In order: the first that contains the address names the reason.
const std::vector<ForbiddenRange>& forbidden_ranges() {
  static const std::vector<ForbiddenRange> ranges = {
      {*IpPrefix::parse("169.254.169.254"), ForbiddenKind::Metadata},
      {*IpPrefix::parse("fd00:ec2::254"), ForbiddenKind::Metadata},
      {*IpPrefix::parse("0.0.0.0/8"), ForbiddenKind::Unspecified},  // RFC 1122 §3.2.1.3: "this" network
      {*IpPrefix::parse("::"), ForbiddenKind::Unspecified},
      {*IpPrefix::parse("127.0.0.0/8"), ForbiddenKind::Loopback},
      {*IpPrefix::parse("::1"), ForbiddenKind::Loopback},
      {*IpPrefix::parse("169.254.0.0/16"), ForbiddenKind::LinkLocal},
      {*IpPrefix::parse("fe80::/10"), ForbiddenKind::LinkLocal},
      {*IpPrefix::parse("224.0.0.0/4"), ForbiddenKind::Multicast},
      {*IpPrefix::parse("ff00::/8"), ForbiddenKind::Multicast},
      {*IpPrefix::parse("255.255.255.255"), ForbiddenKind::Broadcast},
  };
  return ranges;
}

}  // namespace

std::optional<ForbiddenKind> forbidden_kind(const IpAddress& address) {
  const IpAddress judged = normalised(address);
  const auto found = std::ranges::find_if(forbidden_ranges(),
                                          [&](const ForbiddenRange& range) { return range.prefix.contains(judged); });
  if (found == forbidden_ranges().end()) return std::nullopt;
  return found->kind;
}

std::string_view to_string(ForbiddenKind kind) {
  switch (kind) {
    case ForbiddenKind::Unspecified:
      return "unspecified";
    case ForbiddenKind::Loopback:
      return "loopback";
    case ForbiddenKind::LinkLocal:
      return "link-local";
    case ForbiddenKind::Multicast:
      return "multicast";
    case ForbiddenKind::Broadcast:
      return "broadcast";
    case ForbiddenKind::Metadata:
      return "metadata service";
  }
  return "unknown";
}

}  // namespace postern::policy
