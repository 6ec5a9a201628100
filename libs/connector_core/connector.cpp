#include "connector_core/connector.hpp"

#include <algorithm>

#include "identity/keys.hpp"

namespace postern::connector {
namespace {

using session::SessionId;

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

Connector::Connector(ConnectorConfig config, SessionPort& port, BlockPool& pool)
    : port_(port),
      sessions_(port, pool, policy_, clock_, std::move(config.software)),
      flows_(port, pool, policy_, clock_, *this, config.flows) {}

void Connector::handle_welcome(const wire::Welcome& welcome) {
  identity_.network = welcome.network();
  identity_.network_name = welcome.network_name();
  identity_.connector = model::ConnectorId(welcome.connector_id());
  identity_.connector_name = welcome.agent_name();
  identity_.remote_network = model::RemoteNetworkId(welcome.remote_network_id());
  identity_.remote_network_name = welcome.remote_network_name();
  identity_.instance = model::InstanceId(welcome.agent_id());
  sessions_.set_identity(identity_);
  knocks_.set_instance(identity_.instance);
}

UpdateOutcome Connector::handle_update(Instant now, const wire::ConnectorUpdate& update) {
  const UpdateOutcome outcome = policy_.apply(update, clock_.at(now));
  if (outcome == UpdateOutcome::Gap) return outcome;
  if (!update.knock_key().empty()) knocks_.set_key(as_bytes(update.knock_key()));
  for (const SessionId id : sessions_.revoked()) {
    const auto code = static_cast<std::uint64_t>(CloseCode::Revoked);
    // Flows first, so that each is recorded as revoked and its stream says so.
    if (auto closed = flows_.reauthorise(now, id); !closed.empty()) sessions_.send_revoked(now, id, closed[id]);
    port_.close(now, id, code, "the access of this device was revoked");
  }
  reauthorise(now, std::nullopt);
  return outcome;
}

void Connector::handle_event(Instant now, const session::Event& event) {
  std::visit(Overloaded{
                 [&](const session::Established& e) { sessions_.handle_established(now, e); },
                 [&](const session::Closed& e) {
                   flows_.handle_session_gone(now, e.session);
                   sessions_.handle_closed(e.session, e.detail);
                   if (direct_) direct_->handle_closed(e.session);
                   plan_expiry(now);
                 },
                 [&](const session::StreamOpened& e) {
                   if (e.stream != session::kControlStream) flows_.handle_opened(now, e.session, e.stream);
                 },
                 [&](const session::StreamReadable& e) {
                   if (e.stream != session::kControlStream) return flows_.handle_readable(now, e.session, e.stream);
                   if (sessions_.handle_control(now, e.session)) reauthorise(now, e.session);
                 },
                 [&](const session::StreamWritable& e) { flows_.handle_writable(now, e.session, e.stream); },
                 [&](const session::StreamReset& e) { flows_.handle_peer_reset(now, e.session, e.stream, e.code); },
                 [&](const session::StreamStopped& e) { flows_.handle_peer_reset(now, e.session, e.stream, e.code); },
                 [&](const session::StreamClosed& e) { flows_.handle_stream_closed(now, e.session, e.stream); },
                 [&](const session::DatagramsReadable& e) { flows_.handle_datagrams(now, e.session); },
                 [](const auto&) {},
             },
             event);
  settle_paths(now);
}

// --- direct paths
// ------------------------------------------------------------------------------------------------------

void Connector::enable_direct_paths(RandomSource& random) {
  direct_.emplace(port_, random, &identity::hmac_sha256);
}

void Connector::set_local(Instant now, const path::LocalView& local) {
  if (!direct_) return;
  direct_->set_local(local);
  settle_paths(now);
}

bool Connector::handle_check(Instant now, const SocketAddress& from, ByteView datagram) {
  const auto message = wire::StunView::parse(datagram);
  return direct_ && message && direct_->handle_message(now, from, *message);
}

std::optional<path::CheckTransmit> Connector::poll_check(Instant now) {
  return direct_ ? direct_->poll_transmit(now) : std::nullopt;
}

void Connector::settle_paths(Instant now) {
  while (const auto candidates = sessions_.poll_candidates()) {
    if (direct_) direct_->handle_candidates(now, candidates->first, candidates->second);
  }
  if (!direct_) return;
  while (const auto message = direct_->poll_message()) sessions_.send_candidates(now, message->first, message->second);
}

std::expected<FlowAuthority::Grant, Refusal> Connector::authorise(Instant now, SessionId session,
                                                                  const Target& target) const {
  LeasePointer lease = sessions_.lease_of(session);
  const auto resource = check_access(lease.get(), target, policy_, clock_.at(now));
  if (!resource) return std::unexpected(resource.error());
  return Grant{*resource, std::move(lease)};
}

void Connector::reauthorise(Instant now, std::optional<SessionId> only) {
  for (const auto& [session, resources] : flows_.reauthorise(now, only)) {
    sessions_.send_revoked(now, session, resources);
  }
  plan_expiry(now);
}

void Connector::plan_expiry(Instant now) {
  const WallTime wall = clock_.at(now);
  std::optional<WallTime> earliest;
  for (const SessionId id : sessions_.all()) {
    const LeasePointer lease = sessions_.lease_of(id);
    if (!lease) continue;
    const WallTime at = next_expiry(*lease, wall);
    if (at > wall) earliest = std::min(earliest.value_or(at), at);
  }
  expiry_.reset();
  // Never sooner than the clock's own precision, so that a rounding cannot make it spin.
  if (earliest) expiry_ = now + std::max<Duration>(*earliest - wall, std::chrono::milliseconds(10));
}

void Connector::drain(Instant now) {
  flows_.set_draining(true);
  sessions_.send_drain(now);
}

void Connector::shut_down(Instant now) {
  flows_.set_draining(true);
  flows_.close_all(now, FlowEnding::ShuttingDown);
  for (const SessionId id : sessions_.all()) sessions_.close(now, id, CloseCode::ShuttingDown, "the connector stops");
}

void Connector::ping_all(Instant now) {
  for (const SessionId id : sessions_.all()) port_.ping(now, id);
}

void Connector::handle_timeout(Instant now) {
  sessions_.handle_timeout(now);
  flows_.handle_timeout(now);
  if (direct_) direct_->handle_timeout(now);
  if (expiry_ && now >= *expiry_) reauthorise(now, std::nullopt);
}

std::optional<Instant> Connector::next_timeout() const {
  std::optional<Instant> earliest = expiry_;
  const auto checks = direct_ ? direct_->next_timeout() : std::nullopt;
  for (const auto& at : {sessions_.next_timeout(), flows_.next_timeout(), checks}) {
    if (at) earliest = std::min(earliest.value_or(*at), *at);
  }
  return earliest;
}

}  // namespace postern::connector
