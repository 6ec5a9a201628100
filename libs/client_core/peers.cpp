#include "client_core/peers.hpp"

#include <algorithm>
#include <utility>

#include "client_core/rendezvous.hpp"

namespace postern::client {

namespace {

/// Application error codes of CONNECTION_CLOSE, PROTOCOL.md §4.3.
constexpr std::uint64_t kCloseDone = 0;
constexpr std::uint64_t kCloseProtocolError = 1;

std::string describe(const session::Closed& closed) {
  switch (closed.reason) {
    case session::CloseReason::PinMismatch:
      return "its key is not the one that the controller promised";
    case session::CloseReason::HandshakeFailed:
      return "the handshake failed";
    case session::CloseReason::HandshakeTimeout:
      return "it did not answer";
    case session::CloseReason::IdleTimeout:
      return "it was silent too long";
    case session::CloseReason::ProtocolError:
      return "it broke the protocol";
    case session::CloseReason::LocalClose:
      return "closed here";
    case session::CloseReason::PeerClose:
      break;
  }
  return closed.detail.empty() ? "it closed the session" : "it closed the session: " + closed.detail;
}

}  // namespace

std::string_view state_word(const Peer& peer) {
  if (peer.suspect) return "suspect";
  switch (peer.stage) {
    case PeerStage::Down:
      return "down";
    case PeerStage::Handshaking:
    case PeerStage::Greeting:
      return "connecting";
    case PeerStage::Ready:
      break;
  }
  if (peer.leaving) return "leaving";
  return peer.instance.draining ? "draining" : "ready";
}

Peers::Peers(PeersConfig config, const Directory& directory, session::Endpoint& sessions, BlockPool& pool)
    : config_(std::move(config)), directory_(directory), sessions_(sessions), pool_(pool) {}

void Peers::set_relay(Instant now, const std::optional<SocketAddress>& relay) {
  if (relay == relay_) return;
  relay_ = relay;
  if (!relay_) return;
  for (auto& [id, peer] : peers_) {
    if (!peer.session) continue;
    sessions_.set_remote(*peer.session, *relay_);
    if (peer.flows > 0) note_written(now, id);
  }
}

// --- choice --------------------------------------------------------------------------------------------------------

const Peer* Peers::find(model::InstanceId id) const {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second;
}

const Peer* Peers::find(session::SessionId id) const {
  const auto found = by_session_.find(id);
  return found == by_session_.end() ? nullptr : find(found->second);
}

Peer* Peers::find_session(session::SessionId id) {
  return const_cast<Peer*>(std::as_const(*this).find(id));
}

std::vector<model::InstanceId> Peers::candidates(model::RemoteNetworkId network) const {
  std::vector<model::InstanceId> ids;
  for (const auto& [id, instance] : directory_.instances()) {
    if (instance.remote_network == network) ids.push_back(id);
  }
  // A living session with an instance that is not listed (the server has just started again) still works.
  for (const auto& [id, peer] : peers_) {
    const bool lives = peer.stage == PeerStage::Ready && peer.listing != Listing::Listed && !peer.suspect;
    if (lives && peer.instance.remote_network == network) ids.push_back(id);
  }
  order_by_rendezvous(config_.device, ids);
  return ids;
}

Peers::Fitness Peers::fitness(Instant now, model::InstanceId id) const {
  const Peer* peer = find(id);
  const Instance* instance = directory_.find_instance(id);
  const bool is_draining = instance != nullptr && instance->draining;
  if (peer == nullptr) return is_draining ? Fitness::Draining : Fitness::Good;
  if (peer->leaving) return Fitness::Unfit;
  const bool is_down = peer->stage == PeerStage::Down;
  if (is_down && now < peer->retry_after) return Fitness::Unfit;
  if (peer->suspect) return Fitness::Suspect;
  return is_draining || (!is_down && peer->listing != Listing::Listed) ? Fitness::Draining : Fitness::Good;
}

std::vector<Peers::Candidate> Peers::rank(Instant now, model::RemoteNetworkId network,
                                          std::span<const model::InstanceId> tried) const {
  std::vector<Candidate> ranked;
  for (const model::InstanceId id : candidates(network)) {
    if (std::ranges::find(tried, id) == tried.end()) ranked.push_back({id, fitness(now, id)});
  }
  std::ranges::stable_sort(ranked, {}, &Candidate::fitness);
  return ranked;
}

bool Peers::is_dead_weight(const Peer* peer, Fitness fitness) {
  return peer != nullptr && fitness == Fitness::Suspect && peer->flows == 0 && peer->listing == Listing::Listed;
}

bool Peers::needs_session(const Peer* peer, Fitness fitness) {
  return peer == nullptr || peer->stage == PeerStage::Down || is_dead_weight(peer, fitness);
}

std::optional<model::InstanceId> Peers::would_choose(Instant now, model::RemoteNetworkId network) const {
  for (const auto& [id, fit] : rank(now, network, {})) {
    if (fit == Fitness::Unfit) break;
    if (!needs_session(find(id), fit)) return id;
    if (relay_ && directory_.find_instance(id) != nullptr) return id;
  }
  return std::nullopt;
}

std::optional<model::InstanceId> Peers::choose(Instant now, model::RemoteNetworkId network,
                                               std::span<const model::InstanceId> tried) {
  for (const auto& [id, fit] : rank(now, network, tried)) {
    if (fit == Fitness::Unfit) break;
    Peer* peer = const_cast<Peer*>(find(id));
    const bool is_dead = is_dead_weight(peer, fit);
    if (is_dead) sessions_.close(now, *peer->session, kCloseDone, "silent");
    if (needs_session(peer, fit)) {
      const Instance* instance = directory_.find_instance(id);
      if (instance == nullptr) continue;
      if (is_dead) by_session_.erase(*peer->session);
      Peer& fresh = peer != nullptr ? *peer : peers_[id];
      fresh.instance = *instance;
      if (!connect(now, fresh)) continue;
    }
    return id;
  }
  return std::nullopt;
}

bool Peers::has_other(Instant now, model::RemoteNetworkId network, model::InstanceId than,
                      std::span<const model::InstanceId> tried) const {
  return std::ranges::any_of(candidates(network), [&](model::InstanceId id) {
    const Fitness fit = fitness(now, id);
    return id != than && std::ranges::find(tried, id) == tried.end() &&
           (fit == Fitness::Good || fit == Fitness::Draining);
  });
}

void Peers::note_leaving(Instant now, model::InstanceId id) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  found->second.leaving = true;
  left_[found->second.instance.remote_network] = now;
}

bool Peers::awaits_successor(Instant now, model::RemoteNetworkId network) const {
  const auto found = left_.find(network);
  return found != left_.end() && now - found->second < config_.successor_time;
}

bool Peers::connect(Instant now, Peer& peer) {
  const session::ConnectRequest request{{0, relay_.value_or(SocketAddress{})},
                                        peer.instance.route,
                                        peer.instance.certificate_digest,
                                        peer.instance.knock};
  const auto session = relay_ ? sessions_.connect(now, request) : std::unexpected(session::ConnectError::Internal);
  if (!session) {
    peer.session.reset();
    peer.stage = PeerStage::Down;
    peer.failure = relay_ ? "too many sessions" : "no relay is reachable";
    peer.retry_after = now + config_.retry_min;
    return false;
  }
  peer.session = *session;
  by_session_[*session] = peer.instance.id;
  peer.stage = PeerStage::Handshaking;
  peer.since = peer.heard = now;
  peer.suspect = peer.leaving = false;
  peer.listing = Listing::Listed;
  peer.unanswered_since.reset();
  peer.control = wire::LengthPrefixedReader{wire::kSessionMessageMax};
  schedule();
  return true;
}

void Peers::fail(Instant now, Peer& peer, std::string reason) {
  if (peer.session) {
    by_session_.erase(*peer.session);
    sessions_.close(now, *peer.session, kCloseDone, "");
    peer.session.reset();
  }
  peer.stage = PeerStage::Down;
  peer.suspect = false;
  peer.backoff = std::clamp(peer.backoff * 2, config_.retry_min, config_.retry_max);
  peer.retry_after = now + peer.backoff;
  peer.failure = reason;
  events_.push_back(PeerLost{peer.instance.id, std::move(reason)});
  schedule();
}

void Peers::forget_failures() {
  for (auto& [id, peer] : peers_) {
    peer.retry_after = {};
    peer.backoff = {};
  }
}

void Peers::close_all(Instant now) {
  for (auto& [id, peer] : peers_) {
    if (peer.session) fail(now, peer, "closed here");
  }
  forget_failures();
}

void Peers::count_flow(model::InstanceId id, int difference) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  found->second.flows = static_cast<std::uint32_t>(static_cast<int>(found->second.flows) + difference);
  if (difference < 0) forget_if_useless(id);
}

void Peers::forget_if_useless(model::InstanceId id) {
  const auto found = peers_.find(id);
  if (found == peers_.end() || found->second.flows > 0) return;
  if (found->second.stage == PeerStage::Down && directory_.find_instance(id) == nullptr) peers_.erase(found);
}

// --- the controller's news -----------------------------------------------------------------------------------------

void Peers::handle_changes(Instant now, const DirectoryChanges& changes, bool unsettled) {
  std::erase_if(left_, [&](const auto& entry) { return now - entry.second >= config_.successor_time; });
  for (const auto& [id, network] : changes.absent_instances) note_unlisted(now, id, network, Listing::Absent);
  for (const auto& [id, network] : changes.removed_instances) {
    if (const auto found = peers_.find(id); found != peers_.end()) {
      found->second.silent_from = now;
      found->second.gone_silence = unsettled ? config_.gone_silence_unsettled : config_.gone_silence;
    }
    note_unlisted(now, id, network, Listing::Ended);
  }
  for (const model::InstanceId id : changes.changed_instances) note_listed(now, id);
  for (auto& [id, peer] : peers_) {
    const Lease* lease = directory_.find_lease(peer.instance.remote_network);
    if (lease == nullptr && peer.session) fail(now, peer, "no lease any more");
    if (lease == nullptr || !changes.new_leases.contains(peer.instance.remote_network)) continue;
    // The Hello under way names the lease of before; the new one follows when it is answered.
    peer.lease_changed = peer.stage == PeerStage::Greeting;
    if (peer.stage == PeerStage::Ready) send_lease(now, peer, *lease);
  }
}

void Peers::note_unlisted(Instant now, model::InstanceId id, model::RemoteNetworkId network, Listing listing) {
  left_[network] = now;
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  found->second.listing = listing;
  if (found->second.stage == PeerStage::Ready) {
    ask(now, found->second);
  } else if (found->second.session) {
    fail(now, found->second, "it is gone");
  }
  forget_if_useless(id);
}

void Peers::note_listed(Instant now, model::InstanceId id) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  const Instance* instance = directory_.find_instance(id);
  const bool is_same =
      peer.instance.route == instance->route && peer.instance.certificate_digest == instance->certificate_digest;
  if (!is_same && peer.session) fail(now, peer, "it has started again");
  peer.instance = *instance;
  peer.listing = Listing::Listed;
  peer.retry_after = {};
  peer.backoff = {};
  if (peer.suspect) ask(now, peer);
}

void Peers::ask(Instant now, Peer& peer) {
  sessions_.ping(now, *peer.session);
  peer.pinged = now;
  note_written(now, peer.instance.id);
}

// --- the session's events ------------------------------------------------------------------------------------------

bool Peers::handle_event(Instant now, const session::Event& event) {
  if (const auto* established = std::get_if<session::Established>(&event)) {
    if (Peer* peer = find_session(established->session)) handle_established(now, *peer);
    return true;
  }
  if (const auto* closed = std::get_if<session::Closed>(&event)) {
    if (Peer* peer = find_session(closed->session)) handle_closed(now, *peer, *closed);
    return true;
  }
  const auto [session, stream] = std::visit(
      [](const auto& e) -> std::pair<session::SessionId, session::StreamId> {
        if constexpr (requires { e.stream; })
          return {e.session, e.stream};
        else
          return {};
      },
      event);
  Peer* peer = has_suspects_ || stream == session::kControlStream ? find_session(session) : nullptr;
  // One that was silent says something: new flows may go there from now on, not from the next tick on.
  if (peer != nullptr && peer->suspect) check_liveness(now, *peer);
  if (stream != session::kControlStream) return false;
  if (peer == nullptr || !peer->session) return true;
  if (std::holds_alternative<session::StreamReadable>(event)) handle_control(now, *peer);
  const bool is_ended = std::holds_alternative<session::StreamReset>(event) ||
                        std::holds_alternative<session::StreamStopped>(event) ||
                        std::holds_alternative<session::StreamClosed>(event);
  if (is_ended) fail(now, *peer, "it ended the control stream");
  return true;
}

void Peers::handle_established(Instant now, Peer& peer) {
  const Lease* lease = directory_.find_lease(peer.instance.remote_network);
  if (lease == nullptr) return fail(now, peer, "no lease for its network");
  const auto stream = sessions_.open_stream(*peer.session);
  if (!stream || *stream != session::kControlStream) return fail(now, peer, "no control stream");
  peer.stage = PeerStage::Greeting;
  peer.lease_changed = false;
  peer.heard = now;
  wire::SessionMessage message;
  wire::Hello* hello = message.mutable_hello();
  hello->set_protocol_version(1);
  hello->set_lease(lease->token);
  hello->set_software(config_.software);
  send(now, peer, message);
}

void Peers::handle_closed(Instant now, Peer& peer, const session::Closed& closed) {
  by_session_.erase(*peer.session);
  peer.session.reset();
  fail(now, peer, describe(closed));
  // A wrong key does not get better by asking again; a changed instance clears this.
  if (closed.reason == session::CloseReason::PinMismatch) peer.retry_after = now + std::chrono::minutes(1);
}

void Peers::handle_control(Instant now, Peer& peer) {
  const session::SessionId session = *peer.session;
  while (peer.session == session) {
    const Slice slice = sessions_.read(session, session::kControlStream);
    if (slice.empty()) return;
    sessions_.consume(session, session::kControlStream, slice.size());
    ByteView bytes = slice.view();
    while (!bytes.empty() && peer.session == session) {
      const auto taken = peer.control.feed(bytes);
      if (!taken) {
        count(PeerDrop::MalformedMessage);
        return fail(now, peer, "it sent a message that is too large");
      }
      bytes = bytes.subspan(*taken);
      if (!peer.control.has_message()) continue;
      wire::SessionMessage message;
      const ByteView body = peer.control.message();
      const bool is_message = message.ParseFromArray(body.data(), static_cast<int>(body.size()));
      peer.control.next();
      if (!is_message) {
        count(PeerDrop::MalformedMessage);
        sessions_.close(now, session, kCloseProtocolError, "malformed message");
        return fail(now, peer, "it sent a malformed message");
      }
      handle_message(now, peer, message);
    }
  }
}

void Peers::handle_message(Instant now, Peer& peer, const wire::SessionMessage& message) {
  switch (message.body_case()) {
    case wire::SessionMessage::kHelloReply:
      return handle_hello_reply(now, peer, message.hello_reply());
    case wire::SessionMessage::kRevoked:
      // Else the streams of the flows that ended are reset; other flows of the named resources live on.
      if (message.revoked().all()) events_.emplace_back(PeerRevoked{peer.instance.id});
      return;
    case wire::SessionMessage::kPing: {
      wire::SessionMessage pong;
      pong.mutable_pong()->set_number(message.ping().number());
      return send(now, peer, pong);
    }
    case wire::SessionMessage::kDrain:
      return note_leaving(now, peer.instance.id);
    case wire::SessionMessage::kCandidates:
      events_.push_back(PeerCandidates{*peer.session, message.candidates()});
      return;
    case wire::SessionMessage::kPong:
      return;
    default:
      count(PeerDrop::UnknownMessage);
  }
}

void Peers::handle_hello_reply(Instant now, Peer& peer, const wire::HelloReply& reply) {
  if (peer.stage != PeerStage::Greeting) return count(PeerDrop::UnknownMessage);
  if (!reply.accepted()) {
    count(PeerDrop::HelloRefused);
    return fail(now, peer, "it refused the lease: " + reply.reason().substr(0, 200));
  }
  peer.stage = PeerStage::Ready;
  peer.since = peer.heard = now;
  peer.unanswered_since.reset();
  peer.backoff = {};
  peer.failure.clear();
  events_.push_back(PeerReady{peer.instance.id});
  const Lease* lease = directory_.find_lease(peer.instance.remote_network);
  if (std::exchange(peer.lease_changed, false) && lease != nullptr) send_lease(now, peer, *lease);
  schedule();
}

void Peers::send_lease(Instant now, Peer& peer, const Lease& lease) {
  wire::SessionMessage message;
  message.mutable_lease()->set_lease(lease.token);
  send(now, peer, message);
}

void Peers::send(Instant now, Peer& peer, const wire::SessionMessage& message) {
  const std::string text = message.SerializeAsString();
  Bytes framed = wire::frame_message(as_bytes(text));
  ByteView rest = framed;
  while (!rest.empty()) {
    const ByteView piece = rest.first(std::min<std::size_t>(rest.size(), BlockPool::kLargeSize));
    Slice slice = pool_.copy(piece);
    if (slice.empty() || !sessions_.write(*peer.session, session::kControlStream, std::move(slice))) {
      return fail(now, peer, "out of memory");
    }
    rest = rest.subspan(piece.size());
  }
  note_written(now, peer.instance.id);
}

void Peers::send_candidates(Instant now, session::SessionId session, const wire::Candidates& candidates) {
  Peer* peer = find_session(session);
  if (peer == nullptr || peer->stage != PeerStage::Ready) return;
  wire::SessionMessage message;
  *message.mutable_candidates() = candidates;
  send(now, *peer, message);
}

std::optional<PeerEvent> Peers::poll_event() {
  if (events_.empty()) return std::nullopt;
  PeerEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

}  // namespace postern::client
