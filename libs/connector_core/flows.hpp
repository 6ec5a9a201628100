// All flows of a connector: from the head of a stream to bytes, or datagrams, between session and target socket.
//
// Sans-IO. Backpressure runs through it in both directions: read_budget() is zero while the stream takes nothing, and
// stream credit goes back to the client only for bytes that the target's socket took.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>

#include "connector_core/flow.hpp"
#include "connector_core/network_clock.hpp"
#include "connector_core/session_port.hpp"

namespace postern::connector {

struct FlowLimits {
  std::size_t flows_max = 65'536;  ///< at it new ones are refused with RESOURCES
  Duration head_timeout = std::chrono::seconds(10);
  Duration resolve_timeout = std::chrono::seconds(10);
  Duration connect_timeout = std::chrono::seconds(10);
  Duration refused_timeout = std::chrono::seconds(10);
  Duration reset_patience = std::chrono::seconds(3);  ///< a client's RST waits so long behind bytes for a slow target
  /// Of one session, whose targets have not answered yet; at it new ones are refused with RESOURCES. The kernel looks
  /// ever longer for a local port when thousands wait for the same target, and everybody waits with it.
  std::size_t opening_per_session_max = 1024;
  std::size_t questions_per_session_max = 128;        ///< without an answer; at it new ones are refused with RESOURCES
  std::size_t datagram_flows_per_session_max = 4096;  ///< UDP and ICMP; at it new ones are refused with RESOURCES
  // Without traffic. The client ends a flow 15 s before (PROTOCOL.md §4.4; RFC 4787 REQ-5).
  Duration udp_idle = std::chrono::seconds(135);
  Duration dns_idle = std::chrono::seconds(45);
  Duration icmp_idle = std::chrono::seconds(45);
  std::size_t reports_max = 8192;  ///< oldest dropped and counted
};

struct FlowCounters {
  std::uint64_t opened = 0;
  std::uint64_t refused = 0;
  std::uint64_t questions_answered = 0;
  std::uint64_t bad_heads = 0;
  std::uint64_t reports_dropped = 0;
  std::uint64_t bytes_to_targets = 0;
  std::uint64_t bytes_from_targets = 0;
  std::uint64_t datagrams_dropped = 0;  ///< of no open flow, or more than wait for one
};

/// Who decides (the sessions know the leases).
class FlowAuthority {
 public:
  struct Grant {
    const model::Resource* resource = nullptr;
    LeasePointer lease;
  };
  virtual ~FlowAuthority() = default;
  [[nodiscard]] virtual std::expected<Grant, Refusal> authorise(Instant now, session::SessionId session,
                                                                const Target& target) const = 0;
  /// The lease a session has now, for records; may be empty.
  [[nodiscard]] virtual LeasePointer lease_of(session::SessionId session) const = 0;
};

/// Resources whose flows were closed, by session.
using ClosedFlows = std::map<session::SessionId, std::set<model::ResourceId>>;

class Flows {
 public:
  Flows(SessionPort& port, BlockPool& pool, const PolicyStore& policy, const NetworkClock& clock,
        const FlowAuthority& authority, FlowLimits limits);

  // --- from the sessions -------------------------------------------------------------------------------------------
  void handle_opened(Instant now, session::SessionId session, session::StreamId stream);
  void handle_readable(Instant now, session::SessionId session, session::StreamId stream);
  void handle_writable(Instant now, session::SessionId session, session::StreamId stream);
  void handle_datagrams(Instant now, session::SessionId session);
  /// RESET_STREAM or STOP_SENDING by the peer.
  void handle_peer_reset(Instant now, session::SessionId session, session::StreamId stream, std::uint64_t code);
  /// Both directions have ended. An open flow may still have bytes for a slow target.
  void handle_stream_closed(Instant now, session::SessionId session, session::StreamId stream);
  void handle_session_gone(Instant now, session::SessionId session);

  // --- from the targets --------------------------------------------------------------------------------------------
  void handle_resolved(Instant now, FlowId id, std::expected<std::vector<IpAddress>, ResolveFailure> result);
  /// A DNS message of at most 65 535 bytes.
  void handle_answer(Instant now, FlowId id, std::expected<Bytes, ResolveFailure> message);
  void handle_connected(Instant now, FlowId id, const SocketAddress& address, Duration took);
  void handle_connect_failed(Instant now, FlowId id, wire::RefusalReason reason, std::string detail);
  /// How many bytes may be read from the target now; at zero a ResumeTarget follows when it changes.
  [[nodiscard]] std::size_t read_budget(Instant now, FlowId id);
  void handle_target_bytes(Instant now, FlowId id, Slice bytes);
  /// Of UDP and ICMP flows: datagrams of `stride` bytes each.
  void handle_target_datagrams(Instant now, FlowId id, Slice bytes, std::size_t stride);
  /// An ICMP error about what the flow has sent.
  void handle_target_failure(Instant now, FlowId id, wire::RefusalReason reason);
  void handle_target_finished(Instant now, FlowId id);
  void handle_target_reset(Instant now, FlowId id);
  /// Bytes for the target, in order; handle_written() drops them.
  [[nodiscard]] std::size_t gather(FlowId id, std::span<ByteView> pieces) const;
  void handle_written(Instant now, FlowId id, std::size_t size);

  // --- decisions ---------------------------------------------------------------------------------------------------
  /// Checks every flow (of one session) again and closes those that are no longer allowed.
  ClosedFlows reauthorise(Instant now, std::optional<session::SessionId> only);
  void set_draining(bool draining) { draining_ = draining; }
  void close_all(Instant now, FlowEnding ending);

  [[nodiscard]] std::optional<Request> poll_request();
  [[nodiscard]] std::optional<FlowReport> poll_report();
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const { return timers_.next_timeout(); }

  [[nodiscard]] std::size_t size() const { return flows_.size(); }
  [[nodiscard]] std::size_t size(session::SessionId session) const;
  [[nodiscard]] const FlowCounters& counters() const { return counters_; }

 private:
  using StreamMap = std::unordered_map<session::StreamId, SlabHandle>;

  [[nodiscard]] Flow* find(FlowId id) { return flows_.find(SlabHandle{id.value}); }
  [[nodiscard]] const Flow* find(FlowId id) const { return flows_.find(SlabHandle{id.value}); }
  [[nodiscard]] Flow* find(session::SessionId session, session::StreamId stream);

  void read_head(Instant now, Flow& flow);
  void begin(Instant now, Flow& flow, ByteView head);
  void connect(Instant now, Flow& flow, std::span<const IpAddress> addresses);
  void pull(Instant now, Flow& flow);
  // flow_questions.cpp
  void ask(Instant now, Flow& flow, const model::Resource& resource);
  void end_question(Flow& flow);
  // flow_datagrams.cpp
  void begin_datagrams(Instant now, Flow& flow);
  void open_datagrams(Instant now, Flow& flow);
  void read_control(Instant now, Flow& flow);
  void end_datagrams(Instant now, Flow& flow);
  void expire_idle(Instant now, Flow& flow);
  void pass_datagrams(Instant now, Flow& flow, session::DatagramTrain train);
  [[nodiscard]] Duration idle_time(const Flow& flow) const;
  void discard(Flow& flow);
  void settle(Instant now, Flow& flow);
  void refuse(Instant now, Flow& flow, Refusal refusal);
  /// Resets the stream, gives up the target, reports, forgets.
  void abort(Instant now, Flow& flow, FlowEnding ending);
  void forget(Flow& flow);
  void set_opening(Flow& flow, bool is_opening);
  bool reply(Flow& flow, const wire::FlowReply& message);
  void drop_pending(Flow& flow);
  void arm(Instant now, Flow& flow, Duration after);
  void expire(Instant now, Flow& flow);
  [[nodiscard]] std::vector<FlowId> all(std::optional<session::SessionId> only) const;
  [[nodiscard]] bool is_still_allowed(Instant now, const Flow& flow) const;
  void report(Instant now, const Flow& flow, FlowReport::Kind kind, FlowEnding ending, const Refusal& refusal = {});

  SessionPort& port_;
  BlockPool& pool_;
  const PolicyStore& policy_;
  const NetworkClock& clock_;
  const FlowAuthority& authority_;
  FlowLimits limits_;
  bool draining_ = false;
  Slab<Flow> flows_;
  std::unordered_map<session::SessionId, StreamMap> streams_;
  std::unordered_map<session::SessionId, std::size_t> opening_;
  std::unordered_map<session::SessionId, std::size_t> datagram_flows_;
  std::unordered_map<session::SessionId, std::size_t> questions_;
  TimerWheel timers_;
  std::deque<Request> requests_;
  std::deque<FlowReport> reports_;
  FlowCounters counters_;
};

}  // namespace postern::connector
