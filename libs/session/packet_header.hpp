// The part of a QUIC packet that can be read without keys (RFC 8999, RFC 9000 §17), cut down to what Postern sends:
// version 1, connection ids of 16 bytes, no Retry, no 0-RTT, no version negotiation (PROTOCOL.md "One UDP port").
#pragma once

#include <cstdint>
#include <expected>

#include "base/bytes.hpp"
#include "base/route_id.hpp"
#include "session/types.hpp"

namespace postern::session {

enum class PacketKind : std::uint8_t { Short, Initial, Handshake };

/// The first packet of a datagram.
struct PacketHeader {
  PacketKind kind = PacketKind::Short;
  ConnectionId destination;
  ConnectionId source;  ///< long headers only
  ByteView token;       ///< Initial only; points into the datagram
};

/// A client's Initial travels in a datagram of at least this size (RFC 9000 §14.1).
inline constexpr std::size_t kInitialDatagramMin = 1200;

[[nodiscard]] std::expected<PacketHeader, DropReason> parse_packet_header(ByteView datagram);

}  // namespace postern::session
