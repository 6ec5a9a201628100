#include "wire/quic_header.hpp"

#include "wire/framing.hpp"

namespace postern::wire {

std::optional<InitialHeader> parse_initial_header(ByteView datagram) {
  constexpr std::size_t kConnectionIdMax = 20;  // RFC 9000 §17.2
  const auto header = parse_quic_header(datagram);
  if (!header || !header->is_long) return std::nullopt;
  // Type bits 00 are an Initial; the four bits below are under header protection.
  if ((datagram[0] & 0x30) != 0) return std::nullopt;
  ByteReader reader(datagram.subspan(6 + ConnectionId::kSize));
  InitialHeader initial;
  initial.destination = header->destination;
  const std::size_t source_size = reader.u8();
  if (source_size > kConnectionIdMax) return std::nullopt;
  initial.source = reader.view(source_size);
  const auto token_size = read_varint(reader);
  if (!token_size || *token_size > reader.remaining()) return std::nullopt;
  initial.token = reader.view(static_cast<std::size_t>(*token_size));
  if (!reader.ok()) return std::nullopt;
  return initial;
}

}  // namespace postern::wire
