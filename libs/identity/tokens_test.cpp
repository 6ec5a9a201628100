#include "identity/tokens.hpp"

#include <gtest/gtest.h>

#include "identity/jwt.hpp"

namespace postern::identity {
namespace {

constexpr std::int64_t kNowSeconds = 1'780'000'000;
constexpr WallTime at(std::int64_t seconds) {
  return from_unix_ms(seconds * 1000);
}

std::string encode(std::string_view text) {
  return to_base64url(as_bytes(text));
}

struct Signer {
  SeededRandom random{1};
  PrivateKey key = PrivateKey::generate(random);
  PrivateKey stranger = PrivateKey::generate(random);
  KeySet keys{{key_id(key.public_key()), key.public_key()}};

  Lease lease() const {
    Lease lease;
    lease.issuer = "home";
    lease.remote_network_id = 12;
    lease.user_id = 34;
    lease.device_id = 56;
    lease.email = "anna@example.org";
    lease.device_key = sha256(as_bytes("device"));
    lease.resources = {{1, kNowSeconds + 100}, {UINT64_MAX, kNowSeconds + 200}};
    lease.policy_version = 9;
    lease.issued_at = kNowSeconds;
    lease.expires_at = kNowSeconds + 14'400;
    return lease;
  }
  LeaseExpectation expectation() const { return {"home", 12, sha256(as_bytes("device"))}; }
  std::expected<Lease, TokenError> verify(std::string_view jwt, std::int64_t seconds = kNowSeconds) const {
    return verify_lease(jwt, keys, expectation(), at(seconds));
  }
  /// A token with any header and payload, correctly signed.
  std::string sign_raw(std::string_view header, std::string_view payload) const {
    std::string jwt = encode(header) + "." + encode(payload);
    jwt += "." + to_base64url(key.sign_jws(as_bytes(jwt)));
    return jwt;
  }
  std::string header(std::string_view type = "postern-lease+jwt", std::string_view algorithm = "ES256") const {
    return json::write(json::Object{{"typ", type}, {"alg", algorithm}, {"kid", key_id(key.public_key())}});
  }
  /// The claims of lease() with one replaced, or removed when `value` is null.
  std::string claims_with(std::string_view name, const json::Value& value) const {
    const std::string jwt = sign_lease(lease(), key);
    const auto first = jwt.find('.') + 1;
    const auto claims = json::parse(as_text(*from_base64url(jwt.substr(first, jwt.rfind('.') - first))));
    json::Object changed;
    for (const auto& [key_name, claim] : *claims->as_object()) {
      if (key_name != name) changed.emplace_back(key_name, claim);
    }
    if (!value.is_null()) changed.emplace_back(std::string(name), value);
    return json::write(changed);
  }
  TokenError error_with(std::string_view name, const json::Value& value) const {
    const auto result = verify(sign_raw(header(), claims_with(name, value)));
    EXPECT_FALSE(result) << name;
    return result ? TokenError::UnknownKey : result.error();
  }
};

TEST(Lease, ComesBackAsItWasSigned) {
  const Signer signer;
  const Lease lease = signer.lease();
  const auto read = signer.verify(sign_lease(lease, signer.key));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->issuer, lease.issuer);
  EXPECT_EQ(read->remote_network_id, 12U);
  EXPECT_EQ(read->user_id, 34U);
  EXPECT_EQ(read->device_id, 56U);
  EXPECT_EQ(read->email, lease.email);
  EXPECT_EQ(read->device_key, lease.device_key);
  ASSERT_EQ(read->resources.size(), 2U);
  EXPECT_EQ(read->resources[1].resource_id, UINT64_MAX);
  EXPECT_EQ(read->resources[1].expires_at, kNowSeconds + 200);
  EXPECT_EQ(read->policy_version, 9U);
  EXPECT_EQ(read->issued_at, lease.issued_at);
  EXPECT_EQ(read->expires_at, lease.expires_at);
}

TEST(Lease, ToleratesSixtySecondsOfClockAndNoMore) {
  const Signer signer;
  const std::string jwt = sign_lease(signer.lease(), signer.key);
  EXPECT_TRUE(signer.verify(jwt, kNowSeconds - 60));
  EXPECT_EQ(signer.verify(jwt, kNowSeconds - 61).error(), TokenError::NotYetValid);
  EXPECT_TRUE(signer.verify(jwt, kNowSeconds + 14'400 + 59));
  EXPECT_EQ(signer.verify(jwt, kNowSeconds + 14'400 + 60).error(), TokenError::Expired);
}

TEST(Lease, IsRefusedForAnotherNetworkRemoteNetworkOrDeviceKey) {
  const Signer signer;
  const std::string jwt = sign_lease(signer.lease(), signer.key);
  auto expected = signer.expectation();
  expected.issuer = "work";
  EXPECT_EQ(verify_lease(jwt, signer.keys, expected, at(kNowSeconds)).error(), TokenError::WrongIssuer);
  expected = signer.expectation();
  expected.remote_network_id = 13;
  EXPECT_EQ(verify_lease(jwt, signer.keys, expected, at(kNowSeconds)).error(), TokenError::WrongAudience);
  expected = signer.expectation();
  expected.peer_key[31] ^= 1;
  EXPECT_EQ(verify_lease(jwt, signer.keys, expected, at(kNowSeconds)).error(), TokenError::WrongKey);
}

TEST(Lease, IsRefusedFromAKeyOutsideThePinnedSet) {
  const Signer signer;
  EXPECT_EQ(signer.verify(sign_lease(signer.lease(), signer.stranger)).error(), TokenError::UnknownKey);
  // A stranger that claims a pinned kid.
  const KeySet confused{{key_id(signer.stranger.public_key()), signer.key.public_key()}};
  EXPECT_EQ(verify_lease(sign_lease(signer.lease(), signer.stranger), confused, signer.expectation(), at(kNowSeconds))
                .error(),
            TokenError::BadSignature);
  EXPECT_EQ(signer.verify(signer.sign_raw(R"({"typ":"postern-lease+jwt","alg":"ES256"})", "{}")).error(),
            TokenError::UnknownKey);
  EXPECT_EQ(signer.verify(signer.sign_raw(R"({"typ":"postern-lease+jwt","alg":"ES256","kid":7})", "{}")).error(),
            TokenError::UnknownKey);
}

TEST(Lease, OtherAlgorithmsAreRefusedWhateverTheySign) {
  const Signer signer;
  const std::string payload = signer.claims_with("", {});
  for (const std::string_view algorithm : {"none", "None", "HS256", "RS256", "ES384", "es256", ""}) {
    EXPECT_EQ(signer.verify(signer.sign_raw(signer.header("postern-lease+jwt", algorithm), payload)).error(),
              TokenError::WrongAlgorithm);
  }
  EXPECT_EQ(signer.verify(encode(signer.header("postern-lease+jwt", "none")) + "." + encode(payload) + ".").error(),
            TokenError::WrongAlgorithm);
  // HS256 keyed with the public key, the classic confusion.
  std::string jwt = encode(signer.header("postern-lease+jwt", "HS256")) + "." + encode(payload);
  jwt += "." + to_base64url(hmac_sha256(signer.key.public_key().spki(), as_bytes(jwt)));
  EXPECT_EQ(signer.verify(jwt).error(), TokenError::WrongAlgorithm);
  EXPECT_EQ(signer.verify(encode(signer.header()) + "." + encode(payload) + ".").error(), TokenError::BadSignature);
}

TEST(Lease, OtherTypesAreRefused) {
  const Signer signer;
  const std::string payload = signer.claims_with("", {});
  for (const std::string_view type : {"JWT", "postern-access+jwt", "POSTERN-LEASE+JWT", ""}) {
    EXPECT_EQ(signer.verify(signer.sign_raw(signer.header(type), payload)).error(), TokenError::WrongType);
  }
  EXPECT_EQ(signer.verify(signer.sign_raw(R"({"alg":"ES256"})", payload)).error(), TokenError::WrongType);
}

TEST(Lease, CriticalExtensionsAreRefused) {
  const Signer signer;
  const std::string header = json::write(json::Object{{"typ", "postern-lease+jwt"},
                                                      {"alg", "ES256"},
                                                      {"kid", key_id(signer.key.public_key())},
                                                      {"crit", json::Array{"b64"}}});
  EXPECT_EQ(signer.verify(signer.sign_raw(header, signer.claims_with("", {}))).error(), TokenError::Malformed);
}

TEST(Lease, EveryClaimIsNeededAndMustHaveItsType) {
  const Signer signer;
  for (const std::string_view name : {"iss", "aud", "sub", "dev", "cnf", "res", "pv", "email", "iat", "exp"}) {
    EXPECT_EQ(signer.error_with(name, {}), TokenError::Malformed) << name;
    EXPECT_EQ(signer.error_with(name, true), TokenError::Malformed) << name;
  }
  EXPECT_EQ(signer.error_with("exp", 1.5), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("pv", -1), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("sub", "34"), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("sub", "user:034"), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("dev", "-1"), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("dev", "18446744073709551616"), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("res", json::Array{json::Array{1}}), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("res", json::Array{json::Array{1, 2, 3}}), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("res", json::Array{json::Array{"1", 2}}), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("cnf", json::Object{{"spki#S256", "AAAA"}}), TokenError::Malformed);
  EXPECT_EQ(signer.error_with("cnf", json::Object{{"jkt", "AAAA"}}), TokenError::Malformed);
}

TEST(Lease, ExtremeTimesAreRefusedWithoutOverflow) {
  const Signer signer;
  EXPECT_EQ(signer.error_with("iat", INT64_MAX), TokenError::NotYetValid);
  EXPECT_EQ(signer.error_with("exp", INT64_MIN), TokenError::Expired);
  EXPECT_TRUE(signer.verify(signer.sign_raw(signer.header(), signer.claims_with("exp", INT64_MAX))));
  EXPECT_TRUE(signer.verify(signer.sign_raw(signer.header(), signer.claims_with("iat", INT64_MIN))));
}

TEST(Lease, UnknownClaimsAreIgnored) {
  const Signer signer;
  EXPECT_TRUE(signer.verify(signer.sign_raw(signer.header(), signer.claims_with("future", json::Array{1.5, true}))));
}

TEST(Lease, AnyFlippedBitOfTheTextIsRefused) {
  const Signer signer;
  const std::string good = sign_lease(signer.lease(), signer.key);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_FALSE(signer.verify(bad)) << bit;
  }
}

TEST(Lease, AnyTruncationAndAnyExtensionIsRefused) {
  const Signer signer;
  const std::string good = sign_lease(signer.lease(), signer.key);
  for (std::size_t size = 0; size < good.size(); ++size) ASSERT_FALSE(signer.verify(good.substr(0, size))) << size;
  for (const std::string_view more : {"A", "=", ".", " ", "\n"}) ASSERT_FALSE(signer.verify(good + std::string(more)));
}

TEST(Lease, WhatIsNotAJwtIsMalformed) {
  const Signer signer;
  for (const std::string& text : {std::string(), std::string("."), std::string(".."), std::string("a.b"),
                                  std::string("a.b.c.d"), encode("[]") + ".e30.", encode("{") + ".e30.",
                                  std::string(kTokenSizeMax + 1, 'A'), std::string(kTokenSizeMax - 2, 'A') + ".."}) {
    EXPECT_EQ(signer.verify(text).error(), TokenError::Malformed);
  }
  EXPECT_EQ(signer.verify(signer.sign_raw(signer.header(), "[1]")).error(), TokenError::Malformed);
  EXPECT_EQ(signer.verify(signer.sign_raw(signer.header(), R"({"iss":"a","iss":"home"})")).error(),
            TokenError::Malformed);
}

AccessToken some_access_token() {
  AccessToken token;
  token.network = "home";
  token.network_id = 1;
  token.connector_id = 2;
  token.remote_network_id = 3;
  token.url = "https://postern.example.org";
  token.ca = "abc";
  token.jti = "j";
  token.issued_at = kNowSeconds;
  token.expires_at = kNowSeconds + 3600;
  return token;
}

TEST(AccessToken, ComesBackAsItWasSigned) {
  const Signer signer;
  const auto read =
      verify_access_token(sign_access_token(some_access_token(), signer.key), signer.keys, "home", at(kNowSeconds));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->network, "home");
  EXPECT_EQ(read->network_id, 1U);
  EXPECT_EQ(read->connector_id, 2U);
  EXPECT_EQ(read->remote_network_id, 3U);
  EXPECT_EQ(read->url, "https://postern.example.org");
  EXPECT_EQ(read->ca, "abc");
  EXPECT_EQ(read->jti, "j");
  EXPECT_EQ(read->expires_at, kNowSeconds + 3600);
}

TEST(AccessToken, AnExpiredOneStillSaysWhereTheServerIsButProvesNothing) {
  const Signer signer;
  const std::string jwt = sign_access_token(some_access_token(), signer.stranger);
  EXPECT_EQ(read_access_token_unverified(jwt)->url, "https://postern.example.org");
  EXPECT_EQ(verify_access_token(jwt, signer.keys, "home", at(kNowSeconds)).error(), TokenError::UnknownKey);
  const std::string own = sign_access_token(some_access_token(), signer.key);
  EXPECT_EQ(verify_access_token(own, signer.keys, "home", at(kNowSeconds + 3660)).error(), TokenError::Expired);
  EXPECT_EQ(verify_access_token(own, signer.keys, "home", at(kNowSeconds - 61)).error(), TokenError::NotYetValid);
  EXPECT_EQ(verify_access_token(own, signer.keys, "work", at(kNowSeconds)).error(), TokenError::WrongIssuer);
}

TEST(AccessToken, IssuerAndAudienceMustBothBeTheNetwork) {
  const Signer signer;
  const auto token_with = [&](std::string_view issuer, std::string_view audience, std::string_view node) {
    const json::Object claims = {{"iss", issuer}, {"aud", audience},        {"nt", node}, {"aid", "1"},
                                 {"tid", "1"},    {"rnetid", "1"},          {"jti", "j"}, {"iat", kNowSeconds},
                                 {"rnw", 1},      {"exp", kNowSeconds + 9}, {"ver", "4"}, {"url", ""},
                                 {"ca", ""}};
    return verify_access_token(sign_jwt("postern-access+jwt", claims, signer.key), signer.keys, "home",
                               at(kNowSeconds));
  };
  EXPECT_TRUE(token_with("home", "home", "AN"));
  EXPECT_EQ(token_with("home", "work", "AN").error(), TokenError::WrongAudience);
  EXPECT_EQ(token_with("work", "home", "AN").error(), TokenError::WrongIssuer);
  EXPECT_EQ(token_with("home", "home", "CL").error(), TokenError::Malformed);
}

TEST(AccessToken, ALeaseIsNone) {
  const Signer signer;
  const std::string jwt = sign_lease(signer.lease(), signer.key);
  EXPECT_EQ(verify_access_token(jwt, signer.keys, "home", at(kNowSeconds)).error(), TokenError::WrongType);
  EXPECT_EQ(read_access_token_unverified(jwt).error(), TokenError::WrongType);
  EXPECT_EQ(read_access_token_unverified("").error(), TokenError::Malformed);
}

TEST(RefreshToken, HasItsShapeAndDiffersEachTime) {
  SeededRandom random(1);
  const std::string token = make_refresh_token(random);
  EXPECT_TRUE(token.starts_with("ptr1_"));
  EXPECT_TRUE(is_refresh_token_shaped(token));
  EXPECT_NE(token, make_refresh_token(random));
  EXPECT_FALSE(is_refresh_token_shaped(token.substr(0, token.size() - 1)));
  EXPECT_FALSE(is_refresh_token_shaped(token.substr(1)));
  EXPECT_FALSE(is_refresh_token_shaped(""));
}

TEST(Tokens, SurviveGarbage) {
  const Signer signer;
  SeededRandom random(5);
  const std::string good = sign_lease(signer.lease(), signer.key);
  for (int i = 0; i < 200'000; ++i) {
    std::string text = good;
    // Mostly in the header, so that most inputs stop before the costly signature check.
    const std::size_t span = i % 50 == 0 ? text.size() : good.find('.');
    for (std::uint64_t edits = random.below(4) + 1; edits > 0; --edits) {
      text[random.below(span)] = static_cast<char>(random.next());
    }
    if (text != good) {
      ASSERT_FALSE(signer.verify(text));
    }
  }
}

TEST(TokenErrors, AreEachSaidInOtherWords) {
  std::set<std::string_view> words;
  for (int error = 0; error <= static_cast<int>(TokenError::WrongKey); ++error) {
    words.insert(to_string(static_cast<TokenError>(error)));
  }
  EXPECT_EQ(words.size(), static_cast<std::size_t>(TokenError::WrongKey) + 1);
}

}  // namespace
}  // namespace postern::identity
