// IP packets from the TUN: views of IP, TCP, UDP and ICMP, and the packets that we build as answers.
//
// Holds: views lie inside the packet; the payload of a view put behind a header of ours parses to the same view; every
// answer that we build parses, has right checksums, goes to the sender, and is no larger than allowed; nothing answers
// an answer.
#include <algorithm>

#include "fuzz.hpp"
#include "wire/checksum.hpp"
#include "wire/packet.hpp"
#include "wire/vnet_header.hpp"

namespace {

using namespace postern;
using namespace postern::wire;

bool lies_in(ByteView part, ByteView whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_error(ByteView answer, ByteView original) {
  if (answer.empty()) return;
  const auto ip = IpView::parse(answer);
  FUZZ_CHECK(ip && ip->packet.size() == answer.size() && is_transport_checksum_right(*ip));
  FUZZ_CHECK(answer.size() <= (ip->source.is_v4() ? 576U : 1280U));
  const auto icmp = IcmpView::parse(ip->payload);
  FUZZ_CHECK(icmp && icmp->payload.size() <= original.size());
  FUZZ_CHECK(std::equal(icmp->payload.begin(), icmp->payload.end(), original.begin()));
  FUZZ_CHECK(is_unicast(ip->source) && is_unicast(ip->destination));
  // RFC 1122 §3.2.2: no error about an error, so two hosts never answer each other for ever.
  Bytes out(1500);
  FUZZ_CHECK(build_unreachable(out, Unreachable::Host, answer) == 0);
}

void check_errors(ByteView packet) {
  for (const std::size_t room : {std::size_t{64}, std::size_t{192}, std::size_t{1500}}) {
    Bytes out(room);
    for (const auto kind : {Unreachable::Network, Unreachable::Host, Unreachable::Port, Unreachable::AdminProhibited}) {
      check_error(ByteView(out).first(build_unreachable(out, kind, packet)), packet);
    }
    check_error(ByteView(out).first(build_packet_too_big(out, 1280, packet)), packet);
  }
}

void check_udp(const IpView& ip, ByteView packet) {
  const auto udp = UdpView::parse(ip.payload);
  if (!udp) return;
  FUZZ_CHECK(lies_in(udp->payload, packet));
  const SocketAddress from{ip.source, udp->source_port};
  const SocketAddress to{ip.destination, udp->destination_port};
  Bytes out(udp->payload.size() + 100);
  const std::size_t size = build_udp(out, from, to, udp->payload);
  if (size == 0) return;
  const auto again = IpView::parse(ByteView(out).first(size));
  FUZZ_CHECK(again && again->source == ip.source && again->destination == ip.destination);
  FUZZ_CHECK(is_transport_checksum_right(*again));
  const auto back = UdpView::parse(again->payload);
  FUZZ_CHECK(back && back->source_port == from.port && back->destination_port == to.port && back->checksum != 0);
  FUZZ_CHECK(std::ranges::equal(back->payload, udp->payload));
}

void check_echo(const IpView& ip) {
  const auto icmp = IcmpView::parse(ip.payload);
  if (!icmp) return;
  Bytes out(icmp->payload.size() + 100);
  const EchoMessage reply{ip.destination, ip.source, true, icmp->identifier, icmp->sequence};
  const std::size_t size = build_echo(out, reply, icmp->payload);
  if (size == 0) return;
  const auto again = IpView::parse(ByteView(out).first(size));
  FUZZ_CHECK(again && is_transport_checksum_right(*again) && again->destination == ip.source);
  const auto back = IcmpView::parse(again->payload);
  FUZZ_CHECK(back && back->identifier == icmp->identifier && std::ranges::equal(back->payload, icmp->payload));
}

void check_packet(ByteView bytes) {
  check_errors(bytes);
  const auto ip = IpView::parse(bytes);
  if (!ip) return;
  FUZZ_CHECK(lies_in(ip->packet, bytes) && lies_in(ip->payload, ip->packet));
  FUZZ_CHECK(ip->source.family() == ip->destination.family());
  FUZZ_CHECK(ip->header_size() >= ip_header_size(ip->source.family()));
  (void)is_transport_checksum_right(*ip);
  if (const auto tcp = TcpView::parse(ip->payload)) {
    FUZZ_CHECK(lies_in(tcp->options, ip->payload) && lies_in(tcp->payload, ip->payload));
    const TcpOptions options = TcpOptions::parse(tcp->options);
    FUZZ_CHECK(options.window_scale.value_or(0) <= 14);
  }
  check_udp(*ip, bytes);
  check_echo(*ip);
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  std::vector<Bytes> all;
  Bytes out(512);
  const Bytes vnet(VnetHeader::kSize, 0);
  const auto add = [&](std::size_t size) { all.push_back(Script().raw(vnet).raw(ByteView(out).first(size)).bytes()); };
  for (const char* text : {"192.0.2.1", "2001:db8::1"}) {
    const IpAddress a = *IpAddress::parse(text);
    const IpAddress b = a.is_v4() ? IpAddress::v4(192, 0, 2, 2) : *IpAddress::parse("2001:db8::2");
    add(build_udp(out, {a, 4000}, {b, 53}, as_bytes("question")));
    add(build_echo(out, {a, b, false, 7, 1}, as_bytes("ping")));
    const std::size_t header = write_ip_header(out, a, b, 6, 32);
    std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(header), 32, std::uint8_t{1});
    out[header + 12] = 0x80;
    out[header + 13] = 2;
    const Bytes options = *from_hex("020405b40402080a03030701");
    std::copy(options.begin(), options.end(), out.begin() + static_cast<std::ptrdiff_t>(header) + 20);
    add(header + 32);
  }
  // IPv6 with hop-by-hop options and a fragment header.
  Bytes chained(40 + 8 + 8 + 16, 0);
  write_ip_header(chained, *IpAddress::parse("2001:db8::1"), *IpAddress::parse("2001:db8::2"), 0, 32);
  chained[40] = 44;
  chained[48] = 17;
  all.push_back(Script().raw(vnet).raw(chained).bytes());
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes(data, size);
  const auto vnet = VnetHeader::parse(bytes);
  if (vnet) {
    const auto again = VnetHeader::parse(vnet->build());
    FUZZ_CHECK(again && again->gso == vnet->gso && again->checksum_start == vnet->checksum_start);
  }
  if (size > VnetHeader::kSize) check_packet(bytes.subspan(VnetHeader::kSize));
  return 0;
}
