// GnuTLS draws randomness from the kernel by itself. In a fuzz target the kernel is a seeded generator, so that the
// same input does the same again (DESIGN: randomness of GnuTLS).
#include <sys/types.h>

#include "base/random.hpp"

namespace {

postern::SeededRandom& entropy() {
  static postern::SeededRandom random(0x706f737465726e);
  return random;
}

}  // namespace

extern "C" ssize_t getrandom(void* to, std::size_t size, unsigned) {
  entropy().fill({static_cast<std::uint8_t*>(to), size});
  return static_cast<ssize_t>(size);
}

extern "C" int getentropy(void* to, std::size_t size) {
  entropy().fill({static_cast<std::uint8_t*>(to), size});
  return 0;
}
