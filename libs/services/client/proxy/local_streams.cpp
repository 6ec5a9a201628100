#include "services/client/proxy/local_streams.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace postern::client {

namespace {

/// A turn's share: 2 MiB in all and 256 KiB of one stream, then packets get their turn.
constexpr unsigned kReadsPerTurn = 32;
constexpr unsigned kReadsPerStream = 4;
constexpr std::size_t kReadSize = 64 * 1024;
constexpr std::size_t kPage = 4096;
/// Below it a copy is cheaper than keeping a block for so few bytes.
constexpr std::size_t kCopyMax = 4096;
constexpr std::size_t kRoomMin = 16 * 1024;
constexpr std::size_t kPiecesMax = 64;
constexpr Duration kStarvedPause = std::chrono::milliseconds(5);
/// So long a refused program may take to read its answer.
constexpr Duration kLeaveTime = std::chrono::seconds(1);
constexpr std::uint32_t kEndEvents = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

}  // namespace

LocalStreams::~LocalStreams() {
  while (!streams_.empty()) close(streams_.begin()->first);
}

LocalStreams::Stream& LocalStreams::add(tcp::FlowId flow, runtime::Descriptor fd) {
  Stream& stream = streams_[flow];
  stream.fd = std::move(fd);
  loop_.add(stream.fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            [this, flow](std::uint32_t events) { handle_ready(flow, events); });
  return stream;
}

void LocalStreams::open(Instant, Opening opening) {
  const tcp::FlowId flow(kLocalFlowBit | ++numbers_);
  Stream& stream = add(flow, std::move(opening.fd));
  stream.verdict = std::move(opening.verdict);
  stream.greeting = std::move(opening.greeting);
  stream.early = std::move(opening.early);
  stream.head = std::move(opening.head);
  if (!stream.head.empty()) make_dirty(flow, stream);
  stream.user = opening.user;
  wanted_.push_back({flow, std::move(opening.destination)});
}

void LocalStreams::leave(Instant now, runtime::Descriptor fd, std::string last_words) {
  const tcp::FlowId flow(kLocalFlowBit | ++numbers_);
  begin_leaving(now, flow, add(flow, std::move(fd)), std::move(last_words));
}

void LocalStreams::begin_leaving(Instant now, tcp::FlowId flow, Stream& stream, std::string last_words) {
  stream.stage = Stage::Leaving;
  stream.head += last_words;
  stream.finish_wanted = true;
  leaving_.emplace_back(now + kLeaveTime, flow);
  make_dirty(flow, stream);
  make_ready(flow, stream);
}

std::size_t LocalStreams::count_of(uid_t user) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(streams_, [user](const auto& entry) { return entry.second.user == user; }));
}

LocalStreams::Stream* LocalStreams::find(tcp::FlowId flow) {
  const auto found = streams_.find(flow);
  return found == streams_.end() ? nullptr : &found->second;
}

// --- events ----------------------------------------------------------------------------------------------------------

void LocalStreams::handle_ready(tcp::FlowId flow, std::uint32_t events) {
  Stream* stream = find(flow);
  if (stream == nullptr) return;
  if ((events & kEndEvents) != 0) stream->has_ended = true;
  // A reset is news even while nothing is read, and before the answer is known.
  if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && stream->stage == Stage::Waiting)) return fail(flow);
  if ((events & (EPOLLIN | kEndEvents)) != 0) {
    stream->is_readable = true;
    make_ready(flow, *stream);
  }
  if ((events & EPOLLOUT) != 0 && !std::exchange(stream->is_writable, true)) make_dirty(flow, *stream);
}

void LocalStreams::make_ready(tcp::FlowId flow, Stream& stream) {
  const bool has_room = stream.stage == Stage::Leaving || stream.window_used < kWindow;
  if (stream.stage == Stage::Waiting || !stream.is_readable || !has_room || stream.read_finished) return;
  if (!std::exchange(stream.is_in_ring, true)) ring_.push_back(flow);
}

void LocalStreams::make_dirty(tcp::FlowId flow, Stream& stream) {
  if (!std::exchange(stream.is_dirty, true)) dirty_.push_back(flow);
}

std::optional<LocalStreams::Wanted> LocalStreams::poll_wanted() {
  while (!wanted_.empty()) {
    Wanted wanted = std::move(wanted_.front());
    wanted_.pop_front();
    if (find(wanted.flow) != nullptr) return wanted;
  }
  return std::nullopt;
}

std::optional<tcp::Event> LocalStreams::poll_event() {
  if (events_.empty()) return std::nullopt;
  tcp::Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void LocalStreams::refuse_all(Instant now, const FlowDenial& denial) {
  while (const auto wanted = poll_wanted()) refuse(now, wanted->flow, denial);
  events_.clear();
}

void LocalStreams::handle_timeout(Instant now) {
  if (starved_until_ && now >= *starved_until_) starved_until_.reset();
  while (!leaving_.empty() && leaving_.front().first <= now) {
    close(leaving_.front().second);
    leaving_.pop_front();
  }
}

std::optional<Instant> LocalStreams::next_timeout() const {
  if (!wanted_.empty() || !events_.empty() || !dirty_.empty()) return Instant{};
  if (!ring_.empty()) return starved_until_.value_or(Instant{});
  if (!leaving_.empty()) return leaving_.front().first;
  return std::nullopt;
}

// --- from the program ------------------------------------------------------------------------------------------------

void LocalStreams::read_ready(Instant now) {
  if (starved_until_) return;
  unsigned reads = 0;
  while (!ring_.empty() && reads < kReadsPerTurn) {
    const tcp::FlowId flow = ring_.front();
    ring_.pop_front();
    Stream* stream = find(flow);
    if (stream == nullptr) continue;
    stream->is_in_ring = false;
    ReadOutcome outcome = ReadOutcome::More;
    for (unsigned i = 0; i < kReadsPerStream && outcome == ReadOutcome::More; ++i, ++reads) {
      outcome = stream->stage == Stage::Leaving ? discard_once(flow, *stream) : read_once(flow, *stream);
    }
    if (outcome == ReadOutcome::More || outcome == ReadOutcome::Starved) make_ready(flow, *stream);
    if (outcome == ReadOutcome::Starved) {
      starved_until_ = now + kStarvedPause;
      return;
    }
  }
}

LocalStreams::ReadOutcome LocalStreams::read_once(tcp::FlowId flow, Stream& stream) {
  if (stream.window_used >= kWindow) return ReadOutcome::Blocked;  // grant() goes on
  if (!have_room()) return ReadOutcome::Starved;
  const MutableBytes room = block_.bytes().subspan(used_, std::min(kReadSize, block_.bytes().size() - used_));
  const ssize_t got = ::recv(stream.fd.get(), room.data(), room.size(), 0);
  if (got < 0 && errno == EINTR) return ReadOutcome::More;
  if (got > 0) {
    const auto size = static_cast<std::size_t>(got);
    Slice bytes = size < kCopyMax ? pool_.copy(room.first(size)) : Slice();
    if (bytes.empty()) {
      bytes = block_.slice(used_, size);
      used_ += (size + kPage - 1) / kPage * kPage;
    }
    stream.window_used += size;
    events_.emplace_back(tcp::Data{flow, std::move(bytes)});
    if (size == room.size() || stream.has_ended) return ReadOutcome::More;
    stream.is_readable = false;  // a short read emptied the socket: epoll(7), question 9
    return ReadOutcome::Empty;
  }
  stream.is_readable = false;
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ReadOutcome::Empty;
  if (got < 0) {
    fail(flow);
    return ReadOutcome::Gone;
  }
  stream.read_finished = true;
  events_.emplace_back(tcp::PeerFinished{flow});
  end_if_done(flow, stream);
  return ReadOutcome::Gone;
}

LocalStreams::ReadOutcome LocalStreams::discard_once(tcp::FlowId flow, Stream& stream) {
  std::array<char, 16'384> scratch;
  const ssize_t got = ::recv(stream.fd.get(), scratch.data(), scratch.size(), 0);
  if (got > 0) return ReadOutcome::More;
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    stream.is_readable = errno == EINTR;
    return ReadOutcome::Empty;
  }
  close(flow);
  return ReadOutcome::Gone;
}

bool LocalStreams::have_room() {
  if (block_ && block_.is_unshared()) used_ = 0;
  if (block_ && used_ + kRoomMin <= block_.bytes().size()) return true;
  block_ = Buffer();
  block_ = pool_.acquire(BlockClass::Large);
  used_ = 0;
  return static_cast<bool>(block_);
}

void LocalStreams::grant(tcp::FlowId flow, std::size_t bytes) {
  Stream* stream = find(flow);
  if (stream == nullptr) return;
  stream->window_used -= std::min(bytes, stream->window_used);
  make_ready(flow, *stream);
}

// --- to the program --------------------------------------------------------------------------------------------------

void LocalStreams::accept(Instant, tcp::FlowId flow) {
  Stream* stream = find(flow);
  if (stream == nullptr || stream->stage != Stage::Waiting) return;
  stream->stage = Stage::Open;
  stream->head += stream->greeting->opened();
  stream->greeting.reset();
  if (!stream->early.empty()) {
    const std::string early = std::exchange(stream->early, {});
    Slice bytes = pool_.copy(as_bytes(early));
    if (bytes.empty()) {
      abort({}, flow);
      events_.emplace_back(tcp::Aborted{flow});
      return;
    }
    stream->window_used += early.size();
    events_.emplace_back(tcp::Data{flow, std::move(bytes)});
  }
  make_dirty(flow, *stream);
  make_ready(flow, *stream);
}

void LocalStreams::refuse(Instant now, tcp::FlowId flow, const FlowDenial& denial) {
  Stream* stream = find(flow);
  if (stream == nullptr || stream->stage != Stage::Waiting) return;
  begin_leaving(now, flow, *stream, stream->greeting->refused(denial));
}

std::size_t LocalStreams::sendable(tcp::FlowId flow) const {
  const auto found = streams_.find(flow);
  if (found == streams_.end() || found->second.stage != Stage::Open || found->second.finish_wanted) return 0;
  return kUnwrittenMax - std::min(found->second.outgoing_size, kUnwrittenMax);
}

void LocalStreams::send(Instant, tcp::FlowId flow, Slice bytes) {
  Stream* stream = find(flow);
  if (stream == nullptr || bytes.empty()) return;
  stream->outgoing_size += bytes.size();
  if (stream->outgoing.empty() || !stream->outgoing.back().try_join(bytes)) {
    stream->outgoing.push_back(std::move(bytes));
  }
  make_dirty(flow, *stream);
}

void LocalStreams::finish(Instant, tcp::FlowId flow) {
  Stream* stream = find(flow);
  if (stream == nullptr) return;
  stream->finish_wanted = true;
  make_dirty(flow, *stream);
}

void LocalStreams::abort(Instant, tcp::FlowId flow) {
  Stream* stream = find(flow);
  if (stream == nullptr) return;
  if (stream->verdict) {
    constexpr std::string_view kBroken = "the connection was broken off: by its target, or because access has ended\n";
    (void)!::send(stream->verdict.get(), kBroken.data(), kBroken.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  const linger now_with_rst{1, 0};
  ::setsockopt(stream->fd.get(), SOL_SOCKET, SO_LINGER, &now_with_rst, sizeof now_with_rst);
  close(flow);
}

void LocalStreams::write_ready(Instant) {
  for (std::size_t count = dirty_.size(); count > 0; --count) {
    const tcp::FlowId flow = dirty_.front();
    dirty_.pop_front();
    Stream* stream = find(flow);
    if (stream == nullptr) continue;
    stream->is_dirty = false;
    write(flow, *stream);
  }
}

void LocalStreams::write(tcp::FlowId flow, Stream& stream) {
  if (!stream.is_writable) return;
  if (write_head(flow, stream) && write_slices(flow, stream)) finish_writing(flow, stream);
}

/// False when there is more to write later, or the stream is gone.
bool LocalStreams::write_head(tcp::FlowId flow, Stream& stream) {
  while (!stream.head.empty()) {
    const ssize_t put = ::send(stream.fd.get(), stream.head.data(), stream.head.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) stream.is_writable = false;
    if (put < 0 && errno != EAGAIN) fail(flow);
    if (put < 0) return false;
    stream.head.erase(0, static_cast<std::size_t>(put));
  }
  return true;
}

bool LocalStreams::write_slices(tcp::FlowId flow, Stream& stream) {
  std::array<iovec, kPiecesMax> parts;
  while (!stream.outgoing.empty()) {
    std::size_t count = 0;
    for (const Slice& slice : stream.outgoing) {
      if (count == parts.size()) break;
      parts[count++] = {const_cast<std::uint8_t*>(slice.data()), slice.size()};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t put = ::sendmsg(stream.fd.get(), &message, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) stream.is_writable = false;
    if (put < 0 && errno != EAGAIN) fail(flow);
    if (put < 0) return false;
    auto rest = static_cast<std::size_t>(put);
    stream.outgoing_size -= rest;
    events_.emplace_back(tcp::Acknowledged{flow, rest});
    while (rest > 0) {
      Slice& front = stream.outgoing.front();
      const std::size_t taken = std::min(rest, front.size());
      rest -= taken;
      front.remove_prefix(taken);
      if (front.empty()) stream.outgoing.pop_front();
    }
  }
  return true;
}

void LocalStreams::finish_writing(tcp::FlowId flow, Stream& stream) {
  if (!stream.finish_wanted || stream.write_finished) return;
  stream.write_finished = true;
  ::shutdown(stream.fd.get(), SHUT_WR);
  end_if_done(flow, stream);
}

void LocalStreams::end_if_done(tcp::FlowId flow, Stream& stream) {
  if (stream.stage != Stage::Open || !stream.read_finished || !stream.write_finished) return;
  events_.emplace_back(tcp::FlowClosed{flow});
  close(flow);
}

void LocalStreams::fail(tcp::FlowId flow) {
  const Stream* stream = find(flow);
  if (stream != nullptr && stream->stage != Stage::Leaving) events_.emplace_back(tcp::Aborted{flow});
  close(flow);
}

void LocalStreams::close(tcp::FlowId flow) {
  const auto found = streams_.find(flow);
  if (found == streams_.end()) return;
  loop_.remove(found->second.fd.get());
  streams_.erase(found);
}

}  // namespace postern::client
