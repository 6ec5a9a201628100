// Payloads of UDP and ICMP flows in DATAGRAM frames: the codec, and payloads that are cut, lost, doubled, late and put
// together again while the path's size changes.
//
// Holds: a frame that parses is written back to the same fields; what comes out of the reassembly is a payload that was
// sent, whole; what is held stays within its bounds and is gone a second later; every packet that was pushed is sent,
// dropped and counted, or waiting.
#include <map>

#include "fuzz.hpp"
#include "session/datagram_receiver.hpp"
#include "session/datagram_sender.hpp"

namespace {

using namespace postern;
using namespace postern::session;
using namespace std::chrono_literals;

void check_codec(ByteView frame) {
  const auto parsed = wire::FlowDatagram::parse(frame);
  if (!parsed) return;
  FUZZ_CHECK(parsed->stream > 0 && parsed->stream % 4 == 0);
  const auto header = wire::FlowDatagramHeader::make(parsed->stream, parsed->piece);
  Bytes again = to_bytes(header.view());
  FUZZ_CHECK(again.size() + parsed->payload.size() <= frame.size());
  again.insert(again.end(), parsed->payload.begin(), parsed->payload.end());
  const auto back = wire::FlowDatagram::parse(again);
  FUZZ_CHECK(back && back->stream == parsed->stream && back->piece.has_value() == parsed->piece.has_value());
  if (!parsed->piece) return;
  FUZZ_CHECK(back->piece->packet == parsed->piece->packet && back->piece->index == parsed->piece->index);
  FUZZ_CHECK(back->piece->is_last == parsed->piece->is_last);
}

/// The first two bytes name the payload, and all bytes follow from them and the size.
Bytes payload_of(std::uint16_t number, std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(number * 31 + i * 7 + i / 251);
  if (size >= 2) store_u16(bytes.data(), number);
  return bytes;
}

class World {
 public:
  void step(fuzz::Choices& choices) {
    switch (choices.u8() % 6) {
      case 0:
        return push(choices);
      case 1:
      case 2:
        return send(choices);
      case 3:
        return deliver(choices);
      case 4:
        now_ += std::chrono::milliseconds(choices.u8());
        return;
      default:
        return hostile(choices.block());
    }
  }
  void finish() {
    now_ += 2s;
    const auto ready = [](StreamId) { return true; };
    FUZZ_CHECK(!sender_.prepare(now_, 1200, ready, frame_, counters_));
    FUZZ_CHECK(sender_.empty());
    FUZZ_CHECK(pushed_ == counters_.sent + counters_.dropped_queue);
    reassembly_.expire(now_, counters_);
    FUZZ_CHECK(reassembly_.bytes() == 0 && !reassembly_.next_timeout());
  }

 private:
  void push(fuzz::Choices& choices) {
    const StreamId flow(4 * (1 + static_cast<std::int64_t>(choices.below(5)) * 40));
    const std::size_t size = choices.u16() % 65'508;
    const std::uint16_t number = next_number_++;
    const Bytes payload = payload_of(number, size);
    sizes_[number] = size;
    ++pushed_;
    sender_.push(now_, flow, pool_.copy(payload), std::max<std::size_t>(size, 1), counters_);
    FUZZ_CHECK(sender_.packets() <= pushed_);
  }
  void send(fuzz::Choices& choices) {
    const std::size_t frame_max = 1100 + choices.u8() * 2U;
    const std::uint8_t blocked = choices.u8();
    const auto ready = [blocked](StreamId flow) { return flow.value % 7 != blocked % 16; };
    for (std::size_t frames = choices.below(40); frames > 0; --frames) {
      if (!sender_.prepare(now_, frame_max, ready, frame_, counters_)) return;
      FUZZ_CHECK(frame_.size <= frame_max);
      Bytes bytes;
      for (std::size_t i = 0; i < frame_.count; ++i) {
        bytes.insert(bytes.end(), frame_.parts[i].base, frame_.parts[i].base + frame_.parts[i].len);
      }
      FUZZ_CHECK(bytes.size() == frame_.size);
      if (choices.u8() > 30) wire_.push_back(std::move(bytes));
      sender_.taken(counters_);
    }
  }
  /// One frame in flight, whichever, perhaps twice.
  void deliver(fuzz::Choices& choices) {
    for (std::size_t frames = choices.below(40); frames > 0 && !wire_.empty(); --frames) {
      const std::uint8_t how = choices.u8();
      const std::size_t index = how < 200 ? 0 : how % wire_.size();
      const Bytes frame = wire_[index];
      if (how % 16 != 5) wire_.erase(wire_.begin() + static_cast<std::ptrdiff_t>(index));
      const auto parsed = wire::FlowDatagram::parse(frame);
      FUZZ_CHECK(parsed.has_value());
      if (!parsed->piece) {
        check(parsed->payload);
      } else if (const auto whole = reassembly_.add(now_, *parsed, counters_)) {
        if (!is_hostile_) check(*whole);
      }
      FUZZ_CHECK(reassembly_.bytes() <= DatagramReassembly::kBytesMax);
    }
  }
  void check(ByteView payload) {
    if (payload.size() < 2) return;
    const auto sent = sizes_.find(load_u16(payload.data()));
    FUZZ_CHECK(sent != sizes_.end() && sent->second == payload.size());
    FUZZ_CHECK(to_bytes(payload) == payload_of(sent->first, sent->second));
  }
  /// Pieces that nobody cut: what comes of them may be anything, but within the bounds.
  void hostile(ByteView frame) {
    const auto parsed = wire::FlowDatagram::parse(frame);
    if (!parsed || !parsed->piece) return;
    is_hostile_ = true;
    if (const auto whole = reassembly_.add(now_, *parsed, counters_)) {
      FUZZ_CHECK(whole->size() <= DatagramReassembly::kPayloadMax);
    }
    FUZZ_CHECK(reassembly_.bytes() <= DatagramReassembly::kBytesMax);
  }

  BlockPool pool_{64U << 20};
  DatagramSender sender_;
  DatagramReassembly reassembly_;
  DatagramSender::Frame frame_;
  DatagramCounters counters_;
  std::vector<Bytes> wire_;
  std::map<std::uint16_t, std::size_t> sizes_;
  std::uint16_t next_number_ = 0;
  std::uint64_t pushed_ = 0;
  Instant now_{1h};
  bool is_hostile_ = false;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  std::vector<Bytes> all;
  for (const std::int64_t stream : {4, 128, 1 << 20}) {
    all.push_back(to_bytes(wire::FlowDatagramHeader::make(stream, {}).view()));
    all.push_back(to_bytes(wire::FlowDatagramHeader::make(stream, wire::DatagramPiece{7, 3, true}).view()));
  }
  // Push 9000 bytes, send all, deliver all.
  all.push_back(
      {0, 0, 0, 0x23, 0x28, 1, 50, 15, 39, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 3, 39, 1, 1, 1, 1, 1, 1, 1});
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes(data, size);
  check_codec(bytes);
  World world;
  fuzz::Choices choices(bytes);
  for (int steps = 0; !choices.empty() && steps < 400; ++steps) world.step(choices);
  world.finish();
  return 0;
}
