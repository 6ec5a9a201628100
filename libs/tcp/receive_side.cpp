#include "tcp/receive_side.hpp"

#include <algorithm>

namespace postern::tcp {

namespace {

constexpr std::uint32_t kFieldMax = 0xffff;

}  // namespace

std::uint8_t ReceiveSide::scale_for(std::uint32_t window) {
  std::uint8_t scale = 0;
  while (scale < 14 && (kFieldMax << scale) < window) ++scale;
  return scale;
}

void ReceiveSide::start(Sequence irs, std::uint32_t window, bool scaled) {
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

void ReceiveSide::grant(std::size_t bytes, std::uint32_t mss) {
  held_ -= static_cast<std::uint32_t>(std::min<std::size_t>(bytes, held_));
  // Far from the edge the peer does not wait for news: then every quarter; near it, every two segments (RFC 9293
  // §3.8.6.2.2 asks for one segment or half the window).
  const auto left = static_cast<std::uint32_t>(std::max(0, edge_ - next_));
  const auto gain = edge_wanted() - edge_;
  const std::uint32_t enough = left >= window_ / 2 ? window_ / 4 : std::min(2 * mss, window_ / 2);
  if (gain >= static_cast<std::int32_t>(enough)) update_due_ = true;
}

std::uint16_t ReceiveSide::advertise() {
  update_due_ = false;
  const Sequence wanted = held_ > window_ ? next_ : edge_wanted();
  const Sequence target = wanted > edge_ ? wanted : edge_;
  const auto open = static_cast<std::uint32_t>(std::max(0, target - next_));
  std::uint32_t field = open >> scale_;
  // A promise is rounded up where rounding down would take part of it back.
  if (next_ + (field << scale_) < edge_) {
    const std::uint32_t up = field + 1;
    if (next_ + (up << scale_) - wanted <= static_cast<std::int32_t>(kEdgeLoan)) field = up;
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
