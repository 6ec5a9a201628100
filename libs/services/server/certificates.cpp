#include "services/server/certificates.hpp"

#include <nlohmann/json.hpp>

namespace postern::server {

using nlohmann::json;

Bytes Leaf::encode() const {
  const json text = {
      {"key", key.to_pem()}, {"certificate", certificate_pem}, {"host", host}, {"not_after", to_unix_ms(not_after)}};
  return to_bytes(as_bytes(text.dump()));
}

std::optional<Leaf> Leaf::decode(ByteView bytes) {
  const json text = json::parse(as_text(bytes), nullptr, false);
  if (!text.is_object()) return std::nullopt;
  const auto key = identity::PrivateKey::from_pem(text.value("key", ""));
  if (!key) return std::nullopt;
  return Leaf{.key = *key,
              .certificate_pem = text.value("certificate", ""),
              .host = text.value("host", ""),
              .not_after = from_unix_ms(text.value("not_after", std::int64_t{0}))};
}

std::optional<Leaf> make_leaf(const identity::PrivateKey& root, std::string_view root_pem, const PublicAddress& address,
                              WallTime now, RandomSource& random) {
  Leaf leaf{.key = identity::PrivateKey::generate(random), .host = address.host, .not_after = now + kLeafLife};
  identity::CertificateRequest request;
  request.common_name = address.host;
  (address.ip() ? request.ip_addresses : request.dns_names).push_back(address.host);
  request.uris = {"postern:controller"};
  // Clocks of browsers may be behind ours.
  request.not_before = now - std::chrono::days(1);
  request.not_after = leaf.not_after;
  auto certificate = identity::issue_certificate(root, root_pem, leaf.key.public_key(), request, random);
  if (!certificate) return std::nullopt;
  leaf.certificate_pem = std::move(*certificate);
  return leaf;
}

std::string enrolment_url(std::string_view url, const std::optional<Digest>& root_digest) {
  std::string text(url);
  text += '/';
  if (root_digest) text += "#ca=" + to_base64url(*root_digest);
  return text;
}

}  // namespace postern::server
