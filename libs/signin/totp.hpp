// Codes of an authenticator app: TOTP (RFC 6238) as every app knows it: SHA-1, six digits, 30 seconds.
//
// The clock of a phone may be off by one step in either direction. A step counts once: the caller keeps the last one
// that was accepted, and nothing up to it is taken again, so a code that somebody has seen being typed is of no use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/time.hpp"

namespace postern::signin {

inline constexpr std::size_t kTotpSecretSize = 20;  // RFC 4226 §4 R6
inline constexpr std::int64_t kTotpStepSeconds = 30;

struct Totp {
  Bytes secret{};
  std::int64_t last_step = -1;  ///< the last one that was accepted
  bool operator==(const Totp&) const = default;
};

[[nodiscard]] std::int64_t totp_step(WallTime now);
/// Six digits.
[[nodiscard]] std::string totp_code(ByteView secret, std::int64_t step);
/// The step of `code`, which may have blanks in it, if it is later than the last one and next to `now`. Takes the same
/// time for every code.
[[nodiscard]] std::optional<std::int64_t> find_totp_step(const Totp& totp, std::string_view code, WallTime now);

/// RFC 4648 §6 without padding: how people type a secret into an app.
[[nodiscard]] std::string to_base32(ByteView bytes);
/// What the QR code says: otpauth://totp/ISSUER:ACCOUNT?secret=…&issuer=ISSUER
[[nodiscard]] std::string otpauth_uri(ByteView secret, std::string_view issuer, std::string_view account);

}  // namespace postern::signin
