#include "sim/model.hpp"

#include <algorithm>
#include <cstdlib>

namespace postern::sim {
namespace {

/// 32 bits of "a.b.c.d"; nothing for other text.
std::optional<std::uint32_t> number_of(const std::string& text) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%u.%u.%u.%u%c", &a, &b, &c, &d, &rest) != 4) return std::nullopt;
  return (a << 24) | (b << 16) | (c << 8) | d;
}

bool is_pattern(const std::string& address) {
  return address.find_first_of("*?") != std::string::npos;
}

/// How narrow a match is; nothing: none. A name or a single address is narrowest.
std::optional<unsigned> narrowness(const Model::Resource& resource, const std::string& host) {
  constexpr unsigned kLiteral = 1000;
  if (resource.address == host || std::ranges::count(resource.aliases, host) > 0) return kLiteral;
  if (is_pattern(resource.address)) {
    if (!glob(resource.address, host) || number_of(host)) return std::nullopt;
    return static_cast<unsigned>(std::ranges::count_if(resource.address, [](char c) { return c != '*' && c != '?'; }));
  }
  const auto slash = resource.address.find('/');
  const auto at = number_of(host);
  if (slash == std::string::npos || !at) return std::nullopt;
  const unsigned length = static_cast<unsigned>(std::atoi(resource.address.c_str() + slash + 1));
  const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
  if ((*number_of(resource.address.substr(0, slash)) & mask) != (*at & mask)) return std::nullopt;
  return length;
}

}  // namespace

bool glob(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') return glob(pattern.substr(1), text) || (!text.empty() && glob(pattern, text.substr(1)));
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) && glob(pattern.substr(1), text.substr(1));
}

bool Model::is_granted(const std::string& user, const Resource& resource) const {
  const auto found = users.find(user);
  if (found == users.end() || !found->second.active) return false;
  if (resource.users.contains(user)) return true;
  return std::ranges::any_of(resource.groups, [&](const std::string& group) {
    return group == "Everyone" || found->second.groups.contains(group);
  });
}

std::optional<Model::Answer> Model::permitted(const std::string& user, const std::string& host, PortClass ports) const {
  // First enforcement point: of what the user may reach, the narrowest match decides, also when it says no.
  std::string best;
  for (const auto& [name, resource] : resources) {
    if (!is_granted(user, resource) || !narrowness(resource, host)) continue;
    const Resource* old = best.empty() ? nullptr : &resources.at(best);
    const bool is_narrower = old == nullptr || *narrowness(resource, host) > *narrowness(*old, host) ||
                             (*narrowness(resource, host) == *narrowness(*old, host) && resource.order < old->order);
    if (is_narrower) best = name;
  }
  if (best.empty() || !resources.at(best).ports.contains(ports)) return std::nullopt;
  // Second: the connector knows every Resource of its network, and a literal one shadows whatever is wider.
  const Resource& chosen = resources.at(best);
  for (const auto& [name, resource] : resources) {
    if (resource.remote_network != chosen.remote_network) continue;
    const auto narrow = narrowness(resource, host);
    if (narrow && *narrow >= 1000 && *narrowness(chosen, host) < 1000) return std::nullopt;
  }
  return Answer{best, chosen.remote_network};
}

}  // namespace postern::sim
