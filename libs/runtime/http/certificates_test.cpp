#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/http/certificate_check.hpp"
#include "runtime/http/http_fixture.hpp"
#include "runtime/http/system_authorities.hpp"

namespace postern::runtime {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class CertificateCheck : public ::testing::Test {
 protected:
  CertificateFiles files() {
    identity::CertificateRequest request;
    request.common_name = "vpn.example.org";
    request.dns_names = {"vpn.example.org", "*.lab.example.org"};
    request.ip_addresses = {"203.0.113.10"};
    request.not_before = test_time();
    request.not_after = test_time() + std::chrono::days(90);
    const auto leaf = identity::issue_certificate(ca_.root, ca_.root_pem, ca_.leaf.public_key(), request, ca_.random);
    return {"cert.pem", *leaf + ca_.root_pem, "key.pem", ca_.leaf.to_pem()};
  }
  static std::string problem(const CertificateFiles& files, const std::string& host = "vpn.example.org",
                             WallTime now = test_time() + std::chrono::days(1)) {
    const auto checked = check_certificate(files, host, now);
    return checked ? "" : checked.error();
  }

  TestCa ca_;
};

TEST_F(CertificateCheck, AcceptsWhatAgentsWouldAccept) {
  EXPECT_EQ(problem(files()), "");
  EXPECT_EQ(problem(files(), "a.lab.example.org"), "");
  EXPECT_EQ(problem(files(), "203.0.113.10"), "");
}

TEST_F(CertificateCheck, NamesTheFileThatHoldsSomethingElse) {
  CertificateFiles swapped = files();
  std::swap(swapped.certificate_pem, swapped.key_pem);
  EXPECT_THAT(problem(swapped), AllOf(HasSubstr("cert.pem"), HasSubstr("no certificate")));
  CertificateFiles no_key = files();
  no_key.key_pem = "nonsense";
  EXPECT_THAT(problem(no_key), AllOf(HasSubstr("key.pem"), HasSubstr("no private key")));
}

TEST_F(CertificateCheck, RefusesAKeyOfAnotherCertificate) {
  CertificateFiles mismatched = files();
  mismatched.key_pem = ca_.root.to_pem();
  EXPECT_THAT(problem(mismatched), HasSubstr("key.pem is not the key of the certificate in cert.pem"));
  CertificateFiles chain_first = files();
  chain_first.certificate_pem = ca_.root_pem + chain_first.certificate_pem;
  EXPECT_THAT(problem(chain_first), HasSubstr("the leaf's certificate first"));
}

TEST_F(CertificateCheck, RefusesWhatIsNotValidNowAndSaysTheDate) {
  EXPECT_THAT(problem(files(), "vpn.example.org", test_time() + std::chrono::days(91)),
              HasSubstr("expired on 2026-04-01 00:00 UTC"));
  EXPECT_THAT(problem(files(), "vpn.example.org", test_time() - 1h), HasSubstr("valid only from 2026-01-01 00:00 UTC"));
}

TEST_F(CertificateCheck, RefusesACertificateOfAnotherName) {
  EXPECT_THAT(problem(files(), "postern.example.org"),
              AllOf(HasSubstr("vpn.example.org, *.lab.example.org"), HasSubstr("postern.example.org")));
  EXPECT_THAT(problem(files(), "203.0.113.11"), HasSubstr("203.0.113.11"));
}

class SystemAuthorities : public ::testing::Test {
 protected:
  SystemAuthorities() {
    std::string name = (std::filesystem::temp_directory_path() / "postern-authorities-XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~SystemAuthorities() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  /// How many authorities the context has in memory; -1 when none were found anywhere.
  [[nodiscard]] int loaded() const {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    const auto used = use_system_authorities(context.get(), root_);
    if (!used) return -1;
    return sk_X509_OBJECT_num(X509_STORE_get0_objects(SSL_CTX_get_cert_store(context.get())));
  }

  TestCa ca_;
  std::string root_;
};

TEST_F(SystemAuthorities, AreFoundWhereEachDistributionKeepsThem) {
  for (const char* path :
       {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    write(path, ca_.root_pem);
    EXPECT_EQ(loaded(), 1) << path;
    std::filesystem::remove(root_ + path);
  }
}

TEST_F(SystemAuthorities, AreReadOneByOneFromAFolderWithHashedNames) {
  write("/etc/ssl/certs/ca-certificates.crt", ca_.root_pem);
  write("/etc/ssl/certs/4a6481c9.0", ca_.root_pem);
  EXPECT_EQ(loaded(), 0);
}

TEST_F(SystemAuthorities, AreMissedInOneSentence) {
  EXPECT_EQ(loaded(), -1);
  write("/etc/ssl/cert.pem", "nonsense");
  EXPECT_EQ(loaded(), -1);
}

}  // namespace
}  // namespace postern::runtime
