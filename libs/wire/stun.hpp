// STUN messages (RFC 8489): a checked view, and a builder into the caller's buffer. Only what PROTOCOL.md §3.2 and §4.6
// use.
//
// MESSAGE-INTEGRITY-SHA256 must be the last attribute and whole (32 bytes): then it covers every byte before it, and
// the length field needs no adjusting. The MAC function is handed in, because keys are no matter of this layer.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "base/route_id.hpp"

namespace postern::wire {

enum class StunType : std::uint16_t {
  BindingRequest = 0x0001,
  BindingSuccess = 0x0101,
  BindRequest = 0x0260,
  BindIndication = 0x0270,
  BindSuccess = 0x0360,
  BindError = 0x0370,
};

enum class StunAttribute : std::uint16_t {
  Username = 0x0006,
  ErrorCode = 0x0009,
  Lifetime = 0x000d,
  Nonce = 0x0015,
  AccessToken = 0x001b,
  MessageIntegritySha256 = 0x001c,
  XorMappedAddress = 0x0020,
  Padding = 0x0026,
  BindSeq = 0x00b1,
  RouteIdentifier = 0x00b2,
  CheckCounter = 0x00b3,
};

inline constexpr std::uint32_t kStunMagicCookie = 0x2112a442;
inline constexpr std::size_t kStunHeaderSize = 20;
/// Larger ones are refused: a Bind has about 250 bytes, and every attribute costs a step.
inline constexpr std::size_t kStunSizeMax = 1280;
/// An unauthenticated Bind is at least this large, so that no answer is larger than its request.
inline constexpr std::size_t kBindRequestSizeMin = 128;
inline constexpr std::size_t kBindNonceSize = 20;

using TransactionId = std::array<std::uint8_t, 12>;
using HmacSha256 = Digest (*)(ByteView key, ByteView message);

enum class StunError : std::uint8_t {
  TooShort,
  TooLarge,
  BadHeader,      ///< first two bits, magic cookie, or a length that is not that of the datagram
  BadAttributes,  ///< one reaches over the end
};

/// A message whose header and attribute lengths were checked. Looks into the bytes it was made from.
class StunView {
 public:
  [[nodiscard]] static std::expected<StunView, StunError> parse(ByteView datagram);

  [[nodiscard]] StunType type() const { return static_cast<StunType>(load_u16(bytes_.data())); }
  [[nodiscard]] TransactionId transaction() const;
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  /// The first attribute of this type.
  [[nodiscard]] std::optional<ByteView> find(StunAttribute attribute) const;
  [[nodiscard]] std::optional<std::uint64_t> find_u64(StunAttribute attribute) const;
  [[nodiscard]] std::optional<std::uint32_t> find_u32(StunAttribute attribute) const;
  [[nodiscard]] std::optional<SocketAddress> mapped_address() const;
  [[nodiscard]] std::optional<std::uint16_t> error_code() const;
  [[nodiscard]] std::optional<RouteId> route() const;
  /// False when the last attribute is no whole MESSAGE-INTEGRITY-SHA256, or another one than `key` gives.
  [[nodiscard]] bool has_integrity(ByteView key, HmacSha256 hmac) const;

 private:
  explicit StunView(ByteView bytes) : bytes_(bytes) {}
  ByteView bytes_;
};

/// Writes a message; add attributes, then finish(). Overflow of the buffer gives an empty message at the end.
class StunBuilder {
 public:
  StunBuilder(MutableBytes buffer, StunType type, const TransactionId& transaction);

  void add(StunAttribute attribute, ByteView value);
  void add_u32(StunAttribute attribute, std::uint32_t value);
  void add_u64(StunAttribute attribute, std::uint64_t value);
  void add_mapped_address(const SocketAddress& address);
  void add_error(std::uint16_t code, std::string_view reason);
  void add_route(const RouteId& route) { add(StunAttribute::RouteIdentifier, route.bytes); }
  /// Brings the message to at least `size` bytes.
  void pad_to(std::size_t size);
  [[nodiscard]] ByteView finish();
  [[nodiscard]] ByteView finish_with_integrity(ByteView key, HmacSha256 hmac);

 private:
  void store_length(std::size_t end);

  MutableBytes buffer_;
  ByteWriter writer_;
  TransactionId transaction_;
};

}  // namespace postern::wire
