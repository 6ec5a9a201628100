// QUIC varints (RFC 9000 §16) and messages that are preceded by their length (PROTOCOL.md §4.3, §4.4).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "base/bytes.hpp"

namespace postern::wire {

inline constexpr std::uint64_t kVarintMax = (std::uint64_t{1} << 62) - 1;
inline constexpr std::size_t kSessionMessageMax = 64 * 1024;  ///< stream 0
inline constexpr std::size_t kFlowMessageMax = 1024;          ///< FlowHead and FlowReply

/// 1, 2, 4 or 8.
[[nodiscard]] constexpr std::size_t varint_size(std::uint64_t value) {
  return value < 64 ? 1 : value < 16'384 ? 2 : value < (1U << 30) ? 4 : 8;
}
/// The shortest form. A `value` above kVarintMax is a mistake of the caller and aborts.
void write_varint(ByteWriter& writer, std::uint64_t value);
/// Longer forms than needed are taken, as in QUIC. Nothing, and the reader no longer ok(), when the bytes end early.
[[nodiscard]] std::optional<std::uint64_t> read_varint(ByteReader& reader);

/// `message` with its length before it.
[[nodiscard]] Bytes frame_message(ByteView message);

enum class FramingError : std::uint8_t {
  TooLarge,  ///< a message announced itself larger than the bound of the reader
};

/// Cuts a byte stream into messages, whatever pieces it arrives in. Holds at most one message, and of it only the
/// bytes that have come, so that an announced length costs nothing.
///
///     while (!bytes.empty()) {
///       const auto taken = reader.feed(bytes);
///       if (!taken) return close(...);
///       bytes = bytes.subspan(*taken);
///       if (reader.has_message()) { handle(reader.message()); reader.next(); }
///     }
class LengthPrefixedReader {
 public:
  explicit LengthPrefixedReader(std::size_t message_max) : message_max_(message_max) {}

  /// Takes bytes up to the end of the current message and says how many; none while a message waits. What follows a
  /// message (raw bytes after a flow head) stays with the caller. An error stays: the stream cannot be read further.
  [[nodiscard]] std::expected<std::size_t, FramingError> feed(ByteView bytes);
  [[nodiscard]] bool has_message() const { return size_ && body_.size() == *size_; }
  /// Valid until next(); may be empty, as a message of length 0 is one.
  [[nodiscard]] ByteView message() const { return has_message() ? ByteView(body_) : ByteView(); }
  /// Gives up the message and its memory.
  void next();
  /// True between messages: where a stream may end cleanly.
  [[nodiscard]] bool is_at_boundary() const { return !failed_ && !size_ && head_size_ == 0; }

 private:
  [[nodiscard]] std::size_t feed_head(ByteView bytes);

  std::size_t message_max_;
  std::array<std::uint8_t, 8> head_{};
  std::uint8_t head_size_ = 0;
  bool failed_ = false;
  std::optional<std::size_t> size_;
  Bytes body_;
};

}  // namespace postern::wire
