#include "connector_core/sessions.hpp"

#include <algorithm>

namespace postern::connector {
namespace {

using session::SessionId;

constexpr Duration kHelloTimeout = std::chrono::seconds(5);         // PROTOCOL.md §4.2
constexpr Duration kRefusingTime = std::chrono::milliseconds(200);  // for the HelloReply to arrive
constexpr Duration kSupersededTime = std::chrono::seconds(5);
constexpr Duration kLeaseWindow = std::chrono::seconds(10);
constexpr unsigned kLeasesPerWindow = 8;  // each costs a signature check
constexpr std::size_t kNoticesMax = 1024;
constexpr std::size_t kCandidatesMax = 64;  // lists that wait for the owner, who takes them after every event

}  // namespace

Sessions::Sessions(SessionPort& port, BlockPool& pool, const PolicyStore& policy, const NetworkClock& clock,
                   std::string software)
    : port_(port), pool_(pool), policy_(policy), clock_(clock), software_(std::move(software)) {}

void Sessions::handle_established(Instant now, const session::Established& event) {
  question_older(now, event.session, event.peer);
  Session& session = sessions_[event.session];
  session.peer = event.peer;
  session.stage_ends = now + kHelloTimeout;
  plan();
}

// A client that was killed leaves a session behind that would count against its device for half an hour.
void Sessions::question_older(Instant now, SessionId newest, const Digest& peer) {
  for (auto& [id, session] : sessions_) {
    if (id == newest || session.peer != peer || session.silent_until) continue;
    session.silent_until = now + kSupersededTime;
    port_.ping(now, id);
  }
}

bool Sessions::handle_control(Instant now, SessionId id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return false;
  Session& session = found->second;
  bool replaced = false;
  for (Slice slice = port_.read(id, session::kControlStream); !slice.empty();
       slice = port_.read(id, session::kControlStream)) {
    port_.consume(id, session::kControlStream, slice.size());
    for (ByteView bytes = slice.view(); !bytes.empty();) {
      const auto taken = session.reader.feed(bytes);
      bytes = bytes.subspan(taken.value_or(bytes.size()));
      Outcome outcome = taken ? Outcome::Fine : Outcome::ProtocolError;
      if (taken && session.reader.has_message()) {
        const Bytes message = to_bytes(session.reader.message());
        session.reader.next();
        outcome = handle_message(now, id, session, message);
      }
      replaced = replaced || outcome == Outcome::LeaseReplaced;
      if (outcome != Outcome::ProtocolError) continue;
      ++counters_.protocol_errors;
      close(now, id, CloseCode::ProtocolError, "the control stream cannot be read");
      return false;
    }
  }
  return replaced;
}

Sessions::Outcome Sessions::handle_message(Instant now, SessionId id, Session& session, ByteView bytes) {
  wire::SessionMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return Outcome::ProtocolError;
  if (message.has_hello()) return handle_hello(now, id, session, message.hello());
  if (session.stage != Stage::Accepted) {
    return session.stage == Stage::Refusing ? Outcome::Fine : Outcome::ProtocolError;
  }
  if (message.has_lease()) return handle_lease(now, id, session, message.lease().lease());
  if (message.has_candidates() && candidates_.size() < kCandidatesMax) {
    candidates_.emplace_back(id, message.candidates());
  }
  if (message.has_ping()) {
    wire::SessionMessage pong;
    pong.mutable_pong()->set_number(message.ping().number());
    send(now, id, pong);
  }
  return Outcome::Fine;  // what a later version may say is passed over
}

Sessions::Outcome Sessions::handle_hello(Instant now, SessionId id, Session& session, const wire::Hello& hello) {
  if (session.stage != Stage::AwaitingHello) return Outcome::ProtocolError;
  std::expected<LeasePointer, std::string> lease = std::unexpected("this connector speaks protocol version 1 only");
  if (hello.protocol_version() == 1) lease = verify(now, session, hello.lease());
  wire::SessionMessage message;
  wire::HelloReply& reply = *message.mutable_hello_reply();
  reply.set_accepted(lease.has_value());
  reply.set_connector_id(identity_.connector.value);
  reply.set_software(software_);
  if (!lease) reply.set_reason(lease.error());
  send(now, id, message);
  if (!lease) {
    ++counters_.leases_refused;
    session.stage = Stage::Refusing;
    session.stage_ends = now + kRefusingTime;
    plan();
    notice(SessionNotice::Kind::LeaseRefused, id, nullptr, lease.error());
    return Outcome::Fine;
  }
  ++counters_.accepted;
  session.stage = Stage::Accepted;
  session.lease = std::move(*lease);
  plan();
  notice(SessionNotice::Kind::Accepted, id, session.lease, "");
  return Outcome::LeaseReplaced;
}

Sessions::Outcome Sessions::handle_lease(Instant now, SessionId id, Session& session, const std::string& token) {
  if (!may_verify(now, session)) return Outcome::ProtocolError;
  auto lease = verify(now, session, token);
  if (!lease) {  // the old one stands until it ends by itself
    ++counters_.leases_refused;
    notice(SessionNotice::Kind::LeaseRefused, id, session.lease, lease.error());
    return Outcome::Fine;
  }
  // An older lease never replaces a newer one: it could bring back what was taken away.
  if ((*lease)->policy_version < session.lease->policy_version) return Outcome::Fine;
  session.lease = std::move(*lease);
  return Outcome::LeaseReplaced;
}

bool Sessions::may_verify(Instant now, Session& session) const {
  if (now - session.leases_from > kLeaseWindow) {
    session.leases_from = now;
    session.leases_seen = 0;
  }
  return ++session.leases_seen <= kLeasesPerWindow;
}

std::expected<LeasePointer, std::string> Sessions::verify(Instant now, const Session& session,
                                                          const std::string& token) const {
  const identity::LeaseExpectation expected{identity_.network, identity_.remote_network.value, session.peer};
  auto lease = identity::verify_lease(token, policy_.keys(), expected, clock_.at(now));
  if (!lease) return std::unexpected(std::string(identity::to_string(lease.error())));
  if (policy_.revocations().voids(*lease)) return std::unexpected("the lease was revoked");
  return std::make_shared<const identity::Lease>(std::move(*lease));
}

void Sessions::handle_closed(SessionId session, const std::string& detail) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  notice(SessionNotice::Kind::Closed, session, found->second.lease, detail);
  sessions_.erase(found);
  plan();
}

void Sessions::handle_timeout(Instant now) {
  if (!deadline_ || now < *deadline_) return;
  for (const SessionId id : all()) {
    Session& session = sessions_.at(id);
    if (session.stage != Stage::Accepted && now >= session.stage_ends) {
      const bool refused = session.stage == Stage::Refusing;
      if (!refused) ++counters_.without_hello;
      close(now, id, refused ? CloseCode::LeaseRefused : CloseCode::NoHello, refused ? "lease refused" : "no hello");
      session.stage_ends = now + kHelloTimeout;  // the Closed event is on its way
      continue;
    }
    if (!session.silent_until || now < *session.silent_until) continue;
    const auto heard = port_.last_heard(id);
    const bool alive = heard && *heard >= *session.silent_until - kSupersededTime;
    session.silent_until.reset();
    if (alive) continue;
    ++counters_.superseded;
    close(now, id, CloseCode::Done, "the device has a newer session");
  }
  plan();
}

void Sessions::plan() {
  deadline_.reset();
  const auto consider = [this](Instant at) { deadline_ = std::min(deadline_.value_or(at), at); };
  for (const auto& [id, session] : sessions_) {
    if (session.stage != Stage::Accepted) consider(session.stage_ends);
    if (session.silent_until) consider(*session.silent_until);
  }
}

LeasePointer Sessions::lease_of(SessionId session) const {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? nullptr : found->second.lease;
}

std::vector<SessionId> Sessions::all() const {
  std::vector<SessionId> ids;
  ids.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) ids.push_back(id);
  return ids;
}

std::vector<SessionId> Sessions::revoked() const {
  std::vector<SessionId> ids;
  for (const auto& [id, session] : sessions_) {
    if (session.lease && policy_.revocations().voids(*session.lease)) ids.push_back(id);
  }
  return ids;
}

void Sessions::send_revoked(Instant now, SessionId session, const std::set<model::ResourceId>& resources) {
  wire::SessionMessage message;
  for (const model::ResourceId id : resources) message.mutable_revoked()->add_resource_ids(id.value);
  message.mutable_revoked()->set_reason("the access to these resources has ended");
  send(now, session, message);
}

void Sessions::send_drain(Instant now) {
  wire::SessionMessage message;
  message.mutable_drain();
  for (const SessionId id : all()) send(now, id, message);
}

void Sessions::close(Instant now, SessionId session, CloseCode code, std::string_view reason) {
  // The Closed event of the port removes it.
  port_.close(now, session, static_cast<std::uint64_t>(code), reason);
}

void Sessions::send(Instant now, SessionId id, const wire::SessionMessage& message) {
  const std::string bytes = message.SerializeAsString();
  Slice framed = pool_.copy(wire::frame_message(as_bytes(bytes)));
  if (!framed.empty() && port_.write(id, session::kControlStream, std::move(framed))) return;
  close(now, id, CloseCode::ProtocolError, "the control stream cannot be written");
}

void Sessions::notice(SessionNotice::Kind kind, SessionId id, LeasePointer lease, std::string detail) {
  if (notices_.size() < kNoticesMax) notices_.push_back({kind, id, std::move(lease), std::move(detail)});
}

std::optional<std::pair<SessionId, wire::Candidates>> Sessions::poll_candidates() {
  if (candidates_.empty()) return std::nullopt;
  auto candidates = std::move(candidates_.front());
  candidates_.pop_front();
  return candidates;
}

void Sessions::send_candidates(Instant now, SessionId session, const wire::Candidates& candidates) {
  if (!sessions_.contains(session)) return;
  wire::SessionMessage message;
  *message.mutable_candidates() = candidates;
  send(now, session, message);
}

std::optional<SessionNotice> Sessions::poll_notice() {
  if (notices_.empty()) return std::nullopt;
  SessionNotice notice = std::move(notices_.front());
  notices_.erase(notices_.begin());
  return notice;
}

}  // namespace postern::connector
