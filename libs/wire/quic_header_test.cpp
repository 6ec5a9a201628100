#include "wire/quic_header.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace postern::wire {
namespace {

Bytes long_packet(std::uint8_t first, std::uint32_t version, std::uint8_t id_size) {
  Bytes packet(60);
  packet[0] = first;
  store_u32(packet.data() + 1, version);
  packet[5] = id_size;
  for (std::size_t i = 0; i < 16; ++i) packet[6 + i] = static_cast<std::uint8_t>(i);
  return packet;
}

TEST(DatagramClass, FollowsTheFirstByte) {
  for (int first = 0; first < 256; ++first) {
    const Bytes datagram{static_cast<std::uint8_t>(first)};
    const auto expected = first <= 3                                      ? DatagramClass::Stun
                          : (first >= 64 && first <= 127) || first >= 192 ? DatagramClass::Quic
                                                                          : DatagramClass::Unknown;
    EXPECT_EQ(classify_datagram(datagram), expected) << first;
  }
  EXPECT_EQ(classify_datagram({}), DatagramClass::Unknown);
}

TEST(QuicHeader, ShortHeaderHasItsIdAfterTheFirstByte) {
  Bytes packet(17);
  packet[0] = 0x40;
  packet[1] = 3;
  packet[2] = 0xaa;
  packet[8] = 0xbb;
  const auto header = parse_quic_header(packet);
  ASSERT_TRUE(header);
  EXPECT_FALSE(header->is_long);
  EXPECT_EQ(header->destination.worker(), 3);
  EXPECT_EQ(header->destination.route().bytes, (std::array<std::uint8_t, 7>{0xaa, 0, 0, 0, 0, 0, 0xbb}));
  EXPECT_EQ(parse_quic_header(ByteView(packet).first(16)).error(), QuicHeaderError::TooShort);
}

TEST(QuicHeader, LongHeaderIsVersionOneWithAnIdOfSixteenBytes) {
  const auto header = parse_quic_header(long_packet(0xc0, 1, 16));
  ASSERT_TRUE(header);
  EXPECT_TRUE(header->is_long);
  EXPECT_EQ(header->destination.bytes[15], 15);
  EXPECT_EQ(parse_quic_header(long_packet(0xc0, 0, 16)).error(), QuicHeaderError::WrongVersion);
  EXPECT_EQ(parse_quic_header(long_packet(0xc0, 2, 16)).error(), QuicHeaderError::WrongVersion);
  EXPECT_EQ(parse_quic_header(long_packet(0xc0, 1, 15)).error(), QuicHeaderError::WrongIdLength);
  EXPECT_EQ(parse_quic_header(long_packet(0xc0, 1, 17)).error(), QuicHeaderError::WrongIdLength);
  EXPECT_EQ(parse_quic_header(long_packet(0x80, 1, 16)).error(), QuicHeaderError::NotQuic);
  EXPECT_EQ(parse_quic_header(ByteView(long_packet(0xc0, 1, 16)).first(21)).error(), QuicHeaderError::TooShort);
}

TEST(InitialHeader, GivesTheTokenOfAnInitialOnly) {
  Bytes packet = long_packet(0xc3, 1, 16);
  packet[22] = 8;  // source id
  packet[31] = 4;  // token
  packet[32] = 't';
  const auto initial = parse_initial_header(packet);
  ASSERT_TRUE(initial);
  EXPECT_EQ(initial->source.size(), 8U);
  EXPECT_EQ(initial->token.size(), 4U);
  EXPECT_EQ(initial->token[0], 't');
  for (std::size_t size = 0; size < 36; ++size) EXPECT_FALSE(parse_initial_header(ByteView(packet).first(size)));
  packet[0] = 0xe3;  // Handshake
  EXPECT_FALSE(parse_initial_header(packet));
  packet[0] = 0xc3;
  packet[22] = 21;
  EXPECT_FALSE(parse_initial_header(packet));
}

TEST(QuicHeader, SurvivesGarbage) {
  SeededRandom random(3);
  for (int round = 0; round < 200'000; ++round) {
    Bytes packet(random.below(64));
    random.fill(packet);
    if (packet.size() > 6 && random.below(2) == 0) {
      store_u32(packet.data() + 1, 1);
      packet[5] = 16;
    }
    const auto header = parse_quic_header(packet);
    if (const auto initial = parse_initial_header(packet)) {
      ASSERT_TRUE(header && header->is_long);
      ASSERT_LE(initial->token.size() + initial->source.size(), packet.size());
    }
  }
}

}  // namespace
}  // namespace postern::wire
