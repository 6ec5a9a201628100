#include "runtime/http/link_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "runtime/http/https_request.hpp"
#include "runtime/http/tls_stream.hpp"
#include "runtime/os/random.hpp"
#include "wire/link_message.hpp"

namespace postern::runtime {
namespace {

/// Two messages: one that is not complete, and what one read brings behind it.
constexpr std::size_t kIncomingSize = 2 * (wire::kLinkMessageMax + wire::kFrameHeaderMax);
constexpr std::size_t kOutgoingSize = wire::kLinkMessageMax + wire::kFrameHeaderMax;
/// Of an answer to an upgrade request.
constexpr std::size_t kUpgradeMax = 8192;
/// What one link may bring before others get their turn.
constexpr std::size_t kReadPerTurn = 1024 * 1024;
/// How much TLS reads from the kernel at once: several records.
constexpr std::size_t kReadAhead = 64 * 1024;

std::string random_key() {
  std::array<std::uint8_t, 16> bytes{};
  KernelRandom().fill(bytes);
  std::array<unsigned char, 32> encoded{};
  const int length = EVP_EncodeBlock(encoded.data(), bytes.data(), static_cast<int>(bytes.size()));
  return {reinterpret_cast<const char*>(encoded.data()), static_cast<std::size_t>(length)};
}

bool equal_without_case(std::string_view left, std::string_view right) {
  return left.size() == right.size() && ::strncasecmp(left.data(), right.data(), left.size()) == 0;
}

void set_option(int descriptor, int name, int value) {
  ::setsockopt(descriptor, IPPROTO_TCP, name, &value, sizeof value);
}

enum class TlsOutcome : std::uint8_t { Again, Ended, Failed };

TlsOutcome outcome_of(const SSL* tls, int result) {
  const int error = SSL_get_error(tls, result);
  ERR_clear_error();
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return TlsOutcome::Again;
  return error == SSL_ERROR_ZERO_RETURN ? TlsOutcome::Ended : TlsOutcome::Failed;
}

std::string_view header_in(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && equal_without_case(line.substr(0, colon), name)) {
      std::string_view value = line.substr(colon + 1);
      while (value.starts_with(' ')) value.remove_prefix(1);
      while (value.ends_with(' ')) value.remove_suffix(1);
      return value;
    }
    head.remove_prefix(std::min(head.size(), line.size() + 2));
  }
  return {};
}

}  // namespace

std::string websocket_accept_value(const std::string& key) {
  const std::string text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  std::array<unsigned char, 64> encoded{};
  const int length = EVP_EncodeBlock(encoded.data(), digest.data(), static_cast<int>(size));
  return {reinterpret_cast<const char*>(encoded.data()), static_cast<std::size_t>(length)};
}

MutableBytes LinkBuffers::incoming() {
  if (incoming_.empty()) incoming_.resize(kIncomingSize);
  return incoming_;
}
MutableBytes LinkBuffers::outgoing() {
  if (outgoing_.empty()) outgoing_.resize(kOutgoingSize);
  return outgoing_;
}
void LinkBuffers::give_back() {
  incoming_ = {};
  outgoing_ = {};
}

void LinkSocket::FreeTls::operator()(ssl_st* tls) const {
  SSL_free(tls);
}

// --- opening ---------------------------------------------------------------------------------------------------------

std::expected<void, std::string> LinkSocket::check_upgrade(const HttpRequest& request) {
  if (!equal_without_case(find_header(request.headers, "Upgrade"), "websocket") ||
      find_header(request.headers, "Sec-WebSocket-Version") != "13") {
    return std::unexpected("only WebSocket version 13 is spoken here");
  }
  const std::string_view key = find_header(request.headers, "Sec-WebSocket-Key");
  if (key.empty() || key.size() > 64) return std::unexpected("Sec-WebSocket-Key is missing");
  if (find_header(request.headers, "Sec-WebSocket-Protocol") != wire::kLinkSubprotocol) {
    return std::unexpected("only the subprotocol postern-relay-1 is spoken here");
  }
  return {};
}

std::optional<LinkSocket::Connection> LinkSocket::take(ByteStream& stream) {
  auto* tls = dynamic_cast<TlsStream*>(&stream);
  if (tls == nullptr) return std::nullopt;
  const auto released = tls->release();
  if (!released) return std::nullopt;
  return Connection{Descriptor(released->descriptor), std::unique_ptr<ssl_st, FreeTls>(released->connection),
                    stream.remote()};
}

std::shared_ptr<LinkSocket> LinkSocket::accept(EventLoop& loop, LinkBuffers& buffers, Connection connection,
                                               const std::string& key, Events events) {
  auto link = std::make_shared<LinkSocket>(loop, buffers, std::move(connection), true, std::move(events));
  link->state_ = State::Open;
  const std::string answer =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
      websocket_accept_value(key) + "\r\nSec-WebSocket-Protocol: " + std::string(wire::kLinkSubprotocol) + "\r\n\r\n";
  link->write(loop.now(), as_bytes(answer), 0);
  link->watch();
  return link;
}

void LinkSocket::refuse(Connection connection) {
  static constexpr std::string_view kWhy = "This relay has as many links as it takes; try again later.\n";
  const std::string answer =
      "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 30\r\nContent-Type: text/plain\r\n"
      "Content-Length: " +
      std::to_string(kWhy.size()) + "\r\n\r\n" + std::string(kWhy);
  if (SSL_write(connection.tls.get(), answer.data(), static_cast<int>(answer.size())) > 0) {
    SSL_shutdown(connection.tls.get());
  }
  ERR_clear_error();
}

std::shared_ptr<LinkSocket> LinkSocket::connect(EventLoop& loop, LinkBuffers& buffers, Descriptor descriptor,
                                                const Target& target, Events events) {
  std::unique_ptr<ssl_st, FreeTls> tls(new_client_connection(target.context, target.trust, target.server.host));
  SSL_set_fd(tls.get(), descriptor.get());
  SSL_set_connect_state(tls.get());
  auto link = std::make_shared<LinkSocket>(
      loop, buffers, Connection{std::move(descriptor), std::move(tls), host_header(target.server)}, false,
      std::move(events));
  link->trust_ = target.trust;
  link->context_ = target.context;
  link->host_ = target.server.host;
  const std::string key = random_key();
  link->accept_ = websocket_accept_value(key);
  link->request_ = "GET " + std::string(wire::kLinkTarget) + " HTTP/1.1\r\nHost: " + host_header(target.server) +
                   "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Protocol: " +
                   std::string(wire::kLinkSubprotocol) + "\r\nSec-WebSocket-Key: " + key + "\r\n\r\n";
  link->watch();
  return link;
}

LinkSocket::LinkSocket(EventLoop& loop, LinkBuffers& buffers, Connection connection, bool is_server, Events events)
    : loop_(loop),
      buffers_(buffers),
      connection_(std::move(connection)),
      is_server_(is_server),
      events_(std::move(events)),
      heard_(loop.now()) {
  KernelRandom().fill(MutableBytes(reinterpret_cast<std::uint8_t*>(&mask_), sizeof mask_));
  SSL_set_mode(connection_.tls.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_set_read_ahead(connection_.tls.get(), 1);
  SSL_set_default_read_buffer_len(connection_.tls.get(), kReadAhead);
  set_option(connection_.descriptor.get(), TCP_NODELAY, 1);
  set_option(connection_.descriptor.get(), TCP_NOTSENT_LOWAT, kNotSentMax);
}

LinkSocket::~LinkSocket() {
  release();
}

void LinkSocket::watch() {
  loop_.add(connection_.descriptor.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            [weak = weak_from_this()](std::uint32_t events) {
              if (const auto self = weak.lock()) self->handle_events(events);
            });
}

void LinkSocket::handle_events(std::uint32_t events) {
  if (state_ == State::Handshaking) shake_hands();
  if (state_ == State::Upgrading || state_ == State::Open) {
    if ((events & EPOLLOUT) != 0) flush();
    read();
  }
}

void LinkSocket::shake_hands() {
  const int result = SSL_do_handshake(connection_.tls.get());
  if (result == 1) {
    state_ = State::Upgrading;
    write(loop_.now(), as_bytes(request_), 0);
    request_.clear();
    return;
  }
  const auto outcome = outcome_of(connection_.tls.get(), result);
  if (outcome == TlsOutcome::Again) return;
  const std::string distrust = distrust_reason(connection_.tls.get(), trust_, host_);
  end(distrust.empty() ? "the TLS handshake failed" : distrust);
}

// --- in --------------------------------------------------------------------------------------------------------------

void LinkSocket::read() {
  const auto self = shared_from_this();  // a handler may let go of it
  const MutableBytes buffer = buffers_.incoming();
  std::size_t used = partial_.size();
  std::ranges::copy(partial_, buffer.begin());
  partial_.clear();
  std::size_t total = 0;
  while (state_ == State::Upgrading || state_ == State::Open) {
    const int size = SSL_read(connection_.tls.get(), buffer.data() + used, static_cast<int>(buffer.size() - used));
    if (size <= 0) {
      const auto outcome = outcome_of(connection_.tls.get(), size);
      if (outcome != TlsOutcome::Again)
        end(outcome == TlsOutcome::Ended ? "the peer ended it" : "the connection broke");
      break;
    }
    heard_ = loop_.now();
    used += static_cast<std::size_t>(size);
    total += static_cast<std::size_t>(size);
    std::size_t taken = state_ == State::Upgrading ? take_upgrade(buffer.first(used)) : 0;
    if (state_ == State::Open) taken += take_frames(buffer.subspan(taken, used - taken));
    used -= taken;
    std::memmove(buffer.data(), buffer.data() + taken, used);
    if (total < kReadPerTurn) continue;
    read_again();
    break;
  }
  if (state_ != State::Closed) partial_.assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(used));
  if (partial_.empty() && partial_.capacity() > 0) partial_.shrink_to_fit();
}

/// Edge-triggered: nobody else says that there is more.
void LinkSocket::read_again() {
  const bool posted = loop_.post([weak = weak_from_this()] {
    if (const auto self = weak.lock(); self && !self->is_closed()) self->read();
  });
  if (!posted) end("this side is overloaded");
}

std::size_t LinkSocket::take_upgrade(ByteView bytes) {
  const std::string_view text = as_text(bytes);
  const std::size_t size = text.find("\r\n\r\n");
  if (size == std::string_view::npos) {
    if (bytes.size() > kUpgradeMax) end("the answer to the upgrade is too long");
    return 0;
  }
  const std::string_view head = text.substr(0, size);
  if (!head.starts_with("HTTP/1.1 101")) {
    const bool is_http = head.starts_with("HTTP/1.") && head.size() >= 12;
    end(is_http ? "the server refuses it with HTTP status " +
                      std::to_string(std::atoi(std::string(head.substr(9, 3)).c_str()))
                : "the server does not speak HTTP");
    return 0;
  }
  if (header_in(head, "Sec-WebSocket-Accept") != accept_ ||
      header_in(head, "Sec-WebSocket-Protocol") != wire::kLinkSubprotocol) {
    end("the server does not speak postern-relay-1");
    return 0;
  }
  state_ = State::Open;
  if (events_.opened) events_.opened();
  return size + 4;
}

std::size_t LinkSocket::take_frames(MutableBytes bytes) {
  std::size_t taken = 0;
  while (state_ == State::Open) {
    const auto frame = wire::parse_frame(bytes.subspan(taken), is_server_, wire::kLinkMessageMax);
    if (!frame) {
      end("the peer sent " + std::string(to_string(frame.error())));
      break;
    }
    if (!*frame) break;
    taken += (*frame)->size;
    handle_frame(**frame);
  }
  return taken;
}

void LinkSocket::handle_frame(const wire::Frame& frame) {
  switch (frame.kind) {
    case wire::FrameKind::Ping:
      return send_control(wire::FrameKind::Pong, frame.payload);
    case wire::FrameKind::Pong:
      return;
    case wire::FrameKind::Close:
      send_control(wire::FrameKind::Close, frame.payload.first(std::min<std::size_t>(2, frame.payload.size())));
      return end("the peer said goodbye");
    case wire::FrameKind::Binary:
      break;
  }
  const auto train = wire::parse_link_message(frame.payload);
  if (!train) return end("the peer sent " + std::string(to_string(train.error())));
  counters_.bytes_received += train->bytes.size();
  if (events_.train) events_.train(train->bytes, train->stride);
}

// --- out -------------------------------------------------------------------------------------------------------------

void LinkSocket::send(Instant now, ByteView bytes, std::size_t stride) {
  if (bytes.empty()) return;
  stride = stride == 0 ? bytes.size() : std::min(stride, bytes.size());
  const std::size_t together =
      std::max<std::size_t>(1, std::min(wire::kLinkDatagramsMax, wire::kLinkTrainMax / stride)) * stride;
  for (std::size_t at = 0; at < bytes.size(); at += together) {
    const ByteView part = bytes.subspan(at, std::min(together, bytes.size() - at));
    if (state_ != State::Open || !wire::fits_link_message(part.size(), stride)) {
      counters_.dropped_datagrams += (part.size() + stride - 1) / stride;
      continue;
    }
    send_frame(now, part, stride);
  }
}

void LinkSocket::send_frame(Instant now, ByteView train, std::size_t stride) {
  const MutableBytes out = buffers_.outgoing();
  const auto mask = next_mask();
  const std::size_t payload = wire::kLinkHeadSize + train.size();
  const std::size_t header = wire::write_frame_header(out, wire::FrameKind::Binary, payload, mask);
  store_u16(out.data() + header, static_cast<std::uint16_t>(stride));
  std::memcpy(out.data() + header + wire::kLinkHeadSize, train.data(), train.size());
  if (mask) wire::apply_mask(out.subspan(header, payload), *mask);
  counters_.bytes_sent += train.size();
  write(now, out.first(header + payload), (train.size() + stride - 1) / stride);
}

void LinkSocket::send_control(wire::FrameKind kind, ByteView payload) {
  // A peer that pings and reads no answers gets none.
  if (queued_bytes_ > kQueueMax / 2) return;
  std::array<std::uint8_t, wire::kFrameHeaderMax + 125> out{};
  const auto mask = next_mask();
  const std::size_t header = wire::write_frame_header(out, kind, payload.size(), mask);
  std::ranges::copy(payload, out.begin() + static_cast<std::ptrdiff_t>(header));
  if (mask) wire::apply_mask(MutableBytes(out).subspan(header, payload.size()), *mask);
  write(loop_.now(), ByteView(out).first(header + payload.size()), 0);
}

/// RFC 6455 §5.3 wants masks that whoever chose the payload cannot foresee. What is sent here was encrypted by us.
std::optional<wire::FrameMask> LinkSocket::next_mask() {
  if (is_server_) return std::nullopt;
  mask_ += 0x9e3779b97f4a7c15U;
  std::uint64_t word = mask_;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
  wire::FrameMask mask{};
  std::memcpy(mask.data(), &word, mask.size());
  return mask;
}

void LinkSocket::write(Instant now, ByteView bytes, std::size_t datagrams) {
  if (!connection_.tls) return;
  std::size_t sent = 0;
  while (queue_.empty() && sent < bytes.size()) {
    const int size = SSL_write(connection_.tls.get(), bytes.data() + sent, static_cast<int>(bytes.size() - sent));
    if (size > 0) {
      sent += static_cast<std::size_t>(size);
      continue;
    }
    if (outcome_of(connection_.tls.get(), size) != TlsOutcome::Again) return end("the connection broke");
    break;
  }
  if (sent == bytes.size()) return;
  if (!queue_.empty() && datagrams > 0) make_room(now, bytes.size());
  // Its start is with TLS already: the rest must follow, whatever its age.
  const bool has_begun = queue_.empty();
  queue_.push_back({to_bytes(bytes.subspan(sent)), has_begun ? 0 : datagrams, now});
  queued_bytes_ += bytes.size() - sent;
}

void LinkSocket::make_room(Instant now, std::size_t size) {
  // The first one has begun.
  while (queue_.size() > 1 && (queued_bytes_ + size > kQueueMax || now - queue_[1].since > kWaitMax)) {
    auto oldest = std::next(queue_.begin());
    while (oldest != queue_.end() && oldest->datagrams == 0) ++oldest;
    if (oldest == queue_.end()) return;
    counters_.dropped_datagrams += oldest->datagrams;
    queued_bytes_ -= oldest->bytes.size();
    queue_.erase(oldest);
  }
}

void LinkSocket::flush() {
  while (!queue_.empty()) {
    Waiting& front = queue_.front();
    if (front_sent_ == 0 && front.datagrams > 0 && loop_.now() - front.since > kWaitMax) {
      counters_.dropped_datagrams += front.datagrams;
      queued_bytes_ -= front.bytes.size();
      queue_.pop_front();
      continue;
    }
    const int size = SSL_write(connection_.tls.get(), front.bytes.data() + front_sent_,
                               static_cast<int>(front.bytes.size() - front_sent_));
    if (size <= 0) {
      // TLS has the start of it now, and wants the same bytes again.
      front.datagrams = 0;
      if (outcome_of(connection_.tls.get(), size) != TlsOutcome::Again) end("the connection broke");
      return;
    }
    front_sent_ += static_cast<std::size_t>(size);
    if (front_sent_ < front.bytes.size()) continue;
    queued_bytes_ -= front.bytes.size();
    front_sent_ = 0;
    queue_.pop_front();
  }
}

// --- the end ---------------------------------------------------------------------------------------------------------

void LinkSocket::close() {
  events_ = {};
  if (state_ == State::Open && queue_.empty()) {
    send_control(wire::FrameKind::Close, Bytes{0x03, 0xE8});  // 1000: normal
    if (state_ != State::Closed) SSL_shutdown(connection_.tls.get());
    ERR_clear_error();
  }
  state_ = State::Closed;
  release();
}

void LinkSocket::end(std::string reason) {
  if (state_ == State::Closed) return;
  state_ = State::Closed;
  end_reason_ = std::move(reason);
  // Later, so that whoever is in send() is not called from inside of it. Who misses it sees is_closed().
  (void)loop_.post([self = shared_from_this()] {
    const Events events = std::exchange(self->events_, {});
    self->release();
    if (events.closed) events.closed(self->end_reason_);
  });
}

void LinkSocket::release() {
  if (!connection_.tls) return;
  loop_.remove(connection_.descriptor.get());
  connection_.tls.reset();
  connection_.descriptor.reset();
  queue_.clear();
  queued_bytes_ = 0;
  partial_ = {};
}

}  // namespace postern::runtime
