#include "wire/framing.hpp"

#include <algorithm>
#include <cstdlib>

namespace postern::wire {

namespace {

/// RFC 9000 §16: the two top bits of the first byte are the binary logarithm of the size.
std::size_t varint_size_from(std::uint8_t first) {
  return std::size_t{1} << (first >> 6);
}

}  // namespace

void write_varint(ByteWriter& writer, std::uint64_t value) {
  if (value > kVarintMax) std::abort();
  std::array<std::uint8_t, 8> big{};
  const std::size_t size = varint_size(value);
  for (std::size_t i = 0; i < size; ++i) big[i] = static_cast<std::uint8_t>(value >> (8 * (size - 1 - i)));
  const auto prefix = size == 1 ? 0x00 : size == 2 ? 0x40 : size == 4 ? 0x80 : 0xc0;
  big[0] = static_cast<std::uint8_t>(big[0] | prefix);
  writer.view(ByteView(big).first(size));
}

std::optional<std::uint64_t> read_varint(ByteReader& reader) {
  const std::uint8_t first = reader.u8();
  std::uint64_t value = first & 0x3f;
  for (const std::uint8_t byte : reader.view(varint_size_from(first) - 1)) value = (value << 8) | byte;
  if (!reader.ok()) return std::nullopt;
  return value;
}

Bytes frame_message(ByteView message) {
  Bytes framed(varint_size(message.size()) + message.size());
  ByteWriter writer(framed);
  write_varint(writer, message.size());
  writer.view(message);
  return framed;
}

std::size_t LengthPrefixedReader::feed_head(ByteView bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && !size_) {
    head_[head_size_++] = bytes[taken++];
    if (head_size_ < varint_size_from(head_[0])) continue;
    ByteReader reader(ByteView(head_).first(head_size_));
    const std::uint64_t size = read_varint(reader).value_or(kVarintMax);
    failed_ = size > message_max_;
    if (failed_) return taken;
    size_ = static_cast<std::size_t>(size);
  }
  return taken;
}

std::expected<std::size_t, FramingError> LengthPrefixedReader::feed(ByteView bytes) {
  const std::size_t head = failed_ || size_ ? 0 : feed_head(bytes);
  if (failed_) return std::unexpected(FramingError::TooLarge);
  if (!size_) return head;
  const ByteView rest = bytes.subspan(head);
  const ByteView part = rest.first(std::min(rest.size(), *size_ - body_.size()));
  body_.insert(body_.end(), part.begin(), part.end());
  return head + part.size();
}

void LengthPrefixedReader::next() {
  if (!has_message()) return;
  Bytes().swap(body_);
  size_.reset();
  head_size_ = 0;
}

}  // namespace postern::wire
