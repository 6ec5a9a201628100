#include "client_core/route_plan.hpp"

#include <algorithm>
#include <array>

namespace postern::client {

namespace {

constexpr std::array<const char*, 7> kNeverRouted = {"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/128",
                                                     "::1/128",   "fe80::/10",   "ff00::/8"};
constexpr const char* kLinkLocalV4 = "169.254.0.0/16";

bool covers(const IpPrefix& outer, const IpPrefix& inner) {
  return outer.length() <= inner.length() && outer.overlaps(inner);
}

IpPrefix upper_half(const IpPrefix& prefix) {
  std::array<std::uint8_t, 16> bytes{};
  const ByteView base = prefix.address().bytes();
  std::copy(base.begin(), base.end(), bytes.begin());
  bytes[prefix.length() / 8] |= static_cast<std::uint8_t>(0x80U >> (prefix.length() % 8));
  return IpPrefix::containing(*IpAddress::from_bytes(ByteView(bytes).first(base.size())), prefix.length() + 1);
}

void subtract_into(const IpPrefix& from, const std::vector<IpPrefix>& holes, std::vector<IpPrefix>& out) {
  std::vector<IpPrefix> inside;
  for (const IpPrefix& hole : holes) {
    if (hole.address().family() != from.address().family() || !hole.overlaps(from)) continue;
    if (covers(hole, from)) return;
    inside.push_back(hole);
  }
  if (inside.empty()) {
    out.push_back(from);
    return;
  }
  subtract_into(IpPrefix::containing(from.address(), from.length() + 1), inside, out);
  subtract_into(upper_half(from), inside, out);
}

/// Wider ones first. Prefixes that one before them covers are left out, unless `keeps` says otherwise for that pair.
template <typename Keeps>
std::vector<IpPrefix> without_covered(std::vector<IpPrefix> prefixes, Keeps keeps) {
  std::ranges::sort(prefixes, [](const IpPrefix& a, const IpPrefix& b) {
    return std::tuple(a.length(), a) < std::tuple(b.length(), b);
  });
  std::vector<IpPrefix> kept;
  for (const IpPrefix& prefix : prefixes) {
    const bool is_covered = std::ranges::any_of(kept, [&](const IpPrefix& wider) {
      return wider.address().family() == prefix.address().family() && covers(wider, prefix) && !keeps(wider, prefix);
    });
    if (!is_covered) kept.push_back(prefix);
  }
  return kept;
}

/// A local network takes its part out of a prefix of its own length or a wider one.
bool wins_over(const IpPrefix& local, const IpPrefix& wanted) {
  return local.address().family() == wanted.address().family() && covers(wanted, local);
}

}  // namespace

std::vector<IpPrefix> subtract(const IpPrefix& from, const std::vector<IpPrefix>& holes) {
  std::vector<IpPrefix> out;
  subtract_into(from, holes, out);
  return out;
}

AddressRoute route_of(const RouteRequest& request, const RoutePlan& plan, const IpAddress& address) {
  const auto contains = [&](const IpPrefix& prefix) { return prefix.contains(address); };
  const auto route = std::ranges::find_if(plan.routes, contains);
  if (route != plan.routes.end()) return {RouteFate::Routed, *route};
  const auto wanted = std::ranges::find_if(request.wanted, contains);
  if (wanted == request.wanted.end()) return {RouteFate::NotWanted, {}};
  if (std::ranges::any_of(request.protected_prefixes, contains)) return {RouteFate::Protected, *wanted};
  const auto local = std::ranges::find_if(request.local_networks, contains);
  if (local != request.local_networks.end()) return {RouteFate::Local, *local};
  if (std::ranges::any_of(plan.skipped, contains)) return {RouteFate::NoRoom, *wanted};
  return {RouteFate::NeverRouted, *wanted};
}

RoutePlan plan_routes(const RouteRequest& request) {
  std::vector<IpPrefix> holes = request.protected_prefixes;
  for (const char* text : kNeverRouted) holes.push_back(*IpPrefix::parse(text));
  const IpPrefix link_local = *IpPrefix::parse(kLinkLocalV4);

  RoutePlan plan;
  // A narrower Resource inside a local network is not covered by a wider one that gives that network up.
  const auto gives_up = [&](const IpPrefix& wider, const IpPrefix& prefix) {
    return std::ranges::any_of(request.local_networks, [&](const IpPrefix& local) {
      return wins_over(local, wider) && local.overlaps(prefix) && !wins_over(local, prefix);
    });
  };
  std::vector<IpPrefix> all;
  for (const IpPrefix& wanted : without_covered(request.wanted, gives_up)) {
    std::vector<IpPrefix> own_holes = holes;
    if (!wanted.is_host()) own_holes.push_back(link_local);
    for (const IpPrefix& local : request.local_networks) {
      if (wins_over(local, wanted)) own_holes.push_back(local);
    }
    const auto pieces = subtract(wanted, own_holes);
    if (all.size() + pieces.size() > kRoutesMax) {
      plan.skipped.push_back(wanted);
      continue;
    }
    all.insert(all.end(), pieces.begin(), pieces.end());
  }
  const auto disjoint = without_covered(std::move(all), [](const IpPrefix&, const IpPrefix&) { return false; });
  plan.routes.insert(disjoint.begin(), disjoint.end());
  return plan;
}

}  // namespace postern::client
