// Public keys of others: passkeys and identity providers sign with what they have, and we verify with the three
// algorithms that every one of them offers. Keys of our own are P-256 alone (keys.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.hpp"

namespace postern::identity {

enum class SignatureAlgorithm : std::uint8_t {
  Es256,  ///< ECDSA on P-256 over SHA-256
  EdDsa,  ///< Ed25519
  Rs256,  ///< RSASSA-PKCS1-v1_5 over SHA-256, 2048 to 4096 bits
};

class VerifyKey {
 public:
  /// Nothing when the numbers make no key: a point that is not on the curve, a modulus of another size.
  [[nodiscard]] static std::optional<VerifyKey> from_p256(ByteView x, ByteView y);
  [[nodiscard]] static std::optional<VerifyKey> from_ed25519(ByteView point);
  [[nodiscard]] static std::optional<VerifyKey> from_rsa(ByteView modulus, ByteView exponent);

  [[nodiscard]] SignatureAlgorithm algorithm() const { return algorithm_; }
  /// ECDSA signatures are in DER, as WebAuthn has them.
  [[nodiscard]] bool verify(ByteView message, ByteView signature) const;

 private:
  VerifyKey(SignatureAlgorithm algorithm, std::shared_ptr<void> key) : algorithm_(algorithm), key_(std::move(key)) {}

  SignatureAlgorithm algorithm_;
  std::shared_ptr<void> key_;  // EVP_PKEY
};

}  // namespace postern::identity
