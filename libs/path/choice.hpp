// Which of the proven remotes a session should use, and why it uses none.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/ip.hpp"
#include "base/time.hpp"

namespace postern::path {

struct ProvenRemote {
  SocketAddress remote;
  Duration round_trip{};
};

/// IPv6 has no NAT that could forget us: it is taken at this much more delay.
inline constexpr Duration kIpv6Bonus = std::chrono::milliseconds(3);
/// A private address is one of the same LAN: no router has to remember it either.
inline constexpr Duration kLanBonus = std::chrono::milliseconds(3);
/// Another remote must be better by this, or by a tenth, so that nothing flaps.
inline constexpr Duration kHysteresis = std::chrono::milliseconds(5);

/// Nothing when none is proven. `current` is what the session uses now, if it is direct.
[[nodiscard]] std::optional<ProvenRemote> choose(std::span<const ProvenRemote> proven,
                                                 const std::optional<SocketAddress>& current);

/// Why a session's packets go through a relay.
enum class RelayReason : std::uint8_t {
  None,          ///< they do not
  NotReady,      ///< the session is being made
  UdpBlocked,    ///< no check was answered, and the relay itself is reached over TCP only
  NoOwnAddress,  ///< this host knows no address of its own that a peer could use
  AwaitingPeer,  ///< the peer has been told our candidates and has not answered
  PeerHasNone,   ///< it has none, or none that may be checked from here
  ChecksRunning,
  NoAnswer,           ///< no check was answered
  NatPerDestination,  ///< the same, and a NAT gives each destination another port
  ValidationFailed,   ///< checks pass, packets of the session do not
  WentSilent,         ///< there was a direct path, and it fell silent
  Idle,               ///< no flow needs one now; it is looked for with the next flow
  kCount
};

/// One sentence for people, what to do included where something can be done; empty for None.
[[nodiscard]] std::string_view sentence(RelayReason reason);

}  // namespace postern::path
