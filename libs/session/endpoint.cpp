#include "session/endpoint.hpp"

#include <algorithm>
#include <stdexcept>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "session/admission.hpp"
#include "session/connection.hpp"
#include "session/packet_header.hpp"
#include "session/ring.hpp"
#include "session/timer_queue.hpp"

namespace postern::session {

namespace {

/// While less than this is free in the pool only packets that carry acknowledgements are taken: they free memory.
constexpr std::size_t kPoolReserve = 1U << 20;
constexpr std::size_t kAckPacketMax = 256;
/// DESIGN §5.3: a session that is asked answers sooner than this.
constexpr Duration kSilent = std::chrono::seconds(3);
/// Application code of a CONNECTION_CLOSE to a session that its own device has displaced.
constexpr std::uint64_t kDisplaced = 1;

}  // namespace

class Endpoint::Impl {
 public:
  Impl(EndpointConfig config, BlockPool& pool, RandomSource& random, const KnockVerifier* knocks);

  void handle_train(Instant now, const Train& train);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Transmit> poll_transmit(Instant now, MutableBytes buffer);
  [[nodiscard]] std::optional<Event> poll_event();
  [[nodiscard]] std::expected<SessionId, ConnectError> connect(Instant now, const ConnectRequest& request);
  void close(Instant now, SessionId session, std::uint64_t code, std::string_view reason);

  void distrust_direct_paths();

  /// Null for a session that is unknown or has ended.
  [[nodiscard]] Connection* find_live(SessionId session);
  /// Also one that has ended and whose Closed event has not been polled: what arrived before can still be read.
  [[nodiscard]] Connection* find(SessionId session);
  /// Lets the connection write with the next polls.
  void enqueue(Connection& connection);

  const EndpointConfig config;
  std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)> drops{};
  DatagramCounters datagrams;
  TimerQueue timers;
  Instant now;

 private:
  void handle_datagram(const Path& path, MutableBytes datagram, std::optional<ConnectionId>& previous);
  [[nodiscard]] std::optional<DropReason> accept(const Path& path, const PacketHeader& header,
                                                 std::size_t datagram_size);
  void after_input(Connection& connection, ConnectionState before);
  void displace(const Connection& newcomer);
  void rearm(Connection& connection);
  void destroy(Connection& connection);
  [[nodiscard]] bool is_pool_nearly_used_up() const {
    return pool_.bytes_in_use() + std::min(kPoolReserve, pool_.bytes_max() / 8) > pool_.bytes_max();
  }
  void count(DropReason reason) { ++drops[static_cast<std::size_t>(reason)]; }

  BlockPool& pool_;
  const KnockVerifier* knocks_;
  EventQueue events_;
  ConnectionIdTable ids_;
  std::unique_ptr<TlsContext> tls_;
  WindowBudget process_budget_;
  Admission admission_;
  ConnectionContext context_;
  std::uint64_t next_session_ = 1;
  std::unordered_map<SessionId, std::unique_ptr<Connection>> connections_;
  Ring<Connection*> ready_;
};

Endpoint::Impl::Impl(EndpointConfig given, BlockPool& pool, RandomSource& random, const KnockVerifier* knocks)
    : config(std::move(given)),
      pool_(pool),
      knocks_(knocks),
      ids_(config.route, config.worker, random),
      tls_(TlsContext::create(config.credentials, config.packet_cipher)),
      process_budget_(config.limits.process_budget),
      admission_(config.limits),
      context_{config, pool, random, events_, ids_, *tls_, process_budget_, datagrams} {
  if (!tls_) throw std::invalid_argument("session: unusable credentials (see credentials_digest())");
  if (config.role == Role::Connector && knocks == nullptr) throw std::invalid_argument("session: no knock verifier");
}

// --- input ---------------------------------------------------------------------------------------------------------

void Endpoint::Impl::handle_train(Instant at, const Train& train) {
  now = at;
  if (train.stride == 0) return;
  std::optional<ConnectionId> previous;
  for (std::size_t offset = 0; offset < train.bytes.size(); offset += train.stride) {
    handle_datagram(train.path, train.bytes.subspan(offset, std::min(train.stride, train.bytes.size() - offset)),
                    previous);
  }
}

/// `previous`: the destination of the datagram before it in its train, when that went to a connection.
void Endpoint::Impl::handle_datagram(const Path& path, MutableBytes datagram, std::optional<ConnectionId>& previous) {
  const auto header = parse_packet_header(datagram);
  if (!header) return count(header.error());
  const bool follows = previous == header->destination;
  previous.reset();
  Connection* connection = ids_.find(header->destination);
  if (connection == nullptr) {
    if (const auto refused = accept(path, *header, datagram.size())) return count(*refused);
    connection = ids_.find(header->destination);
  }
  if (header->kind == PacketKind::Short && datagram.size() > kAckPacketMax && is_pool_nearly_used_up()) {
    return count(DropReason::NoMemory);
  }
  previous = header->destination;
  const ConnectionState before = connection->state();
  if (const auto dropped = connection->handle_datagram(now, path, *header, datagram, follows)) count(*dropped);
  after_input(*connection, before);
}

std::optional<DropReason> Endpoint::Impl::accept(const Path& path, const PacketHeader& header,
                                                 std::size_t datagram_size) {
  if (config.role != Role::Connector || header.kind != PacketKind::Initial || path.is_direct() ||
      header.destination.route() != config.route) {
    return DropReason::UnknownConnection;
  }
  if (datagram_size < kInitialDatagramMin) return DropReason::Truncated;
  if (header.token.empty()) return DropReason::KnockMissing;
  if (const auto refused = admission_.refuse_any()) return refused;
  const auto knock = knocks_->verify(now, header.token);
  if (!knock) return knock.error();
  if (const auto refused = admission_.start(now, knock->device)) return refused;
  const SessionId session(next_session_++);
  auto connection = Connection::accept(context_, session, now, path, header, knock->device);
  if (!connection) {
    admission_.end_half_open(knock->device);
    return DropReason::NoMemory;
  }
  connections_.emplace(session, std::move(connection));
  return std::nullopt;
}

/// Keeps the counts of admission in step with the connection's state, and lets it answer.
void Endpoint::Impl::after_input(Connection& connection, ConnectionState before) {
  enqueue(connection);
  if (config.role != Role::Connector || before == connection.state()) return;
  // One datagram may finish the handshake and also end the session.
  const bool was_half_open = before == ConnectionState::Handshaking;
  if (connection.state() == ConnectionState::Established) {
    if (admission_.establish(connection.peer())) displace(connection);
  } else if (was_half_open) {
    admission_.end_half_open(connection.peer());
  } else {
    admission_.end_established(connection.peer());
  }
}

/// A device has one session too many: one that has fallen silent goes, and of those the one that has been silent
/// longest; then one that carries no flow. A device that floods its connector with handshakes only displaces what it
/// has just made.
void Endpoint::Impl::displace(const Connection& newcomer) {
  const auto worth = [this](Connection& connection) {
    const bool is_heard = now - connection.last_heard() < kSilent;
    return std::tuple(is_heard, is_heard && connection.streams().carries_flows(), connection.last_heard(),
                      connection.session());
  };
  Connection* least = nullptr;
  for (const auto& [session, connection] : connections_) {
    if (connection.get() == &newcomer || !connection->is_established() || connection->peer() != newcomer.peer())
      continue;
    if (least == nullptr || worth(*connection) < worth(*least)) least = connection.get();
  }
  if (least == nullptr) return;
  least->close(now, kDisplaced, "displaced by a newer session of this device");
  after_input(*least, ConnectionState::Established);
}

// --- time and output -----------------------------------------------------------------------------------------------

void Endpoint::Impl::handle_timeout(Instant at) {
  now = at;
  while (TimerEntry* entry = timers.pop_due(now)) {
    auto& connection = static_cast<Connection&>(*entry);
    if (connection.is_finished(now)) {
      destroy(connection);
      continue;
    }
    const ConnectionState before = connection.state();
    connection.handle_timeout(now);
    after_input(connection, before);
  }
}

void Endpoint::Impl::enqueue(Connection& connection) {
  if (connection.is_queued) return;
  connection.is_queued = true;
  ready_.push_back(&connection);
}

std::optional<Transmit> Endpoint::Impl::poll_transmit(Instant at, MutableBytes buffer) {
  now = at;
  while (!ready_.empty()) {
    Connection* connection = ready_.pop_front();
    if (connection == nullptr) continue;
    const ConnectionState before = connection->state();
    const auto transmit = connection->poll_transmit(now, buffer);
    if (transmit) ready_.push_back(connection);
    if (!transmit) {
      connection->is_queued = false;
      rearm(*connection);
    }
    if (before != connection->state()) after_input(*connection, before);
    if (transmit) return transmit;
  }
  return std::nullopt;
}

void Endpoint::Impl::rearm(Connection& connection) {
  const Instant at = connection.next_timeout();
  // An ended connection whose time is over waits only for its Closed event to be polled; after that it is destroyed.
  const bool waits = connection.state() == ConnectionState::Ended && at <= now && !connection.is_finished(now);
  if (at == Instant::max() || waits) {
    timers.cancel(connection);
  } else {
    timers.arm(connection, at);
  }
}

std::optional<Event> Endpoint::Impl::poll_event() {
  auto event = events_.pop();
  if (!event) return std::nullopt;
  const SessionId session = std::visit([](const auto& some) { return some.session; }, *event);
  const auto found = connections_.find(session);
  if (found == connections_.end()) return event;
  Connection& connection = *found->second;
  connection.streams().handle_polled(*event);
  if (std::holds_alternative<DatagramsReadable>(*event)) connection.received_datagrams().handle_polled();
  if (std::holds_alternative<Closed>(*event)) {
    connection.forget_streams();
    if (connection.is_finished(now)) destroy(connection);
  }
  return event;
}

void Endpoint::Impl::destroy(Connection& connection) {
  timers.cancel(connection);
  for (std::size_t i = 0; connection.is_queued && i < ready_.size(); ++i) {
    if (ready_[i] == &connection) ready_[i] = nullptr;
  }
  connections_.erase(connection.session());
}

// --- sessions ------------------------------------------------------------------------------------------------------

std::expected<SessionId, ConnectError> Endpoint::Impl::connect(Instant at, const ConnectRequest& request) {
  now = at;
  if (connections_.size() >= config.limits.sessions_max) return std::unexpected(ConnectError::TooManySessions);
  const SessionId session(next_session_++);
  auto connection = Connection::connect(context_, session, now, request);
  if (!connection) return std::unexpected(ConnectError::Internal);
  enqueue(*connection);
  connections_.emplace(session, std::move(connection));
  return session;
}

void Endpoint::Impl::close(Instant at, SessionId session, std::uint64_t code, std::string_view reason) {
  now = at;
  Connection* connection = find_live(session);
  if (connection == nullptr) return;
  const ConnectionState before = connection->state();
  connection->close(now, code, reason);
  after_input(*connection, before);
}

void Endpoint::Impl::distrust_direct_paths() {
  for (const auto& [session, connection] : connections_) {
    const Path before = connection->stats().path;
    if (!connection->is_established() || !before.is_direct()) continue;
    connection->paths().distrust_direct();
    connection->handle_paths_changed();
    // A question takes the new way at once, and with it everything that waits for an acknowledgement.
    connection->set_remote(connection->paths().relay());
    enqueue(*connection);
  }
}

Connection* Endpoint::Impl::find(SessionId session) {
  const auto found = connections_.find(session);
  return found == connections_.end() ? nullptr : found->second.get();
}

Connection* Endpoint::Impl::find_live(SessionId session) {
  Connection* connection = find(session);
  return connection == nullptr || connection->state() == ConnectionState::Ended ? nullptr : connection;
}

// --- the public face -----------------------------------------------------------------------------------------------

Endpoint::Endpoint(EndpointConfig config, BlockPool& pool, RandomSource& random, const KnockVerifier* knocks)
    : impl_(std::make_unique<Impl>(std::move(config), pool, random, knocks)) {}
Endpoint::~Endpoint() = default;

void Endpoint::handle_train(Instant now, const Train& train) {
  impl_->handle_train(now, train);
}
void Endpoint::handle_timeout(Instant now) {
  impl_->handle_timeout(now);
}
std::optional<Instant> Endpoint::next_timeout() const {
  return impl_->timers.next();
}
std::optional<Transmit> Endpoint::poll_transmit(Instant now, MutableBytes buffer) {
  return impl_->poll_transmit(now, buffer);
}
std::optional<Event> Endpoint::poll_event() {
  return impl_->poll_event();
}

std::expected<SessionId, ConnectError> Endpoint::connect(Instant now, const ConnectRequest& request) {
  return impl_->connect(now, request);
}

void Endpoint::close(Instant now, SessionId session, std::uint64_t code, std::string_view reason) {
  impl_->close(now, session, code, reason);
}

void Endpoint::ping(Instant now, SessionId session) {
  impl_->now = now;
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return;
  connection->ping();
  impl_->enqueue(*connection);
}

void Endpoint::set_remote(SessionId session, const SocketAddress& remote) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return;
  connection->set_remote(remote);
  impl_->enqueue(*connection);
}

std::optional<Digest> Endpoint::export_key(SessionId session, std::string_view label, std::string_view context) const {
  const Connection* connection = impl_->find_live(session);
  return connection == nullptr ? std::nullopt : connection->export_key(label, context);
}

bool Endpoint::allow_remote(SessionId session, const SocketAddress& remote) {
  Connection* connection = impl_->find_live(session);
  return connection != nullptr && connection->paths().allow(remote);
}

void Endpoint::disallow_remote(SessionId session, const SocketAddress& remote) {
  if (Connection* connection = impl_->find_live(session)) connection->paths().disallow(remote);
}

std::expected<void, MigrateError> Endpoint::migrate(Instant now, SessionId session, const Path& to,
                                                    std::optional<Duration> round_trip) {
  impl_->now = now;
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return std::unexpected(MigrateError::UnknownSession);
  const auto migrated = connection->migrate(now, to, round_trip);
  impl_->enqueue(*connection);
  return migrated;
}

void Endpoint::distrust_direct_paths(Instant now) {
  impl_->now = now;
  impl_->distrust_direct_paths();
}

std::optional<SessionStats> Endpoint::stats(SessionId session) const {
  const Connection* connection = impl_->find(session);
  if (connection == nullptr) return std::nullopt;
  return connection->stats();
}

bool Endpoint::has_budget(SessionId session) const {
  Connection* connection = impl_->find_live(session);
  return connection != nullptr && connection->streams().has_budget();
}

const std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)>& Endpoint::drops() const {
  return impl_->drops;
}

// --- datagrams -----------------------------------------------------------------------------------------------------

std::expected<void, StreamError> Endpoint::send_datagrams(Instant now, SessionId session, StreamId flow, Slice bytes,
                                                          std::size_t stride) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return std::unexpected(StreamError::UnknownSession);
  if (!connection->is_established()) return std::unexpected(StreamError::NotEstablished);
  if (!connection->send_datagrams(now, flow, std::move(bytes), stride)) {
    return std::unexpected(StreamError::UnknownSession);
  }
  impl_->enqueue(*connection);
  return {};
}

std::optional<DatagramTrain> Endpoint::read_datagrams(SessionId session) {
  Connection* connection = impl_->find(session);
  return connection == nullptr ? std::nullopt : connection->received_datagrams().read();
}

DatagramLimit Endpoint::datagram_limit(Instant now, SessionId session, StreamId flow) const {
  const Connection* connection = impl_->find_live(session);
  return connection == nullptr || !connection->is_established() ? DatagramLimit{}
                                                                : connection->datagram_limit(now, flow);
}

const DatagramCounters& Endpoint::datagram_counters() const {
  return impl_->datagrams;
}

// --- streams -------------------------------------------------------------------------------------------------------

std::expected<StreamId, StreamError> Endpoint::open_stream(SessionId session) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return std::unexpected(StreamError::UnknownSession);
  if (!connection->is_established()) return std::unexpected(StreamError::NotEstablished);
  return connection->streams().open();
}

std::size_t Endpoint::writable(SessionId session, StreamId stream) const {
  Connection* connection = impl_->find_live(session);
  return connection == nullptr ? 0 : connection->streams().writable(stream);
}

StreamPressure Endpoint::pressure(SessionId session, StreamId stream) const {
  Connection* connection = impl_->find_live(session);
  return connection == nullptr ? StreamPressure{} : connection->streams().pressure(stream);
}

std::expected<void, StreamError> Endpoint::write(SessionId session, StreamId stream, Slice bytes) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return std::unexpected(StreamError::UnknownSession);
  impl_->enqueue(*connection);
  return connection->streams().write(stream, std::move(bytes));
}

std::expected<void, StreamError> Endpoint::finish(SessionId session, StreamId stream) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return std::unexpected(StreamError::UnknownSession);
  impl_->enqueue(*connection);
  return connection->streams().finish(stream);
}

void Endpoint::reset(SessionId session, StreamId stream, std::uint64_t code) {
  Connection* connection = impl_->find(session);
  if (connection == nullptr) return;
  impl_->enqueue(*connection);
  connection->streams().reset(stream, code);
}

void Endpoint::reset_when_delivered(Instant now, SessionId session, StreamId stream, std::uint64_t code) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return reset(session, stream, code);
  impl_->enqueue(*connection);
  connection->streams().reset_when_delivered(now, stream, code);
}

Slice Endpoint::read(SessionId session, StreamId stream) {
  Connection* connection = impl_->find(session);
  return connection == nullptr ? Slice() : connection->streams().read(stream);
}

bool Endpoint::at_end(SessionId session, StreamId stream) const {
  Connection* connection = impl_->find(session);
  return connection != nullptr && connection->streams().at_end(stream);
}

void Endpoint::consume(SessionId session, StreamId stream, std::size_t bytes) {
  Connection* connection = impl_->find_live(session);
  if (connection == nullptr) return;
  connection->streams().consume(stream, bytes);
  impl_->enqueue(*connection);
}

}  // namespace postern::session
