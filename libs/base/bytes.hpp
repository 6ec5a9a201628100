// Views of bytes, and reading and writing of big-endian fields with bounds that cannot be forgotten.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace postern {

using ByteView = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;
using Bytes = std::vector<std::uint8_t>;

/// SHA-256 value. For a certificate it is the digest of the DER SubjectPublicKeyInfo (the "pin").
using Digest = std::array<std::uint8_t, 32>;

[[nodiscard]] inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] inline Bytes to_bytes(ByteView bytes) {
  return {bytes.begin(), bytes.end()};
}

/// Compares in time that depends only on the lengths: for MACs, tokens and every other secret.
[[nodiscard]] bool equal_constant_time(ByteView left, ByteView right);

[[nodiscard]] std::string to_hex(ByteView bytes);
[[nodiscard]] std::optional<Bytes> from_hex(std::string_view text);
/// Base64url without padding (RFC 4648 §5).
[[nodiscard]] std::string to_base64url(ByteView bytes);
/// Refuses padding, blanks and non-canonical last characters.
[[nodiscard]] std::optional<Bytes> from_base64url(std::string_view text);

/// Reads big-endian fields from a view. After the first read past the end every read gives zero or an empty view and
/// `ok()` stays false, so a parser checks once at its end.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : bytes_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t remaining() const { return bytes_.size() - offset_; }
  [[nodiscard]] std::size_t offset() const { return offset_; }
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  ByteView view(std::size_t size) {
    if (!ok_ || size > remaining()) {
      ok_ = false;
      return {};
    }
    const ByteView result = bytes_.subspan(offset_, size);
    offset_ += size;
    return result;
  }
  template <std::size_t N>
  std::array<std::uint8_t, N> array() {
    std::array<std::uint8_t, N> result{};
    const ByteView from = view(N);
    if (!from.empty()) std::memcpy(result.data(), from.data(), N);
    return result;
  }
  ByteView rest() { return view(remaining()); }

 private:
  std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : view(size)) value = (value << 8) | byte;
    return value;
  }

  ByteView bytes_;
  std::size_t offset_ = 0;
  bool ok_ = true;
};

/// Writes big-endian fields into a fixed buffer; overflow sets `ok()` to false and writes nothing more.
class ByteWriter {
 public:
  explicit ByteWriter(MutableBytes bytes) : bytes_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t size() const { return offset_; }
  [[nodiscard]] ByteView written() const { return bytes_.first(offset_); }
  void u8(std::uint8_t value) { number(value, 1); }
  void u16(std::uint16_t value) { number(value, 2); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void view(ByteView from) {
    if (!ok_ || from.size() > bytes_.size() - offset_) {
      ok_ = false;
      return;
    }
    if (!from.empty()) std::memcpy(bytes_.data() + offset_, from.data(), from.size());
    offset_ += from.size();
  }

 private:
  void number(std::uint64_t value, std::size_t size) {
    std::array<std::uint8_t, 8> big{};
    for (std::size_t i = 0; i < size; ++i) big[i] = static_cast<std::uint8_t>(value >> (8 * (size - 1 - i)));
    view(ByteView(big).first(size));
  }

  MutableBytes bytes_;
  std::size_t offset_ = 0;
  bool ok_ = true;
};

[[nodiscard]] inline std::uint16_t load_u16(const std::uint8_t* at) {
  return static_cast<std::uint16_t>((at[0] << 8) | at[1]);
}
[[nodiscard]] inline std::uint32_t load_u32(const std::uint8_t* at) {
  return (std::uint32_t{at[0]} << 24) | (std::uint32_t{at[1]} << 16) | (std::uint32_t{at[2]} << 8) | at[3];
}
inline void store_u16(std::uint8_t* at, std::uint16_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}
inline void store_u32(std::uint8_t* at, std::uint32_t value) {
  store_u16(at, static_cast<std::uint16_t>(value >> 16));
  store_u16(at + 2, static_cast<std::uint16_t>(value));
}

}  // namespace postern
