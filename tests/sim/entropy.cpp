#include "sim/entropy.hpp"

// The old interface is the one that replaces every draw of OpenSSL, ECDSA's too, in one place.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <openssl/rand.h>
#include <sys/types.h>

#include <ctime>

#include "base/random.hpp"

namespace postern::sim {
namespace {

SeededRandom& source() {
  static SeededRandom random(1);
  return random;
}

int fill(unsigned char* to, int size) {
  source().fill({to, static_cast<std::size_t>(size)});
  return 1;
}

int status() {
  return 1;
}

std::time_t fixed_time(std::time_t* to) {
  constexpr std::time_t kNow = 1'700'000'000;
  if (to != nullptr) *to = kNow;
  return kNow;
}

}  // namespace

void seed_entropy(std::uint64_t seed) {
  static const RAND_METHOD kMethod{nullptr, fill, nullptr, nullptr, fill, status};
  static const bool kOnce = [] {
    gnutls_global_set_time_function(fixed_time);
    return RAND_set_rand_method(&kMethod) == 1;
  }();
  if (!kOnce) std::abort();
  source() = SeededRandom(seed);
}

}  // namespace postern::sim

// GnuTLS calls its own gnutls_rnd() through the linker's table, so that this one takes its place.
extern "C" int gnutls_rnd(gnutls_rnd_level_t, void* to, std::size_t size) {
  postern::sim::source().fill({static_cast<std::uint8_t*>(to), size});
  return 0;
}

extern "C" ssize_t getrandom(void* to, std::size_t size, unsigned) {
  postern::sim::source().fill({static_cast<std::uint8_t*>(to), size});
  return static_cast<ssize_t>(size);
}

extern "C" int getentropy(void* to, std::size_t size) {
  postern::sim::source().fill({static_cast<std::uint8_t*>(to), size});
  return 0;
}
