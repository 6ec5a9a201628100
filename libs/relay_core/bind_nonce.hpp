// Nonces without memory (PROTOCOL.md §3.2): a MAC over the address that asked and the half minute it asked in.
#pragma once

#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "wire/stun.hpp"

namespace postern::relay_core {

class BindNonce {
 public:
  using Value = std::array<std::uint8_t, wire::kBindNonceSize>;

  explicit BindNonce(RandomSource& random) : key_(random.make<Digest>()) {}

  [[nodiscard]] Value make(const SocketAddress& from, WallTime wall) const { return make_for(from, slot_of(wall)); }
  /// True for a nonce of this address from the present slot or the one before.
  [[nodiscard]] bool is_valid(ByteView nonce, const SocketAddress& from, WallTime wall) const;

 private:
  [[nodiscard]] static std::uint32_t slot_of(WallTime wall) {
    return static_cast<std::uint32_t>(to_unix_seconds(wall) / 30);
  }
  [[nodiscard]] Value make_for(const SocketAddress& from, std::uint32_t slot) const;

  Digest key_;
};

}  // namespace postern::relay_core
