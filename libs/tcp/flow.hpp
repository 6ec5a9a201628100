// One TCP connection of the local kernel, as the passive side of RFC 9293. It takes segments and orders and says which
// segment leaves next; packets, tables, timers and events belong to others.
//
// The first cache lines are what a segment of an established flow touches; bytes are never stored in it, and what
// only a waiting SYN or queued data need is allocated apart, so an idle flow is this object and its table entry.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/slab.hpp"
#include "base/timer_wheel.hpp"
#include "tcp/event_queue.hpp"
#include "tcp/receive_side.hpp"
#include "tcp/segment.hpp"
#include "tcp/send_side.hpp"
#include "tcp/types.hpp"

namespace postern::tcp {

/// RFC 9293 §3.3.2 from LISTEN on, with the SYN held until the owner knows. "FIN" alone means received, "finish" is the
/// owner's order (our FIN is queued behind the data), "acked" that our FIN was acknowledged. RST, abort() and a silent
/// peer lead to Closed from everywhere.
///
///          SYN                accept()                  ACK
///   (none) ───▶ Held ─────────────────▶ SynReceived ──────────▶ Established
///                 │ refuse()               │ finish              │finish   │FIN
///                 ▼                        ├────────▶ FinWait1 ◀─┘         ▼
///               Closed                     │ (after ACK)│ │ │           CloseWait
///                                                acked  │ │ │FIN+acked     │finish
///                                        FinWait2 ◀─────┘ │ └────────┐     ▼
///                                           │FIN          │FIN       │   LastAck
///                                           │             ▼          │     │acked
///                                           │          Closing       │     ▼
///                                           ▼             │acked     │   Closed
///                                        TimeWait ◀───────┴──────────┘
///                                           │ 1 s, or a newer SYN
///                                           ▼
///                                         Closed
enum class FlowState : std::uint8_t {
  Held,
  SynReceived,
  Established,
  FinWait1,
  FinWait2,
  Closing,
  TimeWait,
  CloseWait,
  LastAck,
  Closed,
  kCount
};

[[nodiscard]] bool is_legal_move(FlowState from, FlowState to);

/// What all flows of an endpoint have in common.
struct FlowSettings {
  /// Largest MSS of the device, for IPv4 and IPv6.
  std::uint16_t mss_v4 = 1460;
  std::uint16_t mss_v6 = 1440;
  std::uint32_t receive_window = 0;
};

/// One segment that leaves; the payload's slices go beside it.
struct SegmentPlan {
  std::uint8_t flags = 0;
  Sequence sequence;
  Sequence acknowledgment;
  std::uint16_t window = 0;
  /// Present in a SYN-ACK.
  std::uint16_t offered_mss = 0;
  std::optional<std::uint8_t> offered_scale;
  /// What one wire segment may carry: gso_size.
  std::uint16_t mss = 0;
  std::uint32_t payload_size = 0;
  std::size_t payload_slices = 0;
};

class Flow {
 public:
  /// A real LAN peer would be in TIME-WAIT for minutes; here both ends are in one machine and nothing lingers.
  static constexpr Duration kTimeWait = std::chrono::seconds{1};
  /// The kernel repeats a SYN at most 64 s after the one before; silence beyond means that the socket is gone.
  static constexpr Duration kSynHold = std::chrono::seconds{75};

  Flow(SlabHandle handle, const Segment& syn, std::uint64_t hash, const FlowSettings& settings, Instant now);

  [[nodiscard]] FlowId id() const { return FlowId(handle_.value); }
  [[nodiscard]] SlabHandle handle() const { return handle_; }
  [[nodiscard]] const FlowTuple& tuple() const { return tuple_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] FlowState state() const { return state_; }
  /// The owner has an id for it.
  [[nodiscard]] bool is_live() const {
    return state_ != FlowState::TimeWait && state_ != FlowState::Closed && !reset_after_handshake_;
  }
  [[nodiscard]] FlowStats stats() const;

  // --- from the device; a drop reason says that the segment was not, or not all, taken ------------------------------
  /// NoFlow asks for the answer to a segment that belongs to no flow.
  std::optional<DropReason> handle_segment(const Segment& segment, Instant now, EventQueue& events);
  void handle_timeout(Instant now, EventQueue& events);
  [[nodiscard]] std::optional<Instant> deadline() const;
  /// A SYN that begins a new connection in place of this one: in TIME-WAIT with a higher number, or, while the SYN is
  /// held, with another number.
  [[nodiscard]] bool is_replaced_by(const Segment& segment) const;

  // --- from the owner ----------------------------------------------------------------------------------------------
  /// `initial` is our initial sequence number.
  void accept(Sequence initial, const FlowSettings& settings, Instant now);
  /// The SYN as it came, cut to what an ICMP error needs; empty unless it is held.
  [[nodiscard]] ByteView held_syn() const;
  [[nodiscard]] bool may_send() const;
  [[nodiscard]] std::size_t queued() const { return send_.queued(); }
  void send(Slice bytes, Instant now) { send_.push(std::move(bytes), now); }
  void finish(Instant now);
  void grant(std::size_t bytes);
  void close() { move_to(FlowState::Closed); }
  /// abort() of what was accepted and is not yet open at the application's end: it has to see a connection that breaks,
  /// not one that is refused.
  void reset_after_handshake() { reset_after_handshake_ = true; }
  /// The handshake that an abort has waited for is done.
  [[nodiscard]] bool is_reset_due() const { return reset_after_handshake_ && state_ == FlowState::Established; }

  // --- to the device -----------------------------------------------------------------------------------------------
  [[nodiscard]] bool has_output() const;
  std::optional<SegmentPlan> take_segment(const FlowSettings& settings, std::span<Slice> payload, Instant now);
  /// The RST that aborts this flow.
  [[nodiscard]] SegmentPlan reset_plan() const;
  /// The first number that a new connection of the same tuple may use (RFC 9293 §3.6.1).
  [[nodiscard]] Sequence after_newest() const { return send_.newest() + 1; }

  // --- marks that the endpoint keeps on a flow ---------------------------------------------------------------------
  TimerId timer;
  Instant timer_at;
  bool is_timer_armed = false;
  bool is_output_queued = false;
  bool is_in_time_wait_list = false;
  /// The tuple came out of TIME-WAIT: our initial sequence number must be above.
  std::optional<Sequence> initial_above;

 private:
  /// Enough for IPv6 with a few extension headers and all TCP options.
  struct HeldSyn {
    std::array<std::uint8_t, 128> bytes;
    std::size_t size = 0;
  };

  void move_to(FlowState to);
  /// The peer has not sent its FIN.
  [[nodiscard]] bool is_receiving() const;
  void abort(EventQueue& events);
  std::optional<DropReason> handle_while_held(const Segment& segment, Instant now, EventQueue& events);
  std::optional<DropReason> handle_in_time_wait(const Segment& segment, Instant now);
  std::optional<DropReason> handle_unacceptable(const Segment& segment, Instant now);
  std::optional<DropReason> handle_reset(const Segment& segment, Instant now, EventQueue& events);
  std::optional<DropReason> handle_acknowledgment(const Segment& segment, Instant now, EventQueue& events);
  std::optional<DropReason> complete_handshake(const Segment& segment);
  std::optional<DropReason> handle_payload(const Segment& segment, EventQueue& events, bool& is_whole);
  void handle_fin(Instant now, EventQueue& events);
  void handle_our_fin_acknowledged(Instant now, EventQueue& events);
  void enter_time_wait(Instant now, EventQueue& events);
  void want_ack() { acks_ = acks_ == 0 ? std::uint8_t{1} : acks_; }
  /// Bounded per second: two ends that disagree must not talk for ever (RFC 5961 §7).
  void challenge(Instant now);
  [[nodiscard]] std::size_t payload_max() const;
  [[nodiscard]] SegmentPlan plan_syn_ack(const FlowSettings& settings);

  ReceiveSide receive_;
  SendSide send_;
  FlowState state_ = FlowState::Held;
  /// Pure ACKs to send: more than one only as duplicates, so that the kernel repeats at once.
  std::uint8_t acks_ = 0;
  std::uint8_t challenges_ = 0;
  std::uint8_t syn_acks_ = 0;
  bool syn_ack_due_ = false;
  bool finish_after_handshake_ = false;
  bool reset_after_handshake_ = false;
  bool peer_scales_ = false;
  std::uint8_t peer_scale_ = 0;
  std::uint16_t peer_mss_ = 0;
  std::uint16_t peer_window_ = 0;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_acknowledged_ = 0;
  /// Of the states that wait for something else than data: Held, SynReceived, TimeWait.
  Instant state_deadline_;
  std::int64_t challenge_second_ = 0;

  // --- cold --------------------------------------------------------------------------------------------------------
  SlabHandle handle_;
  std::uint64_t hash_ = 0;
  FlowTuple tuple_;
  Sequence peer_initial_;
  std::unique_ptr<HeldSyn> held_syn_;
};

}  // namespace postern::tcp
