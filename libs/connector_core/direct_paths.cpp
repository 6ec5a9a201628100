#include "connector_core/direct_paths.hpp"

#include <algorithm>

namespace postern::connector {

using session::SessionId;

void DirectPaths::set_local(const path::LocalView& local) {
  if (local == local_) return;
  local_ = local;
  for (const auto& [session, way] : ways_) tell(session, 0);
}

void DirectPaths::tell(SessionId session, std::uint32_t round) {
  if (messages_.size() < kMessagesMax) messages_.emplace_back(session, path::to_message(round, local_));
}

DirectPaths::Way* DirectPaths::open(Instant now, SessionId session) {
  const auto found = ways_.find(session);
  if (found != ways_.end()) return &found->second;
  const auto own = port_.export_key(session, path::kExporterLabel, path::kConnectorContext);
  const auto peers = port_.export_key(session, path::kExporterLabel, path::kClientContext);
  const auto tag = port_.export_key(session, path::kExporterLabel, path::kTagContext);
  if (!own || !peers || !tag) return nullptr;
  const auto keys = path::make_check_keys(*own, *peers, *tag);
  if (!by_tag_.emplace(keys.tag, session).second) return nullptr;
  Way& way = ways_.emplace(session, path::Checker(keys, hmac_, random_)).first->second;
  way.refilled = now;
  return &way;
}

bool DirectPaths::may_begin(Instant now, Way& way) const {
  const auto refills = (now - way.refilled) / kRoundRefill;
  if (refills > 0) {
    way.rounds = static_cast<unsigned>(std::min<std::int64_t>(way.rounds + refills, kRoundsBurst));
    way.refilled = now;
  }
  if (way.rounds == 0) return false;
  --way.rounds;
  return true;
}

void DirectPaths::handle_candidates(Instant now, SessionId session, const wire::Candidates& message) {
  Way* way = open(now, session);
  if (way == nullptr || message.round() == 0) return;
  if (!may_begin(now, *way)) {
    ++rounds_refused_;
    return;
  }
  tell(session, message.round());
  way->checker.start_round(now, path::checkable(local_, path::from_message(message), {}));
  settle(session, *way);
}

void DirectPaths::handle_closed(SessionId session) {
  const auto found = ways_.find(session);
  if (found == ways_.end()) return;
  by_tag_.erase(found->second.checker.tag());
  ways_.erase(found);
}

bool DirectPaths::handle_message(Instant now, const SocketAddress& from, const wire::StunView& message) {
  if (const auto tag = path::tag_of(message)) {
    const auto session = by_tag_.find(*tag);
    if (session == by_tag_.end()) return false;
    Way& way = ways_.at(session->second);
    const bool is_taken = way.checker.handle_message(now, from, message);
    settle(session->second, way);
    return is_taken;
  }
  // An answer has no tag; the one whose check waits for it knows.
  for (auto& [session, way] : ways_) {
    if (!way.checker.handle_message(now, from, message)) continue;
    settle(session, way);
    return true;
  }
  return false;
}

void DirectPaths::settle(SessionId session, Way& way) {
  while (const auto event = way.checker.poll_event()) {
    if (const auto* proven = std::get_if<path::RemoteProven>(&*event)) allow(session, way, proven->remote);
  }
}

void DirectPaths::allow(SessionId session, Way& way, const SocketAddress& remote) {
  if (std::ranges::find(way.proven, remote) != way.proven.end()) return;
  if (way.proven.size() >= kProvenMax) {
    const auto path = port_.path_of(session);
    const auto oldest = std::ranges::find_if(
        way.proven, [&](const SocketAddress& known) { return !path || !path->is_direct() || path->remote != known; });
    port_.disallow_remote(session, *oldest);
    way.proven.erase(oldest);
  }
  if (port_.allow_remote(session, remote)) way.proven.push_back(remote);
}

std::optional<path::CheckTransmit> DirectPaths::poll_transmit(Instant now) {
  for (auto& [session, way] : ways_) {
    if (auto transmit = way.checker.poll_transmit(now)) return transmit;
  }
  return std::nullopt;
}

std::optional<std::pair<SessionId, wire::Candidates>> DirectPaths::poll_message() {
  if (messages_.empty()) return std::nullopt;
  auto message = std::move(messages_.front());
  messages_.pop_front();
  return message;
}

void DirectPaths::handle_timeout(Instant now) {
  for (auto& [session, way] : ways_) {
    way.checker.handle_timeout(now);
    settle(session, way);
  }
}

std::optional<Instant> DirectPaths::next_timeout() const {
  std::optional<Instant> next;
  for (const auto& [session, way] : ways_) {
    const auto at = way.checker.next_timeout();
    if (at) next = std::min(next.value_or(*at), *at);
  }
  return next;
}

}  // namespace postern::connector
