// Bounds of a Network. At a bound the command is refused with a Conflict that names it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace postern::controller {

inline constexpr std::size_t kUsersMax = 100'000;
inline constexpr std::size_t kGroupsMax = 10'000;
inline constexpr std::size_t kRemoteNetworksMax = 1'000;
inline constexpr std::size_t kConnectorsMax = 10'000;
/// A lease names every resource that its holder may reach in one Remote Network, and has to fit a 64 KiB token.
inline constexpr std::size_t kResourcesPerRemoteNetworkMax = 1'500;
inline constexpr std::size_t kAliasesMax = 16;
inline constexpr std::size_t kPortRangesMax = 128;
inline constexpr std::size_t kDevicesPerUserMax = 32;
/// Agents bind at every relay that they are told of, and take no more than this.
inline constexpr std::size_t kRelaysMax = 8;
inline constexpr std::size_t kRelayAddressesMax = 8;
/// Clients choose among a connector's instances; more of them than this is no spreading of load any more.
inline constexpr std::uint32_t kInstancesPerConnectorMax = 64;
/// Keys of processes that are gone are kept so that they can come back without a token; the oldest are forgotten.
inline constexpr std::size_t kIdleInstancesMax = 16;
/// Route ids that were revoked, so that they are not taken back; the oldest are forgotten (their tickets end anyway).
inline constexpr std::size_t kRevokedRoutesMax = 65'536;

}  // namespace postern::controller
