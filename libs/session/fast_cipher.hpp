// AES-128-GCM for packets by ipsec-mb, which spends half of GnuTLS's time per call (measured: bench/session). Only on
// x86-64 with AES instructions, and only when the build found the library; the bytes on the wire are the same.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.hpp"

namespace postern::session {

/// A packet protection key, expanded; or a header protection key. Wiped when it dies.
class FastKey {
 public:
  static constexpr std::size_t kSize = 16;
  static constexpr std::size_t kTagSize = 16;
  static constexpr std::size_t kNonceSize = 12;
  using Raw = std::array<std::uint8_t, kSize>;

  virtual ~FastKey() = default;
  FastKey(const FastKey&) = delete;
  FastKey& operator=(const FastKey&) = delete;

  /// `to` has the size of `from` and kTagSize more, and may start at the same byte.
  virtual void seal(std::uint8_t* to, ByteView from, const std::uint8_t* nonce, ByteView aad) const = 0;
  /// `from` ends with its tag; false when that is wrong.
  [[nodiscard]] virtual bool open(std::uint8_t* to, ByteView from, const std::uint8_t* nonce, ByteView aad) const = 0;
  /// One block of AES-ECB over 16 bytes (RFC 9001 §5.4.3).
  virtual void mask(std::uint8_t* to, const std::uint8_t* sample) const = 0;

 protected:
  FastKey() = default;
};

enum class FastKeyUse : std::uint8_t { Payload, Header };

/// The functions of ipsec-mb that fit this CPU.
class FastCipher {
 public:
  virtual ~FastCipher() = default;
  /// Null where there is none: then GnuTLS does the work.
  [[nodiscard]] static std::unique_ptr<FastCipher> detect();
  [[nodiscard]] virtual std::unique_ptr<FastKey> make_key(const FastKey::Raw& raw, FastKeyUse use) const = 0;
};

}  // namespace postern::session
