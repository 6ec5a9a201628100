// One flow inside a session (a TCP connection, a pair of UDP sockets, the echo requests of one identifier, a question
// about a name), as the connector sees it, and what it asks of the world.
//
//   HeadPending ──head, checks 1-5──▶ Resolving ──addresses, check 6──▶ Connecting ──connected──▶ Open ──▶ (gone)
//        │                (an address skips it)                              │                      │
//        │                └─ the answer to a question ─▶ Answered ─▶ (gone) │                      │
//        └───────────────┴──── a check or the target says no ───────────────┴──▶ Refused ──▶ (gone) │
//   a reset by the peer, a revocation or the end of the session leads from every stage to (gone) ◀──┘
//
// Refused and Answered keep the stream until the peer has finished its side, so that the reply arrives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/ip.hpp"
#include "base/slab.hpp"
#include "base/timer_wheel.hpp"
#include "connector_core/access.hpp"
#include "connector_core/piece_queue.hpp"
#include "session/datagram_backlog.hpp"
#include "session/flow_meter.hpp"
#include "session/types.hpp"
#include "wire/framing.hpp"

namespace postern::connector {

/// Never reused within a process.
using FlowId = StrongId<struct FlowTag>;

enum class FlowStage : std::uint8_t { HeadPending, Resolving, Connecting, Open, Refused, Answered };

/// What a UDP or ICMP flow has beyond a TCP one.
struct DatagramPart {
  session::DatagramBacklog waiting;  ///< until the flow is open
  Instant active;                    ///< when something was last sent or received
  Instant failures_from;             ///< rate limit of Failed
  unsigned failures = 0;
};

struct Flow {
  Flow(SlabHandle handle, session::SessionId on_session, session::StreamId on_stream, Instant now)
      : id(handle.value), session(on_session), stream(on_stream), started(now) {}

  FlowId id;
  session::SessionId session;
  session::StreamId stream;
  session::Path path;  ///< how the session went when the flow was opened
  Instant started;
  std::optional<Instant> first_byte;  ///< from the target
  Duration connect_time{};
  session::FlowMeter meter{session::StallCause::SlowServer};  ///< of TCP
  FlowStage stage = FlowStage::HeadPending;
  bool is_opening = false;       ///< its target is being looked for or connected to
  bool write_requested = false;  ///< a WriteTarget waits to be polled
  bool read_blocked = false;     ///< the owner was told that the stream takes nothing
  bool peer_finished = false;    ///< the client's FIN was read
  bool peer_reset = false;       ///< the client's RST: it is passed on behind the bytes that came before it
  bool finish_requested = false;
  bool target_ended = false;  ///< the target's FIN was passed on
  bool is_question = false;   ///< counted as one
  wire::LengthPrefixedReader head{wire::kFlowMessageMax};
  Target target;
  LeasePointer lease;  ///< under which it was let in, for records
  SocketAddress connected;
  PieceQueue to_target;
  TimerId timer;
  std::unique_ptr<DatagramPart> datagrams;  ///< of UDP and ICMP flows
  std::uint64_t bytes_to_target = 0;
  std::uint64_t bytes_from_target = 0;
};

// --- what a flow asks for; results come back by the handle_* of Flows ------------------------------------------------

/// Answer: handle_resolved().
struct ResolveName {
  FlowId flow;
  model::DnsName name;
};
/// Answer: handle_answer(). The name server's whole message, about just this.
struct AskNameServer {
  FlowId flow;
  model::DnsName name;
  wire::DnsType type{};
};
/// Answer: handle_connected() or handle_connect_failed(). Addresses are checked; race them in this order.
struct ConnectTcp {
  FlowId flow;
  std::vector<SocketAddress> addresses;
};
/// Answer: handle_connected() or handle_connect_failed(). Addresses are checked; the first that can be used is, without
/// a word to the target. Ports are 0 for ICMP.
struct OpenDatagrams {
  FlowId flow;
  model::Protocol protocol = model::Protocol::Udp;
  std::vector<SocketAddress> addresses;
};
/// To the target, as it is now: datagrams of `stride` bytes each, the last may be shorter; empty bytes are one empty
/// datagram. What the kernel does not take is lost.
struct SendDatagrams {
  FlowId flow;
  Slice bytes;
  std::size_t stride = 0;
};
/// gather() has bytes for the socket.
struct WriteTarget {
  FlowId flow;
};
/// The stream takes bytes again: read the socket.
struct ResumeTarget {
  FlowId flow;
};
/// Everything was written and no more will come: shut down the sending side.
struct FinishTarget {
  FlowId flow;
};
/// Both sides are done: close the socket.
struct CloseTarget {
  FlowId flow;
};
/// Give up whatever goes on for this flow; a connected socket is closed with RST.
struct AbortTarget {
  FlowId flow;
};
using Request = std::variant<ResolveName, AskNameServer, ConnectTcp, OpenDatagrams, SendDatagrams, WriteTarget,
                             ResumeTarget, FinishTarget, CloseTarget, AbortTarget>;

enum class ResolveFailure : std::uint8_t { NameNotFound, LookupFailed };

// --- what is told about flows ----------------------------------------------------------------------------------------

enum class FlowEnding : std::uint8_t {
  Finished,  ///< FIN from both sides
  ResetByPeer,
  ResetByTarget,
  Revoked,
  SessionEnded,
  ShuttingDown,
};

/// Opened, then Closed; or Refused alone. For flow logs, analytics and audit: it names people and addresses.
struct FlowReport {
  enum class Kind : std::uint8_t { Opened, Closed, Refused };
  Kind kind = Kind::Opened;
  FlowId flow;
  LeasePointer lease;  ///< empty when it was refused before there was one
  Target target;
  SocketAddress connected;  ///< unspecified when it never was
  wire::RefusalReason refusal = wire::REFUSAL_UNSPECIFIED;
  std::string detail;
  FlowEnding ending = FlowEnding::Finished;
  std::uint64_t bytes_to_target = 0;
  std::uint64_t bytes_from_target = 0;
  WallTime at;          ///< of this report
  Duration duration{};  ///< since the stream was opened
  /// How the session went at this time; when the flow was opened, if its session is gone. The remote is the client's
  /// own address on a direct path, else the relay's.
  session::Path path;
  std::optional<Duration> round_trip;  ///< of that path
  // From the stream's opening on; of flows that were open.
  std::optional<Duration> connect_time;  ///< of connect() alone
  std::optional<Duration> first_byte_time;
  session::Stalls stalls{};
};

}  // namespace postern::connector
