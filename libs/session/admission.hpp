// Who may start a handshake at a connector (PROTOCOL.md "Knock"): bounds on half-open and open sessions, in all and per
// device, asked before TLS or any state exists.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "session/endpoint.hpp"

namespace postern::session {

struct DigestHash {
  std::size_t operator()(const Digest& digest) const noexcept {
    std::size_t word = 0;
    std::memcpy(&word, digest.data(), sizeof word);
    return word;
  }
};

class Admission {
 public:
  explicit Admission(const Limits& limits) : limits_(limits) {}

  /// Whether there is room for one more half-open session at all; asked before the knock is looked at.
  [[nodiscard]] std::optional<DropReason> refuse_any() const;
  /// Why this device may not start a handshake now; nothing when it may, and then the handshake is counted.
  [[nodiscard]] std::optional<DropReason> start(Instant now, const Digest& device);
  /// The handshake is done. True when the device now has more sessions than it may: the owner displaces one.
  [[nodiscard]] bool establish(const Digest& device);
  void end_half_open(const Digest& device);
  void end_established(const Digest& device);

 private:
  struct Device {
    std::uint32_t half_open = 0;
    std::uint32_t established = 0;
    std::uint32_t started = 0;  ///< handshakes in the second that began at `second`
    Instant second;
  };
  void sweep(Instant now);

  const Limits limits_;
  std::unordered_map<Digest, Device, DigestHash> devices_;
  std::uint32_t half_open_ = 0;
  std::uint32_t established_ = 0;
  std::size_t sweep_at_ = 64;
};

}  // namespace postern::session
