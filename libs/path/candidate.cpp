#include "path/candidate.hpp"

#include <algorithm>
#include <array>

namespace postern::path {

namespace {

bool is_in(const IpAddress& address, std::span<const IpPrefix> prefixes) {
  return std::ranges::any_of(prefixes, [&](const IpPrefix& prefix) { return prefix.contains(address); });
}

void add(std::vector<Candidate>& to, CandidateKind kind, const SocketAddress& address) {
  const bool is_known = std::ranges::find(to, address, &Candidate::address) != to.end();
  if (to.size() < kCandidatesMax && !is_known && !is_forbidden(address)) to.push_back({kind, address});
}

/// Both have the same public address: they are behind one router (or one carrier's).
bool share_public_address(const LocalView& local, std::span<const Candidate> peer) {
  return std::ranges::any_of(peer, [&](const Candidate& theirs) {
    return theirs.kind == CandidateKind::Reflexive &&
           std::ranges::any_of(local.reflexive, [&](const auto& ours) { return ours.ip == theirs.address.ip; });
  });
}

bool is_on_link(const LocalView& local, const IpAddress& address) {
  return std::ranges::any_of(local.interfaces, [&](const Interface& own) {
    return IpPrefix::containing(own.address, own.prefix_length).contains(address);
  });
}

bool is_own(const LocalView& local, const SocketAddress& address) {
  const auto has_address = [&](const Interface& own) { return own.address == address.ip; };
  return address.port == local.port && std::ranges::any_of(local.interfaces, has_address);
}

}  // namespace

bool is_private(const IpAddress& address) {
  static const std::array<IpPrefix, 5> kPrivate = {*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse("172.16.0.0/12"),
                                                   *IpPrefix::parse("192.168.0.0/16"),
                                                   *IpPrefix::parse("100.64.0.0/10"), *IpPrefix::parse("fc00::/7")};
  return is_in(address, kPrivate);
}

bool is_forbidden(const SocketAddress& address) {
  static const std::array<IpPrefix, 10> kForbidden = {
      *IpPrefix::parse("0.0.0.0/8"),   *IpPrefix::parse("127.0.0.0/8"), *IpPrefix::parse("169.254.0.0/16"),
      *IpPrefix::parse("224.0.0.0/3"), *IpPrefix::parse("::/127"),      *IpPrefix::parse("::ffff:0:0/96"),
      *IpPrefix::parse("fe80::/10"),   *IpPrefix::parse("ff00::/8"),    *IpPrefix::parse("100::/64"),
      *IpPrefix::parse("fec0::/10")};
  return address.port == 0 || is_in(address.ip, kForbidden);
}

std::vector<Candidate> gather(const LocalView& local) {
  std::vector<Candidate> all;
  const auto add_hosts = [&](auto&& wanted) {
    for (const Interface& own : local.interfaces) {
      if (wanted(own.address)) add(all, CandidateKind::Host, {own.address, local.port});
    }
  };
  if (local.port == 0) return all;
  add_hosts([](const IpAddress& address) { return address.is_v6() && !is_private(address); });
  for (const SocketAddress& address : local.mapped) add(all, CandidateKind::Mapped, address);
  for (const SocketAddress& address : local.reflexive) add(all, CandidateKind::Reflexive, address);
  add_hosts([](const IpAddress& address) { return address.is_v4(); });
  add_hosts([](const IpAddress& address) { return address.is_v6(); });
  return all;
}

bool maps_per_destination(const LocalView& local) {
  const auto differs = [&](const SocketAddress& a) {
    return std::ranges::any_of(local.reflexive,
                               [&](const SocketAddress& b) { return a.ip.family() == b.ip.family() && a != b; });
  };
  return std::ranges::any_of(local.reflexive, differs);
}

std::vector<SocketAddress> checkable(const LocalView& local, std::span<const Candidate> peer,
                                     std::span<const IpPrefix> excluded) {
  peer = peer.first(std::min(peer.size(), kCandidatesMax));
  const bool is_same_router = share_public_address(local, peer);
  std::vector<SocketAddress> remotes;
  for (const Candidate& candidate : peer) {
    const SocketAddress& remote = candidate.address;
    const bool is_known = std::ranges::find(remotes, remote) != remotes.end();
    if (is_known || is_forbidden(remote) || is_own(local, remote)) continue;
    if (is_private(remote.ip) && !is_same_router && !is_on_link(local, remote.ip)) continue;
    // On the link the kernel's own route wins over any of ours.
    if (is_in(remote.ip, excluded) && !is_on_link(local, remote.ip)) continue;
    remotes.push_back(remote);
  }
  return remotes;
}

}  // namespace postern::path
