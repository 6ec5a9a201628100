#include "session/tls.hpp"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <string>

#include "session/credentials.hpp"

namespace postern::session {

namespace {

constexpr std::string_view kAlpn = "postern/1";
constexpr std::string_view kExporterLabel = "EXPORTER-postern-session";

bool has_aes_instructions() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0;
#elif defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return false;
#endif
}

/// GnuTLS 3.7 does ChaCha20 eight times slower than AES-GCM where the CPU has AES (facts: 0.38 against 3.1 GB/s), so a
/// peer that has AES does not even offer it, and two peers agree on it only when neither has.
std::string priority_string() {
  const std::string ciphers =
      has_aes_instructions() ? "+AES-128-GCM:+AES-256-GCM" : "+CHACHA20-POLY1305:+AES-128-GCM:+AES-256-GCM";
  return "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:" + ciphers +
         ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:-SIGN-ALL:+SIGN-ECDSA-SECP256R1-SHA256:"
         "%DISABLE_TLS13_COMPAT_MODE";
}

struct Certificate {
  Certificate() { gnutls_x509_crt_init(&native); }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;
  ~Certificate() { gnutls_x509_crt_deinit(native); }
  [[nodiscard]] bool import(const gnutls_datum_t& der) {
    return gnutls_x509_crt_import(native, &der, GNUTLS_X509_FMT_DER) == GNUTLS_E_SUCCESS;
  }
  /// Nothing unless the key is on P-256.
  [[nodiscard]] std::optional<Digest> digest() const {
    unsigned bits = 0;
    if (gnutls_x509_crt_get_pk_algorithm(native, &bits) != GNUTLS_PK_ECDSA || bits != 256) return std::nullopt;
    Digest digest{};
    std::size_t size = digest.size();
    const int result = gnutls_x509_crt_get_key_id(native, GNUTLS_KEYID_USE_SHA256, digest.data(), &size);
    if (result != GNUTLS_E_SUCCESS || size != digest.size()) return std::nullopt;
    return digest;
  }
  gnutls_x509_crt_t native = nullptr;
};

struct PrivateKey {
  PrivateKey() { gnutls_x509_privkey_init(&native); }
  PrivateKey(const PrivateKey&) = delete;
  PrivateKey& operator=(const PrivateKey&) = delete;
  ~PrivateKey() { gnutls_x509_privkey_deinit(native); }
  [[nodiscard]] bool import(const gnutls_datum_t& der) {
    return gnutls_x509_privkey_import2(native, &der, GNUTLS_X509_FMT_DER, nullptr, GNUTLS_PKCS_PLAIN) ==
           GNUTLS_E_SUCCESS;
  }
  gnutls_x509_privkey_t native = nullptr;
};

gnutls_datum_t datum(const Bytes& bytes) {
  return {const_cast<unsigned char*>(bytes.data()), static_cast<unsigned>(bytes.size())};
}

/// Loads key and certificate into `into` and gives the pin of the pair.
std::optional<Digest> load(gnutls_certificate_credentials_t into, const Credentials& credentials) {
  Certificate certificate;
  PrivateKey key;
  if (!certificate.import(datum(credentials.certificate)) || !key.import(datum(credentials.private_key))) {
    return std::nullopt;
  }
  // Refuses a key that does not belong to the certificate.
  if (gnutls_certificate_set_x509_key(into, &certificate.native, 1, key.native) != GNUTLS_E_SUCCESS) {
    return std::nullopt;
  }
  return certificate.digest();
}

/// Called by GnuTLS when the peer's certificate is there; anything but zero aborts with an alert.
int verify_pin(gnutls_session_t session) {
  auto* binding = static_cast<TlsSession::Binding*>(gnutls_session_get_ptr(session));
  unsigned count = 0;
  const gnutls_datum_t* chain = gnutls_certificate_get_peers(session, &count);
  Certificate certificate;
  if (chain == nullptr || count != 1 || !certificate.import(chain[0])) return GNUTLS_E_CERTIFICATE_ERROR;
  const auto digest = certificate.digest();
  if (digest && equal_constant_time(*digest, binding->pin)) return 0;
  binding->mismatch = true;
  return GNUTLS_E_CERTIFICATE_ERROR;
}

/// Called by GnuTLS when an encryption level has got its secrets; either may be null.
int take_secrets(gnutls_session_t session, gnutls_record_encryption_level_t level, const void* receive,
                 const void* send, std::size_t size) {
  auto* binding = static_cast<TlsSession::Binding*>(gnutls_session_get_ptr(session));
  ngtcp2_conn* quic = binding->reference.get_conn(&binding->reference);
  const bool installed =
      binding->keys->install(quic, session, ngtcp2_crypto_gnutls_from_gnutls_record_encryption_level(level),
                             static_cast<const std::uint8_t*>(receive), static_cast<const std::uint8_t*>(send), size);
  return installed ? 0 : -1;
}

}  // namespace

std::optional<Digest> credentials_digest(const Credentials& credentials) {
  gnutls_certificate_credentials_t scratch = nullptr;
  if (gnutls_certificate_allocate_credentials(&scratch) != GNUTLS_E_SUCCESS) return std::nullopt;
  const auto digest = load(scratch, credentials);
  gnutls_certificate_free_credentials(scratch);
  return digest;
}

std::unique_ptr<TlsContext> TlsContext::create(const Credentials& credentials, PacketCipher cipher) {
  std::unique_ptr<TlsContext> context(new TlsContext);
  if (gnutls_certificate_allocate_credentials(&context->credentials_) != GNUTLS_E_SUCCESS) return nullptr;
  if (!load(context->credentials_, credentials)) return nullptr;
  gnutls_certificate_set_verify_function(context->credentials_, verify_pin);
  const std::string priority = priority_string();
  if (gnutls_priority_init(&context->priority_, priority.c_str(), nullptr) != GNUTLS_E_SUCCESS) return nullptr;
  if (cipher == PacketCipher::Fastest) context->fast_cipher_ = FastCipher::detect();
  return context;
}

TlsContext::~TlsContext() {
  if (priority_ != nullptr) gnutls_priority_deinit(priority_);
  if (credentials_ != nullptr) gnutls_certificate_free_credentials(credentials_);
}

std::unique_ptr<TlsSession> TlsSession::create(const TlsContext& context, Role role, const Digest& pin,
                                               ngtcp2_crypto_conn_ref reference, PacketKeys& keys) {
  std::unique_ptr<TlsSession> tls(new TlsSession);
  tls->binding_ = {reference, pin, &keys, false};
  if (!tls->configure(context, role)) return nullptr;
  return tls;
}

bool TlsSession::configure(const TlsContext& context, Role role) {
  const bool is_client = role == Role::Client;
  const unsigned flags = (is_client ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NO_TICKETS | GNUTLS_NO_AUTO_SEND_TICKET |
                         GNUTLS_NO_END_OF_EARLY_DATA | GNUTLS_NO_EXTENSIONS;
  if (gnutls_init(&session_, flags) != GNUTLS_E_SUCCESS) return false;
  if (gnutls_priority_set(session_, context.priority()) != GNUTLS_E_SUCCESS) return false;
  const int configured = is_client ? ngtcp2_crypto_gnutls_configure_client_session(session_)
                                   : ngtcp2_crypto_gnutls_configure_server_session(session_);
  if (configured != 0) return false;
  gnutls_handshake_set_secret_function(session_, take_secrets);
  gnutls_session_set_ptr(session_, &binding_);
  if (gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, context.credentials()) != GNUTLS_E_SUCCESS) {
    return false;
  }
  if (!is_client) gnutls_certificate_server_set_request(session_, GNUTLS_CERT_REQUIRE);
  const gnutls_datum_t alpn{reinterpret_cast<unsigned char*>(const_cast<char*>(kAlpn.data())),
                            static_cast<unsigned>(kAlpn.size())};
  return gnutls_alpn_set_protocols(session_, &alpn, 1, GNUTLS_ALPN_MANDATORY) == GNUTLS_E_SUCCESS;
}

TlsSession::~TlsSession() {
  if (session_ != nullptr) gnutls_deinit(session_);
}

std::optional<SessionSecret> TlsSession::export_secret() const {
  Digest secret{};
  const int result = gnutls_prf_rfc5705(session_, kExporterLabel.size(), kExporterLabel.data(), 0, "", secret.size(),
                                        reinterpret_cast<char*>(secret.data()));
  return result == GNUTLS_E_SUCCESS ? std::optional(SessionSecret(secret)) : std::nullopt;
}

std::optional<Digest> SessionSecret::derive(std::string_view label, std::string_view context) const {
  std::string info(label);
  info += '\0';
  info += context;
  const gnutls_datum_t key{const_cast<unsigned char*>(secret_.data()), static_cast<unsigned>(secret_.size())};
  const gnutls_datum_t use{reinterpret_cast<unsigned char*>(info.data()), static_cast<unsigned>(info.size())};
  Digest derived{};
  const int result = gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &key, &use, derived.data(), derived.size());
  return result == GNUTLS_E_SUCCESS ? std::optional(derived) : std::nullopt;
}

}  // namespace postern::session
