// A relay link's stream: frames of RFC 6455 and the messages in them (PROTOCOL.md §3.6).
//
// Holds: a stream gives the same messages whatever pieces it comes in, none larger than the bound; a train's datagrams
// are its bytes; what was read is written again to a frame that reads the same; an error is found at the same frame.
#include "fuzz.hpp"
#include "wire/link_message.hpp"
#include "wire/websocket_frame.hpp"

namespace {

using namespace postern;
using namespace postern::wire;

struct Message {
  FrameKind kind{};
  Bytes payload;
  bool operator==(const Message&) const = default;
};
struct Reading {
  std::vector<Message> messages;
  std::optional<FrameError> error;
  bool operator==(const Reading&) const = default;
};

/// Pieces of `step` bytes, kept together as LinkSocket does.
Reading read(ByteView bytes, bool masked, std::size_t step) {
  Reading reading;
  Bytes held;
  while (!reading.error) {
    const auto frame = parse_frame(held, masked, kLinkMessageMax);
    if (!frame) {
      reading.error = frame.error();
      break;
    }
    if (*frame) {
      FUZZ_CHECK((*frame)->payload.size() <= kLinkMessageMax && (*frame)->size <= held.size());
      reading.messages.push_back({(*frame)->kind, to_bytes((*frame)->payload)});
      held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>((*frame)->size));
      continue;
    }
    if (bytes.empty()) break;
    const ByteView piece = bytes.first(std::min(step, bytes.size()));
    held.insert(held.end(), piece.begin(), piece.end());
    bytes = bytes.subspan(piece.size());
  }
  return reading;
}

void check_train(const Message& message) {
  Bytes copy = message.payload;
  const auto train = parse_link_message(copy);
  if (!train) return;
  FUZZ_CHECK(train->stride > 0 && train->stride <= train->bytes.size());
  FUZZ_CHECK(train->bytes.size() + kLinkHeadSize == copy.size());
  FUZZ_CHECK(fits_link_message(train->bytes.size(), train->stride));
}

Bytes framed(FrameKind kind, ByteView payload, const std::optional<FrameMask>& mask) {
  Bytes out(kFrameHeaderMax);
  out.resize(write_frame_header(out, kind, payload.size(), mask));
  const std::size_t header = out.size();
  out.insert(out.end(), payload.begin(), payload.end());
  if (mask) apply_mask(MutableBytes(out).subspan(header), *mask);
  return out;
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const FrameMask mask{1, 2, 3, 4};
  Bytes train{0x04, 0xB0};
  train.resize(2 + 2400, 0x41);
  std::vector<Bytes> all;
  all.push_back(Script().u8(1).raw(framed(FrameKind::Binary, train, mask)).bytes());
  all.push_back(Script().u8(0).raw(framed(FrameKind::Binary, train, {})).bytes());
  all.push_back(Script().u8(1).raw(framed(FrameKind::Ping, as_bytes("x"), mask)).bytes());
  all.push_back(Script().u8(0).raw(framed(FrameKind::Close, Bytes{3, 0xE8}, {})).bytes());
  all.push_back(Script().u8(0).u8(0x82).u8(127).u32(0).u32(0x10000).bytes());
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool masked = (data[0] & 1) != 0;
  const ByteView bytes(data + 1, size - 1);
  const Reading whole = read(bytes, masked, SIZE_MAX);
  FUZZ_CHECK(read(bytes, masked, 1 + data[0] / 2U) == whole);
  for (const Message& message : whole.messages) {
    if (message.kind == FrameKind::Binary) check_train(message);
    const auto mask = masked ? std::optional(FrameMask{data[0], 7, 0, 255}) : std::nullopt;
    const Reading again = read(framed(message.kind, message.payload, mask), masked, SIZE_MAX);
    FUZZ_CHECK(again.messages.size() == 1 && again.messages[0] == message);
  }
  return 0;
}
