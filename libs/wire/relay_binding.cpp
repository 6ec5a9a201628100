#include "wire/relay_binding.hpp"

#include <algorithm>

namespace postern::wire {

namespace {

constexpr std::size_t kEventsMax = 2 * BindClient::kEventsMax;

}  // namespace

RelayBinding::RelayBinding(BindClientConfig config, std::optional<SocketAddress> link, RandomSource& random,
                           Instant now)
    : random_(random), udp_(config.relay), addresses_{config.relay}, heard_(now), link_(link), link_retry_at_(now) {
  main_.emplace(std::move(config), random_, now);
  race_at_ = now + kRaceAfter;
}

BindClientConfig RelayBinding::config_for(const SocketAddress& relay) const {
  BindClientConfig config = main_->config();
  config.relay = relay;
  config.last_sequence = last_sequence();
  return config;
}

std::uint64_t RelayBinding::last_sequence() const {
  return other_ ? std::max(main_->last_sequence(), other_->last_sequence()) : main_->last_sequence();
}

bool RelayBinding::is_relay(const SocketAddress& from) const {
  if (from == main_->relay() || from == udp_) return true;
  if (link_ == from) return link_state_ == LinkState::Open;
  return std::ranges::find(addresses_, from) != addresses_.end();
}

// --- datagrams -------------------------------------------------------------------------------------------------------

bool RelayBinding::handle_datagram(Instant now, const SocketAddress& from, ByteView datagram) {
  if (from == main_->relay()) {
    // Any word of the relay is a sign of life.
    note_received(now);
    const bool taken = main_->handle_datagram(now, from, datagram);
    collect(now);
    return taken;
  }
  if (other_ && from == other_->relay() && other_->handle_datagram(now, from, datagram)) {
    collect(now);
    return true;
  }
  return handle_probe_answer(now, from, datagram);
}

std::optional<RelayBinding::Outgoing> RelayBinding::poll_transmit() {
  if (const auto request = main_->poll_transmit()) return Outgoing{main_->relay(), *request};
  if (other_) {
    if (const auto request = other_->poll_transmit()) return Outgoing{other_->relay(), *request};
  }
  if (probe_targets_.empty()) return std::nullopt;
  const SocketAddress to = probe_targets_.back();
  probe_targets_.pop_back();
  return Outgoing{to, probe_};
}

std::optional<BindEvent> RelayBinding::poll_event() {
  if (events_.empty()) return std::nullopt;
  const BindEvent event = events_.front();
  events_.pop_front();
  return event;
}

void RelayBinding::push(const BindEvent& event) {
  if (events_.size() >= kEventsMax) events_.pop_front();
  events_.push_back(event);
}

/// What the two requesters have to say.
void RelayBinding::collect(Instant now) {
  bool is_lost = false;
  while (const auto event = main_->poll_event()) {
    is_lost = is_lost || std::holds_alternative<BindingLost>(*event);
    push(*event);
  }
  bool is_proven = false;
  while (other_) {
    const auto event = other_->poll_event();
    if (!event) break;
    is_proven = is_proven || std::holds_alternative<BindingProven>(*event);
    if (!std::holds_alternative<BindingLost>(*event)) push(*event);
  }
  if (is_proven) return take_other(now);
  if (main_is_link_) {
    if (is_lost) reset_link(now);
  } else if (main_->is_certain(now)) {
    race_at_.reset();
    if (!link_close_at_ && link_state_ != LinkState::Closed) link_close_at_ = now + kLinger;
    if (other_) drop_other(now);
  } else if (is_lost) {
    race_at_ = now;
  }
}

// --- moving between the transports -----------------------------------------------------------------------------------

void RelayBinding::start_over_udp(Instant now) {
  main_.emplace(config_for(udp_), random_, now);
  main_is_link_ = false;
  other_.reset();
  move_deadline_.reset();
  probing_ = false;
  probe_targets_.clear();
  note_received(now);
  race_at_ = now;
}

void RelayBinding::try_other(Instant now, const SocketAddress& relay) {
  other_.emplace(config_for(relay), random_, now);
}

/// The other transport is bound: the relay has only that one now.
void RelayBinding::take_other(Instant now) {
  const std::uint64_t sequence = main_->last_sequence();
  BindClient taken = std::move(*other_);
  other_.reset();
  main_.emplace(std::move(taken));
  main_is_link_ = !main_is_link_;
  // The old one may have asked behind it; who asks last has the binding.
  if (sequence > main_->last_sequence()) {
    main_->raise_sequence(sequence);
    main_->rebind_now(now, RebindReason::ControlReturned);
  }
  note_received(now);
  race_at_.reset();
  move_deadline_.reset();
  if (main_is_link_) {
    const bool is_trusted = udp_since_ && now - *udp_since_ >= kTrusted;
    probe_pause_ = !udp_since_ || is_trusted ? kProbeFirst : std::min(probe_pause_ * 2, kProbeLongest);
    probe_at_ = now + probe_pause_;
    probing_ = false;
    answers_ = 0;
    link_pause_ = {};
    link_failure_.clear();
    link_close_at_.reset();
  } else {
    udp_since_ = now;
    link_close_at_ = now + kLinger;
  }
}

void RelayBinding::drop_other(Instant now) {
  const std::uint64_t sequence = other_->last_sequence();
  other_.reset();
  move_deadline_.reset();
  if (sequence <= main_->last_sequence()) return;
  main_->raise_sequence(sequence);
  main_->rebind_now(now, RebindReason::ControlReturned);
}

// --- the link --------------------------------------------------------------------------------------------------------

std::optional<WantedLink> RelayBinding::wanted_link() const {
  if (!link_ || link_state_ == LinkState::Closed) return std::nullopt;
  return WantedLink{.link = *link_, .attempt = attempt_, .addresses = addresses_};
}

void RelayBinding::want_link(Instant now) {
  link_state_ = LinkState::Opening;
  ++attempt_;
  link_close_at_.reset();
  link_retry_at_ = now;
}

void RelayBinding::handle_link_open(Instant now) {
  if (link_state_ != LinkState::Opening || !link_) return;
  link_state_ = LinkState::Open;
  if (main_->is_certain(now)) {
    link_close_at_ = now + kLinger;  // UDP was faster, or has answered after all
  } else {
    try_other(now, *link_);
  }
}

/// When UDP has had its time: the link is opened, or, open already, bound.
std::optional<Instant> RelayBinding::link_due() const {
  if (!link_ || !race_at_ || main_is_link_ || other_) return std::nullopt;
  if (link_state_ == LinkState::Open) return race_at_;
  return link_state_ == LinkState::Closed ? std::optional(std::max(*race_at_, link_retry_at_)) : std::nullopt;
}

void RelayBinding::handle_link_closed(Instant now, std::string reason) {
  if (link_state_ == LinkState::Closed) return;
  link_failure_ = std::move(reason);
  reset_link(now);
}

/// Begins again with UDP; the link follows after a pause, unless UDP is answered.
void RelayBinding::reset_link(Instant now) {
  const bool was_bound = main_is_link_ && main_->is_bound(now);
  link_state_ = LinkState::Closed;
  link_close_at_.reset();
  link_pause_ = std::clamp(link_pause_ * 2, kLinkRetryFirst, kLinkRetryLongest);
  const auto pause_ms = static_cast<std::uint64_t>(link_pause_ / std::chrono::milliseconds(1));
  link_retry_at_ = now + std::chrono::milliseconds(random_.u64() % (pause_ms + 1));
  if (main_is_link_) {
    start_over_udp(now);
    if (was_bound) push(BindingLost{});
  } else if (other_ && !move_deadline_) {
    drop_other(now);
  }
}

// --- time ------------------------------------------------------------------------------------------------------------

Instant RelayBinding::next_timeout() const {
  Instant next = main_->next_timeout();
  const auto consider = [&next](std::optional<Instant> at) {
    if (at) next = std::min(next, *at);
  };
  if (other_) next = main_is_link_ ? other_->next_timeout() : std::min(next, other_->next_timeout());
  consider(move_deadline_);
  consider(link_due());
  if (link_state_ != LinkState::Closed) consider(link_close_at_);
  if (main_is_link_ && !other_) consider(probe_at_);
  consider(silence_due());
  return next;
}

void RelayBinding::handle_timeout(Instant now) {
  // While the binding moves to UDP the link does not bind again: the relay would move it back.
  if (!(other_ && main_is_link_)) main_->handle_timeout(now);
  if (other_) other_->handle_timeout(now);
  collect(now);
  watch_silence(now);
  watch_link(now);
  watch_probe(now);
}

void RelayBinding::note_sent(Instant now) {
  if (!unanswered_since_) unanswered_since_ = now;
}

std::optional<Instant> RelayBinding::silence_due() const {
  std::optional<Instant> due;
  if (unanswered_since_) due = *unanswered_since_ + (main_is_link_ ? kSilenceLink : kSilenceUdp);
  if (busy_) due = std::min(due.value_or(heard_ + kSilenceBusy), heard_ + kSilenceBusy);
  return due;
}

void RelayBinding::watch_silence(Instant now) {
  const auto due = silence_due();
  if (!due || now < *due) return;
  if (unanswered_since_) unanswered_since_ = now;
  heard_ = now;
  if (main_->is_bound(now)) rebind_now(now, RebindReason::PeerSilent);
}

void RelayBinding::watch_link(Instant now) {
  if (link_close_at_ && now >= *link_close_at_) {
    link_close_at_.reset();
    if (!main_is_link_ && !other_) link_state_ = LinkState::Closed;
  }
  const auto due = link_due();
  if (!due || now < *due) return;
  link_state_ == LinkState::Closed ? want_link(now) : try_other(now, *link_);
}

void RelayBinding::watch_probe(Instant now) {
  if (move_deadline_ && now >= *move_deadline_) {
    if (other_) drop_other(now);
    move_deadline_.reset();
    probe_failed(now);
  }
  if (!main_is_link_ || other_ || now < probe_at_) return;
  if (probing_) return probe_failed(now);
  answers_ = 0;
  probe_targets_ = addresses_;
  if (probe_targets_.size() > kProbesMax) probe_targets_.resize(kProbesMax);
  probe(now);
}

// --- looking for UDP -------------------------------------------------------------------------------------------------

void RelayBinding::probe(Instant now) {
  probe_transaction_ = random_.make<TransactionId>();
  probe_.assign(kProbeSize, 0);
  StunBuilder builder(probe_, StunType::BindRequest, probe_transaction_);
  builder.pad_to(kProbeSize);
  probe_ = to_bytes(builder.finish());
  probing_ = true;
  probe_at_ = now + kProbeAnswerMax;
}

void RelayBinding::probe_failed(Instant now) {
  probing_ = false;
  answers_ = 0;
  probe_targets_.clear();
  probe_pause_ = std::min(probe_pause_ * 2, kProbeLongest);
  probe_at_ = now + probe_pause_;
}

bool RelayBinding::handle_probe_answer(Instant now, const SocketAddress& from, ByteView datagram) {
  const auto answer = StunView::parse(datagram);
  if (!answer || !is_relay(from)) return false;
  const bool is_answer = answer->type() == StunType::BindError && answer->error_code() == 401;
  if (!probing_ || !is_answer || answer->transaction() != probe_transaction_) {
    return answer->type() == StunType::BindError || answer->type() == StunType::BindSuccess;
  }
  probe_targets_.clear();
  udp_ = from;
  if (++answers_ < 2) {
    probe_targets_.push_back(from);
    probe(now);
    return true;
  }
  probing_ = false;
  move_deadline_ = now + kMoveMax;
  try_other(now, udp_);
  return true;
}

// --- the owner's news ------------------------------------------------------------------------------------------------

void RelayBinding::rebind_now(Instant now, RebindReason reason) {
  main_->rebind_now(now, reason);
  if (reason != RebindReason::PeerSilent) forget_pauses(now);
  if (!main_is_link_ && !main_->is_certain(now) && !race_at_) race_at_ = now + kRaceAfter;
  if (reason == RebindReason::AddressChanged && main_is_link_) {
    probe_pause_ = kProbeFirst;
    if (!probing_ && !other_) probe_at_ = now;
  }
  collect(now);
}

void RelayBinding::forget_pauses(Instant now) {
  link_pause_ = {};
  link_retry_at_ = std::min(link_retry_at_, now);
}

void RelayBinding::set_ticket(Instant now, const BindTicket& ticket) {
  main_->set_ticket(now, ticket);
  if (other_) other_->set_ticket(now, ticket);
  forget_pauses(now);
}

void RelayBinding::set_relay(Instant now, const SocketAddress& relay) {
  udp_ = relay;
  if (main_is_link_) return;
  main_->set_relay(now, relay);
  if (!race_at_) race_at_ = now + kRaceAfter;
  collect(now);
}

void RelayBinding::set_wall_offset(Duration offset) {
  main_->set_wall_offset(offset);
  if (other_) other_->set_wall_offset(offset);
}

}  // namespace postern::wire
