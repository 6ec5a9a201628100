#include "controller_core/instances.hpp"

#include "identity/keys.hpp"

namespace postern::controller {

Bytes instance_knock_key(ByteView knock_secret, const InstanceRecord& instance) {
  Bytes input = to_bytes(as_bytes("postern-knock"));
  std::array<std::uint8_t, 8> id{};
  ByteWriter(id).u64(instance.id.value);
  input.insert(input.end(), id.begin(), id.end());
  const Digest key = identity::sha256(instance.public_key);
  input.insert(input.end(), key.begin(), key.end());
  return to_bytes(identity::hmac_sha256(knock_secret, input));
}

}  // namespace postern::controller
