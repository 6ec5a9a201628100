#include "wire/flow_datagram.hpp"

#include "wire/framing.hpp"

namespace postern::wire {

std::optional<FlowDatagram> FlowDatagram::parse(ByteView frame) {
  ByteReader reader(frame);
  const auto head = read_varint(reader);
  // Stream 0 is the control stream, no flow.
  if (!head || *head < 2 || *head > kVarintMax / 2) return std::nullopt;
  FlowDatagram datagram;
  datagram.stream = static_cast<std::int64_t>(*head / 2 * 4);
  if (*head % 2 != 0) {
    DatagramPiece piece;
    piece.packet = reader.u16();
    const std::uint8_t place = reader.u8();
    piece.index = place / 2;
    piece.is_last = place % 2 != 0;
    datagram.piece = piece;
  }
  datagram.payload = reader.rest();
  if (!reader.ok() || (datagram.piece && datagram.payload.empty())) return std::nullopt;
  return datagram;
}

FlowDatagramHeader FlowDatagramHeader::make(std::int64_t stream, const std::optional<DatagramPiece>& piece) {
  FlowDatagramHeader header;
  ByteWriter writer(header.bytes);
  write_varint(writer, static_cast<std::uint64_t>(stream) / 2 + (piece ? 1U : 0U));
  if (piece) {
    writer.u16(piece->packet);
    writer.u8(static_cast<std::uint8_t>(piece->index * 2 + (piece->is_last ? 1 : 0)));
  }
  header.size = writer.size();
  return header;
}

}  // namespace postern::wire
