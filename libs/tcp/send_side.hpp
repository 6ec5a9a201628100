// The send variables of a flow (RFC 9293 §3.3.1) and what leaves next: new data within the peer's window, repeats, the
// probe of a closed window, the FIN.
//
// The wire is a queue inside one machine, so there is no congestion window. Loss means a full queue somewhere in the
// kernel: three duplicate ACKs repeat the first unacknowledged segment, and further ones as partial ACKs ask for them
// (RFC 6582 without its window); a timeout goes back to the first unacknowledged byte. A closed window is probed with
// one byte by the same timer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/time.hpp"
#include "tcp/rtt.hpp"
#include "tcp/send_queue.hpp"
#include "tcp/sequence.hpp"

namespace postern::tcp {

/// Part of the stream that is to leave in one packet.
struct DataPlan {
  Sequence sequence;
  std::uint32_t size = 0;
  bool fin = false;
  /// Nothing more is queued behind it.
  bool push = false;
};

/// What the peer's segment says about our direction.
struct PeerAck {
  Sequence sequence;
  Sequence acknowledgment;
  std::uint16_t window = 0;
  /// Carries payload, SYN or FIN, so it is no duplicate ACK.
  bool occupies_sequence = false;
};

enum class AckVerdict : std::uint8_t {
  Old,       ///< acknowledges less than what is known; its window is old too
  Current,   ///< nothing new, perhaps a window
  Advanced,  ///< acknowledges more
  Unsent,    ///< acknowledges what was never sent
  Ancient,   ///< further back than any segment in flight can be (RFC 5961 §5)
};

class SendSide {
 public:
  /// `first` is the sequence number after our SYN. `mss` is what one segment may carry, `scale` the peer's.
  void start(Sequence first, std::uint16_t mss, std::uint8_t scale);
  /// The window of the peer's SYN (never scaled) or of the ACK that completes the handshake.
  void set_window(Sequence sequence, Sequence acknowledgment, std::uint32_t window);

  [[nodiscard]] std::uint16_t mss() const { return mss_; }
  [[nodiscard]] std::size_t queued() const { return queue_ ? queue_->size() : 0; }
  [[nodiscard]] bool is_fin_queued() const { return fin_queued_; }
  [[nodiscard]] bool is_fin_acknowledged() const { return fin_acknowledged_; }
  /// SND.NXT, as it was before any repeat.
  [[nodiscard]] Sequence newest() const { return newest_; }
  /// Where the peer most likely is: the number for a RST.
  [[nodiscard]] Sequence reset_sequence() const { return window_ == 0 ? unacknowledged_ : newest_; }
  [[nodiscard]] std::uint64_t repeats() const { return repeats_; }

  void push(Slice bytes, Instant now);
  void queue_fin(Instant now);

  struct AckResult {
    AckVerdict verdict = AckVerdict::Old;
    std::size_t bytes = 0;
  };
  AckResult acknowledge(const PeerAck& ack, Instant now);

  [[nodiscard]] bool can_send(std::size_t payload_max, std::size_t slices_max) const {
    return plan(payload_max, slices_max).has_value();
  }
  /// Takes the next part out; the payload's slices are put into `into`.
  struct Taken {
    DataPlan plan;
    std::size_t slices = 0;
  };
  std::optional<Taken> take(std::size_t payload_max, std::span<Slice> into, Instant now);

  /// When handle_timeout() wants to be called; nothing while all is acknowledged.
  [[nodiscard]] std::optional<Instant> deadline() const;
  /// False when the peer has not answered for too long (RFC 9293 §3.8.3, R2).
  [[nodiscard]] bool handle_timeout(Instant now);
  void release() { queue_.reset(); }

 private:
  [[nodiscard]] std::optional<DataPlan> plan(std::size_t payload_max, std::size_t slices_max) const;
  [[nodiscard]] std::optional<DataPlan> plan_new(std::size_t payload_max, std::size_t slices_max) const;
  [[nodiscard]] DataPlan plan_at(Sequence from, std::size_t size) const;
  [[nodiscard]] bool is_pending() const { return queued() > 0 || (fin_queued_ && !fin_acknowledged_); }
  [[nodiscard]] Sequence data_end() const { return unacknowledged_ + static_cast<std::uint32_t>(queued()); }
  [[nodiscard]] bool update_window(const PeerAck& ack);
  void count_duplicate();
  std::size_t advance(Sequence acknowledgment, Instant now);
  void restart_timer(Instant now) { deadline_ = now + rtt_.timeout(backoff_); }

  std::unique_ptr<SendQueue> queue_;
  Sequence unacknowledged_;
  Sequence next_;
  Sequence newest_;
  Sequence window_sequence_;
  Sequence window_acknowledgment_;
  /// Newest when repeats began: until it is acknowledged, no new fast retransmission starts.
  Sequence recover_;
  Sequence timed_;
  std::uint32_t window_ = 0;
  std::uint32_t window_max_ = 0;
  std::uint16_t mss_ = 536;
  std::uint8_t scale_ = 0;
  std::uint8_t duplicates_ = 0;
  std::uint8_t backoff_ = 0;
  std::uint8_t unanswered_ = 0;
  bool fin_queued_ = false;
  bool fin_acknowledged_ = false;
  bool recovering_ = false;
  bool repeat_first_ = false;
  bool probe_ = false;
  bool timing_ = false;
  RttEstimator rtt_;
  Instant deadline_;
  Instant timed_at_;
  std::uint64_t repeats_ = 0;
};

}  // namespace postern::tcp
