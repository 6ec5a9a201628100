#include "signin/totp.hpp"

#include <openssl/evp.h>

#include <cstdlib>

namespace postern::signin {
namespace {

constexpr std::size_t kDigits = 6;
constexpr std::uint32_t kCodes = 1'000'000;

std::array<std::uint8_t, 20> hmac_sha1(ByteView key, ByteView message) {
  std::array<std::uint8_t, 20> mac{};
  std::size_t size = 0;
  // Fails only when memory is gone or OpenSSL is broken.
  if (EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA1", nullptr, key.data(), key.size(), message.data(), message.size(),
                mac.data(), mac.size(), &size) == nullptr ||
      size != mac.size()) {
    std::abort();
  }
  return mac;
}

std::string without_blanks(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c != ' ') result += c;
  }
  return result;
}

/// Unreserved characters of RFC 3986 stay.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || std::string_view("-._~@").contains(c)) {
      result += c;
    } else {
      result += '%' + to_hex(as_bytes({&c, 1}));
    }
  }
  return result;
}

}  // namespace

std::int64_t totp_step(WallTime now) {
  return to_unix_seconds(now) / kTotpStepSeconds;
}

std::string totp_code(ByteView secret, std::int64_t step) {
  std::array<std::uint8_t, 8> counter{};
  ByteWriter(counter).u64(static_cast<std::uint64_t>(step));
  const auto mac = hmac_sha1(secret, counter);
  const std::size_t offset = mac.back() & 0x0f;  // RFC 4226 §5.3
  const std::uint32_t number = (load_u32(mac.data() + offset) & 0x7fffffffU) % kCodes;
  std::string code = std::to_string(number);
  return std::string(kDigits - code.size(), '0') + code;
}

std::optional<std::int64_t> find_totp_step(const Totp& totp, std::string_view code, WallTime now) {
  const std::string typed = code.size() <= 16 ? without_blanks(code) : std::string();
  const std::int64_t today = totp_step(now);
  std::optional<std::int64_t> found;
  for (std::int64_t step = today - 1; step <= today + 1; ++step) {
    const bool same = equal_constant_time(as_bytes(totp_code(totp.secret, step)), as_bytes(typed));
    if (same && step > totp.last_step) found = step;
  }
  return found;
}

std::string to_base32(ByteView bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string text;
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const std::uint8_t byte : bytes) {
    bits = (bits << 8) | byte;
    held += 8;
    while (held >= 5) {
      held -= 5;
      text += kAlphabet[(bits >> held) & 31U];
    }
  }
  if (held > 0) text += kAlphabet[(bits << (5 - held)) & 31U];
  return text;
}

std::string otpauth_uri(ByteView secret, std::string_view issuer, std::string_view account) {
  const std::string who = escaped(issuer);
  return "otpauth://totp/" + who + ':' + escaped(account) + "?secret=" + to_base32(secret) + "&issuer=" + who;
}

}  // namespace postern::signin
