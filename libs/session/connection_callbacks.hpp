// What ngtcp2 calls: each function finds its Connection or Stream and passes on.
#pragma once

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "session/connection.hpp"

namespace postern::session {

struct ConnectionCallbacks {
  [[nodiscard]] static ngtcp2_callbacks make();
  [[nodiscard]] static ngtcp2_crypto_conn_ref reference(Connection& connection);

  static void random(std::uint8_t* to, std::size_t size, const ngtcp2_rand_ctx* context);
  static int handshake_completed(ngtcp2_conn* quic, void* user);
  static int crypto_data(ngtcp2_conn* quic, ngtcp2_encryption_level level, std::uint64_t offset,
                         const std::uint8_t* data, std::size_t size, void* user);
  static int new_connection_id(ngtcp2_conn* quic, ngtcp2_cid* id, std::uint8_t* token, std::size_t size, void* user);
  static int remove_connection_id(ngtcp2_conn* quic, const ngtcp2_cid* id, void* user);
  static int update_key(ngtcp2_conn* quic, std::uint8_t* receive_secret, std::uint8_t* send_secret,
                        ngtcp2_crypto_aead_ctx* receive_context, std::uint8_t* receive_iv,
                        ngtcp2_crypto_aead_ctx* send_context, std::uint8_t* send_iv,
                        const std::uint8_t* current_receive_secret, const std::uint8_t* current_send_secret,
                        std::size_t size, void* user);
  static void delete_aead(ngtcp2_conn* quic, ngtcp2_crypto_aead_ctx* context, void* user);
  static void delete_cipher(ngtcp2_conn* quic, ngtcp2_crypto_cipher_ctx* context, void* user);
  static int path_challenge(ngtcp2_conn* quic, std::uint8_t* to, void* user);
  static int path_validated(ngtcp2_conn* quic, std::uint32_t flags, const ngtcp2_path* path,
                            const ngtcp2_path* old_path, ngtcp2_path_validation_result result, void* user);
  static int stream_open(ngtcp2_conn* quic, std::int64_t id, void* user);
  static int stream_data(ngtcp2_conn* quic, std::uint32_t flags, std::int64_t id, std::uint64_t offset,
                         const std::uint8_t* data, std::size_t size, void* user, void* stream);
  static int stream_acknowledged(ngtcp2_conn* quic, std::int64_t id, std::uint64_t offset, std::uint64_t size,
                                 void* user, void* stream);
  static int stream_close(ngtcp2_conn* quic, std::uint32_t flags, std::int64_t id, std::uint64_t code, void* user,
                          void* stream);
  static int stream_reset(ngtcp2_conn* quic, std::int64_t id, std::uint64_t final_size, std::uint64_t code, void* user,
                          void* stream);
  static int datagram(ngtcp2_conn* quic, std::uint32_t flags, const std::uint8_t* data, std::size_t size, void* user);
  static int stream_window(ngtcp2_conn* quic, std::int64_t id, std::uint64_t max, void* user, void* stream);
};

}  // namespace postern::session
