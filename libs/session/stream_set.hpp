// The streams of one session: their states, windows, events and turns. Connection hands over what QUIC reports
// (handle_*), Endpoint what the owner asks for.
//
// Life of a stream: open() or handle_open() makes it; handle_transport_close() says that QUIC has forgotten it; once
// the reader has also taken every byte, StreamClosed is queued, the peer may open another one, and forget() (called
// when the owner polls that event) frees the state.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include <deque>
#include <expected>
#include <memory>
#include <unordered_map>
#include <vector>

#include "session/endpoint.hpp"
#include "session/event_queue.hpp"
#include "session/scheduler.hpp"
#include "session/stream.hpp"
#include "session/window.hpp"

namespace postern::session {

class StreamSet {
 public:
  StreamSet(SessionId session, const Limits& limits, BlockPool& pool, EventQueue& events, WindowBudget& process_budget);
  StreamSet(const StreamSet&) = delete;
  StreamSet& operator=(const StreamSet&) = delete;
  ~StreamSet();

  /// The connection these streams belong to; null when it has ended, and then only reading works.
  void attach(ngtcp2_conn* quic) { quic_ = quic; }
  /// The time of this batch, and what congestion control says.
  void set_now(Instant now, Duration smoothed_rtt, std::uint64_t congestion_window);

  [[nodiscard]] Instant now() const { return now_; }
  /// Whether bytes of this stream wait to be sent: a flow's datagrams stay behind its head.
  [[nodiscard]] bool has_unsent(StreamId id) const;

  // --- from QUIC
  void handle_open(std::int64_t id);
  /// False when there is no memory for the bytes.
  [[nodiscard]] bool handle_data(Stream& stream, ByteView bytes, bool finished);
  void handle_acknowledged(Stream& stream, std::size_t bytes);
  void handle_peer_reset(Stream& stream, std::uint64_t code);
  void handle_window_opened(Stream& stream);
  void handle_transport_close(Stream& stream, std::uint64_t code);

  // --- time: streams that are to be reset and wait for acknowledgements
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  // --- writing packets
  [[nodiscard]] Stream* next_to_write() const { return scheduler_.front(); }
  void handle_written(Stream& stream, std::size_t bytes, bool finish_taken);
  /// The peer's window for this stream, or for all, is used up.
  void handle_blocked(Stream& stream);
  /// QUIC takes nothing more for this stream: the peer has sent STOP_SENDING.
  void handle_stopped(Stream& stream, std::uint64_t code);
  /// Before packets are written: gives connection credit back and wakes streams that waited for the peer's.
  void begin_write();
  /// After packets were written.
  void end_write();

  // --- from the owner
  [[nodiscard]] std::expected<StreamId, StreamError> open();
  [[nodiscard]] std::size_t writable(StreamId id) const;
  std::expected<void, StreamError> write(StreamId id, Slice bytes);
  std::expected<void, StreamError> finish(StreamId id);
  void reset(StreamId id, std::uint64_t code);
  void reset_when_delivered(Instant now, StreamId id, std::uint64_t code);
  [[nodiscard]] Slice read(StreamId id);
  [[nodiscard]] bool at_end(StreamId id) const;
  void consume(StreamId id, std::size_t bytes);
  /// The owner has taken this event out of the queue.
  void handle_polled(const Event& event);

  /// Drops all streams; the connection has ended and the owner knows.
  void clear();

  [[nodiscard]] std::size_t size() const { return streams_.size(); }
  /// Whether any stream but the control stream is open.
  [[nodiscard]] bool carries_flows() const { return streams_.size() > (find(kControlStream) != nullptr ? 1U : 0U); }
  [[nodiscard]] bool has_budget() const;
  [[nodiscard]] StreamPressure pressure(StreamId id) const;
  [[nodiscard]] std::uint64_t packets_lost() const;

 private:
  [[nodiscard]] Stream* find(StreamId id) const;
  Stream& add(std::int64_t id);
  void announce_readable(Stream& stream);
  void announce_writable(Stream& stream);
  void maybe_close(Stream& stream);
  void forget(StreamId id);
  void discard_unread(Stream& stream);
  void reset_delivered();
  [[nodiscard]] std::uint64_t charge_of(const Stream& stream) const;
  void set_held(Stream& stream, std::uint64_t held);
  [[nodiscard]] std::size_t unsent_max(const Stream& stream) const;
  [[nodiscard]] bool is_nearly_full(const Stream& stream) const;

  const SessionId session_;
  const Limits& limits_;
  BlockPool& pool_;
  EventQueue& events_;
  WindowBudget& process_budget_;
  WindowBudget session_budget_;
  std::uint64_t held_ = 0;  ///< by all streams: received and not yet consumed
  ngtcp2_conn* quic_ = nullptr;

  std::unordered_map<StreamId, std::unique_ptr<Stream>> streams_;
  Scheduler scheduler_;
  /// Streams with an ending_code, the oldest first; some have ended meanwhile.
  std::deque<std::pair<Instant, StreamId>> endings_;
  std::vector<StreamId> delivered_;  ///< those whose last byte was just acknowledged
  std::uint64_t arrived_ = 0;        ///< connection credit to give back
  std::uint64_t lost_ = 0;           ///< lost packets of streams that have closed
  bool some_blocked_ = false;
  bool connection_blocked_ = false;

  Instant now_;
  Duration smoothed_rtt_{};
  std::uint64_t congestion_window_ = 0;
};

}  // namespace postern::session
