#include "signin/webauthn.hpp"

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "signin/authenticator_test_util.hpp"
#include "signin/cbor.hpp"

namespace postern::signin {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{Duration{1'000'000'000}};
const RelyingParty kParty{"postern.test", "https://postern.test"};
const Bytes kChallenge(32, 7);

class PasskeyTest : public ::testing::Test {
 protected:
  std::optional<PasskeyError> registered(const Registration& answer, UserCheck wanted = UserCheck::Verified) {
    const auto made = verify_registration(answer, kParty, kChallenge, wanted);
    return made ? std::nullopt : std::optional(made.error());
  }
  std::optional<PasskeyError> signed_in(const Assertion& answer, UserCheck wanted = UserCheck::Verified) {
    const auto done = verify_assertion(answer, kParty, kChallenge, wanted, passkey_);
    return done ? std::nullopt : std::optional(done.error());
  }

  SeededRandom random_{1};
  Authenticator device_{.key = identity::PrivateKey::generate(random_)};
  Passkey passkey_{.id = device_.id, .key = device_.cose_key()};
};

TEST_F(PasskeyTest, IsRegisteredWithoutAttestationAndSignsIn) {
  const auto made = verify_registration(device_.create(kChallenge), kParty, kChallenge, UserCheck::Verified);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->id, device_.id);
  EXPECT_EQ(made->key, device_.cose_key());
  EXPECT_EQ(made->counter, 1U);
  passkey_ = *made;
  device_.counter = 2;
  EXPECT_FALSE(signed_in(device_.get(kChallenge)));
  EXPECT_EQ(passkey_.counter, 2U);
}

TEST_F(PasskeyTest, IsRefusedWhenItIsOfAnotherSite) {
  device_.origin = "https://evil.test";
  EXPECT_EQ(registered(device_.create(kChallenge)), PasskeyError::WrongOrigin);
  EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::WrongOrigin);
  device_.origin = "https://postern.test:8443";
  EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::WrongOrigin);
  device_.origin = kParty.origin;
  device_.cross_origin = true;
  EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::WrongOrigin);
  device_.cross_origin = false;
  device_.party = "evil.test";
  EXPECT_EQ(registered(device_.create(kChallenge)), PasskeyError::WrongParty);
  EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::WrongParty);
}

TEST_F(PasskeyTest, NeedsItsPerson) {
  device_.flags = 0x01;
  EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::NotVerified);
  EXPECT_EQ(registered(device_.create(kChallenge)), PasskeyError::NotVerified);
  EXPECT_FALSE(signed_in(device_.get(kChallenge), UserCheck::Present));
  device_.flags = 0x04;
  EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::NotPresent);
}

TEST_F(PasskeyTest, AnswersOneChallengeForOneThing) {
  EXPECT_EQ(signed_in(device_.get(Bytes(32, 8))), PasskeyError::Malformed);
  EXPECT_EQ(registered(device_.create(Bytes(32, 8))), PasskeyError::Malformed);
  Assertion crossed = device_.get(kChallenge);
  crossed.client_data = device_.client_data("webauthn.create", kChallenge);
  EXPECT_EQ(signed_in(crossed), PasskeyError::WrongType);
  Registration other = device_.create(kChallenge);
  other.client_data = device_.client_data("webauthn.get", kChallenge);
  EXPECT_EQ(registered(other), PasskeyError::WrongType);
}

TEST_F(PasskeyTest, SignsEveryByte) {
  const Assertion good = device_.get(kChallenge);
  for (std::size_t i = 33; i < good.authenticator_data.size(); ++i) {
    Assertion changed = good;
    changed.authenticator_data[i] ^= 1;
    EXPECT_EQ(signed_in(changed), PasskeyError::BadSignature) << i;
  }
  Assertion changed = good;
  changed.client_data += ' ';
  EXPECT_EQ(signed_in(changed), PasskeyError::BadSignature);
  changed = good;
  changed.signature.clear();
  EXPECT_EQ(signed_in(changed), PasskeyError::BadSignature);
  Authenticator other = device_;
  other.key = identity::PrivateKey::generate(random_);
  EXPECT_EQ(signed_in(other.get(kChallenge)), PasskeyError::BadSignature);
  EXPECT_FALSE(signed_in(good));
}

TEST_F(PasskeyTest, ThatWasCopiedIsNoticed) {
  passkey_.counter = 5;
  for (const std::uint32_t counter : {0U, 4U, 5U}) {
    device_.counter = counter;
    EXPECT_EQ(signed_in(device_.get(kChallenge)), PasskeyError::CounterWentBack) << counter;
  }
  device_.counter = 6;
  EXPECT_FALSE(signed_in(device_.get(kChallenge)));
  passkey_.counter = 0;
  device_.counter = 0;
  EXPECT_FALSE(signed_in(device_.get(kChallenge))) << "one without a counter";
  EXPECT_FALSE(signed_in(device_.get(kChallenge)));
}

TEST_F(PasskeyTest, DataThatIsCutOffOrLongerIsRefused) {
  const Bytes data = device_.data(device_.credential());
  for (std::size_t size = 0; size < data.size(); ++size) {
    EXPECT_FALSE(parse_authenticator_data(ByteView(data).first(size))) << size;
  }
  EXPECT_TRUE(parse_authenticator_data(data));
  Bytes longer = data;
  longer.push_back(0);
  EXPECT_FALSE(parse_authenticator_data(longer));
  const Registration good = device_.create(kChallenge);
  for (std::size_t size = 0; size < good.attestation.size(); ++size) {
    Registration cut = good;
    cut.attestation.resize(size);
    EXPECT_EQ(registered(cut), PasskeyError::Malformed) << size;
  }
}

TEST_F(PasskeyTest, ExtensionsAndOtherAttestationsArePassedOver) {
  device_.flags = 0x85;
  Bytes data = device_.data(device_.credential());
  const Bytes extensions = Cbor().map(1).text("credProtect").integer(2).done();
  data.insert(data.end(), extensions.begin(), extensions.end());
  const Bytes object = Cbor()
                           .map(3)
                           .text("fmt")
                           .text("packed")
                           .text("attStmt")
                           .map(2)
                           .text("alg")
                           .integer(-7)
                           .text("sig")
                           .bytes(Bytes(70, 1))
                           .text("authData")
                           .bytes(data)
                           .done();
  EXPECT_FALSE(registered({device_.client_data("webauthn.create", kChallenge), object}));
}

TEST_F(PasskeyTest, DeepOrEndlessCborIsRefused) {
  for (const int opener : {0x81, 0xa1, 0xc1, 0x9f, 0xbf, 0x5f}) {
    const Bytes nested(100, static_cast<std::uint8_t>(opener));
    CborReader reader(nested);
    reader.skip();
    EXPECT_FALSE(reader.ok()) << opener;
  }
  const Bytes huge = {0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  CborReader reader(huge);
  EXPECT_EQ(reader.map(), 0U);
  EXPECT_FALSE(reader.ok());
  const Bytes negative = {0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  CborReader number(negative);
  EXPECT_EQ(number.integer(), 0);
  EXPECT_FALSE(number.ok());
}

TEST_F(PasskeyTest, KeysThatAreNoneAreRefused) {
  const ByteView point = ByteView(device_.key.public_key().spki()).last(64);
  const auto ec = [&](std::int64_t algorithm, std::int64_t curve, ByteView x, ByteView y) {
    return Cbor()
        .map(5)
        .integer(1)
        .integer(2)
        .integer(3)
        .integer(algorithm)
        .integer(-1)
        .integer(curve)
        .integer(-2)
        .bytes(x)
        .integer(-3)
        .bytes(y)
        .done();
  };
  EXPECT_TRUE(parse_cose_key(ec(-7, 1, point.first(32), point.last(32))));
  EXPECT_FALSE(parse_cose_key(ec(-7, 1, point.first(32), point.first(32)))) << "not on the curve";
  EXPECT_FALSE(parse_cose_key(ec(-7, 1, point.first(31), point.last(32))));
  EXPECT_FALSE(parse_cose_key(ec(-7, 2, point.first(32), point.last(32)))) << "P-384";
  EXPECT_FALSE(parse_cose_key(ec(-35, 1, point.first(32), point.last(32)))) << "ES384";
  const Bytes twice = Cbor().map(2).integer(1).integer(2).integer(1).integer(2).done();
  EXPECT_FALSE(parse_cose_key(twice));
  Bytes trailing = device_.cose_key();
  trailing.push_back(0);
  EXPECT_FALSE(parse_cose_key(trailing));
  const auto rsa = [](const Bytes& n, const Bytes& e) {
    return Cbor()
        .map(4)
        .integer(1)
        .integer(3)
        .integer(3)
        .integer(-257)
        .integer(-1)
        .bytes(n)
        .integer(-2)
        .bytes(e)
        .done();
  };
  Bytes small(128, 0xff);
  EXPECT_FALSE(parse_cose_key(rsa(small, {1, 0, 1}))) << "1024 bits";
  EXPECT_FALSE(parse_cose_key(rsa(Bytes(1025, 0xff), {1, 0, 1})));
  EXPECT_FALSE(parse_cose_key(rsa(Bytes(256, 0xff), {1})));
  EXPECT_FALSE(parse_cose_key(rsa(Bytes(256, 0xff), {})));
}

/// A key pair of another kind, from OpenSSL itself.
struct ForeignKey {
  explicit ForeignKey(EVP_PKEY* made) : key(made, EVP_PKEY_free) {}
  [[nodiscard]] Bytes sign(ByteView message, const EVP_MD* digest) const {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    EVP_DigestSignInit(context, nullptr, digest, nullptr, key.get());
    std::size_t size = 1024;
    Bytes signature(size);
    EXPECT_EQ(EVP_DigestSign(context, signature.data(), &size, message.data(), message.size()), 1);
    signature.resize(size);
    EVP_MD_CTX_free(context);
    return signature;
  }
  std::shared_ptr<EVP_PKEY> key;
};

TEST_F(PasskeyTest, MayBeEd25519) {
  const ForeignKey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  Bytes point(32);
  std::size_t size = point.size();
  ASSERT_EQ(EVP_PKEY_get_raw_public_key(key.key.get(), point.data(), &size), 1);
  passkey_.key =
      Cbor().map(4).integer(1).integer(1).integer(3).integer(-8).integer(-1).integer(6).integer(-2).bytes(point).done();
  Assertion answer = device_.get(kChallenge);
  EXPECT_EQ(signed_in(answer), PasskeyError::BadSignature);
  answer.signature = key.sign(Authenticator::signed_bytes(answer), nullptr);
  EXPECT_FALSE(signed_in(answer));
}

TEST_F(PasskeyTest, MayBeRsa) {
  const ForeignKey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{2048}));
  BIGNUM* n = nullptr;
  ASSERT_EQ(EVP_PKEY_get_bn_param(key.key.get(), OSSL_PKEY_PARAM_RSA_N, &n), 1);
  Bytes modulus(256);
  BN_bn2bin(n, modulus.data());
  BN_free(n);
  passkey_.key = Cbor()
                     .map(4)
                     .integer(1)
                     .integer(3)
                     .integer(3)
                     .integer(-257)
                     .integer(-1)
                     .bytes(modulus)
                     .integer(-2)
                     .bytes(Bytes{1, 0, 1})
                     .done();
  Assertion answer = device_.get(kChallenge);
  EXPECT_EQ(signed_in(answer), PasskeyError::BadSignature);
  answer.signature = key.sign(Authenticator::signed_bytes(answer), EVP_sha256());
  EXPECT_FALSE(signed_in(answer));
}

TEST(RelyingParty, IsADomainName) {
  EXPECT_EQ(RelyingParty::of_url("https://postern.test")->id, "postern.test");
  EXPECT_EQ(RelyingParty::of_url("https://postern.test:8443")->id, "postern.test");
  EXPECT_EQ(RelyingParty::of_url("https://postern.test:8443")->origin, "https://postern.test:8443");
  for (const char* url :
       {"https://192.0.2.1", "https://192.0.2.1:8443", "https://[2001:db8::1]", "http://x.test", ""}) {
    EXPECT_FALSE(RelyingParty::of_url(url)) << url;
  }
}

TEST(PasskeyForms, AreReadWholeOrNotAtAll) {
  SeededRandom random(3);
  const Authenticator device{.key = identity::PrivateKey::generate(random)};
  const auto assertion = parse_assertion(form_text(device.get(kChallenge, {1})));
  ASSERT_TRUE(assertion);
  EXPECT_EQ(assertion->user_handle, Bytes{1});
  EXPECT_EQ(challenge_of(assertion->client_data), kChallenge);
  EXPECT_TRUE(parse_registration(form_text(device.create(kChallenge))));
  for (const char* text : {"", "null", "[]", "{}", R"({"clientData":1,"attestation":""})", R"({"clientData":"%"})"}) {
    EXPECT_FALSE(parse_assertion(text)) << text;
    EXPECT_FALSE(parse_registration(text)) << text;
  }
  EXPECT_FALSE(challenge_of("{}"));
  EXPECT_FALSE(challenge_of(std::string(100'000, ' ')));
}

TEST(Challenges, AreGoodOnceForOnePurposeForFiveMinutes) {
  SeededRandom random(4);
  Challenges challenges(random);
  const Digest one = challenges.issue("alone account", kStart);
  EXPECT_NE(one, challenges.issue("alone account", kStart));
  EXPECT_TRUE(challenges.check(one, "alone account", kStart + 299s));
  EXPECT_FALSE(challenges.check(one, "alone account", kStart + 300s));
  EXPECT_FALSE(challenges.check(one, "create 7", kStart));
  EXPECT_TRUE(challenges.use(one, kStart + 1s));
  EXPECT_FALSE(challenges.use(one, kStart + 1s));
  EXPECT_FALSE(challenges.check(one, "alone account", kStart + 1s));
}

TEST(Challenges, ThatNobodyGaveOutAreRefused) {
  SeededRandom random(5);
  Challenges challenges(random);
  const Digest good = challenges.issue("account", kStart);
  for (std::size_t i = 0; i < good.size(); ++i) {
    Digest changed = good;
    changed[i] ^= 1;
    EXPECT_FALSE(challenges.check(changed, "account", kStart)) << i;
  }
  EXPECT_FALSE(challenges.check(ByteView(good).first(31), "account", kStart));
  EXPECT_FALSE(challenges.check({}, "account", kStart));
  Challenges other(random);
  EXPECT_FALSE(other.check(good, "account", kStart)) << "of another run of the server";
}

TEST(Challenges, AFloodOfPagesPushesNoneOut) {
  SeededRandom random(6);
  Challenges challenges(random);
  const Digest first = challenges.issue("account", kStart);
  for (int i = 0; i < 100'000; ++i) (void)challenges.issue("account", kStart);
  EXPECT_TRUE(challenges.check(first, "account", kStart + 1s));
  EXPECT_EQ(challenges.used(), 0U);
}

TEST(Challenges, ThatWereUsedAreForgottenWhenTheyHaveEnded) {
  SeededRandom random(7);
  Challenges challenges(random);
  for (std::size_t i = 0; i < Challenges::kUsedMax; ++i) {
    ASSERT_TRUE(challenges.use(challenges.issue("account", kStart), kStart));
  }
  EXPECT_FALSE(challenges.use(challenges.issue("account", kStart + 1s), kStart + 1s)) << "refused at the bound";
  EXPECT_TRUE(challenges.use(challenges.issue("account", kStart + 300s), kStart + 300s));
  EXPECT_EQ(challenges.used(), 1U);
}

}  // namespace
}  // namespace postern::signin
