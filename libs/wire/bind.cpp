#include "wire/bind.hpp"

#include <algorithm>

namespace postern::wire {

namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(250);
constexpr Duration kLongestPause = std::chrono::seconds(4);
constexpr Duration kRestFirst = std::chrono::seconds(1);
constexpr Duration kRestLongest = std::chrono::seconds(60);
/// A refresh comes up to this much early, so that agents that started together do not stay together.
constexpr std::uint64_t kRefreshJitterMs = 2000;
/// However short the lifetime that a relay grants.
constexpr Duration kRefreshLeast = std::chrono::milliseconds(500);
/// An authenticated request without an answer after this many is asked for a nonce again: the relay may be a new one.
constexpr unsigned kBindTriesMax = 4;
/// More challenges in a row are somebody playing with us.
constexpr unsigned kChallengesMax = 4;

Duration doubled(Duration first, unsigned times, Duration longest) {
  return times >= 16 ? longest : std::min(first * (1 << times), longest);
}

}  // namespace

BindClient::BindClient(BindClientConfig config, RandomSource& random, Instant now)
    : config_(std::move(config)),
      random_(random),
      last_sequence_(config_.last_sequence),
      started_(now),
      action_at_(now) {
  ask(now);
}

void BindClient::start_request(Instant now, State state, ByteView request) {
  request_ = to_bytes(request);
  state_ = state;
  started_ = now;
  sent_ = 0;
  send_again(now);
}

void BindClient::send_again(Instant now) {
  transmit_ = true;
  action_at_ = now + doubled(kFirstPause, sent_, kLongestPause);
  ++sent_;
}

void BindClient::ask(Instant now) {
  std::array<std::uint8_t, kBindRequestSizeMin> buffer{};
  transaction_ = random_.make<TransactionId>();
  StunBuilder builder(buffer, StunType::BindRequest, transaction_);
  builder.pad_to(kBindRequestSizeMin);
  start_request(now, State::Asking, builder.finish());
}

void BindClient::bind(Instant now) {
  const auto wall = std::chrono::floor<std::chrono::milliseconds>(now.time_since_epoch() + config_.wall_offset);
  last_sequence_ = std::max(last_sequence_ + 1, static_cast<std::uint64_t>(std::max<std::int64_t>(wall.count(), 0)));
  std::array<std::uint8_t, kStunSizeMax> buffer{};
  transaction_ = random_.make<TransactionId>();
  StunBuilder builder(buffer, StunType::BindRequest, transaction_);
  builder.add(StunAttribute::Nonce, nonce_);
  builder.add(StunAttribute::AccessToken, config_.ticket.access_token);
  builder.add_u64(StunAttribute::BindSeq, last_sequence_);
  start_request(now, State::Binding, builder.finish_with_integrity(config_.ticket.mac_key, config_.hmac));
}

std::optional<ByteView> BindClient::poll_transmit() {
  if (!transmit_) return std::nullopt;
  transmit_ = false;
  return ByteView(request_);
}

bool BindClient::handle_datagram(Instant now, const SocketAddress& from, ByteView datagram) {
  const auto message = StunView::parse(datagram);
  if (!message || from != config_.relay) return false;
  switch (message->type()) {
    case StunType::BindIndication:
      if (const auto route = message->route()) push(PeerUnbound{*route});
      return true;
    case StunType::BindSuccess:
    case StunType::BindError:
      break;
    default:
      return false;
  }
  const bool waits = state_ == State::Asking || state_ == State::Binding;
  if (!waits || message->transaction() != transaction_) return true;
  message->type() == StunType::BindSuccess ? handle_success(now, *message) : handle_error(now, *message);
  return true;
}

void BindClient::handle_error(Instant now, const StunView& answer) {
  const auto code = answer.error_code();
  const auto nonce = answer.find(StunAttribute::Nonce);
  if (code == 401 || code == 438) {
    if (!nonce || nonce->size() != kBindNonceSize) return;
    nonce_ = to_bytes(*nonce);
    if (++challenges_ > kChallengesMax) return rest(now);
    return bind(now);
  }
  if (state_ != State::Binding || !code) return;
  // A 403 has a MAC only when the relay could open the token; the transaction id alone keeps outsiders away.
  if (refusals_ == 0) push(BindRefused{*code});
  ++refusals_;
  rest(now);
}

void BindClient::rest(Instant now) {
  state_ = State::Resting;
  transmit_ = false;
  challenges_ = 0;
  action_at_ = now + doubled(kRestFirst, refusals_, kRestLongest);
}

void BindClient::handle_success(Instant now, const StunView& answer) {
  const auto mapped = answer.mapped_address();
  const auto lifetime_s = answer.find_u32(StunAttribute::Lifetime);
  if (state_ != State::Binding || !mapped || !lifetime_s) return;
  if (!answer.has_integrity(config_.ticket.mac_key, config_.hmac)) return;
  if (sent_ == 1) round_trip_ = now - started_;
  const bool was_bound = is_bound(now);
  const bool moved = mapped_ != mapped;
  mapped_ = mapped;
  const Duration lifetime = std::chrono::seconds(std::min<std::uint32_t>(*lifetime_s, 600));
  // Proven from when the request went out: the relay counts from its arrival, which is later.
  proven_until_ = started_ + std::min(kProof, lifetime);
  doubted_ = false;
  if (!was_bound) {
    push(BindingProven{*mapped});
  } else if (moved) {
    push(MappedAddressChanged{*mapped});
  }
  state_ = State::Bound;
  transmit_ = false;
  challenges_ = refusals_ = 0;
  const Duration jitter = std::chrono::milliseconds(random_.u64() % kRefreshJitterMs);
  action_at_ = now + std::max(std::min(kRefresh - jitter, lifetime / 2), kRefreshLeast);
}

Instant BindClient::next_timeout() const {
  return proven_until_ ? std::min(action_at_, *proven_until_) : action_at_;
}

void BindClient::handle_timeout(Instant now) {
  if (proven_until_ && now >= *proven_until_) lose();
  if (now < action_at_) return;
  switch (state_) {
    case State::Bound:
      return bind(now);
    case State::Resting:
      return ask(now);
    case State::Binding:
      if (sent_ < kBindTriesMax) return send_again(now);
      challenges_ = 0;
      return ask(now);
    case State::Asking:
      return send_again(now);
  }
}

void BindClient::lose() {
  proven_until_.reset();
  push(BindingLost{});
}

void BindClient::rebind_now(Instant now, RebindReason reason) {
  doubted_ = doubted_ || reason != RebindReason::ControlReturned;
  if (reason == RebindReason::PeerSilent) {
    // One question at a time: who doubts more often than it can be answered would never be answered.
    if (!proven_until_ || *proven_until_ <= now + kDoubt) return;
    proven_until_ = now + kDoubt;
    return bind(now);
  }
  if (reason == RebindReason::RelayRestarted && proven_until_) lose();
  challenges_ = refusals_ = 0;
  if (nonce_.empty() || reason != RebindReason::ControlReturned) return ask(now);
  bind(now);
}

void BindClient::set_ticket(Instant now, BindTicket ticket) {
  config_.ticket = std::move(ticket);
  challenges_ = refusals_ = 0;
  nonce_.empty() ? ask(now) : bind(now);
}

void BindClient::set_relay(Instant now, const SocketAddress& relay) {
  config_.relay = relay;
  if (proven_until_) lose();
  nonce_.clear();
  challenges_ = refusals_ = 0;
  ask(now);
}

std::optional<BindEvent> BindClient::poll_event() {
  if (events_.empty()) return std::nullopt;
  const BindEvent event = events_.front();
  events_.pop_front();
  return event;
}

void BindClient::push(BindEvent event) {
  if (std::holds_alternative<PeerUnbound>(event) && events_.size() >= kEventsMax) return;
  // States beyond the bound: the oldest event gives way, because the newest state is the true one.
  if (events_.size() >= 2 * kEventsMax) events_.pop_front();
  events_.push_back(event);
}

}  // namespace postern::wire
