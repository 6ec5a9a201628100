#include "relay_core/bind_nonce.hpp"

#include "identity/keys.hpp"

namespace postern::relay_core {

BindNonce::Value BindNonce::make_for(const SocketAddress& from, std::uint32_t slot) const {
  std::array<std::uint8_t, 16 + 2 + 4> input{};
  ByteWriter input_writer(input);
  input_writer.view(from.ip.bytes());
  input_writer.u16(from.port);
  input_writer.u32(slot);
  const Digest mac = identity::hmac_sha256(key_, input_writer.written());
  Value nonce{};
  ByteWriter writer(nonce);
  writer.u32(slot);
  writer.view(ByteView(mac).first(nonce.size() - 4));
  return nonce;
}

bool BindNonce::is_valid(ByteView nonce, const SocketAddress& from, WallTime wall) const {
  if (nonce.size() != wire::kBindNonceSize) return false;
  const std::uint32_t slot = load_u32(nonce.data());
  const std::uint32_t present = slot_of(wall);
  if (slot != present && slot + 1 != present) return false;
  return equal_constant_time(make_for(from, slot), nonce);
}

}  // namespace postern::relay_core
