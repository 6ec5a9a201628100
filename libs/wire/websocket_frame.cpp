#include "wire/websocket_frame.hpp"

namespace postern::wire {

namespace {

constexpr std::size_t kControlPayloadMax = 125;
constexpr std::uint8_t kFinal = 0x80;
constexpr std::uint8_t kReserved = 0x70;
constexpr std::uint8_t kMasked = 0x80;
constexpr std::uint8_t kLength16 = 126;
constexpr std::uint8_t kLength64 = 127;

bool is_known(std::uint8_t opcode) {
  return opcode == 0x2 || opcode == 0x8 || opcode == 0x9 || opcode == 0xA;
}

}  // namespace

std::string_view to_string(FrameError error) {
  switch (error) {
    case FrameError::ReservedBits:
      return "a frame with reserved bits";
    case FrameError::UnknownKind:
      return "a frame of another kind";
    case FrameError::Fragmented:
      return "a fragmented message";
    case FrameError::TooLarge:
      return "a message that is too large";
    case FrameError::WrongMask:
      return "a frame that is wrongly masked";
    case FrameError::NotShortest:
      return "a frame with a malformed length";
  }
  return "a malformed frame";
}

void apply_mask(MutableBytes payload, const FrameMask& mask) {
  std::uint32_t half = 0;
  std::memcpy(&half, mask.data(), sizeof half);
  const std::uint64_t whole = std::uint64_t{half} << 32 | half;
  std::size_t at = 0;
  for (; at + 8 <= payload.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, payload.data() + at, 8);
    word ^= whole;
    std::memcpy(payload.data() + at, &word, 8);
  }
  for (; at < payload.size(); ++at) payload[at] ^= mask[at % 4];
}

std::expected<std::optional<Frame>, FrameError> parse_frame(MutableBytes bytes, bool masked, std::size_t payload_max) {
  if (bytes.size() < 2) return std::nullopt;
  const std::uint8_t opcode = bytes[0] & 0x0F;
  if ((bytes[0] & kReserved) != 0) return std::unexpected(FrameError::ReservedBits);
  if (!is_known(opcode)) return std::unexpected(FrameError::UnknownKind);
  if ((bytes[0] & kFinal) == 0) return std::unexpected(FrameError::Fragmented);
  if (((bytes[1] & kMasked) != 0) != masked) return std::unexpected(FrameError::WrongMask);
  const bool is_control = (opcode & 0x8) != 0;
  const std::uint8_t short_length = bytes[1] & 0x7F;
  if (is_control && short_length > kControlPayloadMax) return std::unexpected(FrameError::TooLarge);
  const std::size_t length_size = short_length == kLength64 ? 8 : short_length == kLength16 ? 2 : 0;
  const std::size_t header = 2 + length_size + (masked ? 4 : 0);
  if (bytes.size() < 2 + length_size) return std::nullopt;
  ByteReader reader(ByteView(bytes).subspan(2, length_size));
  const std::uint64_t size = length_size == 8 ? reader.u64() : length_size == 2 ? reader.u16() : short_length;
  if (size > payload_max) return std::unexpected(FrameError::TooLarge);
  if ((length_size == 2 && size < kLength16) || (length_size == 8 && size <= 0xFFFF)) {
    return std::unexpected(FrameError::NotShortest);
  }
  if (bytes.size() < header || bytes.size() - header < size) return std::nullopt;
  Frame frame{static_cast<FrameKind>(opcode), bytes.subspan(header, size), header + size};
  if (masked) {
    FrameMask mask{};
    std::memcpy(mask.data(), bytes.data() + header - 4, 4);
    apply_mask(frame.payload, mask);
  }
  return frame;
}

std::size_t write_frame_header(MutableBytes out, FrameKind kind, std::size_t payload_size,
                               const std::optional<FrameMask>& mask) {
  ByteWriter writer(out);
  const std::uint8_t mask_bit = mask ? kMasked : 0;
  writer.u8(static_cast<std::uint8_t>(kFinal | static_cast<std::uint8_t>(kind)));
  if (payload_size < kLength16) {
    writer.u8(static_cast<std::uint8_t>(mask_bit | payload_size));
  } else if (payload_size <= 0xFFFF) {
    writer.u8(mask_bit | kLength16);
    writer.u16(static_cast<std::uint16_t>(payload_size));
  } else {
    writer.u8(mask_bit | kLength64);
    writer.u64(payload_size);
  }
  if (mask) writer.view(*mask);
  return writer.size();
}

}  // namespace postern::wire
