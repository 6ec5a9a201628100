// Headers and small packets that we make ourselves (declared in packet.hpp).
#include <algorithm>

#include "wire/checksum.hpp"
#include "wire/packet.hpp"

namespace postern::wire {

namespace {

constexpr std::uint8_t kHopLimit = 64;
constexpr std::size_t kV4ErrorMax = 576;   // RFC 1812 §4.3.2.3
constexpr std::size_t kV6ErrorMax = 1280;  // RFC 4443 §2.4 (c)

void write_v4_header(MutableBytes out, const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                     std::size_t payload_size) {
  ByteWriter writer(out);
  writer.u8(0x45);
  writer.u8(0);
  writer.u16(static_cast<std::uint16_t>(20 + payload_size));
  writer.u16(0);
  writer.u16(0x4000);
  writer.u8(kHopLimit);
  writer.u8(protocol);
  writer.u16(0);
  writer.view(source.bytes());
  writer.view(destination.bytes());
  store_u16(&out[10], ChecksumSum().add(out.first(20)).checksum());
}

void write_v6_header(MutableBytes out, const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                     std::size_t payload_size) {
  ByteWriter writer(out);
  writer.u32(0x60000000);
  writer.u16(static_cast<std::uint16_t>(payload_size));
  writer.u8(protocol);
  writer.u8(kHopLimit);
  writer.view(source.bytes());
  writer.view(destination.bytes());
}

std::uint8_t icmp_protocol(const IpAddress& address) {
  return static_cast<std::uint8_t>(address.is_v4() ? IpProtocol::Icmp : IpProtocol::IcmpV6);
}

/// Fills the checksum of the ICMP message that follows the IP header.
void seal_icmp(MutableBytes message, const IpAddress& source, const IpAddress& destination) {
  store_u16(&message[2], 0);
  ChecksumSum sum;
  if (source.is_v6()) sum.add_pseudo_header(source, destination, icmp_protocol(source), message.size());
  store_u16(&message[2], sum.add(message).checksum());
}

struct IcmpError {
  std::uint8_t type;
  std::uint8_t code;
  std::uint32_t value;
};

/// The addresses and protocol of `original`, of which only the beginning may be present.
std::optional<IpView> parse_beginning(ByteView original) {
  if (original.empty()) return std::nullopt;
  const bool v4 = original[0] >> 4 == 4;
  if (!v4 && original[0] >> 4 != 6) return std::nullopt;
  if (original.size() < ip_header_size(v4 ? IpFamily::V4 : IpFamily::V6)) return std::nullopt;
  IpView view;
  const std::size_t width = v4 ? 4 : 16;
  const std::size_t at = v4 ? 12 : 8;
  view.source = *IpAddress::from_bytes(original.subspan(at, width));
  view.destination = *IpAddress::from_bytes(original.subspan(at + width, width));
  view.protocol = original[v4 ? 9 : 6];
  if (v4 && (load_u16(&original[6]) & 0x1fff) != 0) view.fragment = FragmentInfo{};
  const std::size_t header = v4 ? std::size_t{original[0] & 0x0fU} * 4 : 40;
  if (header < 20 || header > original.size()) return std::nullopt;
  view.packet = original;
  view.payload = original.subspan(header);
  return view;
}

bool may_be_answered(const IpView& original) {
  if (original.fragment.has_value() || !is_unicast(original.source) || !is_unicast(original.destination)) return false;
  if (original.protocol != icmp_protocol(original.source)) return true;
  if (original.payload.empty()) return false;
  const std::uint8_t type = original.payload[0];
  return type == echo_request_type(original.source.family()) || type == echo_reply_type(original.source.family());
}

std::size_t build_error(MutableBytes out, const IcmpError& error, ByteView original) {
  const auto about = parse_beginning(original);
  if (!about || !may_be_answered(*about)) return 0;
  const bool v4 = about->source.is_v4();
  const std::size_t header = ip_header_size(about->source.family());
  const std::size_t limit = std::min(out.size(), v4 ? kV4ErrorMax : kV6ErrorMax);
  if (limit < header + IcmpView::kHeaderSize + about->header_size() + 8) return 0;
  const std::size_t quoted = std::min(original.size(), limit - header - IcmpView::kHeaderSize);
  const std::size_t size = IcmpView::kHeaderSize + quoted;
  write_ip_header(out, about->destination, about->source, icmp_protocol(about->source), size);
  ByteWriter writer(out.subspan(header, size));
  writer.u8(error.type);
  writer.u8(error.code);
  writer.u16(0);
  writer.u32(error.value);
  writer.view(original.first(quoted));
  seal_icmp(out.subspan(header, size), about->destination, about->source);
  return header + size;
}

bool is_v4_packet(ByteView packet) {
  return !packet.empty() && packet[0] >> 4 == 4;
}

}  // namespace

std::size_t write_ip_header(MutableBytes out, const IpAddress& source, const IpAddress& destination,
                            std::uint8_t protocol, std::size_t payload_size) {
  const std::size_t size = ip_header_size(source.family());
  const std::size_t payload_max = source.is_v4() ? 0xffff - size : 0xffff;
  if (source.family() != destination.family() || out.size() < size || payload_size > payload_max) return 0;
  if (source.is_v4()) {
    write_v4_header(out, source, destination, protocol, payload_size);
  } else {
    write_v6_header(out, source, destination, protocol, payload_size);
  }
  return size;
}

std::size_t build_udp(MutableBytes out, const SocketAddress& source, const SocketAddress& destination,
                      ByteView payload) {
  const std::size_t size = UdpView::kHeaderSize + payload.size();
  const auto protocol = static_cast<std::uint8_t>(IpProtocol::Udp);
  const std::size_t header = write_ip_header(out, source.ip, destination.ip, protocol, size);
  if (header == 0 || out.size() < header + size) return 0;
  ByteWriter writer(out.subspan(header, size));
  writer.u16(source.port);
  writer.u16(destination.port);
  writer.u16(static_cast<std::uint16_t>(size));
  writer.u16(0);
  writer.view(payload);
  ChecksumSum sum;
  sum.add_pseudo_header(source.ip, destination.ip, protocol, size).add(out.subspan(header, size));
  // Zero means "no checksum" (RFC 768).
  store_u16(&out[header + UdpView::kChecksumOffset], sum.checksum() == 0 ? 0xffff : sum.checksum());
  return header + size;
}

std::size_t build_echo(MutableBytes out, const EchoMessage& message, ByteView payload) {
  const std::size_t size = IcmpView::kHeaderSize + payload.size();
  const std::size_t header =
      write_ip_header(out, message.source, message.destination, icmp_protocol(message.source), size);
  if (header == 0 || out.size() < header + size) return 0;
  const IpFamily family = message.source.family();
  ByteWriter writer(out.subspan(header, size));
  writer.u8(message.is_reply ? echo_reply_type(family) : echo_request_type(family));
  writer.u8(0);
  writer.u16(0);
  writer.u16(message.identifier);
  writer.u16(message.sequence);
  writer.view(payload);
  seal_icmp(out.subspan(header, size), message.source, message.destination);
  return header + size;
}

std::size_t build_unreachable(MutableBytes out, Unreachable kind, ByteView original) {
  static constexpr std::array<std::uint8_t, 4> kCodesV4 = {0, 1, 3, 13};
  static constexpr std::array<std::uint8_t, 4> kCodesV6 = {0, 3, 4, 1};
  const bool v4 = is_v4_packet(original);
  const auto index = static_cast<std::size_t>(kind);
  const IcmpError error = v4 ? IcmpError{3, kCodesV4[index], 0} : IcmpError{1, kCodesV6[index], 0};
  return build_error(out, error, original);
}

std::size_t build_packet_too_big(MutableBytes out, std::uint16_t mtu, ByteView original) {
  const IcmpError error = is_v4_packet(original) ? IcmpError{3, 4, mtu} : IcmpError{2, 0, mtu};
  return build_error(out, error, original);
}

}  // namespace postern::wire
