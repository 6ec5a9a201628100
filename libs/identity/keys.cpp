// A public key is accepted only as the one canonical 91-byte encoding (named curve, uncompressed point), so that one
// key has one digest, and so that no foreign algorithm of a peer ever reaches OpenSSL's parsers.
//
// ECDSA draws its per-signature number from OpenSSL (3.0 has no deterministic mode), so signatures differ from run to
// run; everything else here repeats with its RandomSource.
#include "identity/keys.hpp"

#include <openssl/core_names.h>
#include <openssl/pem.h>

#include "identity/openssl.hpp"

namespace postern::identity {

namespace {

using namespace openssl;

constexpr std::size_t kPointSize = 65;
constexpr std::size_t kScalarSize = 32;
constexpr std::size_t kDerKeySizeMax = 4096;
constexpr std::array<std::uint8_t, 26> kSpkiHead = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

/// True when `der` is one SEQUENCE that ends where the bytes end: something else than P-256, but not rubbish.
bool is_one_sequence(ByteView der) {
  ByteReader reader(der);
  if (reader.u8() != 0x30) return false;
  std::size_t size = reader.u8();
  if (size == 0x81) {
    size = reader.u8();
  } else if (size == 0x82) {
    size = reader.u16();
  } else if (size >= 0x80) {
    return false;
  }
  return reader.ok() && reader.remaining() == size;
}

/// `scalar` may be null for a public key. Null when the point is not on the curve.
Key key_from_parts(ByteView point, const BIGNUM* scalar) {
  const ParamBuilder builder(require(OSSL_PARAM_BLD_new()));
  require(OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, SN_X9_62_prime256v1, 0));
  require(OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()));
  if (scalar != nullptr) {
    require(OSSL_PARAM_BLD_push_BN_pad(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, scalar, kScalarSize));
  }
  const Params params(require(OSSL_PARAM_BLD_to_param(builder.get())));
  const KeyContext context(require(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr)));
  require(EVP_PKEY_fromdata_init(context.get()) == 1);
  EVP_PKEY* key = nullptr;
  const int selection = scalar != nullptr ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
  if (EVP_PKEY_fromdata(context.get(), &key, selection, params.get()) != 1) return nullptr;
  return Key(key);
}

Bytes spki_of_point(ByteView point) {
  Bytes der(kSpkiHead.begin(), kSpkiHead.end());
  der.insert(der.end(), point.begin(), point.end());
  return der;
}

/// The key pair of `scalar`, 1 <= scalar < order, with its public point in uncompressed form.
std::pair<Key, Bytes> key_pair(const BIGNUM* scalar) {
  const Group group(require(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)));
  const NumberContext context(require(BN_CTX_secure_new()));
  const Point point(require(EC_POINT_new(group.get())));
  require(EC_POINT_mul(group.get(), point.get(), scalar, nullptr, nullptr, context.get()) == 1);
  std::array<std::uint8_t, kPointSize> encoded{};
  require(EC_POINT_point2oct(group.get(), point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded.data(), encoded.size(),
                             context.get()) == kPointSize);
  return {require(key_from_parts(encoded, scalar)), spki_of_point(encoded)};
}

std::shared_ptr<void> share(Key key) {
  return {key.release(), [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }};
}

EVP_PKEY* native_key(const std::shared_ptr<void>& key) {
  return static_cast<EVP_PKEY*>(key.get());
}

/// The scalar of a parsed private key, or why it is not one of ours.
std::expected<Number, KeyError> p256_scalar(EVP_PKEY* parsed) {
  std::array<char, 32> group{};
  if (EVP_PKEY_get_base_id(parsed) != EVP_PKEY_EC ||
      EVP_PKEY_get_utf8_string_param(parsed, OSSL_PKEY_PARAM_GROUP_NAME, group.data(), group.size(), nullptr) != 1 ||
      std::string_view(group.data()) != SN_X9_62_prime256v1) {
    return std::unexpected(KeyError::WrongCurve);
  }
  BIGNUM* scalar = nullptr;
  if (EVP_PKEY_get_bn_param(parsed, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) != 1) {
    return std::unexpected(KeyError::Malformed);
  }
  Number owned(scalar);
  const Group curve(require(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)));
  if (BN_is_zero(scalar) || BN_is_negative(scalar) || BN_cmp(scalar, EC_GROUP_get0_order(curve.get())) >= 0) {
    return std::unexpected(KeyError::Malformed);
  }
  return owned;
}

Bytes der_from_jws(ByteView signature) {
  const EcdsaSignature parts(require(ECDSA_SIG_new()));
  Number r(require(BN_bin2bn(signature.data(), 32, nullptr)));
  Number s(require(BN_bin2bn(signature.data() + 32, 32, nullptr)));
  require(ECDSA_SIG_set0(parts.get(), r.release(), s.release()) == 1);
  std::array<std::uint8_t, 80> der{};
  std::uint8_t* end = der.data();
  const int size = i2d_ECDSA_SIG(parts.get(), &end);
  return size > 0 ? Bytes(der.data(), end) : Bytes{};
}

}  // namespace

std::expected<PublicKey, KeyError> PublicKey::from_spki(ByteView der) {
  const ErrorScope scope;
  if (der.size() > kDerKeySizeMax || !is_one_sequence(der)) return std::unexpected(KeyError::Malformed);
  if (der.size() != kSpkiHead.size() + kPointSize || !std::equal(kSpkiHead.begin(), kSpkiHead.end(), der.begin())) {
    return std::unexpected(KeyError::WrongCurve);
  }
  Key key = key_from_parts(der.subspan(kSpkiHead.size()), nullptr);
  // Only the uncompressed form: the hybrid one (6, 7) would give one key a second digest.
  if (!key || der[kSpkiHead.size()] != POINT_CONVERSION_UNCOMPRESSED) return std::unexpected(KeyError::Malformed);
  PublicKey result;
  result.key_ = share(std::move(key));
  result.spki_ = to_bytes(der);
  result.digest_ = sha256(der);
  return result;
}

bool PublicKey::verify(ByteView message, ByteView signature) const {
  if (key_ == nullptr) return false;
  const ErrorScope scope;
  const DigestContext context(require(EVP_MD_CTX_new()));
  require(EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, native_key(key_)) == 1);
  return EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
}

bool PublicKey::verify_jws(ByteView message, ByteView signature) const {
  return signature.size() == 2 * kScalarSize && verify(message, der_from_jws(signature));
}

PrivateKey PrivateKey::generate(RandomSource& random) {
  auto seed = random.make<std::array<std::uint8_t, 48>>();
  const Group group(require(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)));
  const NumberContext context(require(BN_CTX_secure_new()));
  const Number bound(require(BN_dup(EC_GROUP_get0_order(group.get()))));
  require(BN_sub_word(bound.get(), 1) == 1);
  const Number wide(require(BN_bin2bn(seed.data(), static_cast<int>(seed.size()), nullptr)));
  const Number scalar(require(BN_secure_new()));
  // FIPS 186-5 A.2.1: (c mod (n - 1)) + 1
  require(BN_mod(scalar.get(), wide.get(), bound.get(), context.get()) == 1);
  require(BN_add_word(scalar.get(), 1) == 1);
  OPENSSL_cleanse(seed.data(), seed.size());
  auto [key, spki] = key_pair(scalar.get());
  PrivateKey result;
  result.public_.key_ = share(std::move(key));
  result.public_.digest_ = sha256(spki);
  result.public_.spki_ = std::move(spki);
  return result;
}

namespace {

/// Builds the pair anew from the scalar, so that the file's own idea of the public key never counts.
std::expected<std::pair<Key, Bytes>, KeyError> normalised(const Key& parsed) {
  if (!parsed) return std::unexpected(KeyError::Malformed);
  const auto scalar = p256_scalar(parsed.get());
  if (!scalar) return std::unexpected(scalar.error());
  auto pair = key_pair(scalar->get());
  if (EVP_PKEY_eq(parsed.get(), pair.first.get()) != 1) return std::unexpected(KeyError::Malformed);
  return pair;
}

Pkcs8 pkcs8_of(void* native) {
  return Pkcs8(require(EVP_PKEY2PKCS8(static_cast<EVP_PKEY*>(native))));
}

std::string bio_text(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  return {text, static_cast<std::size_t>(size)};
}

/// Without this OpenSSL would ask for a password on the terminal.
int no_password(char*, int, int, void*) {
  return -1;
}

}  // namespace

std::expected<PrivateKey, KeyError> PrivateKey::from_pkcs8(ByteView der) {
  const ErrorScope scope;
  if (der.size() > kDerKeySizeMax) return std::unexpected(KeyError::Malformed);
  const std::uint8_t* end = der.data();
  const Pkcs8 info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &end, static_cast<long>(der.size())));
  if (!info || end != der.data() + der.size()) return std::unexpected(KeyError::Malformed);
  auto pair = normalised(Key(EVP_PKCS82PKEY(info.get())));
  if (!pair) return std::unexpected(pair.error());
  PrivateKey result;
  result.public_.key_ = share(std::move(pair->first));
  result.public_.digest_ = sha256(pair->second);
  result.public_.spki_ = std::move(pair->second);
  return result;
}

std::expected<PrivateKey, KeyError> PrivateKey::from_pem(std::string_view pem) {
  const ErrorScope scope;
  if (pem.size() > 2 * kDerKeySizeMax) return std::unexpected(KeyError::Malformed);
  const Bio bio(require(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))));
  auto pair = normalised(Key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr)));
  if (!pair) return std::unexpected(pair.error());
  PrivateKey result;
  result.public_.key_ = share(std::move(pair->first));
  result.public_.digest_ = sha256(pair->second);
  result.public_.spki_ = std::move(pair->second);
  return result;
}

Bytes PrivateKey::to_pkcs8() const {
  const Pkcs8 info = pkcs8_of(native());
  std::uint8_t* der = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info.get(), &der);
  require(size > 0);
  Bytes result(der, der + size);
  OPENSSL_clear_free(der, static_cast<std::size_t>(size));
  return result;
}

std::string PrivateKey::to_pem() const {
  const Pkcs8 info = pkcs8_of(native());
  const Bio bio(require(BIO_new(BIO_s_secmem())));
  require(PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio.get(), info.get()) == 1);
  return bio_text(bio.get());
}

Bytes PrivateKey::sign(ByteView message) const {
  const DigestContext context(require(EVP_MD_CTX_new()));
  require(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, native_key(public_.key_)) == 1);
  std::array<std::uint8_t, 80> der{};
  std::size_t size = der.size();
  require(EVP_DigestSign(context.get(), der.data(), &size, message.data(), message.size()) == 1);
  return to_bytes(ByteView(der).first(size));
}

Bytes PrivateKey::sign_jws(ByteView message) const {
  const Bytes der = sign(message);
  const std::uint8_t* end = der.data();
  const EcdsaSignature parts(require(d2i_ECDSA_SIG(nullptr, &end, static_cast<long>(der.size()))));
  Bytes result(2 * kScalarSize);
  require(BN_bn2binpad(ECDSA_SIG_get0_r(parts.get()), result.data(), kScalarSize) == kScalarSize);
  require(BN_bn2binpad(ECDSA_SIG_get0_s(parts.get()), result.data() + kScalarSize, kScalarSize) == kScalarSize);
  return result;
}

}  // namespace postern::identity
