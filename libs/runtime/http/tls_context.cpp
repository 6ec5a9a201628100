#include "runtime/http/tls_context.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "identity/keys.hpp"
#include "runtime/http/system_authorities.hpp"

namespace postern::runtime {
namespace {

struct Free {
  void operator()(X509* value) const { X509_free(value); }
  void operator()(EVP_PKEY* value) const { EVP_PKEY_free(value); }
  void operator()(BIO* value) const { BIO_free(value); }
  void operator()(X509_STORE* value) const { X509_STORE_free(value); }
  void operator()(X509_STORE_CTX* value) const { X509_STORE_CTX_free(value); }
  void operator()(GENERAL_NAMES* value) const { GENERAL_NAMES_free(value); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

constexpr std::string_view kControllerUri = "postern:controller";

std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason != nullptr ? reason : "unknown error";
}

Owned<BIO> memory(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

TlsContext new_context(const SSL_METHOD* method) {
  TlsContext context(SSL_CTX_new(method), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  // Every control connection is long and mostly silent: 34 KiB of buffers each would be most of its memory.
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned int in_size,
                void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

bool has_controller_uri(X509* leaf) {
  const Owned<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                                static_cast<std::size_t>(ASN1_STRING_length(uri)));
    if (text == kControllerUri) return true;
  }
  return false;
}

bool key_has_digest(X509* certificate, const Digest& pin) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return false;
  const Digest digest = identity::sha256(ByteView(der, static_cast<std::size_t>(size)));
  OPENSSL_free(der);
  return digest == pin;
}

/// Builds a chain from `leaf` to `root` alone, through what the server sent.
bool chains_to(X509* leaf, X509* root, STACK_OF(X509) * sent) {
  const Owned<X509_STORE> store(X509_STORE_new());
  const Owned<X509_STORE_CTX> check(X509_STORE_CTX_new());
  if (!store || !check || X509_STORE_add_cert(store.get(), root) != 1) return false;
  if (X509_STORE_CTX_init(check.get(), store.get(), leaf, sent) != 1) return false;
  X509_STORE_CTX_set_purpose(check.get(), X509_PURPOSE_SSL_SERVER);
  // The pin outlives clocks that are wrong: a Raspberry Pi starts in 1970.
  X509_STORE_CTX_set_flags(check.get(), X509_V_FLAG_NO_CHECK_TIME);
  return X509_verify_cert(check.get()) == 1;
}

int verify_pinned(X509_STORE_CTX* presented, void* argument) {
  const Digest& pin = *static_cast<const Digest*>(argument);
  X509* leaf = X509_STORE_CTX_get0_cert(presented);
  STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(presented);
  X509_STORE_CTX_set_error(presented, X509_V_ERR_APPLICATION_VERIFICATION);
  if (leaf == nullptr || !has_controller_uri(leaf)) return 0;
  for (int i = 0; sent != nullptr && i < sk_X509_num(sent); ++i) {
    X509* root = sk_X509_value(sent, i);
    if (!key_has_digest(root, pin) || X509_cmp(root, leaf) == 0 || !chains_to(leaf, root, sent)) continue;
    X509_STORE_CTX_set_error(presented, X509_V_OK);
    return 1;
  }
  return 0;
}

int verify_key(X509_STORE_CTX* presented, void* argument) {
  X509* leaf = X509_STORE_CTX_get0_cert(presented);
  const bool is_it = leaf != nullptr && key_has_digest(leaf, *static_cast<const Digest*>(argument));
  X509_STORE_CTX_set_error(presented, is_it ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
  return is_it ? 1 : 0;
}

std::expected<void, std::string> use_chain(SSL_CTX* context, const std::string& certificate_pem) {
  const Owned<BIO> source = memory(certificate_pem);
  const Owned<X509> leaf(PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr));
  if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return std::unexpected("the certificate cannot be read: " + openssl_error());
  }
  while (X509* next = PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr)) {
    if (SSL_CTX_add0_chain_cert(context, next) == 1) continue;
    X509_free(next);
    return std::unexpected("a certificate of the chain cannot be used: " + openssl_error());
  }
  ERR_clear_error();  // the end of the text is an error to PEM_read
  return {};
}

bool is_address(const std::string& host) {
  return IpAddress::parse(host).has_value();
}

}  // namespace

std::expected<TlsContext, std::string> make_server_context(const std::string& certificate_pem,
                                                           const std::string& private_key_pem) {
  const TlsContext context = new_context(TLS_server_method());
  if (auto used = use_chain(context.get(), certificate_pem); !used) return std::unexpected(used.error());
  const Owned<BIO> source = memory(private_key_pem);
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(source.get(), nullptr, nullptr, nullptr));
  if (!key || SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 || SSL_CTX_check_private_key(context.get()) != 1) {
    return std::unexpected("the private key cannot be read or is not the certificate's: " + openssl_error());
  }
  SSL_CTX_set_alpn_select_cb(context.get(), choose_alpn, nullptr);
  SSL_CTX_set_options(context.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  return context;
}

std::string certificate_to_pem(ByteView der) {
  const unsigned char* at = der.data();
  const Owned<X509> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  const Owned<BIO> text(BIO_new(BIO_s_mem()));
  if (!certificate || !text || PEM_write_bio_X509(text.get(), certificate.get()) != 1) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::expected<TlsContext, std::string> make_client_context(const ServerTrust& trust) {
  const TlsContext made = new_context(TLS_client_method());
  SSL_CTX* raw = made.get();
  // The pin lives as long as the context that checks it.
  auto pin = std::make_shared<std::optional<Digest>>(trust.key_pin ? trust.key_pin : trust.root_pin);
  TlsContext context(raw, [made, pin](SSL_CTX*) {});
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  if (*pin) {
    SSL_CTX_set_cert_verify_callback(raw, trust.key_pin ? verify_key : verify_pinned, &**pin);
  } else if (auto found = use_system_authorities(raw); !found) {
    return std::unexpected(found.error());
  }
  return context;
}

ssl_st* new_client_connection(const TlsContext& context, const ServerTrust& trust, const std::string& host) {
  SSL* connection = SSL_new(context.get());
  if (connection == nullptr) return nullptr;
  // SSL_set_tlsext_host_name without its macro, whose cast of the name warns.
  if (!is_address(host))
    SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(host.c_str()));
  if (!trust.root_pin && !trust.key_pin) {
    X509_VERIFY_PARAM* names = SSL_get0_param(connection);
    if (is_address(host)) {
      X509_VERIFY_PARAM_set1_ip_asc(names, host.c_str());
    } else {
      X509_VERIFY_PARAM_set1_host(names, host.c_str(), host.size());
    }
  }
  return connection;
}

ssl_st* new_server_connection(const TlsContext& context) {
  return SSL_new(context.get());
}

std::string distrust_reason(const ssl_st* connection, const ServerTrust& trust, const std::string& host) {
  const long result = SSL_get_verify_result(connection);
  if (result == X509_V_OK) return {};
  if (trust.key_pin) return host + " is not the relay that was promised: it has another key";
  if (trust.root_pin) {
    return host + " is not the server that was promised: its certificate does not lead to the pinned root";
  }
  return "the certificate of " + host + " is not trusted (" + X509_verify_cert_error_string(result) +
         "); a server with its own CA needs its enrolment URL, https://…/#ca=…";
}

}  // namespace postern::runtime
