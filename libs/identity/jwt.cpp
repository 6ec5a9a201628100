#include "identity/jwt.hpp"

#include <charconv>

namespace postern::identity {

namespace {

/// RFC 7518 §3.4: the two numbers of ES256.
constexpr std::size_t kSignatureSize = 64;

struct Parts {
  std::string_view signed_part;
  json::Value header;
  std::string_view payload;
  std::string_view signature;
};

std::expected<json::Value, TokenError> decode_object(std::string_view base64) {
  const auto bytes = from_base64url(base64);
  if (!bytes) return std::unexpected(TokenError::Malformed);
  auto value = json::parse(as_text(*bytes), {.bytes = kTokenSizeMax});
  if (!value || value->as_object() == nullptr) return std::unexpected(TokenError::Malformed);
  return std::move(*value);
}

std::expected<Parts, TokenError> split(std::string_view jwt) {
  if (jwt.size() > kTokenSizeMax) return std::unexpected(TokenError::Malformed);
  const auto first = jwt.find('.');
  const auto second = first == std::string_view::npos ? first : jwt.find('.', first + 1);
  if (second == std::string_view::npos || jwt.find('.', second + 1) != std::string_view::npos) {
    return std::unexpected(TokenError::Malformed);
  }
  auto header = decode_object(jwt.substr(0, first));
  if (!header) return std::unexpected(header.error());
  return Parts{jwt.substr(0, second), std::move(*header), jwt.substr(first + 1, second - first - 1),
               jwt.substr(second + 1)};
}

bool member_is(const json::Value& object, std::string_view name, std::string_view expected) {
  const json::Value* member = object.find(name);
  const std::string* text = member == nullptr ? nullptr : member->as_string();
  return text != nullptr && *text == expected;
}

std::expected<void, TokenError> check_header(const json::Value& header, std::string_view type) {
  if (!member_is(header, "typ", type)) return std::unexpected(TokenError::WrongType);
  if (!member_is(header, "alg", "ES256")) return std::unexpected(TokenError::WrongAlgorithm);
  // RFC 7515 §4.1.11: an extension that must be understood is one that is not.
  if (header.find("crit") != nullptr) return std::unexpected(TokenError::Malformed);
  return {};
}

std::expected<void, TokenError> check_signature(const Parts& parts, const KeySet& keys) {
  const json::Value* kid = parts.header.find("kid");
  const std::string* name = kid == nullptr ? nullptr : kid->as_string();
  const auto key = name == nullptr ? keys.end() : keys.find(*name);
  if (key == keys.end()) return std::unexpected(TokenError::UnknownKey);
  const auto signature = from_base64url(parts.signature);
  if (!signature || !key->second.verify_jws(as_bytes(parts.signed_part), *signature)) {
    return std::unexpected(TokenError::BadSignature);
  }
  return {};
}

}  // namespace

std::string sign_jwt(std::string_view type, const json::Value& claims, const PrivateKey& key) {
  const json::Object header = {{"typ", type}, {"alg", "ES256"}, {"kid", key_id(key.public_key())}};
  std::string jwt = to_base64url(as_bytes(json::write(header)));
  jwt += '.';
  jwt += to_base64url(as_bytes(json::write(claims)));
  const Bytes signature = key.sign_jws(as_bytes(jwt));
  jwt += '.';
  jwt += to_base64url(signature);
  return jwt;
}

std::expected<json::Value, TokenError> verify_jwt(std::string_view jwt, std::string_view type, const KeySet& keys) {
  const auto parts = split(jwt);
  if (!parts) return std::unexpected(parts.error());
  if (const auto header = check_header(parts->header, type); !header) return std::unexpected(header.error());
  if (const auto valid = check_signature(*parts, keys); !valid) return std::unexpected(valid.error());
  return decode_object(parts->payload);
}

std::expected<json::Value, TokenError> read_jwt_unverified(std::string_view jwt, std::string_view type) {
  const auto parts = split(jwt);
  if (!parts) return std::unexpected(parts.error());
  // A token that was cut off or has something hanging on is told from a whole one without any key.
  const auto signature = from_base64url(parts->signature);
  if (!signature || signature->size() != kSignatureSize) return std::unexpected(TokenError::Malformed);
  if (const auto header = check_header(parts->header, type); !header) return std::unexpected(header.error());
  return decode_object(parts->payload);
}

std::expected<void, TokenError> check_times(std::int64_t issued_at, std::int64_t expires_at, WallTime now) {
  // The tolerance is added to the clock, never to a claim: a claim may be as large as an integer can be.
  const std::int64_t seconds = to_unix_seconds(now);
  const std::int64_t tolerance = kClockTolerance.count();
  if (issued_at > seconds + tolerance) return std::unexpected(TokenError::NotYetValid);
  if (expires_at <= seconds - tolerance) return std::unexpected(TokenError::Expired);
  return {};
}

std::string ClaimReader::text(std::string_view name) {
  const json::Value* claim = claims_.find(name);
  const std::string* value = claim == nullptr ? nullptr : claim->as_string();
  if (value == nullptr) fail();
  return value == nullptr ? std::string{} : *value;
}

std::int64_t ClaimReader::integer(std::string_view name) {
  const json::Value* claim = claims_.find(name);
  const auto value = claim == nullptr ? std::nullopt : claim->as_integer();
  if (!value) fail();
  return value.value_or(0);
}

std::uint64_t ClaimReader::unsigned_integer(std::string_view name) {
  const json::Value* claim = claims_.find(name);
  const auto value = claim == nullptr ? std::nullopt : claim->as_unsigned();
  if (!value) fail();
  return value.value_or(0);
}

std::uint64_t ClaimReader::decimal(std::string_view name, std::string_view prefix) {
  const std::string value = text(name);
  const auto number =
      value.starts_with(prefix) ? parse_decimal(std::string_view(value).substr(prefix.size())) : std::nullopt;
  if (!number) fail();
  return number.value_or(0);
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return value;
}

std::string key_id(const PublicKey& key) {
  return to_base64url(ByteView(key.digest()).first(8));
}

std::string_view to_string(TokenError error) {
  switch (error) {
    case TokenError::Malformed:
      return "the token is malformed";
    case TokenError::WrongType:
      return "the token is of another type";
    case TokenError::WrongAlgorithm:
      return "the token is not signed with ES256";
    case TokenError::UnknownKey:
      return "the token is signed by an unknown key";
    case TokenError::BadSignature:
      return "the signature of the token is wrong";
    case TokenError::WrongAudience:
      return "the token is for somebody else";
    case TokenError::WrongIssuer:
      return "the token is from another network";
    case TokenError::NotYetValid:
      return "the token is not valid yet";
    case TokenError::Expired:
      return "the token has expired";
    case TokenError::WrongKey:
      return "the token belongs to another device key";
  }
  return "unknown token error";
}

}  // namespace postern::identity
