// P-256 keys: signatures, digests and the self-signed certificates of agents (OpenSSL EVP, no IO).
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"

namespace postern::identity {

enum class KeyError : std::uint8_t {
  Malformed,   ///< not the DER or PEM that was expected
  WrongCurve,  ///< not a named-curve P-256 key
  BadSignature,
  Internal,  ///< OpenSSL refused (out of memory)
};

/// A public key as DER SubjectPublicKeyInfo. A value: copies share the parsed key.
class PublicKey {
 public:
  [[nodiscard]] static std::expected<PublicKey, KeyError> from_spki(ByteView der);
  [[nodiscard]] const Bytes& spki() const { return spki_; }
  /// SHA-256 of spki(): the pin.
  [[nodiscard]] const Digest& digest() const { return digest_; }
  /// `signature` is ECDSA in DER over SHA-256 of `message`.
  [[nodiscard]] bool verify(ByteView message, ByteView signature) const;
  /// The same for the 64-byte form that JWS uses (RFC 7518 §3.4).
  [[nodiscard]] bool verify_jws(ByteView message, ByteView signature) const;

 private:
  friend class PrivateKey;
  std::shared_ptr<void> key_;  // EVP_PKEY
  Bytes spki_;
  Digest digest_{};
};

class PrivateKey {
 public:
  /// A fresh key from `random` (48 bytes reduced modulo the order, FIPS 186-5 A.2.1), so that tests repeat.
  [[nodiscard]] static PrivateKey generate(RandomSource& random);
  [[nodiscard]] static std::expected<PrivateKey, KeyError> from_pkcs8(ByteView der);
  [[nodiscard]] static std::expected<PrivateKey, KeyError> from_pem(std::string_view pem);
  [[nodiscard]] Bytes to_pkcs8() const;
  [[nodiscard]] std::string to_pem() const;
  [[nodiscard]] const PublicKey& public_key() const { return public_; }
  [[nodiscard]] Bytes sign(ByteView message) const;
  [[nodiscard]] Bytes sign_jws(ByteView message) const;
  /// The EVP_PKEY*, for the TLS layer of runtime/http.
  [[nodiscard]] void* native() const { return public_.key_.get(); }

 private:
  PublicKey public_;
};

/// DER of a self-signed certificate (CN=postern) for QUIC sessions; dates are there because X.509 wants them.
[[nodiscard]] Bytes self_signed_certificate(const PrivateKey& key, WallTime not_before);

/// Own CA (PROTOCOL.md §5.4). All certificates are PEM.
struct CertificateRequest {
  std::string common_name;
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;
  std::vector<std::string> uris;  ///< "postern:controller", "postern:relay"
  WallTime not_before;
  WallTime not_after;
};
[[nodiscard]] std::string make_root_certificate(const PrivateKey& root, std::string_view name, WallTime not_before);
[[nodiscard]] std::expected<std::string, KeyError> issue_certificate(const PrivateKey& root, std::string_view root_pem,
                                                                     const PublicKey& subject,
                                                                     const CertificateRequest& request,
                                                                     RandomSource& random);

[[nodiscard]] Digest sha256(ByteView bytes);
[[nodiscard]] Digest hmac_sha256(ByteView key, ByteView message);
/// The bytes that an agent signs on the control channel (PROTOCOL.md §6). `role_word` is "client" or "connector".
[[nodiscard]] Bytes control_signature_input(ByteView nonce, std::string_view network, std::string_view role_word);

}  // namespace postern::identity
