// Liveness of peers (DESIGN §5.3): when to ask, when to doubt, when to give up.
#include <algorithm>
#include <utility>

#include "client_core/peers.hpp"

namespace postern::client {

/// Only silence proves that an ended instance is gone, and only an answer that an absent one is there.
Duration Peers::quiet_ping(const Peer& peer) const {
  return peer.listing == Listing::Listed ? config_.quiet_ping : 2 * config_.busy_ping;
}

void Peers::handle_unbound(Instant now, const RouteId& route) {
  for (auto& [id, peer] : peers_) {
    if (peer.stage == PeerStage::Ready && peer.instance.route == route) ask(now, peer);
  }
}

void Peers::note_written(Instant now, model::InstanceId id) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  found->second.written = now;
  if (found->second.suspect) return ask_suspect(now, found->second);
  if (found->second.unanswered_since) return;
  found->second.unanswered_since = now;
  if (!next_tick_ || *next_tick_ > now + config_.busy_ping) next_tick_ = now + config_.busy_ping;
}

/// A flow waits for a peer that did not answer: it is asked at once, and the answer is looked for soon.
void Peers::ask_suspect(Instant now, Peer& peer) {
  peer.wanted = now;
  if (now - peer.pinged >= config_.busy_ping) {
    sessions_.ping(now, *peer.session);
    peer.pinged = now;
  }
  next_tick_ = std::min(next_tick_.value_or(Instant::max()), now + config_.busy_ping / 4);
}

bool Peers::is_wanted(Instant now, const Peer& peer) const {
  return peer.suspect && now - peer.wanted < config_.wanted_time;
}

void Peers::check_liveness(Instant now, Peer& peer) {
  const auto stats = sessions_.stats(*peer.session);
  if (!stats) return;
  peer.heard = std::max(peer.heard, stats->last_heard);
  // A packet that was under way when something was written does not answer it: an answer takes a whole round trip.
  const Instant answers_before = peer.heard - stats->smoothed_rtt * 3 / 4;
  if (peer.unanswered_since && *peer.unanswered_since < answers_before) {
    peer.unanswered_since = peer.written >= answers_before ? std::optional(peer.written) : std::nullopt;
  }
  const bool has_answered = !peer.unanswered_since || now - *peer.unanswered_since < config_.silence_max;
  if (has_answered && std::exchange(peer.suspect, false)) events_.push_back(PeerReady{peer.instance.id, false});

  const bool has_ended = peer.listing == Listing::Ended;
  const bool is_quiet = (peer.flows > 0 || has_ended) && now - peer.heard >= quiet_ping(peer);
  const bool is_waiting = peer.unanswered_since && now - *peer.unanswered_since >= config_.busy_ping;
  // A suspect peer is asked less often: it may be gone for hours while flows wait for it.
  const Duration interval = peer.suspect && !is_wanted(now, peer) ? 5 * config_.busy_ping : config_.busy_ping;
  // Without flows one question is enough: a last write whose acknowledgement came too soon to count settles the doubt.
  const bool is_worth_asking = peer.flows > 0 || has_ended || !peer.suspect;
  if ((is_quiet || is_waiting) && is_worth_asking && now - peer.pinged >= interval) {
    sessions_.ping(now, *peer.session);
    peer.pinged = now;
    if (!peer.unanswered_since) peer.unanswered_since = now;
    peer.written = now;
  }
  if (!peer.unanswered_since || now - *peer.unanswered_since < config_.silence_max) return;
  const Instant gone_since = std::max(*peer.unanswered_since, peer.silent_from);
  if (has_ended && now - gone_since >= peer.gone_silence) return fail(now, peer, "it is gone");
  if (peer.suspect) return;
  peer.suspect = true;
  events_.emplace_back(std::in_place_type<PeerSuspect>, peer.instance.id);
}

void Peers::handle_timeout(Instant now) {
  if (!next_tick_ || now < *next_tick_) return;
  for (auto& [id, peer] : peers_) {
    if (!peer.session) continue;
    if (peer.stage == PeerStage::Ready) {
      check_liveness(now, peer);
    } else if (now - peer.since >= config_.ready_deadline) {
      fail(now, peer, "it did not answer");
    }
  }
  schedule();
  const bool looks = std::ranges::any_of(peers_, [&](const auto& each) { return is_wanted(now, each.second); });
  if (looks) next_tick_ = std::min(next_tick_.value_or(Instant::max()), now + config_.busy_ping / 4);
}

std::optional<Instant> Peers::deadline_of(const Peer& peer) const {
  if (!peer.session) return std::nullopt;
  if (peer.stage != PeerStage::Ready) return peer.since + config_.ready_deadline;
  const bool has_ended = peer.listing == Listing::Ended;
  if (peer.flows == 0 && !has_ended && !peer.unanswered_since) return std::nullopt;
  if (!peer.unanswered_since) return peer.heard + quiet_ping(peer);
  const Instant silent = *peer.unanswered_since + config_.silence_max;
  const Duration interval = peer.suspect ? 5 * config_.busy_ping : config_.busy_ping;
  const Instant ping = std::max(*peer.unanswered_since + config_.busy_ping, peer.pinged + interval);
  if (has_ended)
    return std::min(ping,
                    peer.suspect ? std::max(*peer.unanswered_since, peer.silent_from) + peer.gone_silence : silent);
  if (!peer.suspect) return std::min(silent, ping);
  return peer.flows > 0 ? std::optional(ping) : std::nullopt;
}

void Peers::schedule() {
  next_tick_.reset();
  has_suspects_ = false;
  for (const auto& [id, peer] : peers_) {
    has_suspects_ |= peer.suspect;
    const auto deadline = deadline_of(peer);
    if (deadline && (!next_tick_ || *deadline < *next_tick_)) next_tick_ = deadline;
  }
}

}  // namespace postern::client
