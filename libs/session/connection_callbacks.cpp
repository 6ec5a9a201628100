#include "session/connection_callbacks.hpp"

#include <algorithm>
#include <cstring>

namespace postern::session {

namespace {

Connection& connection_of(void* user) {
  return *static_cast<Connection*>(user);
}

}  // namespace

void ConnectionCallbacks::random(std::uint8_t* to, std::size_t size, const ngtcp2_rand_ctx* context) {
  static_cast<RandomSource*>(context->native_handle)->fill({to, size});
}

int ConnectionCallbacks::handshake_completed(ngtcp2_conn*, void* user) {
  Connection& connection = connection_of(user);
  connection.state_ = ConnectionState::Established;
  connection.path_since_ = connection.last_heard_;
  connection.context_.events.push(Established{connection.session_, connection.peer_, connection.path_});
  return 0;
}

int ConnectionCallbacks::crypto_data(ngtcp2_conn* quic, ngtcp2_encryption_level level, std::uint64_t offset,
                                     const std::uint8_t* data, std::size_t size, void* user) {
  if (connection_of(user).tls_) return ngtcp2_crypto_recv_crypto_data_cb(quic, level, offset, data, size, user);
  // Nothing of TLS may follow the handshake: there are no tickets, and QUIC has no KeyUpdate (RFC 9001 §6).
  ngtcp2_conn_set_tls_alert(quic, GNUTLS_A_UNEXPECTED_MESSAGE);
  return NGTCP2_ERR_CRYPTO;
}

int ConnectionCallbacks::new_connection_id(ngtcp2_conn*, ngtcp2_cid* id, std::uint8_t* token, std::size_t size,
                                           void* user) {
  if (size != ConnectionId::kSize) return NGTCP2_ERR_CALLBACK_FAILURE;
  Connection& connection = connection_of(user);
  const ConnectionId issued = connection.context_.ids.issue(connection);
  connection.ids_.push_back(issued);
  ngtcp2_cid_init(id, issued.bytes.data(), issued.bytes.size());
  // Never used to send a stateless reset (it could not cross the relay), so nobody may be able to guess it.
  connection.context_.random.fill({token, NGTCP2_STATELESS_RESET_TOKENLEN});
  return 0;
}

int ConnectionCallbacks::remove_connection_id(ngtcp2_conn*, const ngtcp2_cid* id, void* user) {
  Connection& connection = connection_of(user);
  const auto removed = ConnectionId::from({id->data, id->datalen});
  if (!removed) return 0;
  connection.context_.ids.remove(*removed);
  std::erase(connection.ids_, *removed);
  connection.paths_.unbind(*removed);
  return 0;
}

int ConnectionCallbacks::update_key(ngtcp2_conn* quic, std::uint8_t* receive_secret, std::uint8_t* send_secret,
                                    ngtcp2_crypto_aead_ctx* receive_context, std::uint8_t* receive_iv,
                                    ngtcp2_crypto_aead_ctx* send_context, std::uint8_t* send_iv,
                                    const std::uint8_t* current_receive_secret, const std::uint8_t* current_send_secret,
                                    std::size_t size, void* user) {
  const PacketKeys::Direction receive{receive_secret, receive_context, receive_iv, current_receive_secret};
  const PacketKeys::Direction send{send_secret, send_context, send_iv, current_send_secret};
  return connection_of(user).keys_.update(quic, receive, send, size) ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

void ConnectionCallbacks::delete_aead(ngtcp2_conn* quic, ngtcp2_crypto_aead_ctx* context, void* user) {
  if (connection_of(user).keys_.remove(context->native_handle)) return;
  ngtcp2_crypto_delete_crypto_aead_ctx_cb(quic, context, user);
}

void ConnectionCallbacks::delete_cipher(ngtcp2_conn* quic, ngtcp2_crypto_cipher_ctx* context, void* user) {
  if (connection_of(user).keys_.remove(context->native_handle)) return;
  ngtcp2_crypto_delete_crypto_cipher_ctx_cb(quic, context, user);
}

int ConnectionCallbacks::path_challenge(ngtcp2_conn*, std::uint8_t* to, void* user) {
  connection_of(user).context_.random.fill({to, NGTCP2_PATH_CHALLENGE_DATALEN});
  return 0;
}

int ConnectionCallbacks::path_validated(ngtcp2_conn*, std::uint32_t, const ngtcp2_path* path, const ngtcp2_path*,
                                        ngtcp2_path_validation_result result, void* user) {
  connection_of(user).handle_validated(*path, result);
  return 0;
}

int ConnectionCallbacks::stream_open(ngtcp2_conn*, std::int64_t id, void* user) {
  connection_of(user).streams_.handle_open(id);
  return 0;
}

int ConnectionCallbacks::stream_data(ngtcp2_conn*, std::uint32_t flags, std::int64_t, std::uint64_t,
                                     const std::uint8_t* data, std::size_t size, void* user, void* stream) {
  if (stream == nullptr) return 0;
  const bool finished = (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0;
  const bool taken = connection_of(user).streams_.handle_data(*static_cast<Stream*>(stream), {data, size}, finished);
  return taken ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

int ConnectionCallbacks::stream_acknowledged(ngtcp2_conn*, std::int64_t, std::uint64_t, std::uint64_t size, void* user,
                                             void* stream) {
  if (stream != nullptr) connection_of(user).streams_.handle_acknowledged(*static_cast<Stream*>(stream), size);
  return 0;
}

int ConnectionCallbacks::stream_close(ngtcp2_conn*, std::uint32_t, std::int64_t, std::uint64_t code, void* user,
                                      void* stream) {
  if (stream != nullptr) connection_of(user).streams_.handle_transport_close(*static_cast<Stream*>(stream), code);
  return 0;
}

int ConnectionCallbacks::stream_reset(ngtcp2_conn*, std::int64_t, std::uint64_t, std::uint64_t code, void* user,
                                      void* stream) {
  if (stream != nullptr) connection_of(user).streams_.handle_peer_reset(*static_cast<Stream*>(stream), code);
  return 0;
}

int ConnectionCallbacks::stream_window(ngtcp2_conn*, std::int64_t, std::uint64_t, void* user, void* stream) {
  if (stream != nullptr) connection_of(user).streams_.handle_window_opened(*static_cast<Stream*>(stream));
  return 0;
}

int ConnectionCallbacks::datagram(ngtcp2_conn*, std::uint32_t, const std::uint8_t* data, std::size_t size, void* user) {
  Connection& connection = connection_of(user);
  connection.datagrams_received_.handle_frame(connection.streams_.now(), {data, size});
  return 0;
}

ngtcp2_crypto_conn_ref ConnectionCallbacks::reference(Connection& connection) {
  ngtcp2_crypto_conn_ref reference{};
  reference.get_conn = [](ngtcp2_crypto_conn_ref* self) { return connection_of(self->user_data).quic_; };
  reference.user_data = &connection;
  return reference;
}

ngtcp2_callbacks ConnectionCallbacks::make() {
  ngtcp2_callbacks callbacks{};
  callbacks.client_initial = ngtcp2_crypto_client_initial_cb;
  callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
  callbacks.recv_crypto_data = crypto_data;
  callbacks.recv_retry = ngtcp2_crypto_recv_retry_cb;
  callbacks.version_negotiation = ngtcp2_crypto_version_negotiation_cb;
  install_packet_protection(callbacks);
  callbacks.update_key = update_key;
  callbacks.delete_crypto_aead_ctx = delete_aead;
  callbacks.delete_crypto_cipher_ctx = delete_cipher;
  callbacks.rand = random;
  callbacks.handshake_completed = handshake_completed;
  callbacks.get_new_connection_id = new_connection_id;
  callbacks.remove_connection_id = remove_connection_id;
  callbacks.get_path_challenge_data = path_challenge;
  callbacks.path_validation = path_validated;
  callbacks.stream_open = stream_open;
  callbacks.recv_stream_data = stream_data;
  callbacks.acked_stream_data_offset = stream_acknowledged;
  callbacks.stream_close = stream_close;
  callbacks.stream_reset = stream_reset;
  callbacks.extend_max_stream_data = stream_window;
  callbacks.recv_datagram = datagram;
  return callbacks;
}

}  // namespace postern::session
