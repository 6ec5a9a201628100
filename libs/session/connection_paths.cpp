// How a connection goes from path to path (DESIGN §5.3). Only the client decides; the connector follows the client's
// choice of destination connection id, once a packet with it has proved to be the client's.
#include <cstring>

#include "session/connection.hpp"

namespace postern::session {

namespace {

/// A candidate's round trip may be this much above the current one and still be validated first: measurements jitter.
constexpr Duration kRoundTripSlack = std::chrono::microseconds(500);
/// Silence of a client that has been asked something directly, at least; three round trips where that is more.
constexpr Duration kDirectPatience = std::chrono::seconds(1);

}  // namespace

std::uint32_t Connection::label_for(const Path& from, const PacketHeader& header) const {
  if (context_.config.role == Role::Connector) {
    // The handshake has one path only.
    if (header.kind != PacketKind::Short) return 0;
    return paths_.label_of(header.destination).value_or(paths_.next_label());
  }
  if (validating_ && paths_.resolve(*validating_) == from) return *validating_;
  return label_;
}

void Connection::handle_heard_on(std::uint32_t label, const Path& from, const PacketHeader& header) {
  if (context_.config.role == Role::Connector) {
    if (label == paths_.next_label()) paths_.bind(header.destination, paths_.add(from, label_));
    paths_.handle_heard(label, from);
  }
  refresh_path(last_heard_);
}

void Connection::refresh_label(Instant now) {
  if (quic_ != nullptr && SyntheticPath::label_of(*ngtcp2_conn_get_path(quic_)) != label_) refresh_path(now);
}

void Connection::refresh_path(Instant now) {
  if (quic_ == nullptr) return;
  const std::uint32_t label = SyntheticPath::label_of(*ngtcp2_conn_get_path(quic_));
  const Path path = paths_.resolve(label).value_or(path_);
  const bool has_changed = path.is_direct() != path_.is_direct() || (path.is_direct() && path != path_);
  if (label != label_) {
    path_since_ = now;
    heard_label_.reset();
  }
  label_ = label;
  path_ = path;
  if (has_changed && state_ == ConnectionState::Established) context_.events.push(PathChanged{session_, path_});
}

std::expected<void, MigrateError> Connection::migrate(Instant now, const Path& to, std::optional<Duration> round_trip) {
  if (context_.config.role != Role::Client || !is_established()) return std::unexpected(MigrateError::NotReady);
  if (to.is_direct()) {
    (void)paths_.allow(to.remote);
  } else {
    paths_.set_relay(to.remote);
  }
  refresh_info(now);
  const std::uint32_t label = paths_.next_label();
  const SyntheticPath path(label);
  // The numbers of packets that overtake a slow path's by more than its packets in flight cannot be told on it.
  const Duration current(static_cast<Duration::rep>(info_.min_rtt));
  const bool can_validate = round_trip && *round_trip <= current + kRoundTripSlack;
  const std::uint64_t own = clock_.at(now);
  if (!can_validate && has_pacing_debt()) settle_pacing(now);
  const int result = can_validate ? ngtcp2_conn_initiate_migration(quic_, &path.view(), own)
                                  : ngtcp2_conn_initiate_immediate_migration(quic_, &path.view(), own);
  if (result == NGTCP2_ERR_INVALID_STATE) return std::unexpected(MigrateError::NotReady);
  if (result != 0) return std::unexpected(MigrateError::Blocked);
  paths_.add(to, label_);
  validating_ = label;
  refresh_path(now);
  return {};
}

/// The estimates of round trip and rate that an outage or a sleep leaves are worth nothing (see round_trip()), ngtcp2
/// doubles its probe timer from them, and no call resets them but a migration: so the client goes to the path where it
/// is, under a fresh label. The connector sees a fresh connection id and starts afresh too (RFC 9000 §9.4).
void Connection::renew_path(Instant now) {
  if (context_.config.role != Role::Client || !is_established()) {
    renewal_wanted_ = false;
    return;
  }
  if (validating_) return;
  const std::uint32_t label = paths_.next_label();
  if (!migrate(now, path_, std::nullopt)) return;
  renewal_wanted_ = false;
  renewed_label_ = label;
  clock_.handle_renewed();
}

std::optional<Instant> Connection::doubt_due() const {
  const bool is_asked = context_.config.role == Role::Connector && path_.is_direct() && may_probe_early();
  if (!is_asked) return std::nullopt;
  return std::max(last_heard_, flight_since_) + std::max(kDirectPatience, 3 * round_trip());
}

/// A client that only receives does not notice that nothing comes: it has nothing to ask for. So what stays unanswered
/// is asked through the relay, which tells the client too, and then again directly, as long as it is not heard.
void Connection::doubt_direct_path(Instant now) {
  paths_.distrust_direct();
  is_direct_doubted_ = true;
  refresh_path(now);
  probe_early(now);
}

void Connection::handle_validated(const ngtcp2_path& path, ngtcp2_path_validation_result result) {
  const std::uint32_t label = SyntheticPath::label_of(path);
  if (validating_ == label) validating_.reset();
  if (result != NGTCP2_PATH_VALIDATION_RESULT_FAILURE || context_.config.role != Role::Client) return;
  if (label == renewed_label_) return;  // nothing was left for it
  if (const auto failed = paths_.resolve(label)) context_.events.push(PathFailed{session_, *failed});
}

std::optional<Transmit> Connection::take_straggler(Instant now, MutableBytes buffer) {
  const Bytes packet = std::exchange(straggler_, {});
  const auto path = paths_.resolve(straggler_label_);
  if (!path) return std::nullopt;
  std::memcpy(buffer.data(), packet.data(), packet.size());
  last_sent_ = now;
  bytes_sent_ += packet.size();
  return Transmit{*path, ByteView(buffer).first(packet.size()), packet.size(), 0};
}

std::optional<Digest> Connection::export_key(std::string_view label, std::string_view context) const {
  if (!is_established()) return std::nullopt;
  return secret_ ? secret_->derive(label, context) : std::nullopt;
}

}  // namespace postern::session
