// Frames of RFC 6455, as far as a relay link has them: unfragmented, without extensions (PROTOCOL.md §3.6).
//
// The control channel has Beast's WebSocket; a link moves gigabits on the data plane's loop, where a frame is read and
// unmasked in the buffer that it was decrypted into, and written by putting fourteen bytes before a train.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace postern::wire {

enum class FrameKind : std::uint8_t { Binary = 0x2, Close = 0x8, Ping = 0x9, Pong = 0xA };

enum class FrameError : std::uint8_t {
  ReservedBits,  ///< an extension that nobody agreed on
  UnknownKind,   ///< text, a fragment's continuation, or a reserved opcode
  Fragmented,    ///< FIN is not set
  TooLarge,      ///< larger than the bound, or a control frame above 125 bytes
  WrongMask,     ///< a client must mask, a server must not
  NotShortest,   ///< a length in a longer form than it needs
};
[[nodiscard]] std::string_view to_string(FrameError error);

struct Frame {
  FrameKind kind = FrameKind::Binary;
  MutableBytes payload{};  ///< unmasked in place
  std::size_t size = 0;    ///< header and payload: where the next frame starts
};

/// Longest header: two bytes, eight of length, four of mask.
inline constexpr std::size_t kFrameHeaderMax = 14;

/// The frame at the start of `bytes`; nothing when it is not complete yet. `masked` says what the peer has to do. A bad
/// header is found as soon as it is there: no payload is waited for.
[[nodiscard]] std::expected<std::optional<Frame>, FrameError> parse_frame(MutableBytes bytes, bool masked,
                                                                          std::size_t payload_max);

using FrameMask = std::array<std::uint8_t, 4>;

/// Writes the header of a frame with `payload_size` bytes at the start of `out` (kFrameHeaderMax) and says its size.
[[nodiscard]] std::size_t write_frame_header(MutableBytes out, FrameKind kind, std::size_t payload_size,
                                             const std::optional<FrameMask>& mask);
/// RFC 6455 §5.3: masks, and unmasks.
void apply_mask(MutableBytes payload, const FrameMask& mask);

}  // namespace postern::wire
