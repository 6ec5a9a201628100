#include "session/packet_protection.hpp"

#include <ngtcp2/ngtcp2_crypto.h>

namespace postern::session {

namespace {

thread_local std::uint64_t opened = 0;
thread_local std::uint64_t refused = 0;

int decrypt(std::uint8_t* to, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context,
            const std::uint8_t* from, std::size_t size, const std::uint8_t* nonce, std::size_t nonce_size,
            const std::uint8_t* aad, std::size_t aad_size) {
  const int result = ngtcp2_crypto_decrypt_cb(to, aead, context, from, size, nonce, nonce_size, aad, aad_size);
  ++(result == 0 ? opened : refused);
  return result;
}

}  // namespace

void install_packet_protection(ngtcp2_callbacks& callbacks) {
  callbacks.encrypt = ngtcp2_crypto_encrypt_cb;
  callbacks.decrypt = decrypt;
  callbacks.hp_mask = ngtcp2_crypto_hp_mask_cb;
  callbacks.update_key = ngtcp2_crypto_update_key_cb;
  callbacks.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
  callbacks.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
}

std::uint64_t packets_opened() { return opened; }
std::uint64_t packets_refused() { return refused; }

}  // namespace postern::session
