// What a person has besides a password: an authenticator app, recovery codes, passkeys. A value without IO; the service
// keeps it sealed and commits each change before it counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "signin/totp.hpp"

namespace postern::signin {

inline constexpr std::size_t kRecoveryCodes = 10;
inline constexpr std::size_t kPasskeysMax = 16;
inline constexpr std::size_t kPasskeyNameMax = 64;
inline constexpr std::size_t kCredentialIdMax = 1023;  // WebAuthn §4
inline constexpr std::size_t kCoseKeyMax = 1024;       // an RSA key of 4096 bits has 530 bytes

struct Passkey {
  Bytes id{};
  Bytes key{};  ///< COSE_Key as it was registered
  std::uint32_t counter = 0;
  std::string name{};
  WallTime added_at{};
  std::optional<WallTime> used_at{};
  bool operator==(const Passkey&) const = default;
};

struct Factors {
  std::optional<Totp> totp{};
  std::vector<Digest> recovery_codes{};  ///< of those that were not used yet
  std::vector<Passkey> passkeys{};

  /// A password alone is not enough.
  [[nodiscard]] bool has_second() const { return totp.has_value() || !passkeys.empty(); }
  [[nodiscard]] bool empty() const { return !has_second() && recovery_codes.empty(); }
  [[nodiscard]] Passkey* find_passkey(ByteView id);
  [[nodiscard]] const Passkey* find_passkey(ByteView id) const;
  bool operator==(const Factors&) const = default;
};

/// JSON, for sealing.
[[nodiscard]] std::string encode(const Factors& factors);
[[nodiscard]] std::optional<Factors> decode_factors(std::string_view text);

enum class CodeKind : std::uint8_t { App, Recovery };
/// Whether `code` is right, of the app or a recovery code; it is used up in `factors`.
[[nodiscard]] std::optional<CodeKind> use_code(Factors& factors, std::string_view code, WallTime now);

/// Ten new ones, "ABCD-EFGH-IJKL-MNOP" with 80 bits each; older ones are void.
[[nodiscard]] std::vector<std::string> renew_recovery_codes(Factors& factors, RandomSource& random);

}  // namespace postern::signin
