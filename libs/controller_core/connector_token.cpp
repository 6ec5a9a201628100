#include "controller_core/connector_token.hpp"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "identity/tokens.hpp"

namespace postern::controller {

namespace {

constexpr std::chrono::seconds kAccessTokenLife{3600};

}  // namespace

std::optional<Digest> certificate_key_digest(std::string_view pem) {
  if (pem.empty() || pem.size() > identity::kTokenSizeMax) return std::nullopt;
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                      &BIO_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                                                &X509_free);
  if (!certificate) return std::nullopt;
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &der);
  if (size <= 0) return std::nullopt;
  const Digest digest = identity::sha256(ByteView(der, static_cast<std::size_t>(size)));
  OPENSSL_free(der);
  return digest;
}

std::string make_access_token(const NetworkRecord& network, const ConnectorRecord& connector,
                              const identity::PrivateKey& signing, WallTime now, RandomSource& random) {
  identity::AccessToken token;
  token.network = network.slug;
  token.network_id = network.id.value;
  token.connector_id = connector.id.value;
  token.remote_network_id = connector.remote_network.value;
  token.url = network.url;
  if (const auto pin = certificate_key_digest(network.root_certificate_pem)) token.ca = to_base64url(*pin);
  token.jti = to_hex(random.make<std::array<std::uint8_t, 16>>());
  token.issued_at = to_unix_seconds(now);
  token.expires_at = token.issued_at + kAccessTokenLife.count();
  return identity::sign_access_token(token, signing);
}

}  // namespace postern::controller
