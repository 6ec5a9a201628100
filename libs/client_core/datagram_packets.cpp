// Packets towards the TUN that UDP and ICMP flows cause: answers, and ICMP errors.
#include <algorithm>
#include <cstring>

#include "client_core/datagram_flows.hpp"
#include "wire/checksum.hpp"
#include "wire/vnet_header.hpp"

namespace postern::client {

namespace {

constexpr auto kUdp = static_cast<std::uint8_t>(wire::IpProtocol::Udp);
constexpr std::size_t kUdpHeader = wire::UdpView::kHeaderSize;
constexpr std::size_t kEchoHeader = wire::IcmpView::kHeaderSize;

/// Answers that are longer than the TUN's MTU reach only this host's applications whole; who forwards may cut them.
void allow_fragments(MutableBytes header, std::uint16_t identification) {
  store_u16(&header[4], identification);
  store_u16(&header[6], 0);
  store_u16(&header[10], 0);
  store_u16(&header[10], wire::ChecksumSum().add(header.first(20)).checksum());
}

}  // namespace

Bytes quote_of(const DatagramTuple& tuple, std::size_t size, std::uint16_t sequence) {
  const IpFamily family = tuple.source.ip.family();
  const bool is_udp = tuple.protocol == model::Protocol::Udp;
  const std::size_t header = wire::ip_header_size(family);
  Bytes quote(header + 8);
  const auto icmp =
      static_cast<std::uint8_t>(tuple.source.ip.is_v4() ? wire::IpProtocol::Icmp : wire::IpProtocol::IcmpV6);
  const std::size_t payload = std::min<std::size_t>(size + (is_udp ? kUdpHeader : 6), 0xffff - header);
  if (wire::write_ip_header(quote, tuple.source.ip, tuple.destination.ip, is_udp ? kUdp : icmp, payload) == 0)
    return {};
  ByteWriter writer(MutableBytes(quote).subspan(header));
  if (is_udp) {
    writer.u16(tuple.source.port);
    writer.u16(tuple.destination.port);
    writer.u16(static_cast<std::uint16_t>(payload));
    writer.u16(0);
  } else {
    writer.u8(wire::echo_request_type(family));
    writer.u8(0);
    writer.u16(0);
    writer.u16(tuple.source.port);
    writer.u16(sequence);
  }
  return quote;
}

void DatagramFlows::tell(const DatagramTuple& tuple, std::size_t size, std::uint16_t sequence, tcp::Refusal answer) {
  // SOCKS5 knows no errors of datagrams.
  if (answer == tcp::Refusal::Silence || errors_.size() >= kErrorsMax || tuple.program != 0) return;
  wire::Unreachable kind = wire::Unreachable::Host;
  if (answer == tcp::Refusal::Reset && tuple.protocol == model::Protocol::Udp) kind = wire::Unreachable::Port;
  if (answer == tcp::Refusal::NetworkUnreachable) kind = wire::Unreachable::Network;
  if (answer == tcp::Refusal::AdminProhibited) kind = wire::Unreachable::AdminProhibited;
  Bytes error(kPacketMin);
  error.resize(wire::build_unreachable(error, kind, quote_of(tuple, size, sequence)));
  if (!error.empty()) errors_.push_back(std::move(error));
}

std::optional<Bytes> DatagramFlows::poll_error() {
  if (errors_.empty()) return std::nullopt;
  Bytes error = std::move(errors_.front());
  errors_.pop_front();
  return error;
}

bool DatagramFlows::poll_packet(tcp::Packet& packet) {
  while (!incoming_.empty()) {
    Incoming& front = incoming_.front();
    const std::size_t left = front.payload.size();
    const bool is_train = config_.joins_datagrams && front.tuple.protocol == model::Protocol::Udp &&
                          left > front.stride && front.stride + kUdpHeader + 40 <= config_.mtu;
    const std::size_t taken = is_train ? left : std::min(front.stride, left);
    const DatagramTuple tuple = front.tuple;
    const std::size_t stride = is_train ? front.stride : 0;
    Slice payload = front.payload.sub(0, taken);
    front.payload.remove_prefix(taken);
    if (taken == left) incoming_.pop_front();
    if (build(packet, tuple, std::move(payload), stride)) return true;
    ++dropped_;
  }
  return false;
}

/// From the flow's destination to its source. With a stride the kernel cuts the payload into datagrams.
bool DatagramFlows::build(tcp::Packet& packet, const DatagramTuple& tuple, Slice payload, std::size_t stride) {
  packet.vnet = {};
  packet.headers_size = 0;
  packet.payload_slices = 0;
  if (tuple.protocol == model::Protocol::Icmp) return build_echo_reply(packet, tuple, payload);
  const IpAddress& from = tuple.destination.ip;
  const std::size_t size = kUdpHeader + payload.size();
  const MutableBytes out(packet.headers);
  const std::size_t header = wire::write_ip_header(out, from, tuple.source.ip, kUdp, size);
  if (header == 0) return false;
  if (from.is_v4() && stride == 0 && header + size > config_.mtu) allow_fragments(out, next_identification_++);
  ByteWriter writer(out.subspan(header));
  writer.u16(tuple.destination.port);
  writer.u16(tuple.source.port);
  writer.u16(static_cast<std::uint16_t>(size));
  writer.u16(wire::ChecksumSum().add_pseudo_header(from, tuple.source.ip, kUdp, size).folded());
  packet.headers_size = header + kUdpHeader;
  wire::VnetHeader vnet;
  vnet.flags = wire::VnetHeader::kNeedsChecksum;
  vnet.checksum_start = static_cast<std::uint16_t>(header);
  vnet.checksum_offset = wire::UdpView::kChecksumOffset;
  if (stride > 0) {
    vnet.gso = wire::VnetHeader::Gso::UdpL4;
    vnet.gso_size = static_cast<std::uint16_t>(stride);
    vnet.header_size = static_cast<std::uint16_t>(packet.headers_size);
  }
  packet.vnet = vnet.build();
  if (!payload.empty()) packet.payload[packet.payload_slices++] = std::move(payload);
  return true;
}

bool DatagramFlows::build_echo_reply(tcp::Packet& packet, const DatagramTuple& tuple, const Slice& payload) {
  const ByteView bytes = payload.view();
  if (bytes.size() < 2) return false;
  const IpFamily family = tuple.source.ip.family();
  const wire::EchoMessage reply{tuple.destination.ip, tuple.source.ip, true, tuple.source.port, load_u16(bytes.data())};
  const Buffer block = parts_.pool.acquire(BlockClass::Large);
  if (!block) return false;
  const std::size_t size = wire::build_echo(block.bytes(), reply, bytes.subspan(2));
  if (size == 0) return false;
  if (family == IpFamily::V4 && size > config_.mtu) allow_fragments(block.bytes(), next_identification_++);
  packet.payload[packet.payload_slices++] = block.slice(0, size);
  return true;
}

}  // namespace postern::client
