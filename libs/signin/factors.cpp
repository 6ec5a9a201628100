#include "signin/factors.hpp"

#include <algorithm>

#include "identity/json.hpp"
#include "identity/keys.hpp"

namespace postern::signin {
namespace {

namespace json = identity::json;

constexpr std::size_t kRecoveryCodeBytes = 10;
constexpr std::size_t kRecoveryCodeLetters = 16;
constexpr std::size_t kTypedMax = 64;

/// Letters and digits in capitals: how a code is typed does not matter.
std::string letters_of(std::string_view typed) {
  std::string result;
  if (typed.size() > kTypedMax) return result;
  for (const char c : typed) {
    if (c >= 'a' && c <= 'z') result += static_cast<char>(c - 'a' + 'A');
    if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) result += c;
  }
  return result;
}

Digest recovery_digest(std::string_view letters) {
  return identity::sha256(as_bytes("postern-recovery-v1" + std::string(letters)));
}

bool use_recovery_code(Factors& factors, std::string_view code) {
  const std::string letters = letters_of(code);
  const Digest digest = recovery_digest(letters);
  auto found = factors.recovery_codes.end();
  for (auto each = factors.recovery_codes.begin(); each != factors.recovery_codes.end(); ++each) {
    if (equal_constant_time(*each, digest)) found = each;
  }
  if (letters.size() != kRecoveryCodeLetters || found == factors.recovery_codes.end()) return false;
  factors.recovery_codes.erase(found);
  return true;
}

json::Object object_of(const Passkey& passkey) {
  json::Object object;
  object.emplace_back("id", to_base64url(passkey.id));
  object.emplace_back("key", to_base64url(passkey.key));
  object.emplace_back("counter", passkey.counter);
  object.emplace_back("name", passkey.name);
  object.emplace_back("added", to_unix_ms(passkey.added_at));
  if (passkey.used_at) object.emplace_back("used", to_unix_ms(*passkey.used_at));
  return object;
}

std::optional<Bytes> bytes_of(const json::Value* value) {
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::nullopt : from_base64url(*text);
}

std::optional<std::int64_t> integer_of(const json::Value* value) {
  return value == nullptr ? std::nullopt : value->as_integer();
}

std::optional<Passkey> passkey_of(const json::Value& value) {
  auto id = bytes_of(value.find("id"));
  auto key = bytes_of(value.find("key"));
  const auto counter = integer_of(value.find("counter"));
  const auto added = integer_of(value.find("added"));
  const json::Value* name = value.find("name");
  if (!id || !key || !counter || !added || name == nullptr || name->as_string() == nullptr) return std::nullopt;
  if (*counter < 0 || *counter > UINT32_MAX) return std::nullopt;
  Passkey passkey{std::move(*id),     std::move(*key),      static_cast<std::uint32_t>(*counter),
                  *name->as_string(), from_unix_ms(*added), std::nullopt};
  if (const auto used = integer_of(value.find("used"))) passkey.used_at = from_unix_ms(*used);
  return passkey;
}

bool read_totp(const json::Value& value, Factors& factors) {
  auto secret = bytes_of(value.find("secret"));
  const auto step = integer_of(value.find("last_step"));
  if (!secret || !step) return false;
  factors.totp = Totp{std::move(*secret), *step};
  return true;
}

bool read_recovery_codes(const json::Array& list, Factors& factors) {
  for (const json::Value& each : list) {
    const auto bytes = bytes_of(&each);
    if (!bytes || bytes->size() != Digest{}.size()) return false;
    std::ranges::copy(*bytes, factors.recovery_codes.emplace_back().begin());
  }
  return true;
}

bool read_passkeys(const json::Array& list, Factors& factors) {
  for (const json::Value& each : list) {
    auto passkey = passkey_of(each);
    if (!passkey) return false;
    factors.passkeys.push_back(std::move(*passkey));
  }
  return true;
}

}  // namespace

Passkey* Factors::find_passkey(ByteView id) {
  const auto found =
      std::ranges::find_if(passkeys, [&](const Passkey& each) { return std::ranges::equal(each.id, id); });
  return found == passkeys.end() ? nullptr : &*found;
}

const Passkey* Factors::find_passkey(ByteView id) const {
  return const_cast<Factors&>(*this).find_passkey(id);  // it gives a pointer, and changes nothing
}

std::string encode(const Factors& factors) {
  json::Object object;
  object.emplace_back("version", 1);
  if (factors.totp) {
    json::Object totp;
    totp.emplace_back("secret", to_base64url(factors.totp->secret));
    totp.emplace_back("last_step", factors.totp->last_step);
    object.emplace_back("totp", std::move(totp));
  }
  json::Array recovery;
  for (const Digest& each : factors.recovery_codes) recovery.emplace_back(to_base64url(each));
  object.emplace_back("recovery", std::move(recovery));
  json::Array passkeys;
  for (const Passkey& each : factors.passkeys) passkeys.emplace_back(object_of(each));
  object.emplace_back("passkeys", std::move(passkeys));
  return json::write(object);
}

std::optional<Factors> decode_factors(std::string_view text) {
  const auto value = json::parse(text);
  if (!value || integer_of(value->find("version")) != 1) return std::nullopt;
  Factors factors;
  const json::Value* totp = value->find("totp");
  const json::Value* recovery = value->find("recovery");
  const json::Value* passkeys = value->find("passkeys");
  if (recovery == nullptr || recovery->as_array() == nullptr) return std::nullopt;
  if (passkeys == nullptr || passkeys->as_array() == nullptr) return std::nullopt;
  if (totp != nullptr && !read_totp(*totp, factors)) return std::nullopt;
  if (!read_recovery_codes(*recovery->as_array(), factors)) return std::nullopt;
  if (!read_passkeys(*passkeys->as_array(), factors)) return std::nullopt;
  return factors;
}

std::optional<CodeKind> use_code(Factors& factors, std::string_view code, WallTime now) {
  if (factors.totp) {
    if (const auto step = find_totp_step(*factors.totp, code, now)) {
      factors.totp->last_step = *step;
      return CodeKind::App;
    }
  }
  if (use_recovery_code(factors, code)) return CodeKind::Recovery;
  return std::nullopt;
}

std::vector<std::string> renew_recovery_codes(Factors& factors, RandomSource& random) {
  std::vector<std::string> codes;
  factors.recovery_codes.clear();
  for (std::size_t i = 0; i < kRecoveryCodes; ++i) {
    const std::string letters = to_base32(random.make<std::array<std::uint8_t, kRecoveryCodeBytes>>());
    factors.recovery_codes.push_back(recovery_digest(letters));
    std::string& code = codes.emplace_back();
    for (std::size_t at = 0; at < letters.size(); at += 4) code += (at == 0 ? "" : "-") + letters.substr(at, 4);
  }
  return codes;
}

}  // namespace postern::signin
