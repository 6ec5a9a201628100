#include "wire/flow_datagram.hpp"

#include <gtest/gtest.h>

namespace postern::wire {
namespace {

Bytes frame(const FlowDatagramHeader& header, std::string_view payload) {
  Bytes bytes = to_bytes(header.view());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

TEST(FlowDatagram, AWholePayloadComesBackWithItsStream) {
  for (const std::int64_t stream : {4, 124, 128, 65'536, 1 << 30}) {
    const Bytes bytes = frame(FlowDatagramHeader::make(stream, {}), "dns");
    const auto parsed = FlowDatagram::parse(bytes);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->stream, stream);
    EXPECT_FALSE(parsed->piece);
    EXPECT_EQ(as_text(parsed->payload), "dns");
  }
}

TEST(FlowDatagram, TheFirstFlowsCostOneByte) {
  EXPECT_EQ(FlowDatagramHeader::make(4, {}).size, 1U);
  EXPECT_EQ(FlowDatagramHeader::make(124, {}).size, 1U);
  EXPECT_EQ(FlowDatagramHeader::make(128, {}).size, 2U);
}

TEST(FlowDatagram, AnEmptyPayloadIsOne) {
  const auto parsed = FlowDatagram::parse(frame(FlowDatagramHeader::make(8, {}), ""));
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->payload.empty());
}

TEST(FlowDatagram, APieceKnowsItsPlace) {
  const Bytes bytes = frame(FlowDatagramHeader::make(8, DatagramPiece{0xabcd, 127, true}), "end");
  const auto parsed = FlowDatagram::parse(bytes);
  ASSERT_TRUE(parsed && parsed->piece);
  EXPECT_EQ(parsed->piece->packet, 0xabcd);
  EXPECT_EQ(parsed->piece->index, 127);
  EXPECT_TRUE(parsed->piece->is_last);
  EXPECT_EQ(as_text(parsed->payload), "end");
}

TEST(FlowDatagram, WhatIsCutOffOrTheControlStreamsIsNone) {
  EXPECT_FALSE(FlowDatagram::parse({}));
  EXPECT_FALSE(FlowDatagram::parse(Bytes{0}));           // stream 0
  EXPECT_FALSE(FlowDatagram::parse(Bytes{1, 0, 0, 0}));  // a piece of stream 0
  EXPECT_FALSE(FlowDatagram::parse(Bytes{0x40}));        // half a varint
  EXPECT_FALSE(FlowDatagram::parse(Bytes{3, 0, 0}));     // a piece without its index
  EXPECT_FALSE(FlowDatagram::parse(Bytes{3, 0, 0, 0}));  // a piece of nothing
}

}  // namespace
}  // namespace postern::wire
