// The AEAD calls of QUIC packets. ngtcp2 gives these callbacks no user pointer, so what they learn (that a packet was
// authentic) is counted per thread and read around the call that caused it.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include <cstdint>

namespace postern::session {

/// Puts encrypt, decrypt and header protection into `callbacks`, with their key management.
void install_packet_protection(ngtcp2_callbacks& callbacks);

/// Packets that this thread has opened successfully since it started.
[[nodiscard]] std::uint64_t packets_opened();
/// Packets whose protection did not verify.
[[nodiscard]] std::uint64_t packets_refused();

}  // namespace postern::session
