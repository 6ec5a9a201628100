#include "wire/packet.hpp"

#include <algorithm>

#include "wire/checksum.hpp"

namespace postern::wire {

namespace {

constexpr std::size_t kV4HeaderMin = 20;
constexpr std::size_t kV6HeaderSize = 40;
/// More extension headers than any real packet has; bounds the walk.
constexpr int kExtensionHeadersMax = 8;

constexpr std::uint8_t kHopByHop = 0;
constexpr std::uint8_t kRouting = 43;
constexpr std::uint8_t kFragment = 44;
constexpr std::uint8_t kAuthentication = 51;
constexpr std::uint8_t kDestinationOptions = 60;

IpAddress address_at(ByteView bytes, std::size_t offset, std::size_t size) {
  return *IpAddress::from_bytes(bytes.subspan(offset, size));
}

std::expected<IpView, PacketError> parse_v4(ByteView bytes) {
  if (bytes.size() < kV4HeaderMin) return std::unexpected(PacketError::Truncated);
  const std::size_t header = std::size_t{bytes[0] & 0x0fU} * 4;
  const std::size_t total = load_u16(&bytes[2]);
  if (header < kV4HeaderMin || total < header) return std::unexpected(PacketError::BadHeader);
  if (bytes.size() < total) return std::unexpected(PacketError::Truncated);
  if (ChecksumSum().add(bytes.first(header)).checksum() != 0) return std::unexpected(PacketError::BadChecksum);
  IpView view;
  view.traffic_class = bytes[1];
  const std::uint16_t fragment = load_u16(&bytes[6]);
  view.dont_fragment = (fragment & 0x4000) != 0;
  if ((fragment & 0x3fff) != 0) {
    view.fragment = FragmentInfo{load_u16(&bytes[4]), (fragment & 0x1fffU) * 8, (fragment & 0x2000) != 0};
  }
  view.hop_limit = bytes[8];
  view.protocol = bytes[9];
  view.source = address_at(bytes, 12, 4);
  view.destination = address_at(bytes, 16, 4);
  view.packet = bytes.first(total);
  view.payload = view.packet.subspan(header);
  return view;
}

bool is_extension(std::uint8_t next) {
  return next == kHopByHop || next == kRouting || next == kFragment || next == kAuthentication ||
         next == kDestinationOptions;
}

/// Size of the extension header at the start of `rest` (RFC 8200 §4, RFC 4302 §2.2).
std::size_t extension_size(std::uint8_t kind, ByteView rest) {
  if (kind == kFragment) return 8;
  if (kind == kAuthentication) return (std::size_t{rest[1]} + 2) * 4;
  return (std::size_t{rest[1]} + 1) * 8;
}

/// Moves `view.payload` past the extension headers.
std::expected<void, PacketError> skip_extensions(IpView& view) {
  for (int i = 0; is_extension(view.protocol); ++i) {
    if (i == kExtensionHeadersMax) return std::unexpected(PacketError::BadHeader);
    const ByteView rest = view.payload;
    if (rest.size() < 8) return std::unexpected(PacketError::Truncated);
    const std::size_t size = extension_size(view.protocol, rest);
    if (rest.size() < size) return std::unexpected(PacketError::Truncated);
    const std::uint8_t kind = view.protocol;
    view.protocol = rest[0];
    view.payload = rest.subspan(size);
    if (kind != kFragment) continue;
    const std::uint16_t where = load_u16(&rest[2]);
    // An atomic fragment (RFC 6946) is a whole packet.
    if ((where & 0xfff9) == 0) continue;
    view.fragment = FragmentInfo{load_u32(&rest[4]), where & 0xfff8U, (where & 1) != 0};
    // Only the first piece has the headers that follow; the others are all payload.
    if (view.fragment->offset != 0) return {};
  }
  return {};
}

std::expected<IpView, PacketError> parse_v6(ByteView bytes) {
  if (bytes.size() < kV6HeaderSize) return std::unexpected(PacketError::Truncated);
  const std::size_t total = kV6HeaderSize + load_u16(&bytes[4]);
  if (bytes.size() < total) return std::unexpected(PacketError::Truncated);
  IpView view;
  view.traffic_class = static_cast<std::uint8_t>((load_u16(bytes.data()) >> 4) & 0xff);
  view.dont_fragment = true;
  view.protocol = bytes[6];
  view.hop_limit = bytes[7];
  view.source = address_at(bytes, 8, 16);
  view.destination = address_at(bytes, 24, 16);
  view.packet = bytes.first(total);
  view.payload = view.packet.subspan(kV6HeaderSize);
  if (const auto done = skip_extensions(view); !done) return std::unexpected(done.error());
  return view;
}

}  // namespace

std::expected<IpView, PacketError> IpView::parse(ByteView bytes) {
  if (bytes.empty()) return std::unexpected(PacketError::Truncated);
  switch (bytes[0] >> 4) {
    case 4:
      return parse_v4(bytes);
    case 6:
      return parse_v6(bytes);
    default:
      return std::unexpected(PacketError::BadVersion);
  }
}

bool is_transport_checksum_right(const IpView& ip) {
  if (ip.is(IpProtocol::Udp) && ip.source.is_v4() && ip.payload.size() >= UdpView::kHeaderSize &&
      load_u16(&ip.payload[UdpView::kChecksumOffset]) == 0) {
    return true;
  }
  ChecksumSum sum;
  if (!ip.is(IpProtocol::Icmp)) sum.add_pseudo_header(ip.source, ip.destination, ip.protocol, ip.payload.size());
  return sum.add(ip.payload).checksum() == 0;
}

TcpOptions TcpOptions::parse(ByteView options) {
  TcpOptions result;
  while (!options.empty() && options[0] != 0) {
    if (options[0] == 1) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) break;
    const std::size_t size = options[1];
    if (options[0] == 2 && size == 4) result.mss = load_u16(&options[2]);
    if (options[0] == 3 && size == 3) result.window_scale = std::min<std::uint8_t>(options[2], 14);
    if (options[0] == 4 && size == 2) result.sack_permitted = true;
    if (options[0] == 8 && size == 10) result.timestamps = true;
    options = options.subspan(size);
  }
  return result;
}

std::expected<TcpView, PacketError> TcpView::parse(ByteView segment) {
  if (segment.size() < kHeaderMin) return std::unexpected(PacketError::Truncated);
  const std::size_t header = std::size_t{segment[12]} / 16 * 4;
  if (header < kHeaderMin) return std::unexpected(PacketError::BadHeader);
  if (segment.size() < header) return std::unexpected(PacketError::Truncated);
  TcpView view;
  view.source_port = load_u16(&segment[0]);
  view.destination_port = load_u16(&segment[2]);
  view.sequence = load_u32(&segment[4]);
  view.acknowledgment = load_u32(&segment[8]);
  view.flags = segment[13];
  view.window = load_u16(&segment[14]);
  view.checksum = load_u16(&segment[16]);
  view.urgent_pointer = load_u16(&segment[18]);
  view.options = segment.subspan(kHeaderMin, header - kHeaderMin);
  view.payload = segment.subspan(header);
  return view;
}

std::expected<UdpView, PacketError> UdpView::parse(ByteView datagram) {
  if (datagram.size() < kHeaderSize) return std::unexpected(PacketError::Truncated);
  const std::size_t size = load_u16(&datagram[4]);
  if (size < kHeaderSize) return std::unexpected(PacketError::BadHeader);
  if (datagram.size() < size) return std::unexpected(PacketError::Truncated);
  UdpView view;
  view.source_port = load_u16(&datagram[0]);
  view.destination_port = load_u16(&datagram[2]);
  view.checksum = load_u16(&datagram[6]);
  view.payload = datagram.subspan(kHeaderSize, size - kHeaderSize);
  return view;
}

std::expected<IcmpView, PacketError> IcmpView::parse(ByteView message) {
  if (message.size() < kHeaderSize) return std::unexpected(PacketError::Truncated);
  IcmpView view;
  view.type = message[0];
  view.code = message[1];
  view.checksum = load_u16(&message[2]);
  view.identifier = load_u16(&message[4]);
  view.sequence = load_u16(&message[6]);
  view.payload = message.subspan(kHeaderSize);
  return view;
}

bool is_unicast(const IpAddress& address) {
  const ByteView bytes = address.bytes();
  if (address.is_v6()) return bytes[0] != 0xff && address != *IpAddress::from_bytes(std::array<std::uint8_t, 16>{});
  return bytes[0] != 0 && bytes[0] < 224;
}

}  // namespace postern::wire
