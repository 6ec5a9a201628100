// Where a peer may be reached without the relay, and which of these places may be checked (PROTOCOL.md §4.6).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.hpp"

namespace postern::path {

/// A list never has more; what a peer sends beyond is not looked at.
inline constexpr std::size_t kCandidatesMax = 16;

enum class CandidateKind : std::uint8_t {
  Host,       ///< an address of an interface
  Reflexive,  ///< what a relay sees
  Mapped,     ///< a port that the router gave by UPnP, NAT-PMP or PCP
};

struct Candidate {
  CandidateKind kind = CandidateKind::Host;
  SocketAddress address;
  constexpr auto operator<=>(const Candidate&) const = default;
};

/// An address of this host with its subnet.
struct Interface {
  IpAddress address;
  unsigned prefix_length = 0;
  constexpr auto operator<=>(const Interface&) const = default;
};

/// What this host knows of its own place; the owner of the socket fills it.
struct LocalView {
  std::vector<Interface> interfaces;
  std::uint16_t port = 0;                ///< of the one UDP socket
  std::vector<SocketAddress> reflexive;  ///< one for each relay that has told it
  std::vector<SocketAddress> mapped;
  bool operator==(const LocalView&) const = default;
};

/// 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7: means something only behind one router.
[[nodiscard]] bool is_private(const IpAddress& address);
/// May never be checked, whoever names it: unspecified, loopback, link-local, multicast, broadcast, reserved, IPv4
/// inside IPv6, or port 0.
[[nodiscard]] bool is_forbidden(const SocketAddress& address);

/// What the peer is told, the best first, at most kCandidatesMax.
[[nodiscard]] std::vector<Candidate> gather(const LocalView& local);
/// Two relays see two ports or addresses: a NAT that gives each destination another one.
[[nodiscard]] bool maps_per_destination(const LocalView& local);

/// The remotes of `peer` that may be checked from here: nothing forbidden, nothing of our own, nothing inside
/// `excluded` (what leads into our own tunnel), private ones only where both share a subnet or a public address.
[[nodiscard]] std::vector<SocketAddress> checkable(const LocalView& local, std::span<const Candidate> peer,
                                                   std::span<const IpPrefix> excluded);

}  // namespace postern::path
