#include "mapping/nat_pmp.hpp"

namespace postern::mapping {

namespace {

constexpr std::uint8_t kVersion = 0;
constexpr std::uint8_t kAddress = 0;
constexpr std::uint8_t kMapUdp = 1;
constexpr std::uint8_t kAnswerBit = 128;

}  // namespace

PmpAddressRequest pmp_address_request() {
  return {kVersion, kAddress};
}

PmpMapRequest pmp_map_request(const PmpMap& wanted) {
  PmpMapRequest request{};
  ByteWriter writer(request);
  writer.u8(kVersion);
  writer.u8(kMapUdp);
  writer.u16(0);
  writer.u16(wanted.internal_port);
  writer.u16(wanted.external_port);
  writer.u32(wanted.lifetime_s);
  return request;
}

std::optional<PmpAnswer> parse_pmp_answer(ByteView datagram) {
  ByteReader reader(datagram);
  const std::uint8_t version = reader.u8();
  const std::uint8_t operation = reader.u8();
  PmpAnswer answer;
  answer.result = reader.u16();
  answer.epoch_s = reader.u32();
  answer.is_map = operation == kAnswerBit + kMapUdp;
  if (!reader.ok() || version != kVersion || (!answer.is_map && operation != kAnswerBit + kAddress))
    return std::nullopt;
  if (answer.result != 0) return answer;
  if (answer.is_map) {
    answer.map.internal_port = reader.u16();
    answer.map.external_port = reader.u16();
    answer.map.lifetime_s = reader.u32();
  } else {
    const auto address = IpAddress::from_bytes(reader.view(4));
    if (address) answer.address = *address;
  }
  return reader.ok() && reader.remaining() == 0 ? std::optional(answer) : std::nullopt;
}

}  // namespace postern::mapping
