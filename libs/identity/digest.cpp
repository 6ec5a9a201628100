#include "identity/keys.hpp"
#include "identity/openssl.hpp"

namespace postern::identity {

using openssl::MacContext;
using openssl::require;

Digest sha256(ByteView bytes) {
  // Fetched once: looking an algorithm up by name costs more than hashing a small message.
  static const EVP_MD* const algorithm = require(EVP_MD_fetch(nullptr, "SHA2-256", nullptr));
  Digest digest{};
  require(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, algorithm, nullptr) == 1);
  return digest;
}

Digest hmac_sha256(ByteView key, ByteView message) {
  // A context with digest and no key is the template; duplicating it avoids the same look-up by name.
  static EVP_MAC_CTX* const prepared = [] {
    EVP_MAC* algorithm = require(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
    EVP_MAC_CTX* context = require(EVP_MAC_CTX_new(algorithm));
    char name[] = "SHA2-256";
    const std::array<OSSL_PARAM, 2> params = {OSSL_PARAM_construct_utf8_string("digest", name, 0),
                                              OSSL_PARAM_construct_end()};
    require(EVP_MAC_CTX_set_params(context, params.data()) == 1);
    return context;
  }();
  const MacContext context(require(EVP_MAC_CTX_dup(prepared)));
  // OpenSSL takes a null key for "keep the key", so an empty one still needs an address.
  const std::uint8_t none = 0;
  require(EVP_MAC_init(context.get(), key.empty() ? &none : key.data(), key.size(), nullptr) == 1);
  require(EVP_MAC_update(context.get(), message.data(), message.size()) == 1);
  Digest digest{};
  std::size_t size = 0;
  require(EVP_MAC_final(context.get(), digest.data(), &size, digest.size()) == 1 && size == digest.size());
  return digest;
}

Bytes control_signature_input(ByteView nonce, std::string_view network, std::string_view role_word) {
  Bytes input;
  for (const ByteView part : {as_bytes("postern-control-v1"), nonce, as_bytes(network), as_bytes(role_word)}) {
    input.insert(input.end(), part.begin(), part.end());
  }
  return input;
}

}  // namespace postern::identity
