// Values that cross the border of the TCP endpoint.
#pragma once

#include <array>
#include <cstdint>
#include <variant>

#include "base/block.hpp"
#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "base/strong_id.hpp"
#include "base/time.hpp"

namespace postern::tcp {

/// One TCP connection of the local kernel. Never reused within an endpoint.
using FlowId = StrongId<struct FlowTag>;

/// As the application sees it: `local` is the application's socket, `remote` what it connected to.
struct FlowTuple {
  SocketAddress local;
  SocketAddress remote;
  constexpr auto operator<=>(const FlowTuple&) const = default;
};

struct FlowStats {
  FlowTuple tuple;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_acknowledged = 0;
  std::uint64_t retransmissions = 0;
};

/// How a connection attempt is answered (DESIGN rule 5, "Truth").
enum class Refusal : std::uint8_t {
  Reset,               ///< RST: ECONNREFUSED
  HostUnreachable,     ///< ICMP host unreachable / ICMPv6 address unreachable: EHOSTUNREACH
  NetworkUnreachable,  ///< ENETUNREACH
  AdminProhibited,     ///< ICMP 3/13, ICMPv6 1/1: EHOSTUNREACH / EACCES
  Silence,             ///< nothing: the application's own timer runs
};

enum class DropReason : std::uint8_t {
  NotTcp,       ///< other protocols are the owner's business
  Truncated,    ///< headers do not fit, or lengths disagree
  BadChecksum,  ///< only where the kernel did not say NEEDS_CSUM or DATA_VALID
  BadFlags,     ///< SYN+FIN and the like
  NoFlow,       ///< segment for no flow (answered with RST unless it is one)
  OutOfWindow,  ///< answered with an ACK (RFC 9293 §3.10.7.4), challenge ACKs are rate-limited
  FlowLimit,    ///< table full: SYN answered with RST
  BufferLimit,  ///< receive window overrun
  OutOfOrder,   ///< a gap before it: dropped, answered with a duplicate ACK (on a TUN only after a loss)
  Fragment,     ///< a piece of a fragmented packet; kernels do not fragment TCP
  BadAddress,   ///< from or to multicast, broadcast, unspecified (RFC 9293 §3.9.2.3)
  ReplyLimit,   ///< a reset or refusal that found its queue full
  kCount
};

/// What goes to the TUN: the virtio header, the IP and TCP headers, then payload slices, written with one writev().
struct Packet {
  /// An ICMPv6 error that quotes a SYN with all its options fits.
  static constexpr std::size_t kHeadersMax = 192;
  /// A whole 64 KiB train from pieces that came in QUIC packets: with 16 the device writes cost twice as much CPU.
  static constexpr std::size_t kPayloadSlicesMax = 48;
  std::array<std::uint8_t, 10> vnet{};  ///< struct virtio_net_hdr, native endian
  std::array<std::uint8_t, kHeadersMax> headers{};
  std::size_t headers_size = 0;
  std::array<Slice, kPayloadSlicesMax> payload{};
  std::size_t payload_slices = 0;
};

// --- events --------------------------------------------------------------------------------------------------------

/// A SYN has come; nothing was answered. The owner calls accept() or refuse() when it knows.
struct Incoming {
  FlowId flow;
  FlowTuple tuple;
};
/// In-order payload. The slice shares the block that the packet was read into. grant() returns its window.
struct Data {
  FlowId flow;
  Slice bytes;
};
/// The application closed its sending side (FIN); all data was delivered before.
struct PeerFinished {
  FlowId flow;
};
/// The kernel acknowledged this many more bytes of what was sent.
struct Acknowledged {
  FlowId flow;
  std::size_t bytes;
};
/// The application's kernel sent RST, gave up before accept() (its SYN was withdrawn), or no longer answers (RFC 9293
/// R2; it got a RST). The id is forgotten.
struct Aborted {
  FlowId flow;
};
/// Both directions are done; the id is forgotten (TIME-WAIT is the endpoint's own business).
struct FlowClosed {
  FlowId flow;
};

using Event = std::variant<Incoming, Data, PeerFinished, Acknowledged, Aborted, FlowClosed>;

}  // namespace postern::tcp
