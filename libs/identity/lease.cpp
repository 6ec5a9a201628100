#include "identity/jwt.hpp"
#include "identity/tokens.hpp"

namespace postern::identity {

namespace {

constexpr std::string_view kLeaseType = "postern-lease+jwt";
constexpr std::string_view kAudiencePrefix = "rn:";
constexpr std::string_view kSubjectPrefix = "user:";
constexpr std::string_view kKeyClaim = "spki#S256";

json::Array grants_to_json(const std::vector<ResourceGrant>& resources) {
  json::Array grants;
  grants.reserve(resources.size());
  for (const ResourceGrant& grant : resources) {
    grants.emplace_back(json::Array{grant.resource_id, grant.expires_at});
  }
  return grants;
}

std::optional<std::vector<ResourceGrant>> grants_from_json(const json::Value* claim) {
  const json::Array* items = claim == nullptr ? nullptr : claim->as_array();
  if (items == nullptr) return std::nullopt;
  std::vector<ResourceGrant> resources;
  resources.reserve(items->size());
  for (const json::Value& item : *items) {
    const json::Array* pair = item.as_array();
    if (pair == nullptr || pair->size() != 2) return std::nullopt;
    const auto id = (*pair)[0].as_unsigned();
    const auto expires_at = (*pair)[1].as_integer();
    if (!id || !expires_at) return std::nullopt;
    resources.push_back({*id, *expires_at});
  }
  return resources;
}

std::optional<Digest> key_from_json(const json::Value* claim) {
  const json::Value* member = claim == nullptr ? nullptr : claim->find(kKeyClaim);
  const std::string* text = member == nullptr ? nullptr : member->as_string();
  const auto bytes = text == nullptr ? std::nullopt : from_base64url(*text);
  Digest digest{};
  if (!bytes || bytes->size() != digest.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), digest.begin());
  return digest;
}

std::optional<Lease> lease_from(const json::Value& claims) {
  ClaimReader reader(claims);
  Lease lease;
  lease.issuer = reader.text("iss");
  lease.user_id = reader.decimal("sub", kSubjectPrefix);
  lease.device_id = reader.decimal("dev");
  lease.email = reader.text("email");
  lease.policy_version = reader.unsigned_integer("pv");
  lease.issued_at = reader.integer("iat");
  lease.expires_at = reader.integer("exp");
  static_cast<void>(reader.text("aud"));
  auto resources = grants_from_json(claims.find("res"));
  const auto key = key_from_json(claims.find("cnf"));
  if (!reader.ok() || !resources || !key) return std::nullopt;
  lease.resources = std::move(*resources);
  lease.device_key = *key;
  return lease;
}

}  // namespace

std::string sign_lease(const Lease& lease, const PrivateKey& key) {
  const json::Object claims = {
      {"iss", lease.issuer},
      {"aud", std::string(kAudiencePrefix) + std::to_string(lease.remote_network_id)},
      {"sub", std::string(kSubjectPrefix) + std::to_string(lease.user_id)},
      {"dev", std::to_string(lease.device_id)},
      {"cnf", json::Object{{std::string(kKeyClaim), to_base64url(lease.device_key)}}},
      {"res", grants_to_json(lease.resources)},
      {"pv", lease.policy_version},
      {"email", lease.email},
      {"iat", lease.issued_at},
      {"exp", lease.expires_at},
  };
  return sign_jwt(kLeaseType, claims, key);
}

std::expected<Lease, TokenError> verify_lease(std::string_view jwt, const KeySet& keys,
                                              const LeaseExpectation& expected, WallTime now) {
  const auto claims = verify_jwt(jwt, kLeaseType, keys);
  if (!claims) return std::unexpected(claims.error());
  auto lease = lease_from(*claims);
  if (!lease) return std::unexpected(TokenError::Malformed);
  if (lease->issuer != expected.issuer) return std::unexpected(TokenError::WrongIssuer);
  const std::string audience = std::string(kAudiencePrefix) + std::to_string(expected.remote_network_id);
  if (*claims->find("aud")->as_string() != audience) return std::unexpected(TokenError::WrongAudience);
  lease->remote_network_id = expected.remote_network_id;
  if (const auto times = check_times(lease->issued_at, lease->expires_at, now); !times) {
    return std::unexpected(times.error());
  }
  if (!equal_constant_time(lease->device_key, expected.peer_key)) return std::unexpected(TokenError::WrongKey);
  return std::move(*lease);
}

}  // namespace postern::identity
