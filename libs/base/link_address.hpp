// Names of WebSocket links as socket addresses, so that machines that know only addresses can use links (PROTOCOL.md
// §3.6). They lie in the discard prefix 100::/64 (RFC 6666): a datagram of the network never comes from there.
#pragma once

#include <string_view>

#include "base/ip.hpp"

namespace postern {

[[nodiscard]] inline SocketAddress link_address(std::uint64_t number) {
  std::array<std::uint8_t, 16> bytes{};
  bytes[0] = 1;
  for (std::size_t i = 0; i < 8; ++i) bytes[15 - i] = static_cast<std::uint8_t>(number >> (8 * i));
  return {*IpAddress::from_bytes(bytes), 1};
}

[[nodiscard]] inline bool is_link_address(const SocketAddress& address) {
  if (!address.ip.is_v6()) return false;
  const ByteView bytes = address.ip.bytes();
  if (bytes[0] != 1) return false;
  for (std::size_t i = 1; i < 8; ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

/// What carries datagrams to and from there: "udp", or "tls" for a link.
[[nodiscard]] inline std::string_view transport_word(const SocketAddress& address) {
  return is_link_address(address) ? "tls" : "udp";
}

}  // namespace postern
