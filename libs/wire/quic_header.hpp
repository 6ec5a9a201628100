// The part of a QUIC packet that a relay and a demultiplexer may look at (PROTOCOL.md §1.1, §2.2, RFC 8999 §5).
#pragma once

#include <cstdint>
#include <expected>

#include "base/bytes.hpp"
#include "base/route_id.hpp"

namespace postern::wire {

enum class DatagramClass : std::uint8_t { Stun, Quic, Unknown };

/// By the first byte alone; an empty datagram is Unknown.
[[nodiscard]] constexpr DatagramClass classify_datagram(ByteView datagram) {
  if (datagram.empty()) return DatagramClass::Unknown;
  if (datagram[0] <= 3) return DatagramClass::Stun;
  // Every QUIC packet has the fixed bit set (64..127 and 192..255).
  return (datagram[0] & 0x40) != 0 ? DatagramClass::Quic : DatagramClass::Unknown;
}

inline constexpr std::uint32_t kQuicVersion1 = 1;

struct QuicHeader {
  bool is_long = false;
  ConnectionId destination;
};

enum class QuicHeaderError : std::uint8_t {
  NotQuic,        ///< the fixed bit is off
  TooShort,       ///< ends inside the destination connection id
  WrongVersion,   ///< a long header of another version than 1
  WrongIdLength,  ///< a long header whose destination connection id has not 16 bytes
};

/// The header of the first packet in `datagram`; nothing after the destination connection id is looked at.
[[nodiscard]] inline std::expected<QuicHeader, QuicHeaderError> parse_quic_header(ByteView datagram) {
  constexpr std::size_t kLongIdOffset = 6;  // first byte, version, length of the id
  if (classify_datagram(datagram) != DatagramClass::Quic) return std::unexpected(QuicHeaderError::NotQuic);
  QuicHeader header;
  header.is_long = (datagram[0] & 0x80) != 0;
  const std::size_t offset = header.is_long ? kLongIdOffset : 1;
  if (datagram.size() < offset + ConnectionId::kSize) return std::unexpected(QuicHeaderError::TooShort);
  if (header.is_long) {
    if (load_u32(datagram.data() + 1) != kQuicVersion1) return std::unexpected(QuicHeaderError::WrongVersion);
    if (datagram[5] != ConnectionId::kSize) return std::unexpected(QuicHeaderError::WrongIdLength);
  }
  std::memcpy(header.destination.bytes.data(), datagram.data() + offset, ConnectionId::kSize);
  return header;
}

/// The Token field of an Initial packet, for a demultiplexer that checks knocks before anything else (PROTOCOL.md
/// §4.2). Nothing when the packet is no version 1 Initial or ends early; empty when it has no token.
struct InitialHeader {
  ConnectionId destination;
  ByteView source;  ///< the sender's connection id, at most 20 bytes
  ByteView token;
};
[[nodiscard]] std::optional<InitialHeader> parse_initial_header(ByteView datagram);

}  // namespace postern::wire
