// struct virtio_net_hdr as a TUN device with IFF_VNET_HDR puts it before each packet: 10 bytes, native byte order
// (linux/virtio_net.h; the kernel's TUNSETVNETLE and TUNSETVNETBE are not used).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.hpp"

namespace postern::wire {

struct VnetHeader {
  static constexpr std::size_t kSize = 10;

  /// The checksum field holds the pseudo-header's sum only; from csum_start on it is still to be summed.
  static constexpr std::uint8_t kNeedsChecksum = 1;
  /// Somebody has verified the checksum.
  static constexpr std::uint8_t kDataValid = 2;

  enum class Gso : std::uint8_t { None = 0, TcpV4 = 1, Udp = 3, TcpV6 = 4, UdpL4 = 5 };

  std::uint8_t flags = 0;
  Gso gso = Gso::None;
  /// Bit 0x80 of gso_type: the segments carry ECN congestion marks.
  bool gso_ecn = false;
  /// Size of the link, network and transport headers.
  std::uint16_t header_size = 0;
  /// Payload bytes of each segment; 0 without segmentation.
  std::uint16_t gso_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;

  /// Nothing when fewer than 10 bytes or an unknown kind of segmentation.
  [[nodiscard]] static std::optional<VnetHeader> parse(ByteView bytes);
  [[nodiscard]] std::array<std::uint8_t, kSize> build() const;

  /// True when the packet's transport checksum needs no verification.
  [[nodiscard]] bool is_checksum_settled() const { return (flags & (kNeedsChecksum | kDataValid)) != 0; }
};

}  // namespace postern::wire
