// The Internet checksum (RFC 1071) and the pseudo-headers of IPv4 and IPv6.
//
// Only small packets are ever summed over their payload: TCP to and from the local kernel uses CHECKSUM_PARTIAL, where
// the field holds the folded, not complemented, sum of the pseudo-header and the device completes it.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/ip.hpp"

namespace postern::wire {

/// Adds big-endian 16-bit words into a ones' complement sum. Only the last view of a sum may have an odd size.
class ChecksumSum {
 public:
  ChecksumSum& add(ByteView bytes);
  ChecksumSum& add_u16(std::uint16_t value) {
    sum_ += value;
    return *this;
  }
  /// RFC 9293 §3.1 and RFC 8200 §8.1; `size` is that of the transport header and payload.
  ChecksumSum& add_pseudo_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                 std::size_t size);
  /// Folded to 16 bits, not complemented: what CHECKSUM_PARTIAL wants in the field.
  [[nodiscard]] std::uint16_t folded() const;
  /// What goes into a header field.
  [[nodiscard]] std::uint16_t checksum() const { return static_cast<std::uint16_t>(~folded()); }

 private:
  std::uint64_t sum_ = 0;
};

}  // namespace postern::wire
