#include "identity/verify_key.hpp"

#include <openssl/core_names.h>

#include "identity/openssl.hpp"

namespace postern::identity {
namespace {

using namespace openssl;

constexpr std::size_t kCoordinate = 32;
constexpr std::size_t kExponentMax = 4;
constexpr int kRsaBitsMin = 2048;
constexpr int kRsaBitsMax = 4096;

std::shared_ptr<void> share(EVP_PKEY* key) {
  return {key, [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }};
}

std::shared_ptr<void> from_params(const char* type, const Params& params) {
  const KeyContext context(require(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr)));
  require(EVP_PKEY_fromdata_init(context.get()) == 1);
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) return nullptr;
  return share(key);
}

}  // namespace

std::optional<VerifyKey> VerifyKey::from_p256(ByteView x, ByteView y) {
  if (x.size() != kCoordinate || y.size() != kCoordinate) return std::nullopt;
  const ErrorScope scope;
  Bytes point = {POINT_CONVERSION_UNCOMPRESSED};
  point.insert(point.end(), x.begin(), x.end());
  point.insert(point.end(), y.begin(), y.end());
  const ParamBuilder builder(require(OSSL_PARAM_BLD_new()));
  require(OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, SN_X9_62_prime256v1, 0));
  require(OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()));
  const Params params(require(OSSL_PARAM_BLD_to_param(builder.get())));
  auto key = from_params("EC", params);
  if (!key) return std::nullopt;
  return VerifyKey(SignatureAlgorithm::Es256, std::move(key));
}

std::optional<VerifyKey> VerifyKey::from_ed25519(ByteView point) {
  if (point.size() != kCoordinate) return std::nullopt;
  const ErrorScope scope;
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, point.data(), point.size());
  if (key == nullptr) return std::nullopt;
  return VerifyKey(SignatureAlgorithm::EdDsa, share(key));
}

std::optional<VerifyKey> VerifyKey::from_rsa(ByteView modulus, ByteView exponent) {
  if (modulus.size() > kRsaBitsMax / 8 || exponent.empty() || exponent.size() > kExponentMax) return std::nullopt;
  const ErrorScope scope;
  const Number n(require(BN_bin2bn(modulus.data(), static_cast<int>(modulus.size()), nullptr)));
  const Number e(require(BN_bin2bn(exponent.data(), static_cast<int>(exponent.size()), nullptr)));
  if (BN_num_bits(n.get()) < kRsaBitsMin || !BN_is_odd(n.get())) return std::nullopt;
  if (!BN_is_odd(e.get()) || BN_is_one(e.get())) return std::nullopt;
  const ParamBuilder builder(require(OSSL_PARAM_BLD_new()));
  require(OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()));
  require(OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()));
  const Params params(require(OSSL_PARAM_BLD_to_param(builder.get())));
  auto key = from_params("RSA", params);
  if (!key) return std::nullopt;
  return VerifyKey(SignatureAlgorithm::Rs256, std::move(key));
}

bool VerifyKey::verify(ByteView message, ByteView signature) const {
  const ErrorScope scope;
  const DigestContext context(require(EVP_MD_CTX_new()));
  // Ed25519 hashes on its own and takes no digest.
  const EVP_MD* digest = algorithm_ == SignatureAlgorithm::EdDsa ? nullptr : EVP_sha256();
  auto* key = static_cast<EVP_PKEY*>(key_.get());
  if (EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key) != 1) return false;
  return EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
}

}  // namespace postern::identity
