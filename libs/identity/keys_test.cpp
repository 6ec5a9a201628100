#include "identity/keys.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "identity/openssl.hpp"

namespace postern::identity {
namespace {

PrivateKey key_from_seed(std::uint64_t seed) {
  SeededRandom random(seed);
  return PrivateKey::generate(random);
}

/// SPKI or PKCS#8 of a key that is not ours, made by OpenSSL.
openssl::Key foreign_key(const char* type, const char* curve) {
  return openssl::Key(curve == nullptr ? EVP_PKEY_Q_keygen(nullptr, nullptr, type)
                                       : EVP_PKEY_Q_keygen(nullptr, nullptr, type, curve));
}

Bytes spki_of(EVP_PKEY* key) {
  std::uint8_t* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  Bytes result(der, der + size);
  OPENSSL_free(der);
  return result;
}

Bytes pkcs8_of(EVP_PKEY* key) {
  const openssl::Pkcs8 info(EVP_PKEY2PKCS8(key));
  std::uint8_t* der = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info.get(), &der);
  Bytes result(der, der + size);
  OPENSSL_free(der);
  return result;
}

TEST(Keys, GenerateRepeatsForASeedAndDiffersForAnother) {
  EXPECT_EQ(key_from_seed(1).public_key().spki(), key_from_seed(1).public_key().spki());
  EXPECT_NE(key_from_seed(1).public_key().spki(), key_from_seed(2).public_key().spki());
}

TEST(Keys, GenerateReducesTheSeedModuloTheOrder) {
  // 48 zero bytes give the scalar 1, whose public point is the generator.
  struct Zeros final : RandomSource {
    void fill(MutableBytes bytes) override { std::fill(bytes.begin(), bytes.end(), std::uint8_t{0}); }
  } zeros;
  const PrivateKey key = PrivateKey::generate(zeros);
  EXPECT_EQ(to_hex(ByteView(key.public_key().spki()).subspan(27, 32)),
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
}

TEST(Keys, DigestIsThatOfTheSpki) {
  const PrivateKey key = key_from_seed(3);
  EXPECT_EQ(key.public_key().digest(), sha256(key.public_key().spki()));
  EXPECT_EQ(key.public_key().spki().size(), 91U);
}

TEST(Keys, PublicKeyComesBackFromItsSpki) {
  const PrivateKey key = key_from_seed(4);
  const auto read = PublicKey::from_spki(key.public_key().spki());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->digest(), key.public_key().digest());
}

TEST(Keys, EveryTruncatedOrExtendedSpkiIsMalformed) {
  const PrivateKey key = key_from_seed(5);
  Bytes spki = key.public_key().spki();
  for (std::size_t size = 0; size < spki.size(); ++size) {
    EXPECT_EQ(PublicKey::from_spki(ByteView(spki).first(size)).error(), KeyError::Malformed) << size;
  }
  spki.push_back(0);
  EXPECT_EQ(PublicKey::from_spki(spki).error(), KeyError::Malformed);
}

TEST(Keys, NoFlippedBitOfAnSpkiGivesTheSameKey) {
  const PrivateKey key = key_from_seed(6);
  for (std::size_t bit = 0; bit < key.public_key().spki().size() * 8; ++bit) {
    Bytes spki = key.public_key().spki();
    spki[bit / 8] = static_cast<std::uint8_t>(spki[bit / 8] ^ (1U << (bit % 8)));
    // (a flipped y can be another point only when x keeps it on the curve, which one bit cannot do)
    EXPECT_FALSE(PublicKey::from_spki(spki)) << bit;
  }
}

TEST(Keys, OtherCurvesAndAlgorithmsAreRefusedAsWrongCurve) {
  for (const auto& key :
       {foreign_key("EC", "P-384"), foreign_key("EC", "secp256k1"), foreign_key("ED25519", nullptr)}) {
    EXPECT_EQ(PublicKey::from_spki(spki_of(key.get())).error(), KeyError::WrongCurve);
    EXPECT_EQ(PrivateKey::from_pkcs8(pkcs8_of(key.get())).error(), KeyError::WrongCurve);
  }
}

TEST(Keys, SignaturesInBothFormsVerifyOnlyForTheirMessageAndKey) {
  const PrivateKey key = key_from_seed(7);
  const Bytes der = key.sign(as_bytes("message"));
  const Bytes jws = key.sign_jws(as_bytes("message"));
  EXPECT_EQ(jws.size(), 64U);
  EXPECT_TRUE(key.public_key().verify(as_bytes("message"), der));
  EXPECT_TRUE(key.public_key().verify_jws(as_bytes("message"), jws));
  EXPECT_FALSE(key.public_key().verify(as_bytes("massage"), der));
  EXPECT_FALSE(key.public_key().verify_jws(as_bytes("massage"), jws));
  EXPECT_FALSE(key.public_key().verify(as_bytes("message"), jws));
  EXPECT_FALSE(key.public_key().verify_jws(as_bytes("message"), der));
  EXPECT_FALSE(key_from_seed(8).public_key().verify(as_bytes("message"), der));
}

TEST(Keys, EveryFlippedBitOfAJwsSignatureIsRefused) {
  const PrivateKey key = key_from_seed(9);
  const Bytes good = key.sign_jws(as_bytes("message"));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1U << (bit % 8)));
    EXPECT_FALSE(key.public_key().verify_jws(as_bytes("message"), bad)) << bit;
  }
  EXPECT_FALSE(key.public_key().verify_jws(as_bytes("message"), Bytes(64)));
}

TEST(Keys, PrivateKeySurvivesPkcs8AndPem) {
  const PrivateKey key = key_from_seed(10);
  const auto from_der = PrivateKey::from_pkcs8(key.to_pkcs8());
  const auto from_pem = PrivateKey::from_pem(key.to_pem());
  ASSERT_TRUE(from_der);
  ASSERT_TRUE(from_pem);
  EXPECT_TRUE(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
  EXPECT_TRUE(key.public_key().verify(as_bytes("x"), from_der->sign(as_bytes("x"))));
  EXPECT_TRUE(key.public_key().verify(as_bytes("x"), from_pem->sign(as_bytes("x"))));
}

TEST(Keys, TruncatedPkcs8IsMalformed) {
  const Bytes der = key_from_seed(11).to_pkcs8();
  for (std::size_t size = 0; size < der.size(); ++size) {
    EXPECT_FALSE(PrivateKey::from_pkcs8(ByteView(der).first(size))) << size;
  }
}

TEST(Keys, AFileWhosePublicPartBelongsToAnotherKeyIsRefused) {
  Bytes der = key_from_seed(12).to_pkcs8();
  const Bytes other = key_from_seed(13).public_key().spki();
  std::copy(other.end() - 65, other.end(), der.end() - 65);
  EXPECT_EQ(PrivateKey::from_pkcs8(der).error(), KeyError::Malformed);
}

TEST(Keys, RubbishPemIsMalformed) {
  EXPECT_EQ(PrivateKey::from_pem("").error(), KeyError::Malformed);
  EXPECT_EQ(PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").error(),
            KeyError::Malformed);
  EXPECT_EQ(PrivateKey::from_pem(std::string(100'000, 'A')).error(), KeyError::Malformed);
}

TEST(Keys, FailuresLeaveNothingInTheErrorQueueOfOpenSsl) {
  ERR_clear_error();
  static_cast<void>(PrivateKey::from_pem("rubbish"));
  static_cast<void>(PrivateKey::from_pkcs8(as_bytes("rubbish")));
  static_cast<void>(PublicKey::from_spki(Bytes(91, 0x30)));
  const PrivateKey key = key_from_seed(14);
  static_cast<void>(key.public_key().verify(as_bytes("a"), as_bytes("not a signature")));
  static_cast<void>(key.public_key().verify_jws(as_bytes("a"), Bytes(64, 0xff)));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(Digests, MatchPublishedVectors) {
  EXPECT_EQ(to_hex(sha256(as_bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  // RFC 4231 §4.3
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  // RFC 4231 §4.7: a key longer than the block
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(131, 0xaa), as_bytes("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(to_hex(hmac_sha256({}, {})), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(ControlSignature, InputIsTheConcatenationOfItsParts) {
  EXPECT_EQ(as_text(control_signature_input(as_bytes("NONCE"), "home", "client")), "postern-control-v1NONCEhomeclient");
}

}  // namespace
}  // namespace postern::identity
