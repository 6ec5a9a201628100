#include "session/flow_meter.hpp"

#include <algorithm>

namespace postern::session {

std::string_view to_string(StallCause cause) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(StallCause::kCount)> kNames = {
      "path", "slow_server", "slow_reader", "our_window"};
  return kNames[static_cast<std::size_t>(cause)];
}

void FlowMeter::handle_opened(Instant now, const IpAddress& connected, Duration connect_time) {
  opened_ = now;
  connected_ = connected;
  connect_time_ = connect_time;
}

void FlowMeter::handle_received(Instant now, std::size_t bytes, bool is_window_full) {
  if (bytes == 0) return;
  bytes_down_ += bytes;
  held_ += bytes;
  if (!first_byte_) first_byte_ = now;
  begin(now, taker_);
  end(now, window_);
  if (is_window_full) begin(now, window_);
}

void FlowMeter::handle_taken(Instant now, std::size_t bytes) {
  held_ -= std::min<std::uint64_t>(bytes, held_);
  end(now, taker_);
  if (held_ > 0) begin(now, taker_);
}

void FlowMeter::begin_upward_stall(Instant now, StallCause cause) {
  if (!upward_.since) upward_.cause = cause;
  begin(now, upward_);
}

std::optional<Duration> FlowMeter::connect_time() const {
  return opened_ ? std::optional(connect_time_) : std::nullopt;
}

std::optional<Duration> FlowMeter::open_time() const {
  return opened_ ? std::optional(*opened_ - started_) : std::nullopt;
}

std::optional<Duration> FlowMeter::first_byte_time() const {
  return first_byte_ ? std::optional(*first_byte_ - started_) : std::nullopt;
}

Stalls FlowMeter::stalls(Instant now) const {
  Stalls all = stalls_;
  for (const Stall* stall : {&upward_, &taker_, &window_}) {
    all[static_cast<std::size_t>(stall->cause)] += stall->length(now);
  }
  return all;
}

Duration FlowMeter::Stall::length(Instant now) const {
  if (!since) return {};
  const Duration length = now - *since;
  return length < ignored ? Duration{} : length;
}

/// The cause of a stall that goes on is the one that it began with.
void FlowMeter::begin(Instant now, Stall& stall) {
  if (!stall.since) stall.since = now;
}

void FlowMeter::end(Instant now, Stall& stall) {
  stalls_[static_cast<std::size_t>(stall.cause)] += stall.length(now);
  stall.since.reset();
}

}  // namespace postern::session
