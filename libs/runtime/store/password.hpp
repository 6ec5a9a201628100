// Passwords: argon2id, m = 19456 KiB, t = 2, p = 1 (OWASP's floor), kept in their encoded form ("$argon2id$v=19$…").
//
// A hash takes about 20 ms and 19 MiB. How many run at once is bounded by the caller (PROTOCOL.md §8).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/random.hpp"

namespace postern::runtime {

/// Longer ones are refused by verify_password and must be refused before hash_password.
inline constexpr std::size_t kPasswordSizeMax = 1024;
inline constexpr std::size_t kPasswordSizeMin = 8;

/// Empty when `password` may be set; otherwise one sentence for people.
[[nodiscard]] std::string password_problem(std::string_view password);

[[nodiscard]] std::string hash_password(std::string_view password, RandomSource& random);
/// Compares in constant time. For an empty or malformed `encoded` (an unknown account, no password set) it works as
/// long as for a real one and says no.
[[nodiscard]] bool verify_password(std::string_view password, std::string_view encoded);
/// True when `encoded` was made with other parameters than today's: hash again at the next sign-in.
[[nodiscard]] bool needs_rehash(std::string_view encoded);

}  // namespace postern::runtime
