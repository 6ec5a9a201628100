#include "session/packet_header.hpp"

namespace postern::session {

namespace {

constexpr std::uint8_t kLongForm = 0x80;
constexpr std::uint8_t kFixedBit = 0x40;
constexpr std::uint8_t kLongTypeMask = 0x30;
constexpr std::uint8_t kTypeInitial = 0x00;
constexpr std::uint8_t kTypeHandshake = 0x20;
constexpr std::uint32_t kVersion1 = 1;

/// RFC 9000 §16.
std::uint64_t read_varint(ByteReader& reader) {
  const std::uint8_t first = reader.u8();
  std::uint64_t value = first & 0x3f;
  for (int rest = (1 << (first >> 6)) - 1; rest > 0; --rest) value = (value << 8) | reader.u8();
  return value;
}

std::optional<ConnectionId> read_connection_id(ByteReader& reader) {
  if (reader.u8() != ConnectionId::kSize) return std::nullopt;
  return ConnectionId::from(reader.view(ConnectionId::kSize));
}

std::expected<PacketHeader, DropReason> parse_long(std::uint8_t first, ByteReader& reader) {
  if (reader.u32() != kVersion1) return std::unexpected(DropReason::UnsupportedVersion);
  const std::uint8_t type = first & kLongTypeMask;
  if (type != kTypeInitial && type != kTypeHandshake) return std::unexpected(DropReason::UnsupportedVersion);
  const auto destination = read_connection_id(reader);
  const auto source = read_connection_id(reader);
  if (!destination || !source) return std::unexpected(DropReason::Truncated);
  PacketHeader header{PacketKind::Handshake, *destination, *source, {}};
  if (type == kTypeHandshake) return header;
  header.kind = PacketKind::Initial;
  const std::uint64_t token_size = read_varint(reader);
  if (token_size > reader.remaining()) return std::unexpected(DropReason::Truncated);
  header.token = reader.view(static_cast<std::size_t>(token_size));
  if (!reader.ok()) return std::unexpected(DropReason::Truncated);
  return header;
}

}  // namespace

std::expected<PacketHeader, DropReason> parse_packet_header(ByteView datagram) {
  ByteReader reader(datagram);
  const std::uint8_t first = reader.u8();
  if (!reader.ok() || (first & kFixedBit) == 0) return std::unexpected(DropReason::Truncated);
  if ((first & kLongForm) != 0) return parse_long(first, reader);
  const auto destination = ConnectionId::from(reader.view(ConnectionId::kSize));
  if (!destination) return std::unexpected(DropReason::Truncated);
  return PacketHeader{PacketKind::Short, *destination, {}, {}};
}

}  // namespace postern::session
