// The receive variables of a flow (RFC 9293 §3.3.1): what is next, and how far the peer may send.
//
// Nothing is stored here: in-order payload goes to the owner at once, and the window is what the owner has not yet
// granted back. Payload that does not continue the stream is dropped. So the window only opens by grant(), and its
// right edge never moves back, except by the rounding of the window scale once the rounding up has lent kEdgeLoan bytes
// (RFC 7323 §2.4 allows for it).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tcp/sequence.hpp"

namespace postern::tcp {

class ReceiveSide {
 public:
  /// Most that rounding up may add to the window of EndpointConfig.
  static constexpr std::uint32_t kEdgeLoan = 4096;

  /// `irs` is the peer's initial sequence number; `scaled` says whether both sides scale their windows; `mss` is what
  /// the peer sends in one segment.
  void start(Sequence irs, std::uint32_t window, bool scaled, std::uint16_t mss);

  [[nodiscard]] Sequence next() const { return next_; }
  [[nodiscard]] std::uint8_t scale() const { return scale_; }
  /// The exponent to offer for a window of that many bytes.
  [[nodiscard]] static std::uint8_t scale_for(std::uint32_t window);

  /// RFC 9293 §3.10.7.4, first check. What begins at the right edge is acceptable: kernels send a bare FIN so.
  [[nodiscard]] bool is_acceptable(Sequence sequence, std::uint32_t length) const;

  /// Which part of a segment's payload is new, in order and inside the window; it now counts as delivered.
  struct Taken {
    std::size_t skip = 0;
    std::size_t size = 0;
    bool gap = false;      ///< begins after what is next
    bool cut_off = false;  ///< its end was outside the window
  };
  Taken take(Sequence sequence, std::size_t size);
  void take_fin() { next_ += 1; }

  /// Clamped to what was delivered.
  void grant(std::size_t bytes);
  /// Bytes delivered and not granted.
  [[nodiscard]] std::uint32_t held() const { return held_; }
  /// Grants have opened enough window to tell the peer without waiting for a segment to acknowledge.
  [[nodiscard]] bool is_update_due() const { return update_due_; }

  /// The window field of the segment that leaves now; moves the promised edge.
  [[nodiscard]] std::uint16_t advertise();
  /// The same for a SYN-ACK, whose window is never scaled.
  [[nodiscard]] std::uint16_t advertise_in_syn();

 private:
  [[nodiscard]] Sequence edge_wanted() const { return next_ + (window_ - held_); }

  Sequence next_;
  Sequence edge_;
  std::uint32_t window_ = 0;
  std::uint32_t held_ = 0;
  std::uint16_t mss_ = 0;
  std::uint8_t scale_ = 0;
  bool update_due_ = false;
};

}  // namespace postern::tcp
