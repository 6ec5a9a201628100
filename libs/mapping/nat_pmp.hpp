// NAT-PMP's four messages for UDP (RFC 6886 §3).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/ip.hpp"

namespace postern::mapping {

inline constexpr std::uint16_t kNatPmpPort = 5351;

using PmpAddressRequest = std::array<std::uint8_t, 2>;
using PmpMapRequest = std::array<std::uint8_t, 12>;

[[nodiscard]] PmpAddressRequest pmp_address_request();

struct PmpMap {
  std::uint16_t internal_port = 0;
  std::uint16_t external_port = 0;
  std::uint32_t lifetime_s = 0;  ///< 0: delete
};
[[nodiscard]] PmpMapRequest pmp_map_request(const PmpMap& wanted);

struct PmpAnswer {
  bool is_map = false;        ///< else it tells the address
  std::uint16_t result = 0;   ///< 0 is success, and only then the rest is filled
  std::uint32_t epoch_s = 0;  ///< since the router lost its state
  IpAddress address;          ///< the router's on its outside
  PmpMap map;
};
/// Nothing when it is no answer to one of the requests above.
[[nodiscard]] std::optional<PmpAnswer> parse_pmp_answer(ByteView datagram);

}  // namespace postern::mapping
