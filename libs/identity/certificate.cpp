// X.509 v3 certificates: the throw-away ones of QUIC sessions, the own root, and leaves under it (PROTOCOL.md §5.4).
// SANs are built as objects, never as OpenSSL's configuration text, where a comma in a name would start a new entry.
#include <openssl/pem.h>

#include "base/ip.hpp"
#include "identity/keys.hpp"
#include "identity/openssl.hpp"

namespace postern::identity {

namespace {

using namespace openssl;

constexpr std::chrono::years kSelfSignedLife{30};
constexpr std::chrono::years kRootLife{20};
constexpr std::size_t kCommonNameMax = 64;  // ub-common-name, RFC 5280 A.1
constexpr std::size_t kNameMax = 255;

using Serial = std::array<std::uint8_t, 16>;

void set_serial(X509* certificate, Serial serial) {
  // Positive and never zero: top bit off, one bit below it on (RFC 5280 §4.1.2.2).
  serial[0] = static_cast<std::uint8_t>((serial[0] & 0x7f) | 0x40);
  const Number number(require(BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr)));
  require(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)));
}

/// Certificates without a RandomSource take their serial from the key.
Serial serial_of(const PublicKey& key) {
  Serial serial{};
  std::copy_n(key.digest().begin(), serial.size(), serial.begin());
  return serial;
}

void set_common_name(X509_NAME* name, std::string_view text) {
  // A host name may be longer than a common name; the SANs are what is checked.
  const std::string value(text.empty() || text.size() > kCommonNameMax ? "postern" : text);
  require(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                     static_cast<int>(value.size()), -1, 0) == 1);
}

void set_times(X509* certificate, WallTime not_before, WallTime not_after) {
  require(ASN1_TIME_set(X509_getm_notBefore(certificate), to_unix_seconds(not_before)));
  require(ASN1_TIME_set(X509_getm_notAfter(certificate), to_unix_seconds(not_after)));
}

Certificate blank(const Serial& serial, std::string_view common_name, WallTime not_before, WallTime not_after) {
  Certificate certificate(require(X509_new()));
  require(X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  set_serial(certificate.get(), serial);
  set_common_name(X509_get_subject_name(certificate.get()), common_name);
  set_times(certificate.get(), not_before, not_after);
  return certificate;
}

/// `value` is our own constant in OpenSSL's configuration syntax.
void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(require(X509V3_EXT_conf_nid(nullptr, &context, nid, value)));
  require(X509_add_ext(certificate, extension.get(), -1) == 1);
}

void sign_with(X509* certificate, const PrivateKey& key) {
  require(X509_sign(certificate, static_cast<EVP_PKEY*>(key.native()), EVP_sha256()) > 0);
}

std::string to_pem_text(X509* certificate) {
  const Bio bio(require(BIO_new(BIO_s_mem())));
  require(PEM_write_bio_X509(bio.get(), certificate) == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

bool is_ia5_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

/// GEN_DNS or GEN_URI with text, GEN_IPADD with raw bytes.
void add_name(GENERAL_NAMES* names, int type, ByteView value) {
  GeneralName name(require(GENERAL_NAME_new()));
  ASN1_STRING* string = require(ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING));
  require(ASN1_STRING_set(string, value.data(), static_cast<int>(value.size())) == 1);
  GENERAL_NAME_set0_value(name.get(), type, string);
  require(sk_GENERAL_NAME_push(names, name.get()) > 0);
  static_cast<void>(name.release());
}

bool add_alternative_names(X509* certificate, const CertificateRequest& request) {
  const GeneralNames names(require(sk_GENERAL_NAME_new_null()));
  for (const std::string& dns : request.dns_names) {
    if (!is_ia5_name(dns)) return false;
    add_name(names.get(), GEN_DNS, as_bytes(dns));
  }
  for (const std::string& text : request.ip_addresses) {
    const auto address = IpAddress::parse(text);
    if (!address) return false;
    add_name(names.get(), GEN_IPADD, address->bytes());
  }
  for (const std::string& uri : request.uris) {
    if (!is_ia5_name(uri)) return false;
    add_name(names.get(), GEN_URI, as_bytes(uri));
  }
  if (sk_GENERAL_NAME_num(names.get()) == 0) return true;
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) == 1;
}

Certificate parse_certificate(std::string_view pem) {
  const Bio bio(require(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))));
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

}  // namespace

Bytes self_signed_certificate(const PrivateKey& key, WallTime not_before) {
  const Certificate certificate = blank(serial_of(key.public_key()), "postern", not_before,
                                        not_before + std::chrono::duration_cast<std::chrono::seconds>(kSelfSignedLife));
  X509* raw = certificate.get();
  require(X509_set_issuer_name(raw, X509_get_subject_name(raw)) == 1);
  require(X509_set_pubkey(raw, static_cast<EVP_PKEY*>(key.native())) == 1);
  add_extension(raw, raw, NID_key_usage, "critical,digitalSignature");
  sign_with(raw, key);
  std::uint8_t* der = nullptr;
  const int size = i2d_X509(raw, &der);
  require(size > 0);
  Bytes result(der, der + size);
  OPENSSL_free(der);
  return result;
}

std::string make_root_certificate(const PrivateKey& root, std::string_view name, WallTime not_before) {
  const Certificate certificate = blank(serial_of(root.public_key()), name, not_before,
                                        not_before + std::chrono::duration_cast<std::chrono::seconds>(kRootLife));
  X509* raw = certificate.get();
  require(X509_set_issuer_name(raw, X509_get_subject_name(raw)) == 1);
  require(X509_set_pubkey(raw, static_cast<EVP_PKEY*>(root.native())) == 1);
  add_extension(raw, raw, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(raw, raw, NID_subject_key_identifier, "hash");
  sign_with(raw, root);
  return to_pem_text(raw);
}

std::expected<std::string, KeyError> issue_certificate(const PrivateKey& root, std::string_view root_pem,
                                                       const PublicKey& subject, const CertificateRequest& request,
                                                       RandomSource& random) {
  const ErrorScope scope;
  const Certificate issuer = parse_certificate(root_pem);
  if (!issuer || X509_check_private_key(issuer.get(), static_cast<EVP_PKEY*>(root.native())) != 1) {
    return std::unexpected(KeyError::Malformed);
  }
  const std::uint8_t* der = subject.spki().data();
  const Key subject_key(d2i_PUBKEY(nullptr, &der, static_cast<long>(subject.spki().size())));
  if (!subject_key) return std::unexpected(KeyError::Malformed);
  const Certificate leaf = blank(random.make<Serial>(), request.common_name, request.not_before, request.not_after);
  X509* raw = leaf.get();
  require(X509_set_issuer_name(raw, X509_get_subject_name(issuer.get())) == 1);
  require(X509_set_pubkey(raw, subject_key.get()) == 1);
  add_extension(raw, issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(raw, issuer.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(raw, issuer.get(), NID_ext_key_usage, "serverAuth");
  add_extension(raw, issuer.get(), NID_subject_key_identifier, "hash");
  add_extension(raw, issuer.get(), NID_authority_key_identifier, "keyid:always");
  if (!add_alternative_names(raw, request)) return std::unexpected(KeyError::Malformed);
  sign_with(raw, root);
  return to_pem_text(raw);
}

}  // namespace postern::identity
