// JSON Web Tokens as Postern uses them: compact ES256 JWS, a pinned `kid`, one `typ` for each use (PROTOCOL.md §5).
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "identity/json.hpp"
#include "identity/tokens.hpp"

namespace postern::identity {

[[nodiscard]] std::string sign_jwt(std::string_view type, const json::Value& claims, const PrivateKey& key);

/// The claims object of a token whose header and signature hold. Claims are not judged here.
[[nodiscard]] std::expected<json::Value, TokenError> verify_jwt(std::string_view jwt, std::string_view type,
                                                                const KeySet& keys);
/// The same without a key: shape, `typ` and `alg` only. Proves nothing.
[[nodiscard]] std::expected<json::Value, TokenError> read_jwt_unverified(std::string_view jwt, std::string_view type);

/// `iat` and `exp` against `now`, with kClockTolerance.
[[nodiscard]] std::expected<void, TokenError> check_times(std::int64_t issued_at, std::int64_t expires_at,
                                                          WallTime now);

/// Reads claims by name; one missing or of the wrong type turns `ok()` false and reads as empty.
class ClaimReader {
 public:
  explicit ClaimReader(const json::Value& claims) : claims_(claims) {}

  [[nodiscard]] bool ok() const { return ok_; }
  std::string text(std::string_view name);
  std::int64_t integer(std::string_view name);
  std::uint64_t unsigned_integer(std::string_view name);
  /// A string of decimal digits without leading zeros, after `prefix`.
  std::uint64_t decimal(std::string_view name, std::string_view prefix = "");
  void fail() { ok_ = false; }

 private:
  const json::Value& claims_;
  bool ok_ = true;
};

/// Decimal digits without sign and leading zeros, up to 2^64-1.
[[nodiscard]] std::optional<std::uint64_t> parse_decimal(std::string_view text);

}  // namespace postern::identity
