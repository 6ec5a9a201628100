// Which instance takes a new flow, and its stream there; the same for TCP (Flows), UDP and ICMP (DatagramFlows).
//
// A flow waits for its peer (Waiting), sends FlowHead and waits for the connector's answer (Opening), then carries
// bytes (Open). Until it is open it may still go to another instance; after that its fate is its session's. One for
// which there is no instance, or no relay, is refused at once when that is certain, and held when the news are young or
// cut off (set_unsettled), or when the successor of an instance that has just left may come.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "client_core/flow_target.hpp"
#include "client_core/peers.hpp"

namespace postern::client {

/// Codes of RESET_STREAM (PROTOCOL.md §4.4).
inline constexpr std::uint64_t kResetByApplication = 0x10;
inline constexpr std::uint64_t kResetRevoked = 0x11;

enum class FlowStage : std::uint8_t { Waiting, Opening, Open };
[[nodiscard]] std::string_view to_string(FlowStage stage);

/// The part of a flow that placing is about.
struct PlacedFlow {
  std::uint64_t key = 0;  ///< the owner's, never reused
  FlowTarget target;
  FlowStage stage = FlowStage::Waiting;
  model::InstanceId instance;  ///< 0: none yet, or held
  session::SessionId session;
  session::StreamId stream;
  wire::LengthPrefixedReader reply{wire::kFlowMessageMax};
  std::vector<model::InstanceId> tried;
};

class FlowPlacement {
 public:
  /// All outlive this object. A held flow looks again for an instance at least every `held_interval`.
  FlowPlacement(Duration held_interval, Peers& peers, session::Endpoint& sessions, BlockPool& pool)
      : held_interval_(held_interval), peers_(peers), sessions_(sessions), pool_(pool) {}

  /// What the owner has to do with a flow now.
  enum class Order : std::uint8_t {
    None,    ///< it waits for its peer, or is held
    Open,    ///< call open()
    Refuse,  ///< nobody takes it: what_is_missing() says why
    Move,    ///< call leave() and place()
    End,     ///< its session is gone
    Revoke,  ///< the connector has taken all access away
  };
  /// Gives the flow an instance, and connects to it if need be.
  [[nodiscard]] Order place(Instant now, PlacedFlow& flow);
  [[nodiscard]] FlowRefusal what_is_missing() const;
  /// Opens the stream and says what is wanted; false at a bound.
  [[nodiscard]] bool open(Instant now, PlacedFlow& flow);
  /// Before the answer is known: gives up the stream, if there is one, and the place at the instance, which is not
  /// tried again.
  void leave(PlacedFlow& flow);
  /// Whether an instance that answers so is to be left for another one.
  [[nodiscard]] bool is_to_move(Instant now, const PlacedFlow& flow, const FlowVerdict& verdict);
  /// Forgets the flow; what becomes of its stream is the owner's business.
  void release(const PlacedFlow& flow);

  [[nodiscard]] std::optional<std::uint64_t> find(session::SessionId session, session::StreamId stream) const;
  /// The flow of the event's stream; nothing for events of sessions.
  [[nodiscard]] std::optional<std::uint64_t> find(const session::Event& event) const;
  [[nodiscard]] Order order_for(Instant now, const PlacedFlow& flow, const PeerEvent& event) const;

  /// While unsettled, a missing instance or relay may still come. True when held flows are to be placed again.
  [[nodiscard]] bool set_unsettled(bool unsettled);
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  [[nodiscard]] bool is_held(const PlacedFlow& flow) const { return held_.contains(flow.key); }
  /// Those that are to be placed again.
  [[nodiscard]] std::vector<std::uint64_t> take_held();
  /// When held flows are to be placed again at the latest.
  [[nodiscard]] std::optional<Instant> next_look() const { return next_look_; }

 private:
  using StreamKey = std::pair<std::uint64_t, std::int64_t>;
  [[nodiscard]] static StreamKey stream_key(const PlacedFlow& flow) { return {flow.session.value, flow.stream.value}; }
  [[nodiscard]] bool has_other(Instant now, const PlacedFlow& flow) const {
    return peers_.has_other(now, flow.target.remote_network, flow.instance, flow.tried);
  }

  Duration held_interval_;
  Peers& peers_;
  session::Endpoint& sessions_;
  BlockPool& pool_;
  std::map<StreamKey, std::uint64_t> by_stream_;
  std::set<std::uint64_t> held_;
  std::optional<Instant> next_look_;
  bool unsettled_ = false;
};

}  // namespace postern::client
