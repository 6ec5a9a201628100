#include "runtime/http/certificate_check.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>
#include <memory>

#include "base/ip.hpp"

namespace postern::runtime {
namespace {

struct Free {
  void operator()(X509* value) const { X509_free(value); }
  void operator()(EVP_PKEY* value) const { EVP_PKEY_free(value); }
  void operator()(BIO* value) const { BIO_free(value); }
  void operator()(GENERAL_NAMES* value) const { GENERAL_NAMES_free(value); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

/// A server starts without anybody who could type a passphrase.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

Owned<BIO> memory(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string shown(const ASN1_TIME* time) {
  std::tm parts{};
  std::array<char, 40> text{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts);
  return text.data();
}

bool names_host(X509* leaf, const std::string& host) {
  if (IpAddress::parse(host)) return X509_check_ip_asc(leaf, host.c_str(), 0) == 1;
  return X509_check_host(leaf, host.c_str(), host.size(), 0, nullptr) == 1;
}

/// "a.example.org, b.example.org": the DNS names, which may be hostile text, up to a length.
std::string dns_names(X509* leaf) {
  constexpr std::size_t kShownMax = 200;
  const Owned<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr)));
  std::string text;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()) && text.size() < kShownMax; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    text += text.empty() ? "" : ", ";
    for (int at = 0; at < ASN1_STRING_length(name->d.dNSName); ++at) {
      const auto c = static_cast<char>(ASN1_STRING_get0_data(name->d.dNSName)[at]);
      text += c > ' ' && c < 0x7f ? c : '?';
    }
  }
  return text.empty() ? "no name" : text;
}

std::string problem_of(X509* leaf, const std::string& host, WallTime now) {
  std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  if (X509_cmp_time(X509_get0_notAfter(leaf), &seconds) < 0) {
    return " expired on " + shown(X509_get0_notAfter(leaf)) + ": renew it";
  }
  if (X509_cmp_time(X509_get0_notBefore(leaf), &seconds) > 0) {
    return " is valid only from " + shown(X509_get0_notBefore(leaf)) + " on: is this machine's clock right?";
  }
  if (!names_host(leaf, host)) {
    return " is for " + dns_names(leaf) + ", but the server's URL says " + host + ": get one for " + host;
  }
  return {};
}

}  // namespace

std::expected<void, std::string> check_certificate(const CertificateFiles& files, const std::string& host,
                                                   WallTime now) {
  const auto certificate = memory(files.certificate_pem);
  const Owned<X509> leaf(PEM_read_bio_X509(certificate.get(), nullptr, no_passphrase, nullptr));
  const auto secret = memory(files.key_pem);
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(secret.get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (!leaf) return std::unexpected(files.certificate_path + " holds no certificate in PEM form");
  if (!key) return std::unexpected(files.key_path + " holds no private key in PEM form, or one with a passphrase");
  const bool matches = X509_check_private_key(leaf.get(), key.get()) == 1;
  ERR_clear_error();
  if (!matches) {
    return std::unexpected(files.key_path + " is not the key of the certificate in " + files.certificate_path +
                           ": name two files that belong together, the leaf's certificate first");
  }
  if (const std::string problem = problem_of(leaf.get(), host, now); !problem.empty()) {
    return std::unexpected("the certificate in " + files.certificate_path + problem);
  }
  return {};
}

}  // namespace postern::runtime
