#include "tcp/receive_side.hpp"

#include <algorithm>

namespace postern::tcp {

namespace {

constexpr std::uint32_t kFieldMax = 0xffff;
/// A window that opens by less makes the kernel cut its trains (up to 64 KiB) into pieces that cost as much.
constexpr std::uint32_t kUpdateMin = 32 * 1024;

}  // namespace

std::uint8_t ReceiveSide::scale_for(std::uint32_t window) {
  std::uint8_t scale = 0;
  while (scale < 14 && (kFieldMax << scale) < window) ++scale;
  return scale;
}

void ReceiveSide::start(Sequence irs, std::uint32_t window, bool scaled, std::uint16_t mss) {
  mss_ = mss;
  next_ = irs + 1;
  edge_ = next_;
  scale_ = scaled ? scale_for(window) : 0;
  window_ = std::min(window, kFieldMax << scale_);
}

bool ReceiveSide::is_acceptable(Sequence sequence, std::uint32_t length) const {
  if (sequence > edge_) return false;
  return length == 0 ? sequence >= next_ : sequence + length > next_;
}

ReceiveSide::Taken ReceiveSide::take(Sequence sequence, std::size_t size) {
  Taken taken;
  if (sequence > next_) {
    taken.gap = true;
    return taken;
  }
  taken.skip = std::min(size, static_cast<std::size_t>(next_ - sequence));
  const auto room = static_cast<std::size_t>(std::max(0, edge_ - next_));
  taken.size = std::min(size - taken.skip, room);
  taken.cut_off = taken.skip + taken.size < size;
  next_ += static_cast<std::uint32_t>(taken.size);
  held_ += static_cast<std::uint32_t>(taken.size);
  return taken;
}

void ReceiveSide::grant(std::size_t bytes) {
  held_ -= static_cast<std::uint32_t>(std::min<std::size_t>(bytes, held_));
  // Far from the edge the peer does not wait for news: then every quarter; near it, a train or half the window.
  const auto left = static_cast<std::uint32_t>(std::max(0, edge_ - next_));
  const std::uint32_t enough = left >= window_ / 2 ? window_ / 4 : std::min(kUpdateMin, window_ / 2);
  if (edge_wanted() - edge_ >= static_cast<std::int32_t>(std::max(1U, enough))) update_due_ = true;
}

std::uint16_t ReceiveSide::advertise() {
  update_due_ = false;
  // Opened by a segment or half the window at least (RFC 9293 §3.8.6.2.2), and never taken back.
  const auto gain_min = static_cast<std::int32_t>(std::min<std::uint32_t>(mss_, window_ / 2));
  const Sequence wanted = edge_wanted();
  const Sequence target = wanted - edge_ >= std::max(1, gain_min) ? wanted : edge_;
  const auto open = static_cast<std::uint32_t>(std::max(0, target - next_));
  std::uint32_t field = open >> scale_;
  // A promise is rounded up where rounding down would take part of it back.
  if (next_ + (field << scale_) < edge_) {
    const Sequence up = next_ + ((field + 1) << scale_);
    if (up - wanted <= static_cast<std::int32_t>(kEdgeLoan)) ++field;
  }
  field = std::min(field, kFieldMax);
  const Sequence promised = next_ + (field << scale_);
  if (promised > edge_) edge_ = promised;
  return static_cast<std::uint16_t>(field);
}

std::uint16_t ReceiveSide::advertise_in_syn() {
  const std::uint32_t field = std::min(window_, kFieldMax);
  if (next_ + field > edge_) edge_ = next_ + field;
  return static_cast<std::uint16_t>(field);
}

}  // namespace postern::tcp
