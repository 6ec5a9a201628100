// Requests to the kernel's routing side (rtnetlink(7)): build one message, send it, read the acknowledgement or the
// dump.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string_view>

#include "base/bytes.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {

/// One netlink message, built in memory. Attributes are native-endian, as the kernel wants them.
class NetlinkMessage {
 public:
  NetlinkMessage(std::uint16_t type, std::uint16_t flags);

  template <typename T>
  void put(const T& fixed_part) {
    append(&fixed_part, sizeof fixed_part);
  }
  void attribute(std::uint16_t type, ByteView value);
  void attribute_u32(std::uint16_t type, std::uint32_t value);
  void attribute_text(std::uint16_t type, std::string_view value);
  /// Returns a mark for end_nested().
  [[nodiscard]] std::size_t begin_nested(std::uint16_t type);
  void end_nested(std::size_t mark);
  [[nodiscard]] Bytes& finish();

 private:
  void append(const void* data, std::size_t size);
  Bytes bytes_;
};

/// Calls `visit(type, value)` for each attribute of `bytes`; malformed ends are left out.
void for_each_attribute(ByteView bytes, const std::function<void(std::uint16_t, ByteView)>& visit);

/// Errors are errno values.
class NetlinkSocket {
 public:
  [[nodiscard]] static std::expected<NetlinkSocket, int> open();
  /// Sends and waits for the kernel's acknowledgement.
  [[nodiscard]] std::expected<void, int> request(NetlinkMessage message);
  /// Sends a dump request; `visit(type, payload)` for each message of the answer.
  [[nodiscard]] std::expected<void, int> dump(NetlinkMessage message,
                                              const std::function<void(std::uint16_t, ByteView)>& visit);

 private:
  explicit NetlinkSocket(Descriptor fd) : fd_(std::move(fd)) {}
  [[nodiscard]] std::expected<void, int> send(NetlinkMessage& message);
  [[nodiscard]] std::expected<void, int> receive(const std::function<void(std::uint16_t, ByteView)>& visit);

  Descriptor fd_;
  std::uint32_t sequence_ = 0;
};

}  // namespace postern::runtime
