// The TUN device with offload: 64 KiB segments in one read or write, checksums left to whoever needs them.
//
// Each packet has a struct virtio_net_hdr of 10 bytes (native endian) before it. The device goes away with the object.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {

enum class TunErrorKind : std::uint8_t {
  Missing,       ///< no /dev/net/tun: container without the device, kernel without the module
  NoPermission,  ///< CAP_NET_ADMIN is missing
  Busy,          ///< another process has a device of this name
  Failed,
};
struct TunError {
  TunErrorKind kind = TunErrorKind::Failed;
  std::string text;  ///< what, why and what to do, in one line
};

struct TunCounters {
  std::uint64_t packets_read = 0;
  std::uint64_t packets_written = 0;
  std::uint64_t write_refused = 0;  ///< packets the kernel called malformed, or the device was down
};

class TunDevice {
 public:
  static constexpr std::size_t kVnetSize = 10;
  static constexpr std::size_t kPiecesMax = 20;

  /// `name` of at most 15 bytes; the kernel numbers a name with "%d".
  [[nodiscard]] static std::expected<TunDevice, TunError> open(const std::string& name);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint32_t index() const { return index_; }
  /// UDP segmentation (Linux 6.2) was accepted: reads may give UDP trains (gso_type UDP_L4).
  [[nodiscard]] bool has_udp_segmentation() const { return udp_segmentation_; }

  /// One IP packet into `packet` (at least 64 KiB, page-aligned) and its header into `vnet`; the packet's size, or
  /// nothing when the device is empty.
  [[nodiscard]] std::optional<std::size_t> read(std::span<std::uint8_t, kVnetSize> vnet, MutableBytes packet);
  /// One packet, given in pieces (virtio header first, at most kPiecesMax), in one writev(). False: refused, counted.
  bool write(std::span<const ByteView> pieces);

  [[nodiscard]] const TunCounters& counters() const { return counters_; }

 private:
  TunDevice(Descriptor fd, std::string name, std::uint32_t index)
      : fd_(std::move(fd)), name_(std::move(name)), index_(index) {}
  bool enable_offload();

  Descriptor fd_;
  std::string name_;
  std::uint32_t index_ = 0;
  bool udp_segmentation_ = false;
  TunCounters counters_;
};

}  // namespace postern::runtime
