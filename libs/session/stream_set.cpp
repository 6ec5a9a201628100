#include "session/stream_set.hpp"

#include <algorithm>

namespace postern::session {

namespace {

/// A slow path's congestion window is about one round trip of data, which is queue enough; below this a writer would be
/// woken for too little.
constexpr std::uint64_t kUnsentMin = 128U << 10;
/// The control stream carries leases and candidates, not data: it is never held back by the window of the session.
constexpr std::size_t kControlUnsentMax = 1U << 20;
/// So long a reset waits for the bytes before it.
constexpr Duration kEndingPatience = std::chrono::seconds(3);

}  // namespace

StreamSet::StreamSet(SessionId session, const Limits& limits, BlockPool& pool, EventQueue& events,
                     WindowBudget& process_budget)
    : session_(session),
      limits_(limits),
      pool_(pool),
      events_(events),
      process_budget_(process_budget),
      session_budget_(limits.session_budget) {}

StreamSet::~StreamSet() {
  clear();
}

void StreamSet::clear() {
  for (const auto& [id, stream] : streams_) process_budget_.give_back(charge_of(*stream));
  streams_.clear();
}

void StreamSet::set_now(Instant now, Duration smoothed_rtt, std::uint64_t congestion_window) {
  now_ = now;
  smoothed_rtt_ = smoothed_rtt;
  congestion_window_ = congestion_window;
}

Stream* StreamSet::find(StreamId id) const {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

Stream& StreamSet::add(std::int64_t id) {
  auto stream = std::make_unique<Stream>();
  stream->id = StreamId(id);
  stream->window = ReceiveWindow(limits_.first_stream_window, now_);
  Stream& result = *stream;
  streams_.emplace(result.id, std::move(stream));
  return result;
}

bool StreamSet::has_unsent(StreamId id) const {
  const Stream* stream = find(id);
  return stream != nullptr && stream->send.unsent() > 0;
}

// --- from QUIC -----------------------------------------------------------------------------------------------------

void StreamSet::handle_open(std::int64_t id) {
  Stream& stream = add(id);
  ngtcp2_conn_set_stream_user_data(quic_, id, &stream);
  events_.push(StreamOpened{session_, stream.id});
}

bool StreamSet::handle_data(Stream& stream, ByteView bytes, bool finished) {
  arrived_ += bytes.size();
  if (stream.read_ended) return true;
  if (!stream.receive.append(pool_, bytes)) return false;
  set_held(stream, stream.held + bytes.size());
  stream.window.handle_arrival(now_, bytes.size(), smoothed_rtt_);
  stream.peer_finished |= finished;
  announce_readable(stream);
  return true;
}

void StreamSet::announce_readable(Stream& stream) {
  if (stream.readable_queued) return;
  stream.readable_queued = true;
  events_.push(StreamReadable{session_, stream.id});
}

void StreamSet::announce_writable(Stream& stream) {
  if (!stream.writer_waits || stream.writable_queued || is_nearly_full(stream)) return;
  stream.writable_queued = true;
  events_.push(StreamWritable{session_, stream.id});
}

void StreamSet::handle_acknowledged(Stream& stream, std::size_t bytes) {
  stream.send.acknowledge(bytes);
  if (stream.ending_code && stream.send.is_empty()) delivered_.push_back(stream.id);
}

void StreamSet::handle_peer_reset(Stream& stream, std::uint64_t code) {
  if (stream.read_ended || stream.peer_reset) return;
  stream.peer_reset = true;
  events_.push(StreamReset{session_, stream.id, code});
}

void StreamSet::handle_window_opened(Stream& stream) {
  stream.flow_blocked = false;
  scheduler_.activate(stream);
}

void StreamSet::handle_transport_close(Stream& stream, std::uint64_t code) {
  scheduler_.remove(stream);
  stream.transport_closed = true;
  if (!stream.finish_sent && !stream.write_ended) handle_stopped(stream, code);
  stream.send = SendQueue();
  lost_ += ngtcp2_conn_get_stream_loss_count(quic_, stream.id.value);
  maybe_close(stream);
}

/// Both sides are done: tell the owner, and let the peer open another stream in its place.
void StreamSet::maybe_close(Stream& stream) {
  if (!stream.transport_closed || !stream.is_drained() || stream.closing) return;
  stream.closing = true;
  if (quic_ != nullptr && ngtcp2_conn_is_local_stream(quic_, stream.id.value) == 0) {
    ngtcp2_conn_extend_max_streams_bidi(quic_, 1);
  }
  events_.push(StreamClosed{session_, stream.id});
}

// --- writing packets -----------------------------------------------------------------------------------------------

void StreamSet::handle_written(Stream& stream, std::size_t bytes, bool finish_taken) {
  stream.send.advance(bytes);
  stream.finish_sent |= finish_taken;
  scheduler_.charge(stream, bytes);
  announce_writable(stream);
}

void StreamSet::handle_blocked(Stream& stream) {
  stream.flow_blocked = true;
  some_blocked_ = true;
  scheduler_.remove(stream);
}

void StreamSet::handle_stopped(Stream& stream, std::uint64_t code) {
  scheduler_.remove(stream);
  if (stream.write_ended) return;
  stream.write_ended = true;
  stream.send.drop_unsent();
  events_.push(StreamStopped{session_, stream.id, code});
}

void StreamSet::begin_write() {
  reset_delivered();
  // A session that lets its whole budget lie unread gets no more than was promised to it already.
  const bool is_glutted = held_ >= limits_.session_budget;
  if (arrived_ > 0 && !is_glutted) ngtcp2_conn_extend_max_offset(quic_, std::exchange(arrived_, 0));
  if (!some_blocked_) return;
  // QUIC tells when a stream's own window opens, but not when the connection's does.
  if (!connection_blocked_ || ngtcp2_conn_get_max_data_left(quic_) == 0) return;
  some_blocked_ = connection_blocked_ = false;
  for (const auto& [id, stream] : streams_) handle_window_opened(*stream);
}

void StreamSet::end_write() {
  if (some_blocked_ && ngtcp2_conn_get_max_data_left(quic_) == 0) connection_blocked_ = true;
}

// --- from the owner ------------------------------------------------------------------------------------------------

std::expected<StreamId, StreamError> StreamSet::open() {
  std::int64_t id = -1;
  if (ngtcp2_conn_open_bidi_stream(quic_, &id, nullptr) != 0) return std::unexpected(StreamError::TooManyStreams);
  Stream& stream = add(id);
  ngtcp2_conn_set_stream_user_data(quic_, id, &stream);
  return stream.id;
}

std::size_t StreamSet::unsent_max(const Stream& stream) const {
  if (stream.id == kControlStream) return kControlUnsentMax;
  const std::uint64_t low = std::min(kUnsentMin, limits_.stream_unsent_max);
  return static_cast<std::size_t>(std::clamp(congestion_window_, low, limits_.stream_unsent_max));
}

/// A quarter of hysteresis, so that a writer is not woken for every packet.
bool StreamSet::is_nearly_full(const Stream& stream) const {
  const std::size_t max = unsent_max(stream);
  return stream.send.unsent() > max - max / 4;
}

StreamPressure StreamSet::pressure(StreamId id) const {
  const Stream* stream = find(id);
  if (stream == nullptr) return {};
  const std::uint64_t left = std::min(session_budget_.left(), process_budget_.left());
  return {stream->flow_blocked, stream->window.is_limit(limits_.stream_window, left), stream->receive.unread()};
}

std::size_t StreamSet::writable(StreamId id) const {
  const Stream* stream = find(id);
  if (stream == nullptr || !stream->takes_writes()) return 0;
  const std::size_t max = unsent_max(*stream);
  stream->writer_waits |= is_nearly_full(*stream);
  return max - std::min(max, stream->send.unsent());
}

std::expected<void, StreamError> StreamSet::write(StreamId id, Slice bytes) {
  Stream* stream = find(id);
  if (stream == nullptr) return std::unexpected(StreamError::UnknownStream);
  if (!stream->takes_writes()) return std::unexpected(StreamError::Finished);
  stream->send.push(std::move(bytes));
  stream->writer_waits |= is_nearly_full(*stream);
  scheduler_.activate(*stream);
  return {};
}

std::expected<void, StreamError> StreamSet::finish(StreamId id) {
  Stream* stream = find(id);
  if (stream == nullptr) return std::unexpected(StreamError::UnknownStream);
  if (!stream->takes_writes()) return std::unexpected(StreamError::Finished);
  stream->finish_queued = true;
  scheduler_.activate(*stream);
  return {};
}

void StreamSet::discard_unread(Stream& stream) {
  stream.read_ended = true;
  stream.receive.clear();
  set_held(stream, 0);
}

void StreamSet::reset(StreamId id, std::uint64_t code) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->closing) return;
  discard_unread(*stream);
  stream->write_ended = true;
  scheduler_.remove(*stream);
  stream->send.drop_unsent();
  if (quic_ != nullptr && !stream->transport_closed) ngtcp2_conn_shutdown_stream(quic_, 0, id.value, code);
  maybe_close(*stream);
}

void StreamSet::reset_when_delivered(Instant now, StreamId id, std::uint64_t code) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->ending_code) return;
  if (stream->write_ended || stream->send.is_empty()) return reset(id, code);
  discard_unread(*stream);
  stream->ending_code = code;
  endings_.emplace_back(now + kEndingPatience, id);
}

void StreamSet::reset_delivered() {
  for (const StreamId id : std::exchange(delivered_, {})) {
    if (const Stream* stream = find(id)) reset(id, *stream->ending_code);
  }
}

void StreamSet::handle_timeout(Instant now) {
  while (!endings_.empty() && endings_.front().first <= now) {
    const StreamId id = endings_.front().second;
    endings_.pop_front();
    const Stream* stream = find(id);
    if (stream != nullptr && !stream->write_ended) reset(id, *stream->ending_code);
  }
}

std::optional<Instant> StreamSet::next_timeout() const {
  if (endings_.empty()) return std::nullopt;
  return endings_.front().first;
}

Slice StreamSet::read(StreamId id) {
  Stream* stream = find(id);
  if (stream == nullptr) return {};
  Slice slice = stream->receive.read();
  maybe_close(*stream);
  return slice;
}

bool StreamSet::at_end(StreamId id) const {
  const Stream* stream = find(id);
  return stream != nullptr && !stream->read_ended && stream->peer_finished && stream->receive.unread() == 0;
}

void StreamSet::consume(StreamId id, std::size_t bytes) {
  Stream* stream = find(id);
  if (stream == nullptr) return;
  set_held(*stream, stream->held - std::min<std::uint64_t>(bytes, stream->held));
  if (quic_ == nullptr || stream->peer_finished || stream->peer_reset || stream->read_ended) return;
  stream->window.handle_consumed(bytes);
  if (!stream->window.should_update()) return;
  const std::uint64_t left = std::min(session_budget_.left(), process_budget_.left());
  const std::uint64_t growth = stream->window.grow(limits_.stream_window, left);
  session_budget_.take(growth);
  process_budget_.take(growth);
  ngtcp2_conn_extend_max_stream_offset(quic_, id.value, stream->window.take_owed() + growth);
}

void StreamSet::handle_polled(const Event& event) {
  if (const auto* readable = std::get_if<StreamReadable>(&event)) {
    if (Stream* stream = find(readable->stream)) stream->readable_queued = false;
  } else if (const auto* writable = std::get_if<StreamWritable>(&event)) {
    if (Stream* stream = find(writable->stream)) stream->writable_queued = stream->writer_waits = false;
  } else if (const auto* closed = std::get_if<StreamClosed>(&event)) {
    forget(closed->stream);
  }
}

void StreamSet::forget(StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  held_ -= found->second->held;
  session_budget_.give_back(charge_of(*found->second));
  process_budget_.give_back(charge_of(*found->second));
  streams_.erase(found);
}

/// A first window counts by what lies in it, one that has grown as a whole: an idle flow costs nothing.
std::uint64_t StreamSet::charge_of(const Stream& stream) const {
  const std::uint64_t first = limits_.first_stream_window;
  return stream.window.size() - first + std::min(stream.held, first);
}

void StreamSet::set_held(Stream& stream, std::uint64_t held) {
  const std::uint64_t first = limits_.first_stream_window;
  const std::uint64_t before = std::min(stream.held, first);
  const std::uint64_t after = std::min(held, first);
  held_ = held_ - stream.held + held;
  stream.held = held;
  session_budget_.give_back(before);
  session_budget_.take(after);
  process_budget_.give_back(before);
  process_budget_.take(after);
}

bool StreamSet::has_budget() const {
  return session_budget_.left() > limits_.first_stream_window && process_budget_.left() > limits_.first_stream_window;
}

std::uint64_t StreamSet::packets_lost() const {
  std::uint64_t lost = lost_;
  if (quic_ == nullptr) return lost;
  for (const auto& [id, stream] : streams_) {
    if (!stream->transport_closed) lost += ngtcp2_conn_get_stream_loss_count(quic_, id.value);
  }
  return lost;
}

}  // namespace postern::session
