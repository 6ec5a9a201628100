#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "identity/keys.hpp"
#include "identity/openssl.hpp"

namespace postern::identity {
namespace {

constexpr WallTime kNow = from_unix_ms(1'780'000'000'000);

openssl::Certificate parse_pem(std::string_view pem) {
  const openssl::Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return openssl::Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

struct Authority {
  SeededRandom random{1};
  PrivateKey root = PrivateKey::generate(random);
  PrivateKey server = PrivateKey::generate(random);
  std::string root_pem = make_root_certificate(root, "Postern home", kNow);

  CertificateRequest request() const {
    return {.common_name = "server.example.org",
            .dns_names = {"server.example.org"},
            .ip_addresses = {"192.0.2.7", "2001:db8::7"},
            .uris = {"postern:controller"},
            .not_before = kNow,
            .not_after = kNow + std::chrono::hours(24 * 90)};
  }
  auto issue(const CertificateRequest& request) {
    return issue_certificate(root, root_pem, server.public_key(), request, random);
  }
};

/// X509_V_OK or the reason why the chain does not hold for a TLS server at `when`.
int verify_chain(const std::string& root_pem, const std::string& leaf_pem, WallTime when) {
  const auto root = parse_pem(root_pem);
  const auto leaf = parse_pem(leaf_pem);
  std::unique_ptr<X509_STORE, openssl::Freer<X509_STORE_free>> store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), root.get());
  std::unique_ptr<X509_STORE_CTX, openssl::Freer<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM* params = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(params, to_unix_seconds(when));
  X509_VERIFY_PARAM_set_flags(params, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
  X509_verify_cert(context.get());
  return X509_STORE_CTX_get_error(context.get());
}

TEST(Certificates, LeafChainsToItsRootUnderStrictRules) {
  Authority authority;
  const auto leaf = authority.issue(authority.request());
  ASSERT_TRUE(leaf);
  EXPECT_EQ(verify_chain(authority.root_pem, *leaf, kNow + std::chrono::hours(1)), X509_V_OK);
  EXPECT_EQ(verify_chain(authority.root_pem, *leaf, kNow + std::chrono::hours(24 * 91)), X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST(Certificates, LeafDoesNotChainToAnotherRoot) {
  Authority authority;
  Authority other;
  other.root = PrivateKey::generate(other.random);
  other.root_pem = make_root_certificate(other.root, "Postern home", kNow);
  EXPECT_NE(verify_chain(other.root_pem, *authority.issue(authority.request()), kNow), X509_V_OK);
}

TEST(Certificates, LeafNamesWhatWasAskedFor) {
  Authority authority;
  const auto leaf = parse_pem(*authority.issue(authority.request()));
  EXPECT_EQ(X509_check_host(leaf.get(), "server.example.org", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(leaf.get(), "other.example.org", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(leaf.get(), "192.0.2.7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(leaf.get(), "2001:db8::7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(leaf.get(), "192.0.2.8", 0), 0);
  const openssl::GeneralNames names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf.get(), NID_subject_alt_name, nullptr, nullptr)));
  ASSERT_EQ(sk_GENERAL_NAME_num(names.get()), 4);
  const GENERAL_NAME* uri = sk_GENERAL_NAME_value(names.get(), 3);
  ASSERT_EQ(uri->type, GEN_URI);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri->d.ia5)), 18),
            "postern:controller");
}

TEST(Certificates, RootIsACertificateAuthorityForTwentyYearsAndLeafIsNot) {
  Authority authority;
  const auto root = parse_pem(authority.root_pem);
  EXPECT_EQ(X509_check_ca(root.get()), 1);
  int days = 0;
  int seconds = 0;
  ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(root.get()), X509_get0_notAfter(root.get()));
  EXPECT_EQ(days, 7304);
  EXPECT_EQ(X509_check_ca(parse_pem(*authority.issue(authority.request())).get()), 0);
}

TEST(Certificates, SerialsAreSixteenBytesAndDiffer) {
  Authority authority;
  const auto first = parse_pem(*authority.issue(authority.request()));
  const auto second = parse_pem(*authority.issue(authority.request()));
  EXPECT_EQ(ASN1_STRING_length(X509_get0_serialNumber(first.get())), 16);
  EXPECT_NE(ASN1_INTEGER_cmp(X509_get0_serialNumber(first.get()), X509_get0_serialNumber(second.get())), 0);
}

TEST(Certificates, NamesThatAreNotNamesAreRefused) {
  Authority authority;
  auto request = authority.request();
  request.dns_names = {"bad name"};
  EXPECT_EQ(authority.issue(request).error(), KeyError::Malformed);
  request = authority.request();
  request.ip_addresses = {"192.0.2"};
  EXPECT_EQ(authority.issue(request).error(), KeyError::Malformed);
}

TEST(Certificates, ACommaInANameStaysInsideThatName) {
  Authority authority;
  auto request = authority.request();
  request.dns_names = {"a.example,DNS:evil.example"};
  const auto leaf = parse_pem(*authority.issue(request));
  EXPECT_EQ(X509_check_host(leaf.get(), "evil.example", 0, 0, nullptr), 0);
}

TEST(Certificates, ALongHostNameIsCarriedByTheSanAlone) {
  Authority authority;
  auto request = authority.request();
  request.common_name.assign(60, 'a');
  request.common_name.append(".example.org");
  request.dns_names = {request.common_name};
  const auto leaf = parse_pem(*authority.issue(request));
  EXPECT_EQ(X509_check_host(leaf.get(), request.common_name.c_str(), 0, 0, nullptr), 1);
}

TEST(Certificates, ARootOfAnotherKeyIsRefused) {
  Authority authority;
  EXPECT_EQ(issue_certificate(authority.server, authority.root_pem, authority.server.public_key(), authority.request(),
                              authority.random)
                .error(),
            KeyError::Malformed);
  EXPECT_EQ(
      issue_certificate(authority.root, "rubbish", authority.server.public_key(), authority.request(), authority.random)
          .error(),
      KeyError::Malformed);
}

TEST(Certificates, SelfSignedOnesCarryTheKeyAndVerifyWithIt) {
  SeededRandom random(2);
  const PrivateKey key = PrivateKey::generate(random);
  const Bytes der = self_signed_certificate(key, kNow);
  const std::uint8_t* at = der.data();
  const openssl::Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  ASSERT_TRUE(certificate);
  EXPECT_EQ(X509_verify(certificate.get(), X509_get0_pubkey(certificate.get())), 1);
  std::uint8_t* spki = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &spki);
  EXPECT_EQ(sha256(ByteView(spki, static_cast<std::size_t>(size))), key.public_key().digest());
  OPENSSL_free(spki);
}

}  // namespace
}  // namespace postern::identity
