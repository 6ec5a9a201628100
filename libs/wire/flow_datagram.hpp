// What a QUIC DATAGRAM frame of a session carries: a payload of a UDP or ICMP flow, or a piece of one (PROTOCOL.md
// §4.4).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.hpp"

namespace postern::wire {

/// Place of a piece in the payload that it belongs to.
struct DatagramPiece {
  std::uint16_t packet = 0;
  std::uint8_t index = 0;  ///< 0 to 127
  bool is_last = false;
};

struct FlowDatagram {
  static constexpr std::size_t kPiecesMax = 128;
  /// Largest varint, packet id and index.
  static constexpr std::size_t kHeaderMax = 8 + 2 + 1;

  /// Of the flow: a client-initiated bidirectional stream, so a multiple of 4.
  std::int64_t stream = 0;
  std::optional<DatagramPiece> piece;
  ByteView payload;

  /// Nothing when the frame is too short for its header, or is no flow's.
  [[nodiscard]] static std::optional<FlowDatagram> parse(ByteView frame);
};

struct FlowDatagramHeader {
  std::array<std::uint8_t, FlowDatagram::kHeaderMax> bytes{};
  std::size_t size = 0;

  [[nodiscard]] static FlowDatagramHeader make(std::int64_t stream, const std::optional<DatagramPiece>& piece);
  [[nodiscard]] ByteView view() const { return ByteView(bytes).first(size); }
};

}  // namespace postern::wire
