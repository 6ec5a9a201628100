#include "wire/checksum.hpp"

#include <bit>

namespace postern::wire {

ChecksumSum& ChecksumSum::add(ByteView bytes) {
  // Words are summed in the machine's order and swapped once: the ones' complement sum commutes with it (RFC 1071 §2).
  std::uint64_t sum = 0;
  const std::uint8_t* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 4; left -= 4, at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, at, sizeof word);
    sum += word;
  }
  std::uint32_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  sum += tail;
  while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
  const auto native = static_cast<std::uint16_t>(sum);
  const auto swapped = static_cast<std::uint16_t>((native << 8) | (native >> 8));
  sum_ += std::endian::native == std::endian::little ? swapped : native;
  return *this;
}

ChecksumSum& ChecksumSum::add_pseudo_header(const IpAddress& source, const IpAddress& destination,
                                            std::uint8_t protocol, std::size_t size) {
  add(source.bytes());
  add(destination.bytes());
  sum_ += protocol;
  sum_ += static_cast<std::uint32_t>(size) >> 16;
  sum_ += static_cast<std::uint32_t>(size) & 0xffff;
  return *this;
}

std::uint16_t ChecksumSum::folded() const {
  std::uint64_t sum = sum_;
  while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

}  // namespace postern::wire
