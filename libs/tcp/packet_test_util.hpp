// Tests only: packets as the kernel would put them on the device, and a full check of what the endpoint emits.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "base/block.hpp"
#include "base/random.hpp"
#include "tcp/endpoint.hpp"
#include "wire/checksum.hpp"
#include "wire/packet.hpp"
#include "wire/vnet_header.hpp"

namespace postern::tcp::test {

using namespace wire::tcp_flag;

/// A segment as the kernel's side thinks of it.
struct KernelSegment {
  std::uint8_t flags = kAck;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint16_t window = 65535;
  Bytes payload{};
  std::optional<std::uint16_t> mss{};
  std::optional<std::uint8_t> scale{};
  bool sack_permitted = false;
  bool timestamps = false;
  std::uint16_t urgent = 0;
};

/// How the packet's checksum is told to the reader of the device.
enum class Checksum : std::uint8_t { Partial, DataValid, Complete, Wrong };

struct RawPacket {
  std::array<std::uint8_t, wire::VnetHeader::kSize> vnet{};
  Bytes bytes;
};

inline Bytes tcp_options(const KernelSegment& segment) {
  Bytes options;
  const auto add = [&options](std::initializer_list<int> bytes) {
    for (const int byte : bytes) options.push_back(static_cast<std::uint8_t>(byte));
  };
  if (segment.mss) add({2, 4, *segment.mss >> 8, *segment.mss & 0xff});
  if (segment.sack_permitted) add({4, 2});
  if (segment.timestamps) add({8, 10, 0, 0, 0, 1, 0, 0, 0, 0});
  if (segment.scale) add({1, 3, 3, *segment.scale});
  while (options.size() % 4 != 0) options.push_back(0);
  return options;
}

inline RawPacket make_packet(const FlowTuple& tuple, const KernelSegment& segment,
                             Checksum checksum = Checksum::Partial) {
  const Bytes options = tcp_options(segment);
  const std::size_t header = 20 + options.size();
  const std::size_t size = header + segment.payload.size();
  RawPacket packet;
  const std::size_t ip = wire::ip_header_size(tuple.local.ip.family());
  packet.bytes.resize(ip + size);
  EXPECT_EQ(wire::write_ip_header(packet.bytes, tuple.local.ip, tuple.remote.ip, 6, size), ip);
  ByteWriter writer(MutableBytes(packet.bytes).subspan(ip));
  writer.u16(tuple.local.port);
  writer.u16(tuple.remote.port);
  writer.u32(segment.sequence);
  writer.u32(segment.acknowledgment);
  writer.u8(static_cast<std::uint8_t>(header / 4 * 16));
  writer.u8(segment.flags);
  writer.u16(segment.window);
  writer.u16(0);
  writer.u16(segment.urgent);
  writer.view(options);
  writer.view(segment.payload);
  wire::VnetHeader vnet;
  wire::ChecksumSum sum;
  sum.add_pseudo_header(tuple.local.ip, tuple.remote.ip, 6, size);
  std::uint16_t field = sum.folded();
  if (checksum == Checksum::Partial) {
    vnet.flags = wire::VnetHeader::kNeedsChecksum;
    vnet.checksum_start = static_cast<std::uint16_t>(ip);
    vnet.checksum_offset = 16;
  } else {
    field = sum.add(ByteView(packet.bytes).subspan(ip)).checksum();
    if (checksum == Checksum::DataValid) vnet.flags = wire::VnetHeader::kDataValid;
    if (checksum == Checksum::Wrong) field = static_cast<std::uint16_t>(field + 1);
  }
  if (segment.payload.size() > 1460) {
    vnet.gso = tuple.local.ip.is_v4() ? wire::VnetHeader::Gso::TcpV4 : wire::VnetHeader::Gso::TcpV6;
    vnet.gso_size = 1440;
    vnet.header_size = static_cast<std::uint16_t>(ip + header);
  }
  store_u16(&packet.bytes[ip + 16], field);
  packet.vnet = vnet.build();
  return packet;
}

/// Reads a packet into a block of its own, as the owner of a device does.
inline Slice in_block(BlockPool& pool, ByteView bytes) {
  const Buffer block = pool.acquire(BlockClass::Large);
  EXPECT_TRUE(block);
  if (!bytes.empty()) std::memcpy(block.bytes().data(), bytes.data(), bytes.size());
  return block.slice(0, bytes.size());
}

/// What the endpoint emitted, after its headers were found right.
struct Seen {
  Bytes packet;
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  // TCP only
  std::uint8_t flags = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint16_t window = 0;
  std::uint16_t gso_size = 0;
  wire::TcpOptions options;
  Bytes payload;
  [[nodiscard]] std::string text() const { return std::string(as_text(payload)); }
};

inline void check_segmentation(const wire::VnetHeader& vnet, const Seen& seen, std::size_t headers) {
  if (vnet.gso == wire::VnetHeader::Gso::None) {
    EXPECT_EQ(vnet.gso_size, 0);
    return;
  }
  EXPECT_EQ(vnet.gso, seen.source.is_v4() ? wire::VnetHeader::Gso::TcpV4 : wire::VnetHeader::Gso::TcpV6);
  EXPECT_EQ(vnet.header_size, headers);
  EXPECT_GT(seen.payload.size(), vnet.gso_size);
}

/// Does what the kernel would do with NEEDS_CSUM, then verifies all sums in software.
inline Seen inspect(const Packet& packet) {
  Seen seen;
  seen.packet.assign(packet.headers.begin(), packet.headers.begin() + static_cast<long>(packet.headers_size));
  for (std::size_t i = 0; i < packet.payload_slices; ++i) {
    const ByteView part = packet.payload[i].view();
    EXPECT_FALSE(part.empty());
    seen.packet.insert(seen.packet.end(), part.begin(), part.end());
  }
  const auto vnet = wire::VnetHeader::parse(packet.vnet);
  EXPECT_TRUE(vnet.has_value());
  if ((vnet->flags & wire::VnetHeader::kNeedsChecksum) != 0) {
    const std::size_t start = vnet->checksum_start;
    EXPECT_LE(start + vnet->checksum_offset + 2, seen.packet.size());
    const auto sum = wire::ChecksumSum().add(ByteView(seen.packet).subspan(start)).checksum();
    store_u16(&seen.packet[start + vnet->checksum_offset], sum);
  }
  const auto ip = wire::IpView::parse(seen.packet);
  EXPECT_TRUE(ip.has_value());
  if (!ip) return seen;
  EXPECT_EQ(ip->packet.size(), seen.packet.size());
  EXPECT_TRUE(wire::is_transport_checksum_right(*ip));
  seen.source = ip->source;
  seen.destination = ip->destination;
  seen.protocol = ip->protocol;
  if (!ip->is(wire::IpProtocol::Tcp)) return seen;
  const auto tcp = wire::TcpView::parse(ip->payload);
  EXPECT_TRUE(tcp.has_value());
  seen.flags = tcp->flags;
  seen.sequence = tcp->sequence;
  seen.acknowledgment = tcp->acknowledgment;
  seen.window = tcp->window;
  seen.gso_size = vnet->gso_size;
  seen.options = wire::TcpOptions::parse(tcp->options);
  seen.payload = to_bytes(tcp->payload);
  check_segmentation(*vnet, seen, packet.headers_size);
  return seen;
}

inline FlowTuple tuple_v4(std::uint16_t port = 40000) {
  return {{IpAddress::v4(10, 0, 0, 1), port}, {IpAddress::v4(10, 1, 0, 7), 443}};
}
inline FlowTuple tuple_v6(std::uint16_t port = 40000) {
  return {{*IpAddress::parse("fd00::1"), port}, {*IpAddress::parse("fd01::7"), 443}};
}

}  // namespace postern::tcp::test
