#include "session/packet_protection.hpp"

#include <ngtcp2/ngtcp2_crypto.h>
#include <strings.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace postern::session {

namespace {

thread_local std::uint64_t opened = 0;
thread_local std::uint64_t refused = 0;

/// Its address marks ciphers whose keys are FastKeys.
char fast_cipher_mark = 0;

const FastKey& key_of(void* native_handle) {
  return *static_cast<const FastKey*>(native_handle);
}

int encrypt(std::uint8_t* to, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context,
            const std::uint8_t* from, std::size_t size, const std::uint8_t* nonce, std::size_t nonce_size,
            const std::uint8_t* aad, std::size_t aad_size) {
  if (aead->native_handle != &fast_cipher_mark) {
    return ngtcp2_crypto_encrypt_cb(to, aead, context, from, size, nonce, nonce_size, aad, aad_size);
  }
  key_of(context->native_handle).seal(to, {from, size}, nonce, {aad, aad_size});
  return 0;
}

int decrypt(std::uint8_t* to, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context,
            const std::uint8_t* from, std::size_t size, const std::uint8_t* nonce, std::size_t nonce_size,
            const std::uint8_t* aad, std::size_t aad_size) {
  int result = NGTCP2_ERR_DECRYPT;
  if (aead->native_handle != &fast_cipher_mark) {
    result = ngtcp2_crypto_decrypt_cb(to, aead, context, from, size, nonce, nonce_size, aad, aad_size);
  } else if (key_of(context->native_handle).open(to, {from, size}, nonce, {aad, aad_size})) {
    result = 0;
  }
  ++(result == 0 ? opened : refused);
  return result;
}

int hp_mask(std::uint8_t* to, const ngtcp2_crypto_cipher* cipher, const ngtcp2_crypto_cipher_ctx* context,
            const std::uint8_t* sample) {
  if (cipher->native_handle != &fast_cipher_mark) return ngtcp2_crypto_hp_mask_cb(to, cipher, context, sample);
  std::array<std::uint8_t, FastKey::kSize> block;
  key_of(context->native_handle).mask(block.data(), sample);
  std::memcpy(to, block.data(), NGTCP2_HP_MASKLEN);
  return 0;
}

/// HKDF-Expand-Label of RFC 8446 §7.1 with an empty context.
bool expand(MutableBytes to, const ngtcp2_crypto_md& md, ByteView secret, std::string_view label) {
  constexpr std::string_view kPrefix = "tls13 ";
  std::array<std::uint8_t, 32> info;
  ByteWriter writer(info);
  writer.u16(static_cast<std::uint16_t>(to.size()));
  writer.u8(static_cast<std::uint8_t>(kPrefix.size() + label.size()));
  writer.view(as_bytes(kPrefix));
  writer.view(as_bytes(label));
  writer.u8(0);
  return ngtcp2_crypto_hkdf_expand(to.data(), to.size(), &md, secret.data(), secret.size(), info.data(),
                                   writer.size()) == 0;
}

/// A derived key that is wiped when it goes out of scope.
struct RawKey {
  ~RawKey() { explicit_bzero(bytes.data(), bytes.size()); }
  FastKey::Raw bytes{};
};

}  // namespace

void install_packet_protection(ngtcp2_callbacks& callbacks) {
  callbacks.encrypt = encrypt;
  callbacks.decrypt = decrypt;
  callbacks.hp_mask = hp_mask;
}

std::uint64_t packets_opened() {
  return opened;
}
std::uint64_t packets_refused() {
  return refused;
}

void* PacketKeys::add(const FastKey::Raw& raw, FastKeyUse use) {
  keys_.push_back(cipher_->make_key(raw, use));
  return keys_.back().get();
}

bool PacketKeys::remove(void* native_handle) {
  const auto found = std::ranges::find_if(keys_, [&](const auto& key) { return key.get() == native_handle; });
  if (found == keys_.end()) return false;
  keys_.erase(found);
  return true;
}

bool PacketKeys::install(ngtcp2_conn* quic, gnutls_session_t tls, ngtcp2_encryption_level level,
                         const std::uint8_t* receive_secret, const std::uint8_t* send_secret, std::size_t size) {
  if (cipher_ == nullptr || gnutls_cipher_get(tls) != GNUTLS_CIPHER_AES_128_GCM) {
    using Install = decltype(&ngtcp2_crypto_derive_and_install_rx_key);
    const auto derive = [&](Install function, const std::uint8_t* secret) {
      return secret == nullptr || function(quic, nullptr, nullptr, nullptr, level, secret, size) == 0;
    };
    return derive(ngtcp2_crypto_derive_and_install_rx_key, receive_secret) &&
           derive(ngtcp2_crypto_derive_and_install_tx_key, send_secret);
  }
  if (!active_) {
    ngtcp2_crypto_ctx context;
    if (ngtcp2_crypto_ctx_tls(&context, tls) == nullptr) return false;
    context.aead.native_handle = &fast_cipher_mark;
    context.hp.native_handle = &fast_cipher_mark;
    ngtcp2_conn_set_crypto_ctx(quic, &context);
    active_ = true;
  }
  return (receive_secret == nullptr || install_one(quic, level, receive_secret, size, true)) &&
         (send_secret == nullptr || install_one(quic, level, send_secret, size, false));
}

bool PacketKeys::install_one(ngtcp2_conn* quic, ngtcp2_encryption_level level, const std::uint8_t* secret,
                             std::size_t size, bool receive) {
  const ngtcp2_crypto_md& md = ngtcp2_conn_get_crypto_ctx(quic)->md;
  RawKey key;
  RawKey header_key;
  std::array<std::uint8_t, FastKey::kNonceSize> iv;
  if (!expand(key.bytes, md, {secret, size}, "quic key") || !expand(iv, md, {secret, size}, "quic iv") ||
      !expand(header_key.bytes, md, {secret, size}, "quic hp")) {
    return false;
  }
  const ngtcp2_crypto_aead_ctx aead{add(key.bytes, FastKeyUse::Payload)};
  const ngtcp2_crypto_cipher_ctx header{add(header_key.bytes, FastKeyUse::Header)};
  int result = NGTCP2_ERR_INVALID_ARGUMENT;
  if (level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE) {
    result = receive ? ngtcp2_conn_install_rx_handshake_key(quic, &aead, iv.data(), iv.size(), &header)
                     : ngtcp2_conn_install_tx_handshake_key(quic, &aead, iv.data(), iv.size(), &header);
  } else if (level == NGTCP2_ENCRYPTION_LEVEL_1RTT) {
    result = receive ? ngtcp2_conn_install_rx_key(quic, secret, size, &aead, iv.data(), iv.size(), &header)
                     : ngtcp2_conn_install_tx_key(quic, secret, size, &aead, iv.data(), iv.size(), &header);
  }
  return result == 0;
}

bool PacketKeys::update(ngtcp2_conn* quic, const Direction& receive, const Direction& send, std::size_t size) {
  if (active_) return update_one(quic, receive, size) && update_one(quic, send, size);
  // GnuTLS: AES-256 and ChaCha20 keys are longer than a FastKey.
  std::array<std::uint8_t, 64> receive_raw;
  std::array<std::uint8_t, 64> send_raw;
  const int result = ngtcp2_crypto_update_key(quic, receive.secret, send.secret, receive.context, receive_raw.data(),
                                              receive.iv, send.context, send_raw.data(), send.iv,
                                              receive.current_secret, send.current_secret, size);
  explicit_bzero(receive_raw.data(), receive_raw.size());
  explicit_bzero(send_raw.data(), send_raw.size());
  return result == 0;
}

bool PacketKeys::update_one(ngtcp2_conn* quic, const Direction& direction, std::size_t size) {
  const ngtcp2_crypto_md& md = ngtcp2_conn_get_crypto_ctx(quic)->md;
  RawKey key;
  if (!expand({direction.secret, size}, md, {direction.current_secret, size}, "quic ku") ||
      !expand(key.bytes, md, {direction.secret, size}, "quic key") ||
      !expand({direction.iv, FastKey::kNonceSize}, md, {direction.secret, size}, "quic iv")) {
    return false;
  }
  direction.context->native_handle = add(key.bytes, FastKeyUse::Payload);
  return true;
}

}  // namespace postern::session
