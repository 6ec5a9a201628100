#include "client_core/direct_paths.hpp"

#include <algorithm>

namespace postern::client {

namespace {

/// Between two attempts to migrate: connection ids come back one round trip after they were used up.
constexpr Duration kRetryMove = std::chrono::milliseconds(200);
/// Between two looks at a path that has not been heard since a probe.
constexpr Duration kProbePause = std::chrono::milliseconds(500);
/// Messages that wait for the control stream; one for each session is usual.
constexpr std::size_t kMessagesMax = 64;
/// A connector that asks for rounds more often is not listened to: each makes us send checks to where it says.
constexpr Duration kCallPause = std::chrono::seconds(5);
/// A path that has just fallen silent does not answer yet.
constexpr Duration kAfterLeaving = std::chrono::milliseconds(500);
/// Packets that were under way when a path was taken still come by the old one.
constexpr Duration kStragglerTime = std::chrono::seconds(1);

}  // namespace

bool DirectPaths::is_over_tcp() const {
  // A relay over TCP has no address of UDP but a made-up one (RFC 6666).
  static const IpPrefix kMadeUp = *IpPrefix::parse("100::/64");
  return relay_ && kMadeUp.contains(relay_->ip);
}

// --- this host -----------------------------------------------------------------------------------------------------

void DirectPaths::set_local(Instant now, const path::LocalView& local) {
  if (local == local_) return;
  local_ = local;
  for (auto& [session, way] : ways_) {
    way.pause = {};
    way.failures = 0;
    way.held_until = {};
    begin_soon(now, way);
    if (way.stage == Stage::Direct) way.checker.probe(now, way.path->remote);
  }
}

void DirectPaths::set_relay(Instant now, const std::optional<SocketAddress>& relay) {
  const bool is_lost = relay_ && !relay;
  const bool is_found = !relay_ && relay;
  relay_ = relay;
  for (auto& [session, way] : ways_) {
    if (is_found && way.stuck) leave(now, session, way, *std::exchange(way.stuck, std::nullopt));
    if (!is_lost || way.stage != Stage::Relayed) continue;
    way.pause = {};
    begin_soon(now, way);
  }
}

// --- sessions ------------------------------------------------------------------------------------------------------

void DirectPaths::handle_ready(Instant now, session::SessionId session) {
  if (!config_.is_enabled) return;
  const auto own = sessions_.export_key(session, path::kExporterLabel, path::kClientContext);
  const auto peers = sessions_.export_key(session, path::kExporterLabel, path::kConnectorContext);
  const auto tag = sessions_.export_key(session, path::kExporterLabel, path::kTagContext);
  if (!own || !peers || !tag) return;
  const auto [entry, is_new] =
      ways_.try_emplace(session, path::Checker(path::make_check_keys(*own, *peers, *tag), hmac_, random_));
  if (is_new) begin_round(now, session, entry->second);
}

void DirectPaths::begin_soon(Instant now, Way& way) {
  // Not at once after another: what has changed changes more than once.
  const Instant at = std::max(now, way.round_began + std::chrono::seconds(1));
  way.next_round = std::min(way.next_round.value_or(at), at);
}

void DirectPaths::begin_round(Instant now, session::SessionId session, Way& way) {
  way.next_round.reset();
  way.round_began = now;
  const Duration longest = relay_ ? config_.round_pause_max : config_.lone_pause_max;
  way.pause = std::clamp(way.pause * 2, config_.round_pause_min, longest);
  wire::Candidates message = path::to_message(++way.round, local_);
  const bool has_none = message.candidates_size() == 0;
  if (way.stage == Stage::Relayed) {
    way.reason = has_none ? path::RelayReason::NoOwnAddress : path::RelayReason::AwaitingPeer;
  }
  way.is_awaiting = true;
  way.decide_at.reset();
  if (messages_.size() < kMessagesMax) messages_.emplace_back(session, std::move(message));
  if (relay_ || way.stage != Stage::Relayed || !way.last_remote) return;
  // Its answer would come by the relay that is lost.
  way.is_awaiting = false;
  start_checks(now, session, way);
  settle_checks(now, session, way);
}

void DirectPaths::handle_candidates(Instant now, session::SessionId session, const wire::Candidates& message) {
  const auto found = ways_.find(session);
  if (found == ways_.end()) return;
  Way& way = found->second;
  way.peer = path::from_message(message);
  way.maps_per_destination = message.maps_per_destination();
  if (message.round() == 0) {  // the connector's place has changed
    if (way.called != Instant{} && now - way.called < kCallPause) return;
    way.called = now;
    way.pause = {};
    begin_soon(now, way);
    if (way.stage == Stage::Direct) way.checker.probe(now, way.path->remote);
    return;
  }
  if (message.round() != way.round || !std::exchange(way.is_awaiting, false)) return;
  start_checks(now, session, way);
  settle_checks(now, session, way);
}

void DirectPaths::start_checks(Instant now, session::SessionId session, Way& way) {
  std::erase_if(way.proven, [&](const path::ProvenRemote& proven) {
    const bool is_used = way.path && way.path->remote == proven.remote;
    if (!is_used) sessions_.disallow_remote(session, proven.remote);
    return !is_used;
  });
  auto remotes = path::checkable(local_, way.peer, excluded_);
  if (!relay_ && way.last_remote && std::ranges::find(remotes, *way.last_remote) == remotes.end()) {
    remotes.insert(remotes.begin(), *way.last_remote);
  }
  if (way.stage == Stage::Relayed) {
    way.reason = remotes.empty() ? path::RelayReason::PeerHasNone : path::RelayReason::ChecksRunning;
  }
  way.checker.start_round(now, remotes);
}

bool DirectPaths::handle_event(Instant now, const session::Event& event) {
  if (const auto* changed = std::get_if<session::PathChanged>(&event)) {
    const auto found = ways_.find(changed->session);
    if (found == ways_.end()) return true;
    Way& way = found->second;
    if (!changed->path.is_direct()) return true;
    way.stage = Stage::Direct;
    way.reason = path::RelayReason::None;
    way.path_since = way.verified = now;
    way.last_remote = changed->path.remote;
    way.stuck.reset();
    return true;
  }
  const auto* failed = std::get_if<session::PathFailed>(&event);
  if (failed == nullptr) return false;
  const auto found = ways_.find(failed->session);
  if (found == ways_.end() || !failed->path.is_direct()) return true;
  Way& way = found->second;
  if (way.path && way.path->remote == failed->path.remote) {
    leave(now, failed->session, way, path::RelayReason::ValidationFailed);
  }
  return true;
}

void DirectPaths::note_flows(Instant now, session::SessionId session, std::uint32_t flows) {
  const auto found = ways_.find(session);
  if (found == ways_.end()) return;
  Way& way = found->second;
  const bool has_begun = way.flows == 0 && flows > 0;
  way.flows = flows;
  if (!has_begun) return;
  const auto stats = sessions_.stats(session);
  const bool is_stale = stats && now - stats->last_heard >= config_.mapping_life;
  if (way.stage == Stage::Direct && is_stale) {
    leave(now, session, way, path::RelayReason::Idle);
    if (way.stage == Stage::Relayed) way.next_round = now;
  } else if (way.stage == Stage::Relayed && !way.next_round && now - way.round_began >= way.pause) {
    way.next_round = now;
  }
}

// --- checks --------------------------------------------------------------------------------------------------------

bool DirectPaths::handle_message(Instant now, const SocketAddress& from, const wire::StunView& message) {
  for (auto& [session, way] : ways_) {
    if (!way.checker.handle_message(now, from, message)) continue;
    settle_checks(now, session, way);
    return true;
  }
  return false;
}

void DirectPaths::settle_checks(Instant now, session::SessionId session, Way& way) {
  while (const auto event = way.checker.poll_event()) {
    if (const auto* proven = std::get_if<path::RemoteProven>(&*event)) handle_proven(now, session, way, *proven);
    if (std::holds_alternative<path::RoundEnded>(*event)) handle_round_end(now, way);
    const auto* silent = std::get_if<path::RemoteSilent>(&*event);
    if (silent == nullptr || way.stage != Stage::Direct || way.path->remote != silent->remote) continue;
    leave(now, session, way, path::RelayReason::WentSilent);
  }
}

void DirectPaths::handle_proven(Instant now, session::SessionId session, Way& way, const path::RemoteProven& proven) {
  if (!sessions_.allow_remote(session, proven.remote)) return;
  const auto known = std::ranges::find(way.proven, proven.remote, &path::ProvenRemote::remote);
  if (known == way.proven.end()) {
    way.proven.push_back({proven.remote, proven.round_trip});
  } else {
    known->round_trip = proven.round_trip;
  }
  if (way.path && way.path->remote == proven.remote) {
    way.path->round_trip = proven.round_trip;
    const bool is_gone_around = this->is_gone_around(session, way);
    way.verified = now;
    way.stuck.reset();
    count_futile(session, way);
    if (is_gone_around) begin_afresh(now, session, way);
  }
  const Instant at = now + std::max(config_.gather_time, 2 * proven.round_trip);
  if (!way.decide_at) way.decide_at = at;
}

void DirectPaths::handle_round_end(Instant now, Way& way) {
  const bool found_some = !way.proven.empty();
  if (!found_some && way.stage == Stage::Relayed && way.reason == path::RelayReason::ChecksRunning) {
    const bool is_hard_nat = way.maps_per_destination || path::maps_per_destination(local_);
    way.reason = is_hard_nat ? path::RelayReason::NatPerDestination : path::RelayReason::NoAnswer;
    if (is_over_tcp()) way.reason = path::RelayReason::UdpBlocked;
  }
  if (way.stage == Stage::Relayed && !way.next_round) way.next_round = now + way.pause;
}

void DirectPaths::decide(Instant now, session::SessionId session, Way& way) {
  way.decide_at.reset();
  if (way.stage == Stage::Moving || now < way.held_until) return;
  const auto current = way.path ? std::optional(way.path->remote) : std::nullopt;
  const auto best = path::choose(way.proven, current);
  if (!best || best->remote == current) return;
  // Without a relay the session leaves nothing that works: it goes at once.
  const auto round_trip = relay_ ? std::optional(best->round_trip) : std::nullopt;
  const auto moved = sessions_.migrate(now, session, {session::kDirectLabel, best->remote}, round_trip);
  if (!moved) {
    way.decide_at = now + kRetryMove;
    return;
  }
  way.path = *best;
  way.begun_afresh.reset();
  way.futile = 0;
  way.stage = Stage::Moving;
  way.path_since = now;
}

/// Back to the relay, at once: what was in flight is sent again there.
void DirectPaths::leave(Instant now, session::SessionId session, Way& way, path::RelayReason reason) {
  const bool was_moving = way.stage == Stage::Moving;
  const bool is_failure = reason != path::RelayReason::Idle;
  const auto stats = sessions_.stats(session);
  if (stats && stats->path.is_direct()) {
    const bool has_left =
        relay_ && sessions_.migrate(now, session, {session::kRelayLabel, *relay_}, std::nullopt).has_value();
    if (!has_left) {
      way.probed = now;  // watch() tries again
      way.stuck = reason;
      return;
    }
  }
  if (is_failure && (was_moving || now - way.path_since < config_.good_life)) {
    way.failures = std::min(way.failures + 1, 8U);
    way.held_until = now + std::min(config_.hold_min * (1U << (way.failures - 1)), config_.round_pause_max);
  } else {
    way.failures = 0;
  }
  if (way.path) sessions_.disallow_remote(session, way.path->remote);
  way.stage = Stage::Relayed;
  way.reason = reason;
  way.path.reset();
  way.proven.clear();
  way.pause = {};
  way.next_round = std::max(now + kAfterLeaving, way.held_until);
}

// --- watching a direct path ----------------------------------------------------------------------------------------

/// When silence has lasted for too long; nothing while none is suspicious.
std::optional<Instant> DirectPaths::silence_due(session::SessionId session, const Way& way) const {
  if (way.stage != Stage::Direct) return std::nullopt;
  const auto stats = sessions_.stats(session);
  if (!stats) return std::nullopt;
  const Duration patience = std::max(config_.silence, 3 * stats->smoothed_rtt);
  const Instant heard = std::max(stats->last_heard, way.verified);
  const bool was_asked = stats->bytes_in_flight > 0 || stats->last_heard > way.verified;
  std::optional<Instant> due;
  if (was_asked) due = heard + patience;
  if (is_gone_around(session, way)) due = stats->last_relayed;
  if (!due) return std::nullopt;
  return std::max(*due, way.probed + kProbePause);
}

void DirectPaths::watch(Instant now, session::SessionId session, Way& way) {
  const auto due = silence_due(session, way);
  if (!due || now < *due) return;
  way.probed = now;
  if (way.futile >= config_.futile_probes_max) return begin_afresh(now, session, way);
  way.checker.probe(now, way.path->remote);
}

/// The connector does not trust this path any more. If checks get through, larger packets do not.
bool DirectPaths::is_gone_around(session::SessionId session, const Way& way) const {
  const auto stats = sessions_.stats(session);
  return way.stage == Stage::Direct && stats && stats->last_relayed > way.path_since + kStragglerTime &&
         stats->last_relayed > way.verified;
}

/// Checks get through; does anything that the session sends?
void DirectPaths::count_futile(session::SessionId session, Way& way) const {
  const auto stats = sessions_.stats(session);
  const bool waits = stats && stats->bytes_in_flight > 0;
  way.futile = waits && stats->last_heard == way.heard_before ? way.futile + 1 : 0;
  if (stats) way.heard_before = stats->last_heard;
}

/// A fresh label starts with packets that every path carries.
void DirectPaths::begin_afresh(Instant now, session::SessionId session, Way& way) {
  way.futile = 0;
  const auto before = std::exchange(way.begun_afresh, now);
  if (before && now - *before < config_.good_life) return leave(now, session, way, path::RelayReason::ValidationFailed);
  way.path_since = now;
  (void)sessions_.migrate(now, session, {session::kDirectLabel, way.path->remote}, std::nullopt);
}

// --- turns ---------------------------------------------------------------------------------------------------------

void DirectPaths::handle_timeout(Instant now) {
  for (auto& [session, way] : ways_) {
    way.checker.handle_timeout(now);
    settle_checks(now, session, way);
    if (way.decide_at && now >= *way.decide_at) decide(now, session, way);
    if (way.is_awaiting && now - way.round_began >= config_.answer_max) {
      way.is_awaiting = false;
      way.next_round = now + way.pause;
    }
    watch(now, session, way);
    if (!way.next_round || now < *way.next_round) continue;
    // Without flows nothing is worth a packet; note_flows() looks again.
    const bool is_wanted = way.flows > 0 || way.round == 0 || way.stage == Stage::Direct;
    if (is_wanted) {
      begin_round(now, session, way);
    } else {
      way.next_round.reset();
    }
  }
}

std::optional<Instant> DirectPaths::next_timeout() const {
  std::optional<Instant> next;
  const auto consider = [&](std::optional<Instant> at) {
    if (at) next = std::min(next.value_or(*at), *at);
  };
  for (const auto& [session, way] : ways_) {
    consider(way.checker.next_timeout());
    consider(way.decide_at);
    consider(way.next_round);
    if (way.is_awaiting) consider(way.round_began + config_.answer_max);
    consider(silence_due(session, way));
  }

  return next;
}

std::optional<path::CheckTransmit> DirectPaths::poll_transmit(Instant now) {
  for (auto& [session, way] : ways_) {
    if (auto transmit = way.checker.poll_transmit(now)) return transmit;
  }
  return std::nullopt;
}

std::optional<std::pair<session::SessionId, wire::Candidates>> DirectPaths::poll_message() {
  if (messages_.empty()) return std::nullopt;
  auto message = std::move(messages_.front());
  messages_.pop_front();
  return message;
}

void DirectPaths::retain(const std::function<bool(session::SessionId)>& lives) {
  std::erase_if(ways_, [&](const auto& way) { return !lives(way.first); });
}

PathReport DirectPaths::report(session::SessionId session) const {
  PathReport report;
  const auto found = ways_.find(session);
  if (found == ways_.end()) return report;
  const auto stats = sessions_.stats(session);
  report.is_direct = stats && stats->path.is_direct();
  report.reason = report.is_direct ? path::RelayReason::None : found->second.reason;
  if (report.is_direct && found->second.path) report.round_trip = found->second.path->round_trip;
  return report;
}

std::uint64_t DirectPaths::checks_sent() const {
  std::uint64_t sent = 0;
  for (const auto& [session, way] : ways_) sent += way.checker.checks_sent();
  return sent;
}

}  // namespace postern::client
