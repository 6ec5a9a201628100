#include "tcp/segment_writer.hpp"

#include "wire/checksum.hpp"
#include "wire/vnet_header.hpp"

namespace postern::tcp {

namespace {

using wire::VnetHeader;

constexpr auto kTcp = static_cast<std::uint8_t>(wire::IpProtocol::Tcp);

std::size_t options_size(const SegmentPlan& plan) {
  return (plan.offered_mss != 0 ? 4U : 0U) + (plan.offered_scale ? 4U : 0U);
}

void write_tcp_header(MutableBytes out, const FlowTuple& tuple, const SegmentPlan& plan) {
  ByteWriter writer(out);
  writer.u16(tuple.remote.port);
  writer.u16(tuple.local.port);
  writer.u32(plan.sequence.value());
  writer.u32(plan.acknowledgment.value());
  writer.u8(static_cast<std::uint8_t>(out.size() / 4 * 16));
  writer.u8(plan.flags);
  writer.u16(plan.window);
  writer.u32(0);
  if (plan.offered_mss != 0) {
    writer.u16(0x0204);
    writer.u16(plan.offered_mss);
  }
  if (plan.offered_scale) {
    writer.u8(1);
    writer.u16(0x0303);
    writer.u8(*plan.offered_scale);
  }
}

}  // namespace

void write_segment(const FlowTuple& tuple, const SegmentPlan& plan, Packet& packet) {
  const std::size_t tcp_header = wire::TcpView::kHeaderMin + options_size(plan);
  const std::size_t segment = tcp_header + plan.payload_size;
  const MutableBytes headers(packet.headers);
  const IpAddress& source = tuple.remote.ip;
  const IpAddress& destination = tuple.local.ip;
  const std::size_t ip_header = wire::write_ip_header(headers, source, destination, kTcp, segment);
  write_tcp_header(headers.subspan(ip_header, tcp_header), tuple, plan);
  const std::uint16_t seed = wire::ChecksumSum().add_pseudo_header(source, destination, kTcp, segment).folded();
  store_u16(&packet.headers[ip_header + wire::TcpView::kChecksumOffset], seed);
  packet.headers_size = ip_header + tcp_header;
  packet.payload_slices = plan.payload_slices;

  VnetHeader vnet;
  vnet.flags = VnetHeader::kNeedsChecksum;
  vnet.header_size = static_cast<std::uint16_t>(packet.headers_size);
  vnet.checksum_start = static_cast<std::uint16_t>(ip_header);
  vnet.checksum_offset = wire::TcpView::kChecksumOffset;
  if (plan.payload_size > plan.mss) {
    vnet.gso = source.is_v4() ? VnetHeader::Gso::TcpV4 : VnetHeader::Gso::TcpV6;
    vnet.gso_size = plan.mss;
  }
  packet.vnet = vnet.build();
}

std::optional<Packet> make_refusal(wire::Unreachable kind, ByteView syn) {
  Packet packet;
  packet.headers_size = wire::build_unreachable(packet.headers, kind, syn);
  if (packet.headers_size == 0) return std::nullopt;
  return packet;
}

}  // namespace postern::tcp
