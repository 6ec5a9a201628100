// Joins each connection of an application (ApplicationSide) to a stream of a session.
//
// Which instance takes a flow, and when one is held, is FlowPlacement's business. The application's SYN is answered
// only when the connector's answer is known.
//
// Backpressure both ways, never a drop: window towards the application is granted while the stream takes more; stream
// credit is given back when the application's kernel has acknowledged the bytes. FIN and RST are passed on in both
// directions, behind the bytes that came before them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "client_core/application_side.hpp"
#include "client_core/flow_info.hpp"
#include "client_core/flow_placement.hpp"
#include "tcp/endpoint.hpp"

namespace postern::client {

struct FlowsConfig {
  /// A target's RST waits so long behind bytes that the application does not take.
  Duration reset_patience = std::chrono::seconds(3);
  /// A flow that has neither been opened nor refused by then is refused. The connector itself gives up after 10 s.
  Duration open_deadline = std::chrono::seconds(12);
  /// Waiting for a peer that does not answer, with no other to go to.
  Duration peer_deadline = std::chrono::seconds(6);
  /// A held flow looks again for an instance at least this often.
  Duration held_interval = std::chrono::milliseconds(500);
  /// Payload up to this size is copied into packed blocks, so that it does not pin the 72 KiB block it was read into.
  std::size_t copy_max = 2048;
  /// Ended and refused flows that are remembered; the oldest is forgotten.
  std::size_t ended_max = 256;
};

[[nodiscard]] FlowInfo describe_flow(Instant now, const PlacedFlow& flow, const FlowMeter& meter, const Peers& peers,
                                     const session::Endpoint& sessions);

class Flows {
 public:
  /// All outlive this object.
  struct Parts {
    const Directory& directory;
    resolver::AddressPool& addresses;
    Peers& peers;
    session::Endpoint& sessions;
    ApplicationSide& tun;
    BlockPool& pool;
  };

  Flows(FlowsConfig config, Parts parts)
      : config_(config),
        parts_(parts),
        placement_(config.held_interval, parts.peers, parts.sessions, parts.pool),
        ended_(config.ended_max) {}

  void handle_event(Instant now, WallTime wall, const tcp::Event& event);
  /// A flow that did not come out of the TUN: `id` has kLocalFlowBit and is new, `to` has a port, `side` outlives the
  /// flow. Its events come by handle_event() too.
  void open(Instant now, WallTime wall, tcp::FlowId id, const Destination& to, ApplicationSide& side);
  void handle_event(Instant now, const session::Event& event);
  void handle_event(Instant now, const PeerEvent& event);
  /// Flows of Resources that are gone or changed, or of networks without a lease, end now.
  void handle_changes(Instant now, const DirectoryChanges& changes);
  /// While unsettled, a missing instance or relay may still come: such flows are held, up to peer_deadline.
  void set_unsettled(Instant now, bool unsettled);
  /// What held flows wait for may have come.
  void retry_held(Instant now);
  /// How many flows are held.
  [[nodiscard]] std::size_t held() const { return placement_.held(); }
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  void abort_all(Instant now);

  [[nodiscard]] std::size_t size() const { return flows_.size(); }
  /// The newest living flows, then the ones that ended last; at most `living_max` and FlowsConfig::ended_max.
  [[nodiscard]] std::vector<FlowInfo> list(Instant now, std::size_t living_max) const;
  [[nodiscard]] std::size_t opened() const { return opened_; }
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)>& refusals() const {
    return refusals_;
  }

 private:
  using Stage = FlowStage;
  using Order = FlowPlacement::Order;

  struct Flow : PlacedFlow {  // key is that of `id`
    tcp::FlowId id;
    ApplicationSide* side = nullptr;
    bool app_finished = false;
    bool target_finished = false;
    bool target_reset = false;    ///< its RST is passed on behind the bytes that came before it
    std::size_t withheld = 0;     ///< received from the application, window not granted yet
    std::size_t undelivered = 0;  ///< sent to the application, and not acknowledged by its kernel
    FlowMeter meter;
  };

  // flow life
  void start(Instant now, tcp::FlowId id, ApplicationSide& side, const Destination& to,
             std::expected<FlowTarget, FlowRefusal> target);
  void place(Instant now, Flow& flow) { obey(now, flow, placement_.place(now, flow)); }
  void obey(Instant now, Flow& flow, Order order);
  void refuse(Instant now, Flow& flow, FlowRefusal reason, std::optional<tcp::Refusal> answer = {});
  void abort(Instant now, Flow& flow, std::uint64_t code);
  void forget(Instant now, const Flow& flow, std::string_view how);

  // application → target
  void handle_data(Instant now, Flow& flow, const Slice& bytes);
  void handle_writable(Instant now, Flow& flow);
  void note_received(Instant now, Flow& flow, std::size_t bytes);
  // target → application
  void handle_readable(Instant now, Flow& flow);
  void accept_before_reset(Instant now, Flow& flow);
  [[nodiscard]] bool read_reply(Instant now, Flow& flow, Slice& slice);
  void pump_to_application(Instant now, Flow& flow);
  void send_to_application(Instant now, Flow& flow, Slice bytes);
  void handle_reset(Instant now, Flow& flow, std::uint64_t code);
  void settle_reset(Instant now, Flow& flow);
  void finish_application(Instant now, Flow& flow);

  template <typename Predicate>
  [[nodiscard]] std::vector<tcp::FlowId> select(Predicate predicate) const;
  [[nodiscard]] Flow* find(tcp::FlowId id);

  FlowsConfig config_;
  Parts parts_;
  FlowPlacement placement_;
  std::unordered_map<tcp::FlowId, Flow> flows_;
  /// Not yet open flows in the order of their arrival; ids of flows that went on are skipped when they come up.
  std::deque<std::pair<Instant, tcp::FlowId>> new_;
  std::deque<std::pair<Instant, tcp::FlowId>> opening_;  ///< those past peer_deadline
  std::deque<std::pair<Instant, tcp::FlowId>> resets_;   ///< flows with target_reset, the oldest first
  std::size_t opened_ = 0;
  EndedFlows ended_;
  std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)> refusals_{};
};

}  // namespace postern::client
