#include "runtime/store/password.hpp"

#include <argon2.h>

#include <array>
#include <vector>

#include "base/bytes.hpp"

namespace postern::runtime {

namespace {

constexpr std::uint32_t kMemoryKib = 19456;
constexpr std::uint32_t kPasses = 2;
constexpr std::uint32_t kLanes = 1;
constexpr std::size_t kSaltSize = 16;
constexpr std::size_t kHashSize = 32;
constexpr std::size_t kEncodedSizeMax = 256;
constexpr std::string_view kToday = "$argon2id$v=19$m=19456,t=2,p=1$";
/// What an unknown account is measured against. It is no hash of any password that is 1025 bytes or shorter by more
/// than chance: 32 bytes of zero.
constexpr const char* kNobody =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Only today's cost is paid: a hash with other parameters could ask for any amount of memory.
bool is_ours(std::string_view encoded) {
  return encoded.size() <= kEncodedSizeMax && encoded.starts_with(kToday);
}

}  // namespace

std::string password_problem(std::string_view password) {
  if (password.size() < kPasswordSizeMin) return "a password needs at least 8 characters";
  if (password.size() > kPasswordSizeMax) return "a password has at most 1024 bytes";
  return {};
}

std::string hash_password(std::string_view password, RandomSource& random) {
  const auto salt = random.make<std::array<std::uint8_t, kSaltSize>>();
  std::array<char, kEncodedSizeMax> encoded{};
  const int code = argon2id_hash_encoded(kPasses, kMemoryKib, kLanes, password.data(), password.size(), salt.data(),
                                         salt.size(), kHashSize, encoded.data(), encoded.size());
  if (code != ARGON2_OK) return {};  // out of memory: nobody can sign in with an empty hash
  return encoded.data();
}

bool verify_password(std::string_view password, std::string_view encoded) {
  if (password.size() > kPasswordSizeMax) return false;
  const bool ours = is_ours(encoded);
  const std::string against(ours ? encoded : kNobody);
  // libargon2 compares the hashes in constant time.
  const bool same = argon2id_verify(against.c_str(), password.data(), password.size()) == ARGON2_OK;
  return ours && same;
}

bool needs_rehash(std::string_view encoded) {
  return !is_ours(encoded);
}

}  // namespace postern::runtime
