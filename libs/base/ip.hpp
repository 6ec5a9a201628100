// IP addresses, prefixes and socket addresses as comparable values, parsed at the border.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace postern {

enum class IpFamily : std::uint8_t { V4 = 4, V6 = 6 };

/// An IPv4 or IPv6 address. Bytes are in network order; IPv4 uses the first four, the others are zero.
class IpAddress {
 public:
  /// 0.0.0.0
  constexpr IpAddress() = default;
  [[nodiscard]] static constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    IpAddress address;
    address.bytes_ = {a, b, c, d};
    return address;
  }
  [[nodiscard]] static IpAddress v4(std::uint32_t host_order);
  /// `bytes` has 4 or 16 elements in network order; anything else gives nothing.
  [[nodiscard]] static std::optional<IpAddress> from_bytes(ByteView bytes);
  /// Strict text form: no blanks, no zone, no short IPv4 forms.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);

  [[nodiscard]] IpFamily family() const { return family_; }
  [[nodiscard]] bool is_v4() const { return family_ == IpFamily::V4; }
  [[nodiscard]] bool is_v6() const { return family_ == IpFamily::V6; }
  /// 4 or 16 bytes, network order.
  [[nodiscard]] ByteView bytes() const { return ByteView(bytes_).first(is_v4() ? 4 : 16); }
  [[nodiscard]] std::uint32_t to_v4_host_order() const { return load_u32(bytes_.data()); }
  [[nodiscard]] std::string to_string() const;
  constexpr auto operator<=>(const IpAddress&) const = default;

 private:
  IpFamily family_ = IpFamily::V4;
  std::array<std::uint8_t, 16> bytes_{};
};

/// A prefix such as 192.168.1.0/24. Host bits are always zero.
class IpPrefix {
 public:
  constexpr IpPrefix() = default;
  /// Nothing when `length` exceeds the family's width or host bits are set.
  [[nodiscard]] static std::optional<IpPrefix> make(IpAddress address, unsigned length);
  /// A single address without a slash is a /32 or /128.
  [[nodiscard]] static std::optional<IpPrefix> parse(std::string_view text);
  /// The prefix of `length` bits that contains `address`.
  [[nodiscard]] static IpPrefix containing(IpAddress address, unsigned length);

  [[nodiscard]] const IpAddress& address() const { return address_; }
  [[nodiscard]] unsigned length() const { return length_; }
  [[nodiscard]] bool is_host() const { return length_ == (address_.is_v4() ? 32U : 128U); }
  [[nodiscard]] bool contains(const IpAddress& address) const;
  [[nodiscard]] bool overlaps(const IpPrefix& other) const;
  [[nodiscard]] std::string to_string() const;
  constexpr auto operator<=>(const IpPrefix&) const = default;

 private:
  IpAddress address_;
  unsigned length_ = 0;
};

struct SocketAddress {
  IpAddress ip;
  std::uint16_t port = 0;

  /// "192.0.2.1:443" or "[2001:db8::1]:443".
  [[nodiscard]] static std::optional<SocketAddress> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  constexpr auto operator<=>(const SocketAddress&) const = default;
};

}  // namespace postern

template <>
struct std::hash<postern::IpAddress> {
  std::size_t operator()(const postern::IpAddress& address) const noexcept;
};
template <>
struct std::hash<postern::SocketAddress> {
  std::size_t operator()(const postern::SocketAddress& address) const noexcept {
    return std::hash<postern::IpAddress>{}(address.ip) * 31 + address.port;
  }
};
