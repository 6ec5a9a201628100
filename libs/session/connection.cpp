#include "session/connection.hpp"

#include <algorithm>
#include <cstring>

#include "session/connection_callbacks.hpp"

namespace postern::session {

namespace {

/// Packets by which one write may be fragmented into pieces: more than ever fits one packet usefully.
constexpr std::size_t kVectorsMax = 16;
/// Room that is left below the jumbo sizes of a TCP relay leg; one UDP payload is never longer.
constexpr std::size_t kGatherMax = 65'536;

ngtcp2_cid to_native(const ConnectionId& id) {
  ngtcp2_cid native;
  ngtcp2_cid_init(&native, id.bytes.data(), id.bytes.size());
  return native;
}

/// RFC 9221 §3: the size of packets is the only bound.
constexpr std::uint64_t kDatagramFrameMax = 65'535;

/// RFC 9000 §18.2, max_ack_delay; the default of both sides.
constexpr std::uint64_t kAckDelayMax = 25 * NGTCP2_MILLISECONDS;

/// Silence after which the client has its path estimated afresh when it hears the peer again: with packets that went
/// unanswered, and without, when the host or its peer may have slept. A session with flows is never idle that long.
constexpr Duration kOutageMin = std::chrono::seconds(5);
constexpr Duration kSleepMin = std::chrono::seconds(60);

/// At the client, which may begin its path afresh until no spare connection id is left: that is enough for the probes
/// of half an hour, twice as many where the owner asks for them. The connector's grow ever rarer.
constexpr Duration kProbeIntervalMax = std::chrono::seconds(20);

/// TLS alerts as QUIC transport errors (RFC 9001 §4.8).
constexpr std::uint64_t kCryptoErrorFirst = 0x100;
constexpr std::uint64_t kCryptoErrorLast = 0x1ff;

}  // namespace

Connection::Connection(ConnectionContext& context, SessionId session, Instant now, const Path& path, const Digest& peer)
    : context_(context),
      session_(session),
      paths_(path.remote),
      path_(path),
      peer_(peer),
      streams_(session, context.config.limits, context.pool, context.events, context.process_budget),
      datagrams_received_(session, context.pool, context.events, context.datagrams),
      keys_(context.tls.fast_cipher()),
      last_heard_(now),
      last_sent_(now) {
  ngtcp2_path_storage_zero(&written_path_);
}

Connection::~Connection() {
  // Before the streams, whose bytes it refers to.
  if (quic_ != nullptr) ngtcp2_conn_del(quic_);
  for (const ConnectionId& id : ids_) context_.ids.remove(id);
}

std::unique_ptr<Connection> Connection::connect(ConnectionContext& context, SessionId session, Instant now,
                                                const ConnectRequest& request) {
  std::unique_ptr<Connection> connection(new Connection(context, session, now, request.path, request.peer_digest));
  const ConnectionId destination =
      ConnectionId::make(0, request.peer_route, context.random.make<std::array<std::uint8_t, 8>>());
  if (!connection->start(Role::Client, destination, destination, request.knock)) return nullptr;
  return connection;
}

std::unique_ptr<Connection> Connection::accept(ConnectionContext& context, SessionId session, Instant now,
                                               const Path& path, const PacketHeader& initial, const Digest& device) {
  std::unique_ptr<Connection> connection(new Connection(context, session, now, path, device));
  // The client's own choice leads here too, until it has learnt ours.
  if (!context.ids.adopt(initial.destination, *connection)) return nullptr;
  connection->ids_.push_back(initial.destination);
  connection->paths_.bind(initial.destination, 0);
  if (!connection->start(Role::Connector, initial.source, initial.destination, {})) return nullptr;
  return connection;
}

// --- start ---------------------------------------------------------------------------------------------------------

ngtcp2_settings Connection::make_settings(ByteView token) const {
  // Largest first: nearly every path carries it, and then one round trip settles the matter.
  static constexpr std::array<std::uint16_t, 4> kProbes{1452, 1420, 1380, 1280};
  // The jumbo one second: where the common size is lost nothing larger is tried, and everybody else waits for nothing.
  static constexpr std::array<std::uint16_t, 5> kJumboProbes{1452, kJumboPayload, 1420, 1380, 1280};
  ngtcp2_settings settings;
  ngtcp2_settings_default(&settings);
  settings.initial_ts = clock_.at(last_heard_);
  settings.initial_rtt = 100 * NGTCP2_MILLISECONDS;
  settings.ack_thresh = 10;
  const bool is_bbr = context_.config.congestion_control == CongestionControl::Bbr;
  settings.cc_algo = is_bbr ? NGTCP2_CC_ALGO_BBR : NGTCP2_CC_ALGO_CUBIC;
  settings.handshake_timeout = static_cast<std::uint64_t>(context_.config.handshake_timeout.count());
  settings.max_tx_udp_payload_size = context_.config.udp_payload_max;
  settings.rand_ctx.native_handle = &context_.random;
  settings.token = token.data();
  settings.tokenlen = token.size();
  const std::size_t size = context_.config.udp_payload_max;
  settings.no_pmtud = size <= NGTCP2_MAX_UDP_PAYLOAD_SIZE ? 1 : 0;
  if (size == kProbes.front()) {
    settings.pmtud_probes = kProbes.data();
    settings.pmtud_probeslen = kProbes.size();
  } else if (size == kJumboPayload) {
    settings.pmtud_probes = kJumboProbes.data();
    settings.pmtud_probeslen = kJumboProbes.size();
  }
  return settings;
}

ngtcp2_transport_params Connection::make_parameters(Role role, const ConnectionId& original) const {
  const Limits& limits = context_.config.limits;
  ngtcp2_transport_params parameters;
  ngtcp2_transport_params_default(&parameters);
  parameters.initial_max_data = limits.session_budget;
  parameters.initial_max_stream_data_bidi_local = limits.first_stream_window;
  parameters.initial_max_stream_data_bidi_remote = limits.first_stream_window;
  parameters.initial_max_streams_bidi = limits.streams_per_session_max;
  parameters.active_connection_id_limit = 8;
  parameters.max_datagram_frame_size = kDatagramFrameMax;
  // Liveness is the owner's and idleness is measured here: the connection's own time may run ahead (ProbeClock).
  parameters.max_idle_timeout = 0;
  if (role == Role::Connector) {
    parameters.original_dcid = to_native(original);
    parameters.original_dcid_present = 1;
  }
  return parameters;
}

bool Connection::start(Role role, const ConnectionId& destination, const ConnectionId& original, ByteView token) {
  const ConnectionId source = context_.ids.issue(*this);
  ids_.push_back(source);
  paths_.bind(source, 0);
  const ngtcp2_callbacks callbacks = ConnectionCallbacks::make();
  const ngtcp2_settings settings = make_settings(token);
  const ngtcp2_transport_params parameters = make_parameters(role, original);
  const ngtcp2_cid to = to_native(destination);
  const ngtcp2_cid from = to_native(source);
  const int made = role == Role::Client
                       ? ngtcp2_conn_client_new(&quic_, &to, &from, &quic_path_.view(), NGTCP2_PROTO_VER_V1, &callbacks,
                                                &settings, &parameters, nullptr, this)
                       : ngtcp2_conn_server_new(&quic_, &to, &from, &quic_path_.view(), NGTCP2_PROTO_VER_V1, &callbacks,
                                                &settings, &parameters, nullptr, this);
  if (made != 0) return false;
  tls_ = TlsSession::create(context_.tls, role, peer_, ConnectionCallbacks::reference(*this), keys_);
  if (!tls_) return false;
  ngtcp2_conn_set_tls_native_handle(quic_, tls_->native());
  streams_.attach(quic_);
  refresh_info(last_heard_);
  return true;
}

// --- receiving -----------------------------------------------------------------------------------------------------

std::optional<DropReason> Connection::handle_datagram(Instant now, const Path& from, const PacketHeader& header,
                                                      ByteView datagram, bool follows) {
  if (!follows) heard_label_.reset();
  if (!heard_label_ && !paths_.accepts(from)) return DropReason::UnprovenRemote;
  if (state_ == ConnectionState::Ended) {
    // RFC 9000 §10.2.1: the close is repeated ever more rarely.
    ++heard_since_close_;
    close_packet_due_ = (heard_since_close_ & (heard_since_close_ - 1)) == 0 && !close_packet_.empty();
    return std::nullopt;
  }
  streams_.set_now(now, round_trip(), info_.cwnd);
  const std::uint64_t opened = packets_opened();
  const std::uint64_t refused = packets_refused();
  const std::uint32_t label = heard_label_ ? *heard_label_ : label_for(from, header);
  quic_path_.set_label(label);
  const int result =
      ngtcp2_conn_read_pkt(quic_, &quic_path_.view(), nullptr, datagram.data(), datagram.size(), clock_.at(now));
  const bool heard = packets_opened() != opened;
  if (heard) {
    bytes_received_ += datagram.size();
    if (heard_label_) {
      refresh_label(now);
    } else {
      handle_heard(now, label, from, header);
    }
  }
  if (result != 0) handle_error(now, result);
  if (tls_ && is_established()) finish_handshake(now);
  if (renewal_wanted_) renew_path(now);
  if (heard) return std::nullopt;
  return packets_refused() != refused || result != 0 ? std::optional(DropReason::Undecryptable) : std::nullopt;
}

/// There are no tickets, so TLS has nothing more to say: QUIC changes its keys itself (RFC 9001 §6).
void Connection::finish_handshake(Instant now) {
  secret_ = tls_->export_secret();
  ngtcp2_conn_set_tls_native_handle(quic_, nullptr);
  tls_.reset();
  if (!secret_) handle_error(now, NGTCP2_ERR_INTERNAL);
}

/// The first packet of a train that the peer has made: what is true of it is true of those that follow it.
void Connection::handle_heard(Instant now, std::uint32_t label, const Path& from, const PacketHeader& header) {
  const Duration silence = now - last_heard_;
  last_heard_ = now;
  if (!from.is_direct()) last_relayed_ = now;
  const bool was_unanswered = clock_.handle_heard();
  if (was_unanswered) probe_wanted_ = is_round_trip_doubtful_ = true;
  if (silence >= (was_unanswered ? kOutageMin : kSleepMin)) renewal_wanted_ = true;
  heard_label_ = label;
  is_direct_doubted_ = false;
  handle_heard_on(label, from, header);
  // The client begins a path with a probe, and what follows it at once is a migration, which frees us of the debt.
  const bool is_left = !from.is_direct() || from == path_;
  if (context_.config.role == Role::Connector && label != label_ && is_left && has_pacing_debt()) settle_pacing(now);
}

// --- ending --------------------------------------------------------------------------------------------------------

void Connection::handle_error(Instant now, int error) {
  if (error == NGTCP2_ERR_DRAINING) return handle_peer_close();
  if (error == NGTCP2_ERR_HANDSHAKE_TIMEOUT) return end(CloseReason::HandshakeTimeout, 0, "no answer");
  const bool handshaking = state_ == ConnectionState::Handshaking;
  const CloseReason reason = tls_ && tls_->pin_mismatch() ? CloseReason::PinMismatch
                             : handshaking                ? CloseReason::HandshakeFailed
                                                          : CloseReason::ProtocolError;
  if (error == NGTCP2_ERR_RETRY || error == NGTCP2_ERR_DROP_CONN) return end(reason, 0, ngtcp2_strerror(error));
  ngtcp2_ccerr ccerr;
  ngtcp2_ccerr_default(&ccerr);
  const std::uint8_t alert = ngtcp2_conn_get_tls_alert(quic_);
  if (error == NGTCP2_ERR_CRYPTO && alert != 0) {
    ngtcp2_ccerr_set_tls_alert(&ccerr, alert, nullptr, 0);
  } else {
    ngtcp2_ccerr_set_liberr(&ccerr, error, nullptr, 0);
  }
  write_close(now, ccerr);
  end(reason, ccerr.error_code, ngtcp2_strerror(error));
}

void Connection::handle_peer_close() {
  const ngtcp2_ccerr* error = ngtcp2_conn_get_ccerr(quic_);
  CloseReason reason = CloseReason::PeerClose;
  if (error->type != NGTCP2_CCERR_TYPE_APPLICATION) {
    const bool is_tls = error->error_code >= kCryptoErrorFirst && error->error_code <= kCryptoErrorLast;
    const bool in_handshake = state_ == ConnectionState::Handshaking || is_tls;
    reason = in_handshake ? CloseReason::HandshakeFailed : CloseReason::ProtocolError;
  }
  const std::string detail(as_text({error->reason, error->reasonlen}));
  end(reason, error->error_code, detail);
}

void Connection::close(Instant now, std::uint64_t code, std::string_view reason) {
  if (state_ == ConnectionState::Ended) return;
  ngtcp2_ccerr ccerr;
  ngtcp2_ccerr_default(&ccerr);
  const ByteView text = as_bytes(reason);
  ngtcp2_ccerr_set_application_error(&ccerr, code, text.data(), text.size());
  write_close(now, ccerr);
  end(CloseReason::LocalClose, code, reason);
}

void Connection::write_close(Instant now, const ngtcp2_ccerr& error) {
  close_packet_.resize(context_.config.udp_payload_max);
  const ngtcp2_ssize size = ngtcp2_conn_write_connection_close(quic_, nullptr, nullptr, close_packet_.data(),
                                                               close_packet_.size(), &error, clock_.at(now));
  close_packet_.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  close_packet_.shrink_to_fit();
  close_packet_due_ = !close_packet_.empty();
  linger_until_ = now + 3 * Duration(static_cast<Duration::rep>(ngtcp2_conn_get_pto(quic_)));
}

void Connection::end(CloseReason reason, std::uint64_t code, std::string_view detail) {
  state_ = ConnectionState::Ended;
  streams_.attach(nullptr);
  context_.events.push(Closed{session_, reason, code, std::string(detail)});
  ngtcp2_conn_del(std::exchange(quic_, nullptr));
  tls_.reset();
  straggler_.clear();
}

void Connection::forget_streams() {
  closed_polled_ = true;
  streams_.clear();
}

bool Connection::is_finished(Instant now) const {
  return state_ == ConnectionState::Ended && closed_polled_ && (close_packet_.empty() || now >= linger_until_);
}

std::optional<Transmit> Connection::poll_close_packet(MutableBytes buffer) {
  if (!std::exchange(close_packet_due_, false)) return std::nullopt;
  std::memcpy(buffer.data(), close_packet_.data(), close_packet_.size());
  return Transmit{path_, ByteView(buffer).first(close_packet_.size()), close_packet_.size(), 0};
}

// --- time ----------------------------------------------------------------------------------------------------------

bool Connection::may_probe_early() const {
  return state_ == ConnectionState::Established && info_.bytes_in_flight > 0;
}

Instant Connection::next_timeout() const {
  if (state_ == ConnectionState::Ended) return linger_until_;
  Instant at = std::min(clock_.when(ngtcp2_conn_get_expiry(quic_)), last_heard_ + context_.config.idle_timeout);
  if (may_probe_early()) at = std::min(at, clock_.deadline(last_sent_, round_trip()));
  if (const auto doubt = doubt_due()) at = std::min(at, *doubt);
  if (const auto pieces = datagrams_received_.next_timeout()) at = std::min(at, *pieces);
  if (const auto ending = streams_.next_timeout()) at = std::min(at, *ending);
  if (held_by_pacer_) at = std::min(at, pacer_.paused_until());
  return at;
}

void Connection::handle_timeout(Instant now) {
  if (state_ == ConnectionState::Ended) return;
  if (now - last_heard_ >= context_.config.idle_timeout) return end(CloseReason::IdleTimeout, 0, "nothing heard");
  datagrams_received_.handle_timeout(now);
  streams_.handle_timeout(now);
  refresh_info(now);
  if (const auto doubt = doubt_due(); doubt && now >= *doubt) {
    doubt_direct_path(now);
  } else if (may_probe_early() && now >= clock_.deadline(last_sent_, round_trip())) {
    if (std::exchange(is_direct_doubted_, false)) {
      paths_.trust_direct();
      flight_since_ = now;
      refresh_path(now);
    }
    probe_early(now);
  }
  if (state_ == ConnectionState::Ended) return;
  const std::uint64_t own = clock_.at(now);
  if (ngtcp2_conn_get_expiry(quic_) > own) return;
  if (const int result = ngtcp2_conn_handle_expiry(quic_, own); result != 0) return handle_error(now, result);
  refresh_path(now);
}

/// Lets the loss timer run out now. A delayed acknowledgement may be due before it; that one is let out first.
void Connection::probe_early(Instant now) {
  clock_.handle_probed(context_.config.role == Role::Client ? kProbeIntervalMax : Duration::max());
  for (int timers = 0; timers < 2; ++timers) {
    const std::uint64_t expiry = ngtcp2_conn_get_expiry(quic_);
    const std::uint64_t own = clock_.at(now);
    if (expiry == UINT64_MAX) return;
    if (!clock_.jump_to(now, expiry)) {
      renewal_wanted_ = true;
      return renew_path(now);
    }
    if (const int result = ngtcp2_conn_handle_expiry(quic_, clock_.at(now)); result != 0) {
      return handle_error(now, result);
    }
    if (expiry > own + kAckDelayMax) return;
  }
}

void Connection::refresh_info(Instant now) {
  ngtcp2_conn_get_conn_info(quic_, &info_);
  is_round_trip_doubtful_ = is_round_trip_doubtful_ && info_.smoothed_rtt > plausible_round_trip();
  streams_.set_now(now, round_trip(), info_.cwnd);
  pacer_.update(info_.cwnd, info_.ssthresh, round_trip());
  const bool is_bbr = context_.config.congestion_control == CongestionControl::Bbr;
  const bool is_long = Duration(static_cast<Duration::rep>(info_.min_rtt)) >= Pacer::kLongPath;
  const bool shall_pace = is_bbr && is_long && !is_round_trip_doubtful_;
  quic_paces_ = shall_pace && !has_pacing_debt();
  renewal_wanted_ = renewal_wanted_ || (shall_pace && !quic_paces_);
}

/// A peer whose host slept acknowledges when it wakes what it had received before. That sample is as long as the sleep,
/// and longer still where probes have let the connection's own time run ahead: ngtcp2's estimate may be hours, and
/// takes a hundred honest samples to forget them. Pacing and probing by it would hold the session up all that time.
Duration Connection::round_trip() const {
  const std::uint64_t plausible = plausible_round_trip();
  return Duration(static_cast<Duration::rep>(is_round_trip_doubtful_ ? std::min(info_.smoothed_rtt, plausible)
                                                                     : info_.smoothed_rtt));
}

std::uint64_t Connection::plausible_round_trip() const {
  constexpr std::uint64_t kLeast = 250'000'000;
  constexpr std::uint64_t kMost = 10'000'000'000;
  return std::max(kLeast, 4 * std::min(info_.min_rtt, kMost));
}

/// QUIC's pacer counts what is sent and spaces it when it is told the time. What our own pacer let out on a short path
/// it would space too, as soon as a long path made it the one that paces: after a gigabyte that is a stall of minutes.
/// A migration alone forgets what the pacer has been told (renew_path()); until then our own goes on.
bool Connection::has_pacing_debt() const {
  return unpaced_bytes_ > info_.cwnd;
}

void Connection::settle_pacing(Instant now) {
  ngtcp2_conn_update_pkt_tx_time(quic_, clock_.at(now));
  unpaced_bytes_ = 0;
}

void Connection::ping() {
  ping_wanted_ = state_ == ConnectionState::Established;
}

void Connection::set_remote(const SocketAddress& remote) {
  paths_.set_relay(remote);
  if (path_.is_direct()) return;
  path_.remote = remote;
  ping();
  probe_wanted_ = ping_wanted_;
}

SessionStats Connection::stats() const {
  SessionStats stats;
  stats.smoothed_rtt = round_trip();
  stats.bytes_sent = bytes_sent_;
  stats.bytes_received = bytes_received_;
  stats.packets_lost = streams_.packets_lost();
  stats.streams_open = static_cast<std::uint32_t>(streams_.size());
  stats.path = path_;
  stats.bytes_in_flight = info_.bytes_in_flight;
  if (is_established()) stats.packet_size = ngtcp2_conn_get_path_max_tx_udp_payload_size(quic_);
  stats.last_sent = last_sent_;
  stats.last_relayed = last_relayed_;
  stats.last_heard = last_heard_;
  return stats;
}

// --- sending -------------------------------------------------------------------------------------------------------

std::optional<Transmit> Connection::poll_transmit(Instant now, MutableBytes buffer) {
  if (state_ == ConnectionState::Ended) return poll_close_packet(buffer);
  refresh_info(now);
  // What is in flight may fill the congestion window; then no PING leaves, but a probe does.
  const bool ping_needs_probe = ping_wanted_ && now - last_sent_ >= clock_.interval() / 2;
  if ((std::exchange(probe_wanted_, false) || ping_needs_probe) && may_probe_early()) probe_early(now);
  if (state_ == ConnectionState::Ended) return poll_close_packet(buffer);
  // ngtcp2 1.11 sends a PING only as keep-alive.
  if (ping_wanted_) ngtcp2_conn_set_keep_alive_timeout(quic_, 1);
  if (!straggler_.empty()) {
    if (const auto transmit = take_straggler(now, buffer)) return transmit;
  }
  if (info_.bytes_in_flight == 0) flight_since_ = now;
  streams_.begin_write();
  const std::size_t train_max = quic_paces_ ? ngtcp2_conn_get_send_quantum(quic_) : pacer_.train_max();
  TrainWriter train(buffer, train_max, ngtcp2_conn_get_path_max_tx_udp_payload_size(quic_));
  const Pacer::Verdict verdict = quic_paces_ ? Pacer::Verdict::Send : pacer_.verdict(now);
  fill_train(now, train, verdict);
  held_by_pacer_ = verdict == Pacer::Verdict::HoldData && (streams_.next_to_write() != nullptr || !datagrams_.empty());
  if (state_ == ConnectionState::Ended) return poll_close_packet(buffer);
  streams_.end_write();
  if (std::exchange(ping_wanted_, false)) ngtcp2_conn_set_keep_alive_timeout(quic_, UINT64_MAX);
  if (train.empty()) return std::nullopt;
  last_sent_ = now;
  bytes_sent_ += train.size();
  if (quic_paces_) {
    settle_pacing(now);
  } else {
    unpaced_bytes_ += train.size();
    if (state_ == ConnectionState::Established) pacer_.handle_sent(now, train.size());
  }
  // A label that was forgotten is one that QUIC has no use for any more.
  const Path path = paths_.resolve(train_label_).value_or(path_);
  return Transmit{path, ByteView(buffer).first(train.size()), train.stride(), 0};
}

void Connection::fill_train(Instant now, TrainWriter& train, Pacer::Verdict verdict) {
  write_time_ = now;
  const std::uint64_t own = clock_.at(now);
  for (MutableBytes room = train.room(); !room.empty(); room = train.room()) {
    const ngtcp2_ssize size = write_packet(room, own, verdict);
    if (size < 0) return handle_error(now, static_cast<int>(size));
    if (size == 0) return;
    const std::uint32_t label = SyntheticPath::label_of(written_path_.path);
    if (!train.empty() && label != train_label_) {
      straggler_ = to_bytes(ByteView(room).first(static_cast<std::size_t>(size)));
      straggler_label_ = label;
      return;
    }
    train_label_ = label;
    train.add(static_cast<std::size_t>(size));
  }
}

/// One packet, filled from as many streams as fit.
ngtcp2_ssize Connection::write_packet(MutableBytes room, std::uint64_t own_time, Pacer::Verdict verdict) {
  std::array<ngtcp2_vec, kVectorsMax> vectors;
  for (;;) {
    Stream* stream = verdict == Pacer::Verdict::Send ? streams_.next_to_write() : nullptr;
    if (verdict == Pacer::Verdict::Send && datagrams_come_before(stream)) {
      const ngtcp2_ssize size = write_datagram(room, own_time);
      if (size != NGTCP2_ERR_WRITE_MORE) return size;
      continue;
    }
    if (stream == nullptr) {
      return ngtcp2_conn_writev_stream(quic_, &written_path_.path, nullptr, room.data(), room.size(), nullptr,
                                       NGTCP2_WRITE_STREAM_FLAG_NONE, -1, nullptr, 0, own_time);
    }
    const auto gathered = stream->send.gather(vectors, std::min(room.size(), kGatherMax));
    const bool finish = stream->finish_queued && gathered.covers_all;
    const std::uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE | (finish ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0U);
    ngtcp2_ssize taken = -1;
    const ngtcp2_ssize size =
        ngtcp2_conn_writev_stream(quic_, &written_path_.path, nullptr, room.data(), room.size(), &taken, flags,
                                  stream->id.value, vectors.data(), gathered.count, own_time);
    if (taken >= 0) {
      const auto bytes = static_cast<std::size_t>(taken);
      streams_.handle_written(*stream, bytes, finish && bytes == gathered.bytes);
      datagrams_.credit(bytes);
    }
    if (size == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
      streams_.handle_blocked(*stream);
    } else if (size == NGTCP2_ERR_STREAM_SHUT_WR || size == NGTCP2_ERR_STREAM_NOT_FOUND) {
      streams_.handle_stopped(*stream, 0);
    } else if (size != NGTCP2_ERR_WRITE_MORE) {
      return size;
    }
  }
}

}  // namespace postern::session
