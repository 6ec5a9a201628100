#include "tcp/segment.hpp"

#include "wire/vnet_header.hpp"

namespace postern::tcp {

namespace {

using wire::IpView;
using wire::TcpView;
using wire::VnetHeader;

std::expected<IpView, DropReason> parse_ip(ByteView packet) {
  auto ip = IpView::parse(packet);
  if (!ip) {
    return std::unexpected(ip.error() == wire::PacketError::BadChecksum ? DropReason::BadChecksum
                                                                        : DropReason::Truncated);
  }
  if (ip->fragment) return std::unexpected(DropReason::Fragment);
  if (!ip->is(wire::IpProtocol::Tcp)) return std::unexpected(DropReason::NotTcp);
  if (!wire::is_unicast(ip->source) || !wire::is_unicast(ip->destination)) {
    return std::unexpected(DropReason::BadAddress);
  }
  return *std::move(ip);
}

/// Combinations that no TCP sends (RFC 9293 §3.10.7 never reaches them with sense).
bool are_flags_sane(std::uint8_t flags) {
  using namespace wire::tcp_flag;
  if ((flags & kSyn) != 0) return (flags & (kFin | kRst)) == 0;
  return (flags & (kRst | kAck)) != 0;
}

}  // namespace

std::expected<Segment, DropReason> Segment::parse(ByteView vnet, const Slice& packet) {
  const auto header = VnetHeader::parse(vnet);
  if (!header) return std::unexpected(DropReason::Truncated);
  const auto ip = parse_ip(packet.view());
  if (!ip) return std::unexpected(ip.error());
  const auto tcp = TcpView::parse(ip->payload);
  if (!tcp) return std::unexpected(DropReason::Truncated);
  if (!header->is_checksum_settled() && !wire::is_transport_checksum_right(*ip)) {
    return std::unexpected(DropReason::BadChecksum);
  }
  if (!are_flags_sane(tcp->flags)) return std::unexpected(DropReason::BadFlags);
  Segment segment;
  segment.tuple = {{ip->source, tcp->source_port}, {ip->destination, tcp->destination_port}};
  segment.sequence = Sequence(tcp->sequence);
  segment.acknowledgment = Sequence(tcp->acknowledgment);
  segment.window = tcp->window;
  segment.flags = tcp->flags;
  const auto offset = static_cast<std::size_t>(tcp->payload.data() - packet.data());
  if (!tcp->payload.empty()) segment.payload = packet.sub(offset, tcp->payload.size());
  segment.options = tcp->options;
  segment.packet = ip->packet;
  return segment;
}

}  // namespace postern::tcp
