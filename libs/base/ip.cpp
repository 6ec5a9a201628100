#include "base/ip.hpp"

#include <arpa/inet.h>

#include <charconv>

namespace postern {

IpAddress IpAddress::v4(std::uint32_t host_order) {
  IpAddress address;
  store_u32(address.bytes_.data(), host_order);
  return address;
}

std::optional<IpAddress> IpAddress::from_bytes(ByteView bytes) {
  if (bytes.size() != 4 && bytes.size() != 16) return std::nullopt;
  IpAddress address;
  address.family_ = bytes.size() == 4 ? IpFamily::V4 : IpFamily::V6;
  std::memcpy(address.bytes_.data(), bytes.data(), bytes.size());
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  if (terminated.size() != std::strlen(terminated.c_str())) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, terminated.c_str(), bytes.data()) == 1) return from_bytes(ByteView(bytes).first(4));
  if (inet_pton(AF_INET6, terminated.c_str(), bytes.data()) == 1) return from_bytes(bytes);
  return std::nullopt;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text.data(), text.size());
  return text.data();
}

namespace {

bool same_leading_bits(ByteView left, ByteView right, unsigned bits) {
  const std::size_t whole = bits / 8;
  if (std::memcmp(left.data(), right.data(), whole) != 0) return false;
  const unsigned rest = bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - rest));
  return ((left[whole] ^ right[whole]) & mask) == 0;
}

std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t max) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

}  // namespace

IpPrefix IpPrefix::containing(IpAddress address, unsigned length) {
  const unsigned width = address.is_v4() ? 32 : 128;
  IpPrefix prefix;
  prefix.length_ = std::min(length, width);
  Bytes bytes = to_bytes(address.bytes());
  for (unsigned bit = prefix.length_; bit < width; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] & ~(0x80U >> (bit % 8)));
  }
  prefix.address_ = *IpAddress::from_bytes(bytes);
  return prefix;
}

std::optional<IpPrefix> IpPrefix::make(IpAddress address, unsigned length) {
  if (length > (address.is_v4() ? 32U : 128U)) return std::nullopt;
  const IpPrefix prefix = containing(address, length);
  if (prefix.address_ != address) return std::nullopt;
  return prefix;
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == std::string_view::npos) return make(*address, address->is_v4() ? 32 : 128);
  const auto length = parse_decimal(text.substr(slash + 1), 128);
  if (!length) return std::nullopt;
  return make(*address, *length);
}

bool IpPrefix::contains(const IpAddress& address) const {
  return address.family() == address_.family() && same_leading_bits(address.bytes(), address_.bytes(), length_);
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
  return contains(other.address_) || other.contains(address_);
}

std::string IpPrefix::to_string() const {
  return address_.to_string() + "/" + std::to_string(length_);
}

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto ip = IpAddress::parse(host);
  const auto port = parse_decimal(text.substr(colon + 1), 65535);
  if (!ip || !port || ip->is_v6() != bracketed) return std::nullopt;
  return SocketAddress{*ip, static_cast<std::uint16_t>(*port)};
}

std::string SocketAddress::to_string() const {
  const std::string host = ip.to_string();
  return (ip.is_v6() ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace postern

std::size_t std::hash<postern::IpAddress>::operator()(const postern::IpAddress& address) const noexcept {
  return std::hash<std::string_view>{}(postern::as_text(address.bytes()));
}
