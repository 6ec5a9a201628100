#include "tcp/flow.hpp"

#include <algorithm>
#include <cstdlib>

namespace postern::tcp {

namespace {

using wire::tcp_flag::kAck;
using wire::tcp_flag::kFin;
using wire::tcp_flag::kPsh;
using wire::tcp_flag::kRst;
using wire::tcp_flag::kSyn;

/// TCP without an MSS option (RFC 9293 §3.7.1).
constexpr std::uint16_t kDefaultMssV4 = 536;
constexpr std::uint16_t kDefaultMssV6 = 1220;
/// The kernel's own lower bound; less would only multiply headers.
constexpr std::uint16_t kMssMin = 48;
/// 1, 2, 4, 8, 16 s after the first, as servers do.
constexpr std::uint8_t kSynAcksMax = 6;
constexpr std::size_t kIpPacketMax = 65535;
constexpr std::size_t kTcpHeader = 20;

constexpr std::uint16_t bit(FlowState state) {
  return static_cast<std::uint16_t>(1U << static_cast<unsigned>(state));
}

/// Row: from; set: to. Closed is reachable from everywhere.
constexpr std::array<std::uint16_t, static_cast<std::size_t>(FlowState::kCount)> kMoves = {
    /* Held        */ bit(FlowState::SynReceived),
    /* SynReceived */ bit(FlowState::Established),
    /* Established */ bit(FlowState::FinWait1) | bit(FlowState::CloseWait),
    /* FinWait1    */ bit(FlowState::FinWait2) | bit(FlowState::Closing),
    /* FinWait2    */ bit(FlowState::TimeWait),
    /* Closing     */ bit(FlowState::TimeWait),
    /* TimeWait    */ 0,
    /* CloseWait   */ bit(FlowState::LastAck),
    /* LastAck     */ 0,
    /* Closed      */ 0,
};

}  // namespace

bool is_legal_move(FlowState from, FlowState to) {
  if (from == FlowState::Closed) return false;
  return to == FlowState::Closed || (kMoves[static_cast<std::size_t>(from)] & bit(to)) != 0;
}

void Flow::move_to(FlowState to) {
  if (!is_legal_move(state_, to)) std::abort();
  state_ = to;
  if (to == FlowState::Closed || to == FlowState::TimeWait) send_.release();
  if (to != FlowState::Held) held_syn_.reset();
}

Flow::Flow(SlabHandle handle, const Segment& syn, std::uint64_t hash, const FlowSettings& settings, Instant now)
    : peer_window_(syn.window), handle_(handle), hash_(hash), tuple_(syn.tuple), peer_initial_(syn.sequence) {
  const auto options = wire::TcpOptions::parse(syn.options);
  const bool v4 = tuple_.local.ip.is_v4();
  const std::uint16_t offered = options.mss.value_or(v4 ? kDefaultMssV4 : kDefaultMssV6);
  peer_mss_ = std::clamp(offered, kMssMin, std::max(kMssMin, v4 ? settings.mss_v4 : settings.mss_v6));
  peer_scales_ = options.window_scale.has_value();
  peer_scale_ = options.window_scale.value_or(0);
  state_deadline_ = now + kSynHold;
  held_syn_ = std::make_unique<HeldSyn>();
  held_syn_->size = std::min(syn.packet.size(), held_syn_->bytes.size());
  std::copy_n(syn.packet.begin(), held_syn_->size, held_syn_->bytes.begin());
}

FlowStats Flow::stats() const {
  return {tuple_, bytes_received_, bytes_acknowledged_, send_.repeats()};
}

ByteView Flow::held_syn() const {
  return held_syn_ ? ByteView(held_syn_->bytes).first(held_syn_->size) : ByteView();
}

// --- orders of the owner ---------------------------------------------------------------------------------------------

void Flow::accept(Sequence initial, const FlowSettings& settings, Instant now) {
  if (state_ != FlowState::Held) return;
  move_to(FlowState::SynReceived);
  receive_.start(peer_initial_, settings.receive_window, peer_scales_, peer_mss_);
  send_.start(initial + 1, peer_mss_, peer_scale_);
  send_.set_window(peer_initial_, Sequence(0), peer_window_);
  syn_ack_due_ = true;
  state_deadline_ = now + RttEstimator::kInitial;
}

bool Flow::may_send() const {
  return (state_ == FlowState::SynReceived && !finish_after_handshake_) || state_ == FlowState::Established ||
         state_ == FlowState::CloseWait;
}

bool Flow::is_receiving() const {
  return state_ == FlowState::Established || state_ == FlowState::FinWait1 || state_ == FlowState::FinWait2;
}

void Flow::grant(std::size_t bytes) {
  if (is_receiving()) receive_.grant(bytes);
}

void Flow::finish(Instant now) {
  if (state_ == FlowState::SynReceived) {
    finish_after_handshake_ = true;
  } else if (state_ == FlowState::Established) {
    send_.queue_fin(now);
    move_to(FlowState::FinWait1);
  } else if (state_ == FlowState::CloseWait) {
    send_.queue_fin(now);
    move_to(FlowState::LastAck);
  }
}

// --- time ------------------------------------------------------------------------------------------------------------

std::optional<Instant> Flow::deadline() const {
  switch (state_) {
    case FlowState::Held:
    case FlowState::SynReceived:
    case FlowState::TimeWait:
      return state_deadline_;
    case FlowState::Closed:
      return std::nullopt;
    default:
      return send_.deadline();
  }
}

void Flow::handle_timeout(Instant now, EventQueue& events) {
  if (state_ == FlowState::TimeWait || state_ == FlowState::Held || state_ == FlowState::SynReceived) {
    if (now < state_deadline_) return;
    if (state_ == FlowState::TimeWait) return close();
    if (state_ == FlowState::Held || syn_acks_ >= kSynAcksMax) return abort(events);
    syn_ack_due_ = true;
    state_deadline_ = now + RttEstimator::kInitial * (1LL << syn_acks_);
    return;
  }
  if (!send_.handle_timeout(now)) abort(events);
}

void Flow::abort(EventQueue& events) {
  if (is_live()) events.push(Aborted{id()});
  close();
}

void Flow::enter_time_wait(Instant now, EventQueue& events) {
  move_to(FlowState::TimeWait);
  state_deadline_ = now + kTimeWait;
  events.push(FlowClosed{id()});
}

// --- what leaves -----------------------------------------------------------------------------------------------------

std::size_t Flow::payload_max() const {
  const std::size_t room = tuple_.local.ip.is_v4() ? kIpPacketMax - 20 - kTcpHeader : kIpPacketMax - kTcpHeader;
  // Whole segments, so that only the last one of a train is short.
  return room / send_.mss() * send_.mss();
}

bool Flow::has_output() const {
  if (state_ == FlowState::Held || state_ == FlowState::Closed) return false;
  if (syn_ack_due_) return true;
  if (state_ == FlowState::SynReceived) return acks_ > 0;
  return acks_ > 0 || receive_.is_update_due() || send_.can_send(payload_max(), Packet::kPayloadSlicesMax);
}

SegmentPlan Flow::plan_syn_ack(const FlowSettings& settings) {
  syn_ack_due_ = false;
  if (syn_acks_ < kSynAcksMax) ++syn_acks_;
  SegmentPlan plan;
  plan.flags = kSyn | kAck;
  plan.sequence = send_.newest() - 1;
  plan.acknowledgment = receive_.next();
  plan.window = receive_.advertise_in_syn();
  plan.offered_mss = tuple_.local.ip.is_v4() ? settings.mss_v4 : settings.mss_v6;
  if (peer_scales_) plan.offered_scale = receive_.scale();
  return plan;
}

std::optional<SegmentPlan> Flow::take_segment(const FlowSettings& settings, std::span<Slice> payload, Instant now) {
  if (!has_output()) return std::nullopt;
  if (syn_ack_due_) return plan_syn_ack(settings);
  SegmentPlan plan;
  plan.flags = kAck;
  plan.sequence = send_.newest();
  plan.mss = send_.mss();
  const bool may_carry = state_ != FlowState::SynReceived && state_ != FlowState::TimeWait;
  if (const auto taken = may_carry ? send_.take(payload_max(), payload, now) : std::nullopt) {
    plan.sequence = taken->plan.sequence;
    plan.payload_size = taken->plan.size;
    plan.payload_slices = taken->slices;
    if (taken->plan.push && taken->plan.size > 0) plan.flags |= kPsh;
    if (taken->plan.fin) plan.flags |= kFin;
    acks_ = 0;
  } else if (acks_ > 0) {
    --acks_;
  }
  plan.acknowledgment = receive_.next();
  plan.window = receive_.advertise();
  return plan;
}

SegmentPlan Flow::reset_plan() const {
  SegmentPlan plan;
  if (state_ == FlowState::Held) {
    plan.flags = kRst | kAck;
    plan.acknowledgment = peer_initial_ + 1;
    return plan;
  }
  plan.flags = kRst | kAck;
  plan.sequence = send_.reset_sequence();
  plan.acknowledgment = receive_.next();
  return plan;
}

}  // namespace postern::tcp
