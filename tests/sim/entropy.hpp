// All randomness of GnuTLS and OpenSSL comes from one seeded generator here, so that a run can be repeated to the bit,
// also twice in one process.
#pragma once

#include <cstdint>

namespace postern::sim {

/// From here on the same draws as after every other call with this seed.
void seed_entropy(std::uint64_t seed);

}  // namespace postern::sim
