// A message of a relay link: a train of datagrams (PROTOCOL.md §3.6).
//
//     [stride: 2][datagrams of `stride` bytes each, the last one maybe shorter]
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>

#include "base/bytes.hpp"

namespace postern::wire {

inline constexpr std::string_view kLinkTarget = "/relay/v1";
inline constexpr std::string_view kLinkSubprotocol = "postern-relay-1";

inline constexpr std::size_t kLinkHeadSize = 2;
/// What one read of a UDP socket can give.
inline constexpr std::size_t kLinkTrainMax = 65'535;
inline constexpr std::size_t kLinkMessageMax = kLinkHeadSize + kLinkTrainMax;
/// More than a kernel joins into one train.
inline constexpr std::size_t kLinkDatagramsMax = 128;

struct LinkTrain {
  MutableBytes bytes{};
  std::size_t stride = 0;  ///< never 0
};

enum class LinkMessageError : std::uint8_t {
  Empty,      ///< no datagram
  BadStride,  ///< 0
  TooManyDatagrams,
};
[[nodiscard]] std::string_view to_string(LinkMessageError error);

/// `message` is at most kLinkMessageMax long (parse_frame() sees to it).
[[nodiscard]] std::expected<LinkTrain, LinkMessageError> parse_link_message(MutableBytes message);

/// Whether a train can be one message; otherwise it is sent as several.
[[nodiscard]] constexpr bool fits_link_message(std::size_t size, std::size_t stride) {
  return size > 0 && stride > 0 && size <= kLinkTrainMax && (size + stride - 1) / stride <= kLinkDatagramsMax;
}

}  // namespace postern::wire
