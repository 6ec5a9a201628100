// Segments that arrive: RFC 9293 §3.10.7 in its order, with the checks of RFC 5961. (The rest of Flow is in flow.cpp.)
#include <algorithm>

#include "tcp/flow.hpp"

namespace postern::tcp {

namespace {

constexpr std::uint8_t kChallengesPerSecond = 16;
constexpr std::uint8_t kDuplicateAcksMax = 3;

}  // namespace

void Flow::challenge(Instant now) {
  const auto second = static_cast<std::int64_t>(to_nanoseconds(now) / 1'000'000'000);
  if (second != challenge_second_) challenges_ = 0;
  challenge_second_ = second;
  if (challenges_ >= kChallengesPerSecond) return;
  ++challenges_;
  want_ack();
}

bool Flow::is_replaced_by(const Segment& segment) const {
  if (!segment.is_syn() || segment.is_ack()) return false;
  if (state_ == FlowState::TimeWait) return segment.sequence > receive_.next();
  return state_ == FlowState::Held && segment.sequence != peer_initial_;
}

std::optional<DropReason> Flow::handle_segment(const Segment& segment, Instant now, EventQueue& events) {
  if (state_ == FlowState::Held) return handle_while_held(segment, now, events);
  if (state_ == FlowState::TimeWait) return handle_in_time_wait(segment, now);
  if (state_ == FlowState::SynReceived && segment.is_syn() && segment.sequence == peer_initial_) {
    syn_ack_due_ = true;
    return std::nullopt;
  }
  if (segment.is_rst()) return handle_reset(segment, now, events);
  if (!receive_.is_acceptable(segment.sequence, segment.length())) return handle_unacceptable(segment, now);
  if (segment.is_syn()) {
    challenge(now);
    return DropReason::OutOfWindow;
  }
  if (const auto drop = handle_acknowledgment(segment, now, events)) return drop;
  if (state_ == FlowState::Closed || is_reset_due()) return std::nullopt;
  bool is_whole = true;
  const auto drop = handle_payload(segment, events, is_whole);
  if (segment.is_fin() && is_whole) handle_fin(now, events);
  return drop;
}

std::optional<DropReason> Flow::handle_while_held(const Segment& segment, Instant now, EventQueue& events) {
  if (segment.is_rst()) {
    // Nothing was sent yet: the number can only be that of the SYN or the one after it.
    if (segment.sequence != peer_initial_ && segment.sequence != peer_initial_ + 1) return DropReason::OutOfWindow;
    abort(events);
    return std::nullopt;
  }
  // RFC 9293 §3.10.7.2: an ACK to something that was never said is answered with RST.
  if (segment.is_ack() || !segment.is_syn()) return DropReason::NoFlow;
  state_deadline_ = now + kSynHold;
  return std::nullopt;
}

std::optional<DropReason> Flow::handle_in_time_wait(const Segment& segment, Instant now) {
  if (segment.is_rst()) return DropReason::OutOfWindow;  // RFC 1337
  if (segment.is_fin()) state_deadline_ = now + kTimeWait;
  challenge(now);
  return segment.is_fin() ? std::nullopt : std::optional(DropReason::OutOfWindow);
}

std::optional<DropReason> Flow::handle_unacceptable(const Segment& segment, Instant now) {
  // A repeat means that our ACK got lost, so it is always answered; anything else might be an echo of our own ACKs.
  if (segment.payload.empty() && !segment.is_fin()) {
    challenge(now);
  } else {
    want_ack();
  }
  return DropReason::OutOfWindow;
}

std::optional<DropReason> Flow::handle_reset(const Segment& segment, Instant now, EventQueue& events) {
  // RFC 5961 §3.2: only the exact number resets; inside the window it is asked again.
  if (segment.sequence == receive_.next()) {
    abort(events);
    return std::nullopt;
  }
  if (receive_.is_acceptable(segment.sequence, 0)) challenge(now);
  return DropReason::OutOfWindow;
}

std::optional<DropReason> Flow::complete_handshake(const Segment& segment) {
  if (segment.acknowledgment != send_.newest()) return DropReason::NoFlow;
  send_.set_window(segment.sequence, segment.acknowledgment, std::uint32_t{segment.window} << peer_scale_);
  move_to(FlowState::Established);
  syn_ack_due_ = false;
  return std::nullopt;
}

std::optional<DropReason> Flow::handle_acknowledgment(const Segment& segment, Instant now, EventQueue& events) {
  if (!segment.is_ack()) return DropReason::BadFlags;
  if (state_ == FlowState::SynReceived) {
    if (const auto drop = complete_handshake(segment)) return drop;
    if (finish_after_handshake_ && !reset_after_handshake_) finish(now);
    return std::nullopt;
  }
  const auto result =
      send_.acknowledge({segment.sequence, segment.acknowledgment, segment.window, segment.length() > 0}, now);
  if (result.verdict == AckVerdict::Unsent || result.verdict == AckVerdict::Ancient) {
    challenge(now);
    return DropReason::OutOfWindow;
  }
  if (result.bytes > 0) {
    bytes_acknowledged_ += result.bytes;
    events.push_acknowledged(id(), result.bytes);
  }
  if (send_.is_fin_acknowledged()) handle_our_fin_acknowledged(now, events);
  return std::nullopt;
}

void Flow::handle_our_fin_acknowledged(Instant now, EventQueue& events) {
  if (state_ == FlowState::FinWait1) {
    move_to(FlowState::FinWait2);
  } else if (state_ == FlowState::Closing) {
    enter_time_wait(now, events);
  } else if (state_ == FlowState::LastAck) {
    events.push(FlowClosed{id()});
    close();
  }
}

std::optional<DropReason> Flow::handle_payload(const Segment& segment, EventQueue& events, bool& is_whole) {
  if (segment.payload.empty() && !segment.is_fin()) return std::nullopt;
  is_whole = is_receiving();
  if (!is_whole) return std::nullopt;  // after its FIN the peer has nothing new to say
  const auto taken = receive_.take(segment.sequence, segment.payload.size());
  is_whole = !taken.gap && !taken.cut_off;
  if (taken.gap) {
    acks_ = static_cast<std::uint8_t>(std::min<int>(acks_ + 1, kDuplicateAcksMax));
    return DropReason::OutOfOrder;
  }
  want_ack();
  if (taken.size > 0) {
    bytes_received_ += taken.size;
    events.push(Data{id(), segment.payload.sub(taken.skip, taken.size)});
  }
  return taken.cut_off ? std::optional(DropReason::BufferLimit) : std::nullopt;
}

void Flow::handle_fin(Instant now, EventQueue& events) {
  receive_.take_fin();
  events.push(PeerFinished{id()});
  if (state_ == FlowState::Established) {
    move_to(FlowState::CloseWait);
  } else if (state_ == FlowState::FinWait1) {
    move_to(FlowState::Closing);
  } else if (state_ == FlowState::FinWait2) {
    enter_time_wait(now, events);
  }
}

}  // namespace postern::tcp
