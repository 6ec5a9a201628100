// Values that cross the border of the session library.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>

#include "base/block.hpp"
#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "base/route_id.hpp"
#include "base/strong_id.hpp"
#include "base/time.hpp"

namespace postern::session {

enum class Role : std::uint8_t { Client, Connector };

/// One QUIC connection of this endpoint. Never reused within an endpoint.
using SessionId = StrongId<struct SessionTag>;
/// QUIC stream id inside a session: 0 is the control stream, every other one carries a flow.
using StreamId = StrongId<struct StreamTag, std::int64_t>;

inline constexpr StreamId kControlStream{0};

/// Path::label: through the relay, or straight to the peer.
inline constexpr std::uint32_t kRelayLabel = 0;
inline constexpr std::uint32_t kDirectLabel = 1;

/// Where packets of a session travel.
struct Path {
  std::uint32_t label = kRelayLabel;
  SocketAddress remote;
  [[nodiscard]] constexpr bool is_direct() const { return label != kRelayLabel; }
  constexpr auto operator<=>(const Path&) const = default;
};

/// What one receive call gave: datagrams of `stride` bytes each, the last may be shorter. The bytes may be changed
/// in place while they are handled.
struct Train {
  Path path;
  MutableBytes bytes;
  std::size_t stride = 0;
  std::uint8_t ecn = 0;
};

/// What one send call takes: `bytes` lies at the start of the buffer given to poll_transmit().
struct Transmit {
  Path path;
  ByteView bytes;
  std::size_t stride = 0;
  std::uint8_t ecn = 0;
};

/// Key and self-signed certificate of this process (P-256), both DER; the key is PKCS#8 or SEC1.
struct Credentials {
  Bytes private_key;
  Bytes certificate;
};

/// Why a datagram was dropped; each has a counter (Endpoint::drops()).
enum class DropReason : std::uint8_t {
  Truncated,           ///< too short for its header, or a connection id of another length
  UnsupportedVersion,  ///< long header of a version other than 1
  UnknownConnection,   ///< short header or non-Initial for no session of ours
  KnockMissing,        ///< Initial without token
  KnockInvalid,        ///< token with a wrong MAC, version or instance
  KnockExpired,
  HandshakeLimit,  ///< half-open bound or the rate of one device
  SessionLimit,    ///< sessions of one device, or of the process
  Undecryptable,   ///< refused by QUIC
  NoMemory,        ///< the block pool is nearly used up: the peer sends again
  UnprovenRemote,  ///< for a session of ours, but from an address that no check has proven
  kCount
};

/// Why a session ended, sorted by what the caller can do.
enum class CloseReason : std::uint8_t {
  LocalClose,        ///< close() was called
  PeerClose,         ///< the peer closed; `code` is its application error
  PinMismatch,       ///< the peer's key is not the one that was promised: tell the person, do not retry
  HandshakeFailed,   ///< TLS alert or transport error during the handshake: retry later
  HandshakeTimeout,  ///< no answer in 5 s: retry later, other instance first
  IdleTimeout,       ///< nothing heard for the idle timeout
  ProtocolError,     ///< the peer broke QUIC
};

// --- events --------------------------------------------------------------------------------------------------------

/// The handshake is done. At the connector `peer` is proven to hold the key with this digest.
struct Established {
  SessionId session;
  Digest peer;
  Path path;
};
/// The session has ended; every session that was announced or asked for has exactly one. At the connector it may also
/// come for a session that was never Established (a handshake that failed: worth an audit entry). Until this event is
/// polled, what had arrived can still be read.
struct Closed {
  SessionId session;
  CloseReason reason;
  std::uint64_t code = 0;
  std::string detail;
};
/// The peer opened a stream.
struct StreamOpened {
  SessionId session;
  StreamId stream;
};
/// New bytes, the end of the stream, or both: read() until it gives nothing. Sent once per batch and stream.
struct StreamReadable {
  SessionId session;
  StreamId stream;
};
/// A quarter of the stream's bound is free again, after writable() or write() had found less than that free.
struct StreamWritable {
  SessionId session;
  StreamId stream;
};
/// The peer gave up sending (RESET_STREAM): no more bytes will come. Those that are here can be read; reset() answers.
struct StreamReset {
  SessionId session;
  StreamId stream;
  std::uint64_t code;
};
/// The peer does not want more bytes (STOP_SENDING); our side has been reset.
struct StreamStopped {
  SessionId session;
  StreamId stream;
  std::uint64_t code;
};
/// Both directions have ended and everything was acknowledged or given up; the id is forgotten.
struct StreamClosed {
  SessionId session;
  StreamId stream;
};

/// Datagrams have come: read_datagrams() until it gives nothing. Sent once per batch.
struct DatagramsReadable {
  SessionId session;
};

/// The session travels another way now: the client's migration was made, or the connector has seen its client move.
struct PathChanged {
  SessionId session;
  Path path;
};
/// At the client: the way that migrate() asked for carried no answer. After an immediate migration the session is still
/// there; migrate it elsewhere.
struct PathFailed {
  SessionId session;
  Path path;
};

using Event = std::variant<Established, Closed, StreamOpened, StreamReadable, StreamWritable, StreamReset,
                           StreamStopped, StreamClosed, DatagramsReadable, PathChanged, PathFailed>;

// --- datagrams (PROTOCOL.md §4.4) ----------------------------------------------------------------------------------

/// Datagrams of one flow, `stride` bytes each, the last may be shorter; empty is one empty datagram.
struct DatagramTrain {
  StreamId flow;
  Slice bytes;
  std::size_t stride = 0;
};

/// Of all sessions of an endpoint.
struct DatagramCounters {
  std::uint64_t sent = 0;               ///< whole payloads
  std::uint64_t frames_sent = 0;        ///< more, where payloads were split
  std::uint64_t received = 0;           ///< whole payloads
  std::uint64_t dropped_queue = 0;      ///< waited too long, or too many waited
  std::uint64_t dropped_unread = 0;     ///< the owner did not read them
  std::uint64_t dropped_memory = 0;     ///< no block was free
  std::uint64_t dropped_malformed = 0;  ///< no flow's, or pieces that contradict each other
  std::uint64_t dropped_partial = 0;    ///< a piece did not come in time, or too many packets came in pieces
};

/// What one frame of a flow carries on the path as it is now.
struct DatagramLimit {
  std::size_t payload = 0;
  bool is_settled = false;  ///< the size of the path has been found out
};

/// What holds a stream up, if it is held up.
struct StreamPressure {
  bool is_peer_window_closed = false;  ///< the peer wants no more bytes now
  bool is_own_window_full = false;     ///< the peer fills a window that may not grow any more
  std::uint64_t unread = 0;            ///< bytes that have come and were not read
};

enum class StreamError : std::uint8_t {
  UnknownSession,
  UnknownStream,
  NotEstablished,
  TooManyStreams,  ///< the peer's limit of open flows is reached: refuse the new flow
  Finished,        ///< our side was finished or reset before
};

enum class MigrateError : std::uint8_t {
  UnknownSession,
  NotReady,  ///< the handshake is not confirmed yet, or this is the connector
  Blocked,   ///< no unused connection id: later
};

}  // namespace postern::session
