// Views of IP packets and their TCP, UDP and ICMP contents, and the small packets that we answer with.
//
// A view refers to the bytes that were parsed; it is valid as long as they are. Parsing checks every length once, so
// that a view that exists has all fields. Checksums are not part of parsing: a TUN with offload hands out packets whose
// sums are not complete (VnetHeader::is_checksum_settled).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "base/bytes.hpp"
#include "base/ip.hpp"

namespace postern::wire {

enum class IpProtocol : std::uint8_t { Icmp = 1, Tcp = 6, Udp = 17, IcmpV6 = 58 };

enum class PacketError : std::uint8_t {
  Truncated,    ///< fewer bytes than the headers say
  BadVersion,   ///< neither 4 nor 6
  BadHeader,    ///< a length below its minimum, or a chain of extension headers without end
  BadChecksum,  ///< IPv4 header
};

// --- IP ------------------------------------------------------------------------------------------------------------

/// Where a piece of a fragmented packet belongs.
struct FragmentInfo {
  std::uint32_t identification = 0;
  /// Bytes, a multiple of 8.
  std::uint32_t offset = 0;
  bool more = false;
};

struct IpView {
  IpAddress source;
  IpAddress destination;
  /// Of the payload, after extension headers.
  std::uint8_t protocol = 0;
  std::uint8_t hop_limit = 0;
  std::uint8_t traffic_class = 0;
  /// IPv4's DF; always true for IPv6.
  bool dont_fragment = false;
  /// Present for every piece of a fragmented packet; its payload is then only a part.
  std::optional<FragmentInfo> fragment;
  /// The whole packet without what may follow it.
  ByteView packet;
  /// What follows the IP header, its options and extension headers.
  ByteView payload;

  [[nodiscard]] static std::expected<IpView, PacketError> parse(ByteView bytes);
  [[nodiscard]] bool is(IpProtocol wanted) const { return protocol == static_cast<std::uint8_t>(wanted); }
  [[nodiscard]] std::size_t header_size() const { return packet.size() - payload.size(); }
};

/// Whether the checksum inside a TCP, UDP or ICMP payload is right. Zero is right for UDP over IPv4 (RFC 768).
[[nodiscard]] bool is_transport_checksum_right(const IpView& ip);

// --- TCP -----------------------------------------------------------------------------------------------------------

namespace tcp_flag {
inline constexpr std::uint8_t kFin = 0x01;
inline constexpr std::uint8_t kSyn = 0x02;
inline constexpr std::uint8_t kRst = 0x04;
inline constexpr std::uint8_t kPsh = 0x08;
inline constexpr std::uint8_t kAck = 0x10;
inline constexpr std::uint8_t kUrg = 0x20;
}  // namespace tcp_flag

/// The options that matter in a SYN (RFC 9293 §3.2, RFC 7323, RFC 2018).
struct TcpOptions {
  std::optional<std::uint16_t> mss;
  /// At most 14 (RFC 7323 §2.3).
  std::optional<std::uint8_t> window_scale;
  bool sack_permitted = false;
  bool timestamps = false;

  /// Options that are cut off or have a wrong length end the list; what came before counts.
  [[nodiscard]] static TcpOptions parse(ByteView options);
};

struct TcpView {
  static constexpr std::size_t kHeaderMin = 20;
  static constexpr std::size_t kChecksumOffset = 16;

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint16_t checksum = 0;
  std::uint16_t urgent_pointer = 0;
  ByteView options;
  ByteView payload;

  /// `segment` is the payload of an IpView.
  [[nodiscard]] static std::expected<TcpView, PacketError> parse(ByteView segment);
  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

// --- UDP and ICMP --------------------------------------------------------------------------------------------------

struct UdpView {
  static constexpr std::size_t kHeaderSize = 8;
  static constexpr std::size_t kChecksumOffset = 6;

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t checksum = 0;
  /// Cut to the length field; what follows it is not part of the datagram.
  ByteView payload;

  [[nodiscard]] static std::expected<UdpView, PacketError> parse(ByteView datagram);
};

/// ICMP or ICMPv6, told apart by the IP header.
struct IcmpView {
  static constexpr std::size_t kHeaderSize = 8;

  std::uint8_t type = 0;
  std::uint8_t code = 0;
  std::uint16_t checksum = 0;
  /// Identifier of an echo.
  std::uint16_t identifier = 0;
  std::uint16_t sequence = 0;
  /// After the first 8 bytes.
  ByteView payload;

  [[nodiscard]] static std::expected<IcmpView, PacketError> parse(ByteView message);
};

/// Types of echo messages: RFC 792 and RFC 4443.
[[nodiscard]] constexpr std::uint8_t echo_request_type(IpFamily family) {
  return family == IpFamily::V4 ? 8 : 128;
}
[[nodiscard]] constexpr std::uint8_t echo_reply_type(IpFamily family) {
  return family == IpFamily::V4 ? 0 : 129;
}

// --- building ------------------------------------------------------------------------------------------------------
// All builders write from the start of `out`, return the size, and 0 when `out` is too small or addresses do not mix.

[[nodiscard]] constexpr std::size_t ip_header_size(IpFamily family) {
  return family == IpFamily::V4 ? 20 : 40;
}

/// Without options; DF is set, identification 0 (RFC 6864: atomic). `payload_size` is what will follow.
std::size_t write_ip_header(MutableBytes out, const IpAddress& source, const IpAddress& destination,
                            std::uint8_t protocol, std::size_t payload_size);

/// A whole UDP datagram with a complete checksum.
std::size_t build_udp(MutableBytes out, const SocketAddress& source, const SocketAddress& destination,
                      ByteView payload);

struct EchoMessage {
  IpAddress source;
  IpAddress destination;
  /// A reply, otherwise a request.
  bool is_reply = true;
  std::uint16_t identifier = 0;
  std::uint16_t sequence = 0;
};
std::size_t build_echo(MutableBytes out, const EchoMessage& message, ByteView payload);

enum class Unreachable : std::uint8_t {
  Network,          ///< ICMP 3/0, ICMPv6 1/0 (no route): ENETUNREACH
  Host,             ///< ICMP 3/1, ICMPv6 1/3 (address): EHOSTUNREACH
  Port,             ///< ICMP 3/3, ICMPv6 1/4: ECONNREFUSED
  AdminProhibited,  ///< ICMP 3/13, ICMPv6 1/1: EHOSTUNREACH, EACCES
};

/// Answers `original` (an IP packet, possibly only its beginning) with an ICMP error that quotes it, in the name of its
/// destination, which is what passes the kernel's reverse path filter. Quotes as much as fits into `out` and into what
/// the RFCs allow (576 and 1280 bytes in all). Gives 0 for what must not be answered (RFC 1122 §3.2.2, RFC 4443 §2.4):
/// ICMP errors, later fragments, multicast, broadcast or unspecified addresses.
std::size_t build_unreachable(MutableBytes out, Unreachable kind, ByteView original);
/// The same for "fragmentation needed" and "packet too big"; `mtu` is what the next hop takes.
std::size_t build_packet_too_big(MutableBytes out, std::uint16_t mtu, ByteView original);

/// Multicast, unspecified, or IPv4 limited broadcast: nobody's address in a connection.
[[nodiscard]] bool is_unicast(const IpAddress& address);

}  // namespace postern::wire
