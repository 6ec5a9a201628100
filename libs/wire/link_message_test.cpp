#include "wire/link_message.hpp"

#include <gtest/gtest.h>

#include "base/link_address.hpp"
#include "base/random.hpp"
#include "wire/websocket_frame.hpp"

namespace postern::wire {
namespace {

constexpr FrameMask kMask{0xA1, 0x02, 0x7F, 0x30};

Bytes frame(FrameKind kind, ByteView payload, const std::optional<FrameMask>& mask) {
  Bytes out(kFrameHeaderMax);
  out.resize(write_frame_header(out, kind, payload.size(), mask));
  const std::size_t header = out.size();
  out.insert(out.end(), payload.begin(), payload.end());
  if (mask) apply_mask(MutableBytes(out).subspan(header), *mask);
  return out;
}

FrameError error_of(Bytes bytes, bool masked = false, std::size_t payload_max = kLinkMessageMax) {
  const auto parsed = parse_frame(bytes, masked, payload_max);
  EXPECT_FALSE(parsed.has_value());
  return parsed ? FrameError{} : parsed.error();
}

TEST(WebSocketFrame, WhatOneSideWritesTheOtherReadsWhateverItsLength) {
  SeededRandom random(1);
  for (const std::size_t size : {0UL, 1UL, 7UL, 125UL, 126UL, 127UL, 1452UL, 65'535UL, 65'536UL, 65'537UL}) {
    Bytes payload(size);
    random.fill(payload);
    for (const auto& mask : {std::optional<FrameMask>(), std::optional(kMask)}) {
      Bytes bytes = frame(FrameKind::Binary, payload, mask);
      const std::size_t whole = bytes.size();
      bytes.push_back(0x55);  // the next one has begun
      const auto parsed = parse_frame(bytes, mask.has_value(), kLinkMessageMax);
      ASSERT_TRUE(parsed && *parsed) << size;
      EXPECT_EQ((*parsed)->size, whole);
      EXPECT_EQ(to_bytes((*parsed)->payload), payload);
    }
  }
}

TEST(WebSocketFrame, AnUnfinishedFrameIsWaitedForAndNotTouched) {
  const Bytes whole = frame(FrameKind::Binary, Bytes(300, 9), kMask);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const Bytes before = part;
    const auto parsed = parse_frame(part, true, kLinkMessageMax);
    ASSERT_TRUE(parsed && !*parsed) << size;
    EXPECT_EQ(part, before);
  }
}

TEST(WebSocketFrame, WhatTheProtocolDoesNotAllowIsRefusedByItsHeaderAlone) {
  EXPECT_EQ(error_of({0xC2, 0}), FrameError::ReservedBits);
  EXPECT_EQ(error_of({0x81, 0}), FrameError::UnknownKind) << "text";
  EXPECT_EQ(error_of({0x80, 0}), FrameError::UnknownKind) << "continuation";
  EXPECT_EQ(error_of({0x02, 0}), FrameError::Fragmented);
  EXPECT_EQ(error_of({0x82, 0}, true), FrameError::WrongMask);
  EXPECT_EQ(error_of({0x82, 0x80}), FrameError::WrongMask);
  EXPECT_EQ(error_of({0x89, 126}), FrameError::TooLarge) << "a ping of more than 125 bytes";
  EXPECT_EQ(error_of({0x82, 126, 0, 125}), FrameError::NotShortest);
  EXPECT_EQ(error_of({0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}), FrameError::NotShortest);
  EXPECT_EQ(error_of({0x82, 127, 0, 0, 0, 0, 0, 1, 0, 2}), FrameError::TooLarge);
  EXPECT_EQ(error_of({0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}), FrameError::TooLarge);
}

TEST(LinkMessage, ATrainHasItsStrideAndItsLastDatagramMayBeShorter) {
  Bytes message{0, 4, 1, 1, 1, 1, 2, 2, 2, 2, 3};
  const auto train = parse_link_message(message);
  ASSERT_TRUE(train);
  EXPECT_EQ(train->stride, 4U);
  EXPECT_EQ(train->bytes.size(), 9U);
}

TEST(LinkMessage, AStrideAboveTheTrainIsOneDatagram) {
  Bytes message{0xFF, 0xFF, 1, 2, 3};
  EXPECT_EQ(parse_link_message(message)->stride, 3U);
}

TEST(LinkMessage, EmptyOnesAndThoseOfManyTinyDatagramsAreRefused) {
  Bytes nothing;
  Bytes head_only{0, 4};
  Bytes no_stride{0, 0, 1};
  Bytes tiny(kLinkHeadSize + kLinkDatagramsMax + 1);
  tiny[1] = 1;
  EXPECT_EQ(parse_link_message(nothing).error(), LinkMessageError::Empty);
  EXPECT_EQ(parse_link_message(head_only).error(), LinkMessageError::Empty);
  EXPECT_EQ(parse_link_message(no_stride).error(), LinkMessageError::BadStride);
  EXPECT_EQ(parse_link_message(tiny).error(), LinkMessageError::TooManyDatagrams);
  tiny.pop_back();
  EXPECT_TRUE(parse_link_message(tiny));
}

TEST(LinkAddress, LinksAreToldFromAddressesOfTheNetwork) {
  EXPECT_EQ(link_address(0x1234).to_string(), "[100::1234]:1");
  EXPECT_TRUE(is_link_address(link_address(UINT64_MAX)));
  for (const char* other : {"[100:0:0:1::1]:1", "[::1]:1", "[2001:db8::1]:443", "1.0.0.0:1"}) {
    EXPECT_FALSE(is_link_address(*SocketAddress::parse(other))) << other;
  }
}

}  // namespace
}  // namespace postern::wire
