// The AEAD of QUIC packets: GnuTLS by default, and where FastCipher is to be had its AES-128-GCM for Handshake and
// 1-RTT packets (RFC 9001 §5). Keys for that are derived here from the secrets that TLS hands out.
//
// ngtcp2 gives the cipher callbacks no user pointer, so what they learn (that a packet was authentic) is counted per
// thread and read around the call that caused it. Which cipher a key belongs to is told by the cipher's native handle.
#pragma once

#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "session/fast_cipher.hpp"

namespace postern::session {

/// Puts encrypt, decrypt and header protection into `callbacks`. Key update and deletion are the connection's to route
/// to its PacketKeys.
void install_packet_protection(ngtcp2_callbacks& callbacks);

/// Packets that this thread has opened successfully since it started.
[[nodiscard]] std::uint64_t packets_opened();
/// Packets whose protection did not verify.
[[nodiscard]] std::uint64_t packets_refused();

/// The keys of one connection.
class PacketKeys {
 public:
  /// `cipher` may be null and outlives this.
  explicit PacketKeys(const FastCipher* cipher) : cipher_(cipher) {}

  /// Takes over the secrets of one encryption level; either may be null. False on failure.
  [[nodiscard]] bool install(ngtcp2_conn* quic, gnutls_session_t tls, ngtcp2_encryption_level level,
                             const std::uint8_t* receive_secret, const std::uint8_t* send_secret, std::size_t size);

  struct Direction {
    std::uint8_t* secret;
    ngtcp2_crypto_aead_ctx* context;
    std::uint8_t* iv;
    const std::uint8_t* current_secret;
  };
  /// The next generation of 1-RTT keys (RFC 9001 §6).
  [[nodiscard]] bool update(ngtcp2_conn* quic, const Direction& receive, const Direction& send, std::size_t size);
  /// False when the key is not one of these.
  bool remove(void* native_handle);

 private:
  [[nodiscard]] void* add(const FastKey::Raw& raw, FastKeyUse use);
  [[nodiscard]] bool install_one(ngtcp2_conn* quic, ngtcp2_encryption_level level, const std::uint8_t* secret,
                                 std::size_t size, bool receive);
  [[nodiscard]] bool update_one(ngtcp2_conn* quic, const Direction& direction, std::size_t size);

  const FastCipher* cipher_;
  bool active_ = false;
  std::vector<std::unique_ptr<FastKey>> keys_;
};

}  // namespace postern::session
