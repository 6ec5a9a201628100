// Packets of the TUN: to the TCP endpoint, to the resolver, to the flows of UDP and ICMP, or refused.
#include <algorithm>

#include "client_core/client.hpp"
#include "client_core/data_plane.hpp"

namespace postern::client {

namespace {

/// The bytes of `packet` that `part` is.
Slice slice_of(const Slice& packet, ByteView part) {
  if (part.empty()) return {};
  return packet.sub(static_cast<std::size_t>(part.data() - packet.data()), part.size());
}

}  // namespace

void Client::handle_tun_packet(Instant now, ByteView vnet, Slice packet) {
  const auto ip = wire::IpView::parse(packet.view());
  if (!ip) return count(PacketDrop::MalformedPacket);
  if (ip->is(wire::IpProtocol::Tcp)) return tcp_.handle_packet(now, vnet, std::move(packet));
  if (ip->fragment) return handle_fragment(now, *ip);
  if (ip->is(wire::IpProtocol::Udp)) return handle_udp(now, vnet, *ip, packet, ip->dont_fragment);
  handle_icmp(now, vnet, *ip, packet, ip->dont_fragment);
}

void Client::queue_errors() {
  while (auto error = plane_->datagrams.poll_error()) queue_reply(*error);
}

void Client::handle_fragment(Instant now, const wire::IpView& ip) {
  const std::uint64_t dropped = fragments_.dropped();
  const auto whole = fragments_.add(now, ip);
  drops_[static_cast<std::size_t>(PacketDrop::Fragment)] += fragments_.dropped() - dropped;
  if (!whole) return;
  const Slice packet = pool_.copy(*whole);
  const auto joined = wire::IpView::parse(packet.view());
  if (!joined || joined->fragment) return count(PacketDrop::MalformedPacket);
  const std::array<std::uint8_t, wire::VnetHeader::kSize> plain{};
  if (joined->is(wire::IpProtocol::Udp)) return handle_udp(now, plain, *joined, packet, false);
  handle_icmp(now, plain, *joined, packet, false);
}

void Client::handle_udp(Instant now, ByteView vnet, const wire::IpView& ip, const Slice& packet, bool dont_fragment) {
  const auto udp = wire::UdpView::parse(ip.payload);
  const auto header = wire::VnetHeader::parse(vnet);
  if (!udp || !header) return count(PacketDrop::MalformedUdp);
  if (!header->is_checksum_settled() && !wire::is_transport_checksum_right(ip)) return count(PacketDrop::MalformedUdp);
  if (addresses_.network().is_resolver(ip.destination)) return handle_resolver_udp(now, *header, ip, *udp);
  if (!wire::is_unicast(ip.source) || !wire::is_unicast(ip.destination) || udp->destination_port == 0) {
    return count(PacketDrop::MalformedUdp);
  }
  if (!plane_) return refuse_packet(ip, wire::Unreachable::Network);
  DatagramsOut packets;
  packets.tuple = {model::Protocol::Udp, {ip.source, udp->source_port}, {ip.destination, udp->destination_port}};
  packets.payload = slice_of(packet, udp->payload);
  packets.stride = header->gso_size > 0 ? header->gso_size : std::max<std::size_t>(udp->payload.size(), 1);
  packets.dont_fragment = dont_fragment;
  plane_->datagrams.handle_packets(now, wall(now), std::move(packets));
  queue_errors();
}

void Client::handle_local_datagram(Instant now, std::uint64_t program, const Destination& to, Slice payload) {
  SocketAddress destination{{}, to.port.value_or(0)};
  if (const auto* name = std::get_if<model::DnsName>(&to.host)) {
    // As the resolver would answer for it.
    const auto number = plane_ && names_.has_resource_for(*name) ? addresses_.assign(now, *name) : std::nullopt;
    if (!number) return count(PacketDrop::LocalNoResource);
    destination.ip = addresses_.network().at(IpFamily::V4, *number);
  } else {
    destination.ip = std::get<IpAddress>(to.host);
  }
  if (!plane_ || !wire::is_unicast(destination.ip)) return count(PacketDrop::LocalNoResource);
  DatagramsOut packets;
  packets.tuple = {model::Protocol::Udp, {}, destination, program};
  packets.stride = std::max<std::size_t>(payload.size(), 1);
  packets.payload = std::move(payload);
  plane_->datagrams.handle_packets(now, wall(now), std::move(packets));
}

void Client::end_program(Instant now, std::uint64_t program) {
  if (plane_) plane_->datagrams.end_program(now, program);
}

std::optional<LocalDatagrams> Client::poll_local_datagrams() {
  return plane_ ? plane_->datagrams.poll_local() : std::nullopt;
}

void Client::handle_resolver_udp(Instant now, const wire::VnetHeader& header, const wire::IpView& ip,
                                 const wire::UdpView& udp) {
  if (udp.destination_port != DnsFront::kPort) return refuse_packet(ip, wire::Unreachable::Port);
  const std::size_t stride = header.gso_size > 0 ? header.gso_size : std::max<std::size_t>(udp.payload.size(), 1);
  for (std::size_t at = 0; at < udp.payload.size(); at += stride) {
    const auto message = udp.payload.subspan(at, std::min(stride, udp.payload.size() - at));
    dns_.handle_datagram(now, {ip.source, udp.source_port}, {ip.destination, udp.destination_port}, message);
  }
}

void Client::handle_icmp(Instant now, ByteView vnet, const wire::IpView& ip, const Slice& packet, bool dont_fragment) {
  const bool is_icmp = ip.is(ip.source.is_v4() ? wire::IpProtocol::Icmp : wire::IpProtocol::IcmpV6);
  const auto icmp = is_icmp ? wire::IcmpView::parse(ip.payload) : std::unexpected(wire::PacketError::BadHeader);
  const bool is_echo = icmp && icmp->type == wire::echo_request_type(ip.destination.family());
  if (is_echo && addresses_.network().is_resolver(ip.destination)) {
    scratch_.resize(ip.packet.size() + 64);
    const wire::EchoMessage reply{ip.destination, ip.source, true, icmp->identifier, icmp->sequence};
    return queue_reply(ByteView(scratch_).first(wire::build_echo(scratch_, reply, icmp->payload)));
  }
  if (!is_echo) {
    count(PacketDrop::UnsupportedProtocol);
    if (!is_icmp) refuse_packet(ip, wire::Unreachable::AdminProhibited);
    return;
  }
  const auto header = wire::VnetHeader::parse(vnet);
  const bool is_right = header && (header->is_checksum_settled() || wire::is_transport_checksum_right(ip));
  if (!is_right || !wire::is_unicast(ip.source) || !wire::is_unicast(ip.destination)) {
    return count(PacketDrop::MalformedPacket);
  }
  if (!plane_) return refuse_packet(ip, wire::Unreachable::Network);
  DatagramsOut packets;
  packets.tuple = {model::Protocol::Icmp, {ip.source, icmp->identifier}, {ip.destination, 0}};
  constexpr std::size_t kBeforeSequence = 6;
  packets.payload = slice_of(packet, ip.payload.subspan(kBeforeSequence));
  packets.stride = packets.payload.size();
  packets.dont_fragment = dont_fragment;
  plane_->datagrams.handle_packets(now, wall(now), std::move(packets));
  queue_errors();
}

}  // namespace postern::client
