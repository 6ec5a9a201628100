// SipHash (Aumasson and Bernstein, 2012): a keyed hash of short input, for initial sequence numbers (RFC 6528) and for
// a flow table whose chains a local program cannot lengthen on purpose.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.hpp"

namespace postern::tcp {

using SipKey = std::array<std::uint8_t, 16>;

/// SipHash-2-4.
[[nodiscard]] std::uint64_t siphash(const SipKey& key, ByteView bytes);

}  // namespace postern::tcp
