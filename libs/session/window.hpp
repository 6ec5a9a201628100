// How many unread bytes a stream's peer may have outstanding (DESIGN §5.4).
//
// A stream starts with a small window and doubles it whenever a whole window arrives within four round trips. All
// growth is cut from a budget of the session and one of the process, and so is what lies unread in first windows; when
// either is used up windows stay as they are, and the owner refuses new flows (Endpoint::has_budget()). Idle streams
// cost nothing: a session may have thousands.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.hpp"

namespace postern::session {

/// Bytes that peers have left unread, or were promised beyond their first windows. The former count even above the
/// bound.
class WindowBudget {
 public:
  explicit WindowBudget(std::uint64_t max) : max_(max) {}
  [[nodiscard]] std::uint64_t left() const { return granted_ < max_ ? max_ - granted_ : 0; }
  void take(std::uint64_t bytes) { granted_ += bytes; }
  void give_back(std::uint64_t bytes) { granted_ -= bytes; }

 private:
  std::uint64_t max_;
  std::uint64_t granted_ = 0;
};

class ReceiveWindow {
 public:
  ReceiveWindow() = default;
  ReceiveWindow(std::uint64_t size, Instant now) : size_(size), round_start_(now) {}

  [[nodiscard]] std::uint64_t size() const { return size_; }

  /// The peer fills the window faster than it comes back, and the window may not grow any more.
  [[nodiscard]] bool is_limit(std::uint64_t max, std::uint64_t left) const {
    return wants_growth_ && (size_ >= max || left == 0);
  }

  void handle_arrival(Instant now, std::size_t bytes, Duration round_trip) {
    round_bytes_ += bytes;
    if (round_bytes_ < size_) return;
    wants_growth_ = now - round_start_ < std::max(4 * round_trip, kShortestRound);
    round_bytes_ = 0;
    round_start_ = now;
  }
  /// Counts bytes that the reader is done with.
  void handle_consumed(std::size_t bytes) { owed_ += bytes; }
  /// True when so much is owed that a MAX_STREAM_DATA is worth its frame.
  [[nodiscard]] bool should_update() const { return owed_ >= size_ / 4; }
  /// Bytes to grow by now, at most `left`; counted as granted.
  [[nodiscard]] std::uint64_t grow(std::uint64_t max, std::uint64_t left) {
    if (!wants_growth_ || size_ >= max) return 0;
    wants_growth_ = false;
    const std::uint64_t growth = std::min({size_, max - size_, left});
    size_ += growth;
    return growth;
  }
  [[nodiscard]] std::uint64_t take_owed() {
    const std::uint64_t owed = owed_;
    owed_ = 0;
    return owed;
  }

 private:
  /// On a local network a round trip is shorter than the time between two batches.
  static constexpr Duration kShortestRound = std::chrono::milliseconds(4);

  std::uint64_t size_ = 0;
  std::uint64_t owed_ = 0;
  std::uint64_t round_bytes_ = 0;
  Instant round_start_;
  bool wants_growth_ = false;
};

}  // namespace postern::session
