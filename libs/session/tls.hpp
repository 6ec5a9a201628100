// TLS 1.3 for QUIC by GnuTLS: mutual authentication by pinned keys (PROTOCOL.md "Session handshake").
//
// Both certificates are required and self-signed; nothing of them counts but the public key. Its digest is compared
// inside the verify callback, so a wrong pin aborts the handshake before the client's certificate has left. There are
// no session tickets, because a resumed session proves no key.
#pragma once

#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <memory>
#include <optional>
#include <string_view>

#include "session/endpoint.hpp"
#include "session/packet_protection.hpp"
#include "session/types.hpp"

namespace postern::session {

/// What all sessions of an endpoint share: key, certificate, algorithms.
class TlsContext {
 public:
  /// Nothing when the credentials are unusable (credentials_digest() says the same).
  [[nodiscard]] static std::unique_ptr<TlsContext> create(const Credentials& credentials, PacketCipher cipher);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ~TlsContext();

  [[nodiscard]] gnutls_certificate_credentials_t credentials() const { return credentials_; }
  [[nodiscard]] gnutls_priority_t priority() const { return priority_; }
  /// Null when GnuTLS protects the packets.
  [[nodiscard]] const FastCipher* fast_cipher() const { return fast_cipher_.get(); }

 private:
  TlsContext() = default;
  gnutls_certificate_credentials_t credentials_ = nullptr;
  gnutls_priority_t priority_ = nullptr;
  std::unique_ptr<FastCipher> fast_cipher_;
};

/// What both ends of a session, and nobody else, know once the handshake is done.
class SessionSecret {
 public:
  explicit SessionSecret(const Digest& secret) : secret_(secret) {}
  /// 32 bytes for this use (PROTOCOL.md §4.6 "Keys").
  [[nodiscard]] std::optional<Digest> derive(std::string_view label, std::string_view context) const;

 private:
  Digest secret_;
};

/// One handshake; 18 KiB that nothing needs any more when it is done. Not movable: GnuTLS holds its address.
class TlsSession {
 public:
  /// `reference` leads ngtcp2 from the TLS session back to its connection, whose secrets go to `keys`. Nothing when
  /// GnuTLS has no memory.
  [[nodiscard]] static std::unique_ptr<TlsSession> create(const TlsContext& context, Role role, const Digest& pin,
                                                          ngtcp2_crypto_conn_ref reference, PacketKeys& keys);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ~TlsSession();

  [[nodiscard]] gnutls_session_t native() const { return session_; }
  /// Nothing before the handshake is done.
  [[nodiscard]] std::optional<SessionSecret> export_secret() const;
  /// The peer showed another key than the pinned one.
  [[nodiscard]] bool pin_mismatch() const { return binding_.mismatch; }

  /// What GnuTLS callbacks find at the session pointer. `reference` stays first: ngtcp2 expects it there.
  struct Binding {
    ngtcp2_crypto_conn_ref reference{};
    Digest pin{};
    PacketKeys* keys = nullptr;
    bool mismatch = false;
  };

 private:
  TlsSession() = default;
  [[nodiscard]] bool configure(const TlsContext& context, Role role);

  gnutls_session_t session_ = nullptr;
  Binding binding_;
};

}  // namespace postern::session
