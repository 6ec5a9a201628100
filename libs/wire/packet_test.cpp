#include "wire/packet.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "wire/checksum.hpp"
#include "wire/vnet_header.hpp"

namespace postern::wire {
namespace {

const IpAddress kSource = IpAddress::v4(192, 0, 2, 1);
const IpAddress kDestination = IpAddress::v4(198, 51, 100, 2);
const IpAddress kSource6 = *IpAddress::parse("2001:db8::1");
const IpAddress kDestination6 = *IpAddress::parse("2001:db8::2");

Bytes bytes_of(std::string_view hex) {
  return *from_hex(hex);
}

Bytes udp_packet(bool v4, std::string_view text) {
  Bytes out(200);
  const std::size_t size =
      build_udp(out, {v4 ? kSource : kSource6, 1000}, {v4 ? kDestination : kDestination6, 53}, as_bytes(text));
  out.resize(size);
  return out;
}

/// An IPv6 packet with `chain` (extension headers) between the IP header and `payload`; `next` is the first's number.
Bytes with_extensions(std::uint8_t next, ByteView chain, ByteView payload) {
  Bytes packet(40);
  EXPECT_EQ(write_ip_header(packet, kSource6, kDestination6, next, chain.size() + payload.size()), 40U);
  packet.insert(packet.end(), chain.begin(), chain.end());
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

TEST(Checksum, AgreesWithTheExampleOfRfc1071) {
  EXPECT_EQ(ChecksumSum().add(bytes_of("0001f203f4f5f6f7")).folded(), 0xddf2);
}

TEST(Checksum, AnOddLastByteCountsAsTheHighHalfOfAWord) {
  EXPECT_EQ(ChecksumSum().add(bytes_of("0102030405")).folded(), 0x0102 + 0x0304 + 0x0500);
  EXPECT_EQ(ChecksumSum().add(bytes_of("ff")).folded(), 0xff00);
}

TEST(Checksum, CarriesOfLongSumsAreNotLost) {
  const Bytes ones(65536, 0xff);
  EXPECT_EQ(ChecksumSum().add(ones).folded(), 0xffff);
  Bytes almost = ones;
  almost[1] = 0xfe;
  EXPECT_EQ(ChecksumSum().add(almost).folded(), 0xfffe);
}

TEST(VnetHeader, SurvivesBuildingAndParsing) {
  VnetHeader header;
  header.flags = VnetHeader::kNeedsChecksum;
  header.gso = VnetHeader::Gso::TcpV6;
  header.gso_ecn = true;
  header.header_size = 60;
  header.gso_size = 1440;
  header.checksum_start = 40;
  header.checksum_offset = 16;
  const auto parsed = VnetHeader::parse(header.build());
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->build(), header.build());
  EXPECT_TRUE(parsed->gso_ecn);
  EXPECT_TRUE(parsed->is_checksum_settled());
}

TEST(VnetHeader, RefusesShortHeadersAndUnknownSegmentation) {
  auto bytes = VnetHeader().build();
  EXPECT_FALSE(VnetHeader::parse(ByteView(bytes).first(9)).has_value());
  bytes[1] = 2;
  EXPECT_FALSE(VnetHeader::parse(bytes).has_value());
  EXPECT_FALSE(VnetHeader().is_checksum_settled());
}

TEST(IpView, ReadsAnIPv4PacketAndLeavesOutWhatFollowsIt) {
  Bytes packet = udp_packet(true, "hello");
  const std::size_t size = packet.size();
  packet.resize(size + 7);
  const auto ip = IpView::parse(packet);
  ASSERT_TRUE(ip.has_value());
  EXPECT_EQ(ip->source, kSource);
  EXPECT_EQ(ip->destination, kDestination);
  EXPECT_TRUE(ip->is(IpProtocol::Udp));
  EXPECT_TRUE(ip->dont_fragment);
  EXPECT_FALSE(ip->fragment.has_value());
  EXPECT_EQ(ip->packet.size(), size);
  EXPECT_EQ(ip->header_size(), 20U);
  EXPECT_TRUE(is_transport_checksum_right(*ip));
  EXPECT_EQ(as_text(UdpView::parse(ip->payload)->payload), "hello");
}

TEST(IpView, SkipsIPv4Options) {
  Bytes packet = udp_packet(true, "x");
  const Bytes options = bytes_of("94040000");
  packet.insert(packet.begin() + 20, options.begin(), options.end());
  packet[0] = 0x46;
  store_u16(&packet[2], static_cast<std::uint16_t>(packet.size()));
  store_u16(&packet[10], 0);
  store_u16(&packet[10], ChecksumSum().add(ByteView(packet).first(24)).checksum());
  EXPECT_EQ(as_text(UdpView::parse(IpView::parse(packet)->payload)->payload), "x");
}

TEST(IpView, RefusesWrongLengthsVersionsAndHeaderSums) {
  const Bytes good = udp_packet(true, "hello");
  const auto error = [&](std::size_t at, std::uint8_t value) {
    Bytes bad = good;
    bad[at] = value;
    return IpView::parse(bad).error();
  };
  EXPECT_EQ(IpView::parse({}).error(), PacketError::Truncated);
  EXPECT_EQ(error(0, 0x55), PacketError::BadVersion);
  EXPECT_EQ(error(0, 0x44), PacketError::BadHeader);
  EXPECT_EQ(error(3, 19), PacketError::BadHeader);
  EXPECT_EQ(error(3, 200), PacketError::Truncated);
  EXPECT_EQ(error(8, 1), PacketError::BadChecksum);
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(IpView::parse(ByteView(good).first(size)));
}

TEST(IpView, TellsPiecesOfIPv4Packets) {
  Bytes packet = udp_packet(true, "hello");
  store_u16(&packet[4], 0xbeef);
  store_u16(&packet[6], 0x2000 | 3);
  store_u16(&packet[10], 0);
  store_u16(&packet[10], ChecksumSum().add(ByteView(packet).first(20)).checksum());
  const auto ip = IpView::parse(packet);
  ASSERT_TRUE(ip->fragment.has_value());
  EXPECT_EQ(ip->fragment->identification, 0xbeefU);
  EXPECT_EQ(ip->fragment->offset, 24U);
  EXPECT_TRUE(ip->fragment->more);
  EXPECT_FALSE(ip->dont_fragment);
}

TEST(IpView, WalksIPv6ExtensionHeaders) {
  const Bytes payload = to_bytes(ByteView(udp_packet(false, "hello")).subspan(40));
  // hop-by-hop (8), destination options (16), authentication (12 + pad to 16), an atomic fragment (8)
  const Bytes chain = bytes_of(
      "3c00010400000000"
      "3301010c000000000000000000000000"
      "2c020000000000000000000000000000"
      "1100000000000001");
  const Bytes packet = with_extensions(0, chain, payload);
  const auto ip = IpView::parse(packet);
  ASSERT_TRUE(ip.has_value());
  EXPECT_TRUE(ip->is(IpProtocol::Udp));
  EXPECT_FALSE(ip->fragment.has_value());
  EXPECT_EQ(ip->header_size(), 40 + chain.size());
  EXPECT_TRUE(is_transport_checksum_right(*ip));
}

TEST(IpView, LaterPiecesOfIPv6PacketsAreAllPayload) {
  const Bytes packet = with_extensions(44, bytes_of("3c00001100000007"), bytes_of("ffffffffffffffff"));
  const auto ip = IpView::parse(packet);
  ASSERT_TRUE(ip.has_value());
  EXPECT_EQ(ip->fragment->offset, 16U);
  EXPECT_TRUE(ip->fragment->more);
  EXPECT_EQ(ip->fragment->identification, 7U);
  EXPECT_EQ(ip->payload.size(), 8U);
}

TEST(IpView, EndlessOrCutChainsAreRefused) {
  Bytes chain;
  for (int i = 0; i < 9; ++i) {
    const Bytes one = bytes_of("3c00010400000000");
    chain.insert(chain.end(), one.begin(), one.end());
  }
  EXPECT_EQ(IpView::parse(with_extensions(60, chain, {})).error(), PacketError::BadHeader);
  EXPECT_EQ(IpView::parse(with_extensions(60, bytes_of("11ff010400000000"), {})).error(), PacketError::Truncated);
  EXPECT_EQ(IpView::parse(with_extensions(60, bytes_of("1100"), {})).error(), PacketError::Truncated);
}

TEST(TcpOptions, ReadsWhatLinuxPutsIntoASyn) {
  const auto options =
      TcpOptions::parse(bytes_of("020405b40402080a0000000100000000"
                                 "01030307"));
  EXPECT_EQ(options.mss, 1460);
  EXPECT_EQ(options.window_scale, 7);
  EXPECT_TRUE(options.sack_permitted);
  EXPECT_TRUE(options.timestamps);
}

TEST(TcpOptions, EndsAtNonsenseAndBoundsTheScale) {
  EXPECT_EQ(TcpOptions::parse(bytes_of("020405b4"
                                       "0300"
                                       "0402"))
                .sack_permitted,
            false);
  EXPECT_EQ(TcpOptions::parse(bytes_of("020405b4"
                                       "03ff"))
                .mss,
            1460);
  EXPECT_EQ(TcpOptions::parse(bytes_of("0303ff")).window_scale, 14);
  EXPECT_EQ(TcpOptions::parse(bytes_of("00020405b4")).mss, std::nullopt);
  EXPECT_EQ(TcpOptions::parse(bytes_of("0204")).mss, std::nullopt);
  EXPECT_EQ(TcpOptions::parse(bytes_of("02")).mss, std::nullopt);
}

TEST(TcpView, RefusesOffsetsOutsideTheSegment) {
  Bytes segment(20);
  segment[12] = 0x40;
  EXPECT_EQ(TcpView::parse(segment).error(), PacketError::BadHeader);
  segment[12] = 0x60;
  EXPECT_EQ(TcpView::parse(segment).error(), PacketError::Truncated);
  segment[12] = 0x50;
  EXPECT_TRUE(TcpView::parse(segment).has_value());
  EXPECT_EQ(TcpView::parse(ByteView(segment).first(19)).error(), PacketError::Truncated);
}

TEST(UdpView, BelievesNoLengthOutsideTheDatagram) {
  Bytes datagram = bytes_of("0001000200080000aabb");
  EXPECT_TRUE(UdpView::parse(datagram)->payload.empty());
  datagram[5] = 7;
  EXPECT_EQ(UdpView::parse(datagram).error(), PacketError::BadHeader);
  datagram[5] = 11;
  EXPECT_EQ(UdpView::parse(datagram).error(), PacketError::Truncated);
}

TEST(BuildUdp, IsRightForBothFamiliesAndRefusesToMixThem) {
  for (const bool v4 : {true, false}) {
    const Bytes packet = udp_packet(v4, "question");
    const auto ip = IpView::parse(packet);
    ASSERT_TRUE(ip.has_value());
    EXPECT_TRUE(is_transport_checksum_right(*ip));
    EXPECT_NE(UdpView::parse(ip->payload)->checksum, 0);
  }
  Bytes out(100);
  EXPECT_EQ(build_udp(out, {kSource, 1}, {kDestination6, 2}, {}), 0U);
  EXPECT_EQ(build_udp(MutableBytes(out).first(30), {kSource, 1}, {kDestination, 2}, as_bytes("abc")), 0U);
}

TEST(BuildEcho, IsAReplyThatVerifies) {
  for (const bool v4 : {true, false}) {
    Bytes out(100);
    const EchoMessage reply{v4 ? kDestination : kDestination6, v4 ? kSource : kSource6, true, 7, 9};
    out.resize(build_echo(out, reply, as_bytes("ping")));
    const auto ip = IpView::parse(out);
    ASSERT_TRUE(ip.has_value());
    EXPECT_TRUE(is_transport_checksum_right(*ip));
    const auto icmp = IcmpView::parse(ip->payload);
    EXPECT_EQ(icmp->type, v4 ? 0 : 129);
    EXPECT_EQ(icmp->identifier, 7);
    EXPECT_EQ(icmp->sequence, 9);
    EXPECT_EQ(as_text(icmp->payload), "ping");
  }
}

TEST(BuildUnreachable, QuotesTheOriginalInTheNameOfItsDestination) {
  for (const bool v4 : {true, false}) {
    const Bytes original = udp_packet(v4, "to a closed port");
    Bytes out(600);
    out.resize(build_unreachable(out, Unreachable::Port, original));
    const auto ip = IpView::parse(out);
    ASSERT_TRUE(ip.has_value());
    EXPECT_EQ(ip->source, v4 ? kDestination : kDestination6);
    EXPECT_EQ(ip->destination, v4 ? kSource : kSource6);
    EXPECT_TRUE(is_transport_checksum_right(*ip));
    const auto icmp = IcmpView::parse(ip->payload);
    EXPECT_EQ(icmp->type, v4 ? 3 : 1);
    EXPECT_EQ(icmp->code, v4 ? 3 : 4);
    EXPECT_EQ(to_bytes(icmp->payload), original);
  }
}

TEST(BuildUnreachable, QuotesNoMoreThanTheRfcsAllow) {
  for (const bool v4 : {true, false}) {
    Bytes original(3000);
    const std::size_t header = v4 ? 20 : 40;
    EXPECT_EQ(write_ip_header(original, v4 ? kSource : kSource6, v4 ? kDestination : kDestination6, 17, 3000 - header),
              header);
    Bytes out(4000);
    EXPECT_EQ(build_unreachable(out, Unreachable::Host, original), v4 ? 576U : 1280U);
    EXPECT_GT(build_unreachable(out, Unreachable::Host, ByteView(original).first(60)), 60U);
  }
}

TEST(BuildUnreachable, NeverAnswersErrorsPiecesAndGroups) {
  Bytes out(600);
  Bytes error(600);
  error.resize(build_unreachable(error, Unreachable::Port, udp_packet(true, "x")));
  EXPECT_EQ(build_unreachable(out, Unreachable::Port, error), 0U);
  Bytes piece = udp_packet(true, "x");
  piece[7] = 1;
  EXPECT_EQ(build_unreachable(out, Unreachable::Port, piece), 0U);
  Bytes group = udp_packet(true, "x");
  group[16] = 239;
  EXPECT_EQ(build_unreachable(out, Unreachable::Port, group), 0U);
  EXPECT_EQ(build_unreachable(MutableBytes(out).first(40), Unreachable::Port, udp_packet(true, "x")), 0U);
  EXPECT_EQ(build_unreachable(out, Unreachable::Port, {}), 0U);
}

TEST(BuildPacketTooBig, CarriesTheMtu) {
  for (const bool v4 : {true, false}) {
    Bytes out(600);
    out.resize(build_packet_too_big(out, 1400, udp_packet(v4, "big")));
    const auto icmp = IcmpView::parse(IpView::parse(out)->payload);
    EXPECT_EQ(icmp->type, v4 ? 3 : 2);
    EXPECT_EQ(icmp->code, v4 ? 4 : 0);
    EXPECT_EQ(icmp->sequence, 1400);
  }
}

TEST(PacketViews, TakeAnyBytes) {
  SeededRandom random(11);
  for (int round = 0; round < 200'000; ++round) {
    Bytes bytes(random.below(120));
    random.fill(bytes);
    if (!bytes.empty() && random.below(8) != 0) bytes[0] = random.below(2) == 0 ? 0x45 : 0x60;
    if (bytes.size() > 11 && bytes[0] == 0x45) {
      store_u16(&bytes[2], static_cast<std::uint16_t>(random.below(bytes.size() + 2)));
      store_u16(&bytes[10], 0);
      if (bytes.size() >= 20) store_u16(&bytes[10], ChecksumSum().add(ByteView(bytes).first(20)).checksum());
    }
    if (bytes.size() > 7 && bytes[0] == 0x60) {
      store_u16(&bytes[4], static_cast<std::uint16_t>(random.below(bytes.size())));
      if (random.below(2) == 0) bytes[6] = std::array<std::uint8_t, 4>{0, 43, 44, 51}[random.below(4)];
    }
    Bytes out(random.below(700));
    static_cast<void>(build_unreachable(out, Unreachable::Host, bytes));
    static_cast<void>(VnetHeader::parse(bytes));
    const auto ip = IpView::parse(bytes);
    if (!ip) continue;
    EXPECT_LE(ip->packet.size(), bytes.size());
    static_cast<void>(is_transport_checksum_right(*ip));
    if (const auto tcp = TcpView::parse(ip->payload)) static_cast<void>(TcpOptions::parse(tcp->options));
    static_cast<void>(UdpView::parse(ip->payload));
    static_cast<void>(IcmpView::parse(ip->payload));
  }
}

}  // namespace
}  // namespace postern::wire
