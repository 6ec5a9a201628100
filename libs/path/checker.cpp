#include "path/checker.hpp"

#include <algorithm>
#include <utility>

namespace postern::path {

void Checker::start_round(Instant now, std::span<const SocketAddress> remotes) {
  std::erase_if(targets_, [](const Target& target) { return !target.is_probe; });
  is_running_ = true;
  for (const SocketAddress& remote : remotes.first(std::min(remotes.size(), kCandidatesMax))) {
    Target& target = targets_.emplace_back();
    target.remote = remote;
    target.next = now;
  }
  end_round_if_done();
}

void Checker::probe(Instant now, const SocketAddress& remote) {
  const auto is_same = [&](const Target& target) { return target.is_probe && target.remote == remote; };
  if (std::ranges::any_of(targets_, is_same)) return;
  // One at a time: the owner asks about the path that is in use.
  std::erase_if(targets_, [](const Target& target) { return target.is_probe; });
  Target& target = targets_.emplace_back();
  target.remote = remote;
  target.is_probe = true;
  target.checks_max = kProbesMax;
  target.pause = kProbePause;
  target.next = now;
}

// --- receiving -----------------------------------------------------------------------------------------------------

bool Checker::handle_message(Instant now, const SocketAddress& from, const wire::StunView& message) {
  if (message.type() == wire::StunType::BindingRequest) return handle_request(now, from, message);
  if (message.type() == wire::StunType::BindingSuccess) return handle_answer(now, from, message);
  return false;
}

bool Checker::handle_request(Instant now, const SocketAddress& from, const wire::StunView& message) {
  if (tag_of(message) != keys_.tag) return false;
  const auto counter = read_request(message, keys_, hmac_);
  if (!counter) {
    count(CheckDrop::WrongMac);
    return true;
  }
  if (!window_.take(*counter)) {
    count(CheckDrop::Replayed);
    return true;
  }
  if (is_forbidden(from)) {
    count(CheckDrop::Forbidden);
    return true;
  }
  if (answers_.size() < kAnswersMax) {
    std::array<std::uint8_t, kCheckSizeMax> buffer{};
    answers_.push_back({from, to_bytes(write_answer(buffer, keys_, hmac_, message.transaction(), from))});
  }
  encourage(now, from);
  return true;
}

/// The peer's request came through: ours to there may come through now, too.
void Checker::encourage(Instant now, const SocketAddress& from) {
  const auto found =
      std::ranges::find_if(targets_, [&](const Target& target) { return !target.is_probe && target.remote == from; });
  if (found == targets_.end()) {
    const auto remotes = std::ranges::count_if(targets_, [](const Target& target) { return !target.is_probe; });
    if (static_cast<std::size_t>(remotes) >= kCandidatesMax) return count(CheckDrop::TooManyRemotes);
    Target& target = targets_.emplace_back();
    target.remote = from;
    target.next = now;
    return;
  }
  if (found->is_answered) return;
  if (found->sent.size() < found->checks_max) {
    found->next = std::min(found->next, now);
  } else if (found->extra < kChecksMax) {
    ++found->extra;
    ++found->checks_max;
    found->has_ended = false;
    found->next = now;
  }
}

bool Checker::handle_answer(Instant now, const SocketAddress& from, const wire::StunView& message) {
  for (Target& target : targets_) {
    const auto waiting = std::ranges::find(target.sent, message.transaction(), &Target::Sent::transaction);
    if (waiting == target.sent.end()) continue;
    if (target.remote != from || !read_answer(message, keys_, hmac_)) {
      count(CheckDrop::StrayAnswer);
      return true;
    }
    if (std::exchange(target.is_answered, true)) return true;
    events_.push_back(RemoteProven{target.remote, now - waiting->at});
    if (target.is_probe) std::erase_if(targets_, [](const Target& each) { return each.is_probe; });
    end_round_if_done();
    return true;
  }
  return false;
}

// --- sending ---------------------------------------------------------------------------------------------------------

CheckTransmit Checker::check(Instant now, Target& target) {
  const auto transaction = random_.make<wire::TransactionId>();
  target.sent.push_back({transaction, now});
  const bool is_last = target.sent.size() >= target.checks_max;
  target.next = now + (is_last && !target.is_probe ? std::max(kLastPause, target.pause) : target.pause);
  if (!target.is_probe) target.pause *= 2;
  spaced_until_ = now + kSpacing;
  ++sent_;
  std::array<std::uint8_t, kCheckSizeMax> buffer{};
  return {target.remote, to_bytes(write_request(buffer, keys_, hmac_, transaction, ++counter_))};
}

std::optional<CheckTransmit> Checker::poll_transmit(Instant now) {
  if (!answers_.empty()) {
    CheckTransmit answer = std::move(answers_.front());
    answers_.pop_front();
    return answer;
  }
  if (now < spaced_until_) return std::nullopt;
  const auto due = std::ranges::find_if(targets_, [&](const Target& target) {
    return !target.is_answered && target.sent.size() < target.checks_max && target.next <= now;
  });
  if (due == targets_.end()) return std::nullopt;
  return check(now, *due);
}

std::optional<CheckEvent> Checker::poll_event() {
  if (events_.empty()) return std::nullopt;
  CheckEvent event = events_.front();
  events_.pop_front();
  return event;
}

void Checker::handle_timeout(Instant now) {
  for (Target& target : targets_) {
    const bool is_spent = target.sent.size() >= target.checks_max && now >= target.next;
    if (target.is_answered || target.has_ended || !is_spent) continue;
    target.has_ended = true;
    if (target.is_probe) events_.push_back(RemoteSilent{target.remote});
  }
  std::erase_if(targets_, [](const Target& target) { return target.is_probe && target.has_ended; });
  end_round_if_done();
}

void Checker::end_round_if_done() {
  const auto is_done = [](const Target& target) { return target.is_probe || target.is_answered || target.has_ended; };
  if (!is_running_ || !std::ranges::all_of(targets_, is_done)) return;
  is_running_ = false;
  events_.push_back(RoundEnded{});
}

std::optional<Instant> Checker::next_timeout() const {
  std::optional<Instant> next;
  for (const Target& target : targets_) {
    if (target.is_answered || target.has_ended) continue;
    const bool will_send = target.sent.size() < target.checks_max;
    const Instant at = will_send ? std::max(target.next, spaced_until_) : target.next;
    next = std::min(next.value_or(at), at);
  }
  return next;
}

}  // namespace postern::path
