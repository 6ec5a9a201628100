#include "tcp/send_side.hpp"

#include <algorithm>

namespace postern::tcp {

namespace {

constexpr std::uint8_t kDuplicatesForRepeat = 3;  // RFC 5681 §3.2
/// With a floor of 200 ms and doubling: 0.2 × (2^10 − 1) = 205 s without any answer, above the 100 s of RFC 9293 R2.
constexpr std::uint8_t kUnansweredMax = 10;

}  // namespace

void SendSide::start(Sequence first, std::uint16_t mss, std::uint8_t scale) {
  unacknowledged_ = next_ = newest_ = recover_ = first;
  mss_ = mss;
  scale_ = scale;
}

void SendSide::set_window(Sequence sequence, Sequence acknowledgment, std::uint32_t window) {
  window_ = window;
  window_max_ = std::max(window_max_, window);
  window_sequence_ = sequence;
  window_acknowledgment_ = acknowledgment;
}

void SendSide::push(Slice bytes, Instant now) {
  if (!is_pending()) restart_timer(now);
  if (!queue_) queue_ = std::make_unique<SendQueue>();
  queue_->push(std::move(bytes));
}

void SendSide::queue_fin(Instant now) {
  if (!is_pending()) restart_timer(now);
  fin_queued_ = true;
}

bool SendSide::update_window(const PeerAck& ack) {
  const bool is_newer = window_sequence_ < ack.sequence ||
                        (window_sequence_ == ack.sequence && window_acknowledgment_ <= ack.acknowledgment);
  if (!is_newer) return false;
  const std::uint32_t before = window_;
  set_window(ack.sequence, ack.acknowledgment, std::uint32_t{ack.window} << scale_);
  if (before == 0 && window_ > 0) {
    // Whatever was sent into the closed window, the probe's byte at least, was not kept.
    next_ = unacknowledged_;
    timing_ = false;
    backoff_ = 0;
  }
  return before != window_;
}

SendSide::AckResult SendSide::acknowledge(const PeerAck& ack, Instant now) {
  const std::int32_t ahead = ack.acknowledgment - unacknowledged_;
  if (ack.acknowledgment > newest_) return {AckVerdict::Unsent, 0};
  if (ahead < 0) {
    const bool is_ancient = -static_cast<std::int64_t>(ahead) > std::max<std::int64_t>(window_max_, 0x10000);
    return {is_ancient ? AckVerdict::Ancient : AckVerdict::Old, 0};
  }
  const std::uint32_t window_before = window_;
  if (ahead > 0) {
    const std::size_t bytes = advance(ack.acknowledgment, now);
    static_cast<void>(update_window(ack));
    return {AckVerdict::Advanced, bytes};
  }
  const bool changed = update_window(ack);
  if (window_ == 0) {
    unanswered_ = 0;  // the peer lives, its application does not read: RFC 9293 §3.8.6.1 keeps such a flow for ever
  } else if (window_before == 0) {
    restart_timer(now);
  } else if (!changed && !ack.occupies_sequence && newest_ != unacknowledged_) {
    count_duplicate();
  }
  return {AckVerdict::Current, 0};
}

std::size_t SendSide::advance(Sequence acknowledgment, Instant now) {
  auto bytes = static_cast<std::size_t>(acknowledgment - unacknowledged_);
  if (bytes > queued()) {
    fin_acknowledged_ = true;
    bytes = queued();
  }
  if (queue_) queue_->pop(bytes);
  if (queue_ && queue_->empty()) queue_.reset();
  unacknowledged_ = acknowledgment;
  if (next_ < acknowledgment) next_ = acknowledgment;
  if (timing_ && acknowledgment >= timed_) {
    rtt_.sample(now - timed_at_);
    timing_ = false;
  }
  duplicates_ = backoff_ = unanswered_ = 0;
  // A partial acknowledgment says that the segment after it is missing too (RFC 6582 §3.2).
  recovering_ = recovering_ && acknowledgment < recover_;
  repeat_first_ = recovering_;
  restart_timer(now);
  return bytes;
}

void SendSide::count_duplicate() {
  if (++duplicates_ != kDuplicatesForRepeat || recovering_ || unacknowledged_ < recover_) return;
  recovering_ = repeat_first_ = true;
  recover_ = newest_;
}

DataPlan SendSide::plan_at(Sequence from, std::size_t size) const {
  DataPlan plan{from, static_cast<std::uint32_t>(size), false, false};
  plan.push = from + plan.size == data_end();
  plan.fin = plan.push && fin_queued_;
  return plan;
}

std::optional<DataPlan> SendSide::plan_new(std::size_t payload_max, std::size_t slices_max) const {
  const std::int32_t unsent = data_end() - next_;
  if (unsent <= 0) {
    // The FIN may leave whatever the window is: kernels take a bare one, and it is repeated if not.
    if (unsent == 0 && fin_queued_ && !fin_acknowledged_) return plan_at(next_, 0);
    return std::nullopt;
  }
  const std::int32_t room = unacknowledged_ + window_ - next_;
  const auto allowed = static_cast<std::size_t>(std::max(room, probe_ ? 1 : 0));
  const std::size_t size = std::min({static_cast<std::size_t>(unsent), allowed, payload_max});
  if (size == 0) return std::nullopt;
  // Silly windows (RFC 9293 §3.8.6.2.1): small pieces only at the end of the data, or by the timer.
  const bool is_silly =
      size == allowed && size < static_cast<std::size_t>(unsent) && size < mss_ && size < window_max_ / 2 && !probe_;
  if (is_silly) return std::nullopt;
  return plan_at(next_, queue_->gatherable(static_cast<std::size_t>(next_ - unacknowledged_), size, slices_max));
}

std::optional<DataPlan> SendSide::plan(std::size_t payload_max, std::size_t slices_max) const {
  if (!repeat_first_) return plan_new(payload_max, slices_max);
  const auto sent = static_cast<std::size_t>(newest_ - unacknowledged_);
  const std::size_t size = std::min({sent, queued(), payload_max});
  return plan_at(unacknowledged_, queue_ ? queue_->gatherable(0, size, slices_max) : 0);
}

std::optional<SendSide::Taken> SendSide::take(std::size_t payload_max, std::span<Slice> into, Instant now) {
  const auto next = plan(payload_max, into.size());
  if (!next) return std::nullopt;
  Taken taken{*next, 0};
  if (next->size > 0) {
    const auto offset = static_cast<std::size_t>(next->sequence - unacknowledged_);
    taken.slices = queue_->gather(offset, next->size, into).slices;
  }
  const Sequence end = next->sequence + (next->size + (next->fin ? 1 : 0));
  if (next->sequence < newest_) {
    ++repeats_;
    timing_ = false;  // Karn: an answer could be to either copy
  } else if (!timing_) {
    timing_ = true;
    timed_ = end;
    timed_at_ = now;
  }
  if (!repeat_first_) next_ = end;
  if (newest_ < end) newest_ = end;
  repeat_first_ = probe_ = false;
  return taken;
}

std::optional<Instant> SendSide::deadline() const {
  if (!is_pending()) return std::nullopt;
  return deadline_;
}

bool SendSide::handle_timeout(Instant now) {
  if (!is_pending() || now < deadline_) return true;
  if (++unanswered_ > kUnansweredMax) return false;
  backoff_ = static_cast<std::uint8_t>(std::min(backoff_ + 1, 16));
  next_ = unacknowledged_;
  recover_ = newest_;
  recovering_ = repeat_first_ = timing_ = false;
  duplicates_ = 0;
  probe_ = true;
  restart_timer(now);
  return true;
}

}  // namespace postern::tcp
