#include "wire/stun.hpp"

#include <algorithm>

namespace postern::wire {

namespace {

constexpr std::size_t kAttributeHeadSize = 4;
constexpr std::size_t kIntegritySize = kAttributeHeadSize + 32;
constexpr std::uint8_t kFamilyV4 = 1;
constexpr std::uint8_t kFamilyV6 = 2;

constexpr std::size_t padded(std::size_t size) {
  return (size + 3) & ~std::size_t{3};
}

/// RFC 8489 §14.2: the address is masked with cookie and transaction id, so that no NAT rewrites it on the way.
std::array<std::uint8_t, 16> address_mask(const TransactionId& transaction) {
  std::array<std::uint8_t, 16> mask{};
  store_u32(mask.data(), kStunMagicCookie);
  std::copy(transaction.begin(), transaction.end(), mask.begin() + 4);
  return mask;
}

}  // namespace

std::expected<StunView, StunError> StunView::parse(ByteView datagram) {
  if (datagram.size() < kStunHeaderSize) return std::unexpected(StunError::TooShort);
  if (datagram.size() > kStunSizeMax) return std::unexpected(StunError::TooLarge);
  const std::size_t length = load_u16(datagram.data() + 2);
  if ((datagram[0] & 0xc0) != 0 || load_u32(datagram.data() + 4) != kStunMagicCookie || length % 4 != 0 ||
      length != datagram.size() - kStunHeaderSize) {
    return std::unexpected(StunError::BadHeader);
  }
  for (std::size_t at = kStunHeaderSize; at < datagram.size();) {
    // The length is a multiple of four and so is every step: four bytes are there.
    const std::size_t size = padded(load_u16(datagram.data() + at + 2));
    at += kAttributeHeadSize;
    if (size > datagram.size() - at) return std::unexpected(StunError::BadAttributes);
    at += size;
  }
  return StunView(datagram);
}

TransactionId StunView::transaction() const {
  TransactionId transaction{};
  std::copy_n(bytes_.begin() + 8, transaction.size(), transaction.begin());
  return transaction;
}

std::optional<ByteView> StunView::find(StunAttribute attribute) const {
  for (std::size_t at = kStunHeaderSize; at < bytes_.size();) {
    const std::size_t size = load_u16(bytes_.data() + at + 2);
    if (load_u16(bytes_.data() + at) == static_cast<std::uint16_t>(attribute)) {
      return bytes_.subspan(at + kAttributeHeadSize, size);
    }
    at += kAttributeHeadSize + padded(size);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> StunView::find_u64(StunAttribute attribute) const {
  const auto value = find(attribute);
  if (!value || value->size() != 8) return std::nullopt;
  return ByteReader(*value).u64();
}

std::optional<std::uint32_t> StunView::find_u32(StunAttribute attribute) const {
  const auto value = find(attribute);
  if (!value || value->size() != 4) return std::nullopt;
  return ByteReader(*value).u32();
}

std::optional<SocketAddress> StunView::mapped_address() const {
  const auto value = find(StunAttribute::XorMappedAddress);
  if (!value || value->size() < 4) return std::nullopt;
  const std::uint8_t family = (*value)[1];
  const std::size_t size = family == kFamilyV4 ? 4 : family == kFamilyV6 ? 16 : 0;
  if (size == 0 || value->size() != 4 + size) return std::nullopt;
  std::array<std::uint8_t, 16> bytes = address_mask(transaction());
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(bytes[i] ^ (*value)[4 + i]);
  SocketAddress address;
  address.ip = *IpAddress::from_bytes(ByteView(bytes).first(size));
  address.port = static_cast<std::uint16_t>(load_u16(value->data() + 2) ^ (kStunMagicCookie >> 16));
  return address;
}

std::optional<std::uint16_t> StunView::error_code() const {
  const auto value = find(StunAttribute::ErrorCode);
  if (!value || value->size() < 4 || (*value)[3] > 99) return std::nullopt;
  const int code_class = (*value)[2] & 7;
  if (code_class < 3 || code_class > 6) return std::nullopt;
  return static_cast<std::uint16_t>(code_class * 100 + (*value)[3]);
}

std::optional<RouteId> StunView::route() const {
  const auto value = find(StunAttribute::RouteIdentifier);
  RouteId route;
  if (!value || value->size() != route.bytes.size()) return std::nullopt;
  std::copy(value->begin(), value->end(), route.bytes.begin());
  return route;
}

bool StunView::has_integrity(ByteView key, HmacSha256 hmac) const {
  const auto mac = find(StunAttribute::MessageIntegritySha256);
  if (!mac || mac->size() != 32 || mac->data() + mac->size() != bytes_.data() + bytes_.size()) return false;
  return equal_constant_time(hmac(key, bytes_.first(bytes_.size() - kIntegritySize)), *mac);
}

StunBuilder::StunBuilder(MutableBytes buffer, StunType type, const TransactionId& transaction)
    : buffer_(buffer), writer_(buffer), transaction_(transaction) {
  writer_.u16(static_cast<std::uint16_t>(type));
  writer_.u16(0);
  writer_.u32(kStunMagicCookie);
  writer_.view(transaction);
}

void StunBuilder::add(StunAttribute attribute, ByteView value) {
  constexpr std::array<std::uint8_t, 3> kZeros{};
  writer_.u16(static_cast<std::uint16_t>(attribute));
  writer_.u16(static_cast<std::uint16_t>(value.size()));
  writer_.view(value);
  writer_.view(ByteView(kZeros).first(padded(value.size()) - value.size()));
}

void StunBuilder::add_u32(StunAttribute attribute, std::uint32_t value) {
  std::array<std::uint8_t, 4> bytes{};
  store_u32(bytes.data(), value);
  add(attribute, bytes);
}

void StunBuilder::add_u64(StunAttribute attribute, std::uint64_t value) {
  std::array<std::uint8_t, 8> bytes{};
  store_u32(bytes.data(), static_cast<std::uint32_t>(value >> 32));
  store_u32(bytes.data() + 4, static_cast<std::uint32_t>(value));
  add(attribute, bytes);
}

void StunBuilder::add_mapped_address(const SocketAddress& address) {
  std::array<std::uint8_t, 20> value{};
  const std::array<std::uint8_t, 16> mask = address_mask(transaction_);
  const ByteView ip = address.ip.bytes();
  value[1] = address.ip.is_v4() ? kFamilyV4 : kFamilyV6;
  store_u16(value.data() + 2, static_cast<std::uint16_t>(address.port ^ (kStunMagicCookie >> 16)));
  for (std::size_t i = 0; i < ip.size(); ++i) value[4 + i] = static_cast<std::uint8_t>(ip[i] ^ mask[i]);
  add(StunAttribute::XorMappedAddress, ByteView(value).first(4 + ip.size()));
}

void StunBuilder::add_error(std::uint16_t code, std::string_view reason) {
  constexpr std::size_t kReasonMax = 28;
  std::array<std::uint8_t, 4 + kReasonMax> value{};
  reason = reason.substr(0, kReasonMax);
  value[2] = static_cast<std::uint8_t>(code / 100);
  value[3] = static_cast<std::uint8_t>(code % 100);
  std::copy(reason.begin(), reason.end(), value.begin() + 4);
  add(StunAttribute::ErrorCode, ByteView(value).first(4 + reason.size()));
}

void StunBuilder::pad_to(std::size_t size) {
  if (writer_.size() >= size) return;
  static constexpr std::array<std::uint8_t, kStunSizeMax> kZeros{};
  const std::size_t wanted = size - writer_.size();
  add(StunAttribute::Padding,
      ByteView(kZeros).first(std::min(kZeros.size(), padded(wanted) - std::min(padded(wanted), kAttributeHeadSize))));
}

void StunBuilder::store_length(std::size_t end) {
  if (writer_.ok()) store_u16(buffer_.data() + 2, static_cast<std::uint16_t>(end - kStunHeaderSize));
}

ByteView StunBuilder::finish() {
  store_length(writer_.size());
  return writer_.ok() ? writer_.written() : ByteView();
}

ByteView StunBuilder::finish_with_integrity(ByteView key, HmacSha256 hmac) {
  // RFC 8489 §14.6: the length that the MAC covers counts the MAC's own attribute.
  store_length(writer_.size() + kIntegritySize);
  if (!writer_.ok()) return {};
  add(StunAttribute::MessageIntegritySha256, hmac(key, writer_.written()));
  return finish();
}

}  // namespace postern::wire
