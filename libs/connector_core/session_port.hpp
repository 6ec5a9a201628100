// What the connector needs of the sessions, so that it can be driven by a script as well as by QUIC.
#pragma once

#include "session/endpoint.hpp"

namespace postern::connector {

/// The part of session::Endpoint that concerns streams; the same words, the same meaning.
class SessionPort {
 public:
  virtual ~SessionPort() = default;
  virtual void close(Instant now, session::SessionId session, std::uint64_t code, std::string_view reason) = 0;
  virtual void ping(Instant now, session::SessionId session) = 0;
  /// When the session was last heard, nothing for one that is gone.
  [[nodiscard]] virtual std::optional<Instant> last_heard(session::SessionId session) const = 0;
  /// False: the windows of the session or of the process are used up.
  [[nodiscard]] virtual bool has_budget(session::SessionId session) const = 0;
  [[nodiscard]] virtual std::size_t writable(session::SessionId session, session::StreamId stream) const = 0;
  /// False when the stream takes no more bytes.
  virtual bool write(session::SessionId session, session::StreamId stream, Slice bytes) = 0;
  virtual bool finish(session::SessionId session, session::StreamId stream) = 0;
  virtual void reset(session::SessionId session, session::StreamId stream, std::uint64_t code) = 0;
  virtual void reset_when_delivered(Instant now, session::SessionId session, session::StreamId stream,
                                    std::uint64_t code) = 0;
  [[nodiscard]] virtual Slice read(session::SessionId session, session::StreamId stream) = 0;
  [[nodiscard]] virtual bool at_end(session::SessionId session, session::StreamId stream) const = 0;
  /// Datagrams of `stride` bytes each; false when the session takes none.
  virtual bool send_datagrams(Instant now, session::SessionId session, session::StreamId flow, Slice bytes,
                              std::size_t stride) = 0;
  [[nodiscard]] virtual std::optional<session::DatagramTrain> read_datagrams(session::SessionId session) = 0;
  virtual void consume(session::SessionId session, session::StreamId stream, std::size_t bytes) = 0;

  // What direct paths need; a port without them has none.
  [[nodiscard]] virtual std::optional<Digest> export_key(session::SessionId, std::string_view, std::string_view) const {
    return std::nullopt;
  }
  virtual bool allow_remote(session::SessionId, const SocketAddress&) { return false; }
  virtual void disallow_remote(session::SessionId, const SocketAddress&) {}
  [[nodiscard]] virtual std::optional<session::Path> path_of(session::SessionId) const { return std::nullopt; }

  // For records of flows.
  [[nodiscard]] virtual std::optional<Duration> round_trip(session::SessionId) const { return std::nullopt; }
  [[nodiscard]] virtual session::StreamPressure pressure(session::SessionId, session::StreamId) const { return {}; }
};

/// Application error codes of CONNECTION_CLOSE (PROTOCOL.md §4.3).
enum class CloseCode : std::uint64_t {
  Done = 0,
  ProtocolError = 1,
  NoHello = 2,
  LeaseRefused = 3,
  Revoked = 4,
  ShuttingDown = 5
};
/// Error codes of RESET_STREAM and STOP_SENDING (PROTOCOL.md §4.4).
enum class ResetCode : std::uint64_t { Reset = 0x10, Revoked = 0x11, ShuttingDown = 0x12, NoReply = 0x13 };

}  // namespace postern::connector
