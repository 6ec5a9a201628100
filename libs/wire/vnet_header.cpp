#include "wire/vnet_header.hpp"

namespace postern::wire {

namespace {

constexpr std::uint8_t kEcnBit = 0x80;

std::uint16_t load_native(const std::uint8_t* at) {
  std::uint16_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void store_native(std::uint8_t* at, std::uint16_t value) {
  std::memcpy(at, &value, sizeof value);
}

bool is_known(std::uint8_t gso) {
  return gso == 0 || gso == 1 || gso == 3 || gso == 4 || gso == 5;
}

}  // namespace

std::optional<VnetHeader> VnetHeader::parse(ByteView bytes) {
  if (bytes.size() < kSize) return std::nullopt;
  const auto gso = static_cast<std::uint8_t>(bytes[1] & ~kEcnBit);
  if (!is_known(gso)) return std::nullopt;
  VnetHeader header;
  header.flags = bytes[0];
  header.gso = static_cast<Gso>(gso);
  header.gso_ecn = (bytes[1] & kEcnBit) != 0;
  header.header_size = load_native(&bytes[2]);
  header.gso_size = load_native(&bytes[4]);
  header.checksum_start = load_native(&bytes[6]);
  header.checksum_offset = load_native(&bytes[8]);
  return header;
}

std::array<std::uint8_t, VnetHeader::kSize> VnetHeader::build() const {
  std::array<std::uint8_t, kSize> bytes{};
  bytes[0] = flags;
  bytes[1] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(gso) | (gso_ecn ? kEcnBit : 0));
  store_native(&bytes[2], header_size);
  store_native(&bytes[4], gso_size);
  store_native(&bytes[6], checksum_start);
  store_native(&bytes[8], checksum_offset);
  return bytes;
}

}  // namespace postern::wire
