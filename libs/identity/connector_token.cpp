// The two tokens of a connector (PROTOCOL.md §5.2), and the opaque one of a relay (§6.1). Claim names follow the
// published connector tokens of Twingate, so that tools that read them keep working.
#include "identity/jwt.hpp"
#include "identity/tokens.hpp"

namespace postern::identity {

namespace {

constexpr std::string_view kAccessType = "postern-access+jwt";
constexpr std::string_view kNodeType = "AN";
constexpr std::string_view kTokenVersion = "4";
constexpr std::string_view kRefreshPrefix = "ptr1_";
constexpr std::string_view kRelayPrefix = "prl1_";
constexpr std::size_t kSecretSize = 32;

std::string make_secret(std::string_view prefix, RandomSource& random) {
  return std::string(prefix) + to_base64url(random.make<std::array<std::uint8_t, kSecretSize>>());
}

bool is_secret_shaped(std::string_view prefix, std::string_view token) {
  if (!token.starts_with(prefix)) return false;
  const auto bytes = from_base64url(token.substr(prefix.size()));
  return bytes && bytes->size() == kSecretSize;
}

std::expected<AccessToken, TokenError> access_token_from(const json::Value& claims) {
  ClaimReader reader(claims);
  AccessToken token;
  token.network = reader.text("aud");
  token.connector_id = reader.decimal("aid");
  token.network_id = reader.decimal("tid");
  token.remote_network_id = reader.decimal("rnetid");
  token.jti = reader.text("jti");
  token.issued_at = reader.integer("iat");
  token.expires_at = reader.integer("exp");
  token.url = reader.text("url");
  token.ca = reader.text("ca");
  static_cast<void>(reader.text("iss"));
  if (reader.text("nt") != kNodeType || reader.text("ver") != kTokenVersion) reader.fail();
  if (!reader.ok()) return std::unexpected(TokenError::Malformed);
  return token;
}

}  // namespace

std::string sign_access_token(const AccessToken& token, const PrivateKey& key) {
  const json::Object claims = {
      {"iss", token.network},
      {"aud", token.network},
      {"nt", kNodeType},
      {"aid", std::to_string(token.connector_id)},
      {"tid", std::to_string(token.network_id)},
      {"rnetid", std::to_string(token.remote_network_id)},
      {"jti", token.jti},
      {"iat", token.issued_at},
      {"rnw", token.issued_at + (token.expires_at - token.issued_at) / 2},
      {"exp", token.expires_at},
      {"ver", kTokenVersion},
      {"url", token.url},
      {"ca", token.ca},
  };
  return sign_jwt(kAccessType, claims, key);
}

std::expected<AccessToken, TokenError> read_access_token_unverified(std::string_view jwt) {
  const auto claims = read_jwt_unverified(jwt, kAccessType);
  if (!claims) return std::unexpected(claims.error());
  return access_token_from(*claims);
}

std::expected<AccessToken, TokenError> verify_access_token(std::string_view jwt, const KeySet& keys,
                                                           std::string_view network, WallTime now) {
  const auto claims = verify_jwt(jwt, kAccessType, keys);
  if (!claims) return std::unexpected(claims.error());
  auto token = access_token_from(*claims);
  if (!token) return token;
  if (*claims->find("iss")->as_string() != network) return std::unexpected(TokenError::WrongIssuer);
  if (token->network != network) return std::unexpected(TokenError::WrongAudience);
  if (const auto times = check_times(token->issued_at, token->expires_at, now); !times) {
    return std::unexpected(times.error());
  }
  return token;
}

std::string make_refresh_token(RandomSource& random) {
  return make_secret(kRefreshPrefix, random);
}
bool is_refresh_token_shaped(std::string_view token) {
  return is_secret_shaped(kRefreshPrefix, token);
}
std::string make_relay_token(RandomSource& random) {
  return make_secret(kRelayPrefix, random);
}
bool is_relay_token_shaped(std::string_view token) {
  return is_secret_shaped(kRelayPrefix, token);
}

}  // namespace postern::identity
