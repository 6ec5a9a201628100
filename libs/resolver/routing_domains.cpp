#include "resolver/routing_domains.hpp"

#include <algorithm>
#include <set>
#include <string_view>

namespace postern::resolver {

namespace {

constexpr std::string_view kRoot = ".";

std::string_view parent_of(std::string_view domain) {
  const std::size_t dot = domain.find('.');
  return dot == std::string_view::npos ? std::string_view{} : domain.substr(dot + 1);
}

std::size_t labels_of(std::string_view domain) {
  return static_cast<std::size_t>(std::ranges::count(domain, '.')) + 1;
}

std::string_view suffix_of(std::string_view pattern) {
  const std::size_t wildcard = pattern.find_last_of("*?");
  if (wildcard == std::string_view::npos) return pattern;
  const std::size_t dot = pattern.find('.', wildcard);
  return dot == std::string_view::npos ? kRoot : pattern.substr(dot + 1);
}

void drop_covered(std::set<std::string, std::less<>>& domains) {
  if (domains.contains(kRoot)) {
    domains = {std::string(kRoot)};
    return;
  }
  std::erase_if(domains, [&](const std::string& domain) {
    for (std::string_view at = parent_of(domain); !at.empty(); at = parent_of(at)) {
      if (domains.contains(at)) return true;
    }
    return false;
  });
}

/// The longest names become their parents; false when none is long enough.
bool widen(std::set<std::string, std::less<>>& domains) {
  std::size_t longest = 0;
  for (const std::string& domain : domains) longest = std::max(longest, labels_of(domain));
  if (longest <= 2) return false;
  std::set<std::string, std::less<>> wider;
  for (const std::string& domain : domains) {
    wider.emplace(labels_of(domain) == longest ? parent_of(domain) : std::string_view(domain));
  }
  domains = std::move(wider);
  drop_covered(domains);
  return true;
}

}  // namespace

RoutingDomains routing_domains(std::span<const model::DnsName> names, std::span<const model::DnsPattern> patterns,
                               std::size_t domains_max) {
  std::set<std::string, std::less<>> domains;
  for (const auto& name : names) domains.insert(name.text());
  for (const auto& pattern : patterns) domains.emplace(suffix_of(pattern.text()));
  drop_covered(domains);
  RoutingDomains result;
  while (domains.size() > domains_max && widen(domains)) result.is_widened = true;
  result.domains.assign(domains.begin(), domains.end());
  if (result.domains.size() > domains_max) {
    result.left_out = result.domains.size() - domains_max;
    result.domains.resize(domains_max);
  }
  return result;
}

}  // namespace postern::resolver
