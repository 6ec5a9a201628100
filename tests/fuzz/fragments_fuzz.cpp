// Fragments of IP packets from the TUN: any bytes as packets, and real packets cut anywhere, shuffled, doubled and
// lost.
//
// Holds: what comes out is a packet that parses, is no fragment, and, while nobody lied, is one that was cut; what is
// held stays within its bounds.
#include <map>

#include "client_core/fragments.hpp"
#include "fuzz.hpp"
#include "wire/checksum.hpp"

namespace {

using namespace postern;
using namespace postern::client;

const SocketAddress kFrom{IpAddress::v4(10, 0, 0, 1), 1000};
const SocketAddress kTo{IpAddress::v4(10, 0, 0, 2), 2000};

Bytes packet_of(std::uint16_t id, std::size_t size) {
  Bytes payload(size);
  for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<std::uint8_t>(id + i * 11 + i / 255);
  Bytes packet(size + 64);
  packet.resize(wire::build_udp(packet, kFrom, kTo, payload));
  return packet;
}

Bytes piece_of(ByteView packet, std::uint16_t id, std::size_t at, std::size_t size) {
  const ByteView payload = packet.subspan(20);
  Bytes piece = to_bytes(packet.first(20));
  const ByteView part = payload.subspan(at, std::min(size, payload.size() - at));
  piece.insert(piece.end(), part.begin(), part.end());
  const bool is_last = at + part.size() == payload.size();
  store_u16(&piece[2], static_cast<std::uint16_t>(piece.size()));
  store_u16(&piece[4], id);
  store_u16(&piece[6], static_cast<std::uint16_t>(at / 8 + (is_last ? 0 : 0x2000)));
  store_u16(&piece[10], 0);
  store_u16(&piece[10], wire::ChecksumSum().add(ByteView(piece).first(20)).checksum());
  return piece;
}

class World {
 public:
  void step(fuzz::Choices& choices) {
    const std::uint8_t what = choices.u8();
    if (what % 8 == 0) now_ += std::chrono::milliseconds(choices.u16() % 1500);
    if (what % 8 == 1) return add(choices.block(), true);
    if (what % 8 == 2 && sizes_.size() < 100) return cut(choices);
    if (pieces_.empty()) return;
    const std::size_t index = what % 16 < 8 ? 0 : choices.u16() % pieces_.size();
    const Bytes piece = pieces_[index];
    if (what % 32 != 31) pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(index));
    if (what % 64 != 63) add(piece, false);
  }

 private:
  void cut(fuzz::Choices& choices) {
    const auto id = static_cast<std::uint16_t>(sizes_.size());
    const std::size_t size = 2000 + choices.u16() % 20'000;
    sizes_[id] = size;
    const Bytes packet = packet_of(id, size);
    for (std::size_t at = 0; at < packet.size() - 20;) {
      const std::size_t step = (1 + choices.u8()) * 8U;
      if (at + step >= packet.size() - 20 && at == 0) return;
      pieces_.push_back(piece_of(packet, id, at, step));
      at += step;
    }
  }
  void add(ByteView bytes, bool is_hostile) {
    const auto ip = wire::IpView::parse(bytes);
    if (!ip || !ip->fragment) return;
    is_hostile_ |= is_hostile;
    const auto whole = fragments_.add(now_, *ip);
    FUZZ_CHECK(fragments_.bytes() <= Fragments::kBytesMax);
    if (!whole) return;
    FUZZ_CHECK(whole->size() <= Fragments::kPacketMax);
    const auto joined = wire::IpView::parse(*whole);
    FUZZ_CHECK(joined.has_value());
    if (is_hostile_) return;
    FUZZ_CHECK(!joined->fragment && wire::is_transport_checksum_right(*joined));
    const auto sent = sizes_.find(ip->fragment->identification & 0xffffU);
    FUZZ_CHECK(sent != sizes_.end());
    const Bytes packet = packet_of(static_cast<std::uint16_t>(sent->first), sent->second);
    FUZZ_CHECK(to_bytes(joined->payload) == to_bytes(ByteView(packet).subspan(20)));
  }

  Fragments fragments_;
  std::map<std::uint32_t, std::size_t> sizes_;
  std::vector<Bytes> pieces_;
  Instant now_{std::chrono::hours(1)};
  bool is_hostile_ = false;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  std::vector<Bytes> all;
  all.push_back({2, 0x10, 0, 180, 180, 180, 180, 4, 4, 4, 4, 4, 4});
  const Bytes packet = packet_of(9, 100);
  Bytes raw{1, 0, 84};
  const Bytes piece = piece_of(packet, 9, 0, 64);
  raw.insert(raw.end(), piece.begin(), piece.end());
  all.push_back(raw);
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World world;
  fuzz::Choices choices(ByteView(data, size));
  for (int steps = 0; !choices.empty() && steps < 2000; ++steps) world.step(choices);
  return 0;
}
