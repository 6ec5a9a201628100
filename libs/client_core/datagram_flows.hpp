// Joins the UDP packets and echo requests of applications to flows of sessions (PROTOCOL.md §4.4).
//
// Each pair of addresses and ports, or of addresses and echo identifier, is one flow. FlowPlacement finds its instance;
// datagrams leave from Opening on, and are kept until the answer has come, because another instance may have to take
// the flow. A flow ends without a word when it is idle or its session is lost; the next packet opens another one. What
// is refused, or told by the target's network, comes back to the application as the ICMP error that a router would
// send.
#pragma once

#include <array>
#include <deque>
#include <expected>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/timer_wheel.hpp"
#include "client_core/flow_target.hpp"
#include "client_core/flows.hpp"
#include "session/datagram_backlog.hpp"
#include "tcp/types.hpp"
#include "wire/packet.hpp"

namespace postern::client {

struct DatagramFlowsConfig {
  /// At it the one that was silent longest gives way. Below the connector's bound (4096): an end and a beginning may
  /// pass each other on their way.
  std::size_t flows_max = 3072;
  // Without traffic (RFC 4787 REQ-5: at least 2 min, less for well-known ports).
  Duration udp_idle = std::chrono::minutes(2);
  Duration dns_idle = std::chrono::seconds(30);
  Duration icmp_idle = std::chrono::seconds(30);
  std::size_t ended_max = 64;    ///< that are remembered: a resolver makes hundreds a minute
  std::uint16_t mtu = 1500;      ///< of the TUN
  bool joins_datagrams = false;  ///< the TUN takes trains (USO)
};

/// The two ends as the application sees them. For ICMP the port of the source is the identifier, the other one 0.
struct DatagramTuple {
  model::Protocol protocol = model::Protocol::Udp;
  SocketAddress source;
  SocketAddress destination;
  std::uint64_t program = 0;  ///< not of the TUN: whose datagrams they are (LocalDatagrams); the source means nothing
  bool operator==(const DatagramTuple&) const = default;
};
struct DatagramTupleHash {
  std::size_t operator()(const DatagramTuple& tuple) const noexcept {
    const std::hash<SocketAddress> hash;
    const std::size_t ends = hash(tuple.source) * 31 + hash(tuple.destination);
    return (ends * 31 + static_cast<std::size_t>(tuple.protocol)) * 31 + std::hash<std::uint64_t>()(tuple.program);
  }
};

/// Packets of an application: payloads of `stride` bytes each, the last may be shorter; empty is one empty payload. Of
/// ICMP `[sequence: 2][data]`.
struct DatagramsOut {
  DatagramTuple tuple;
  Slice payload;
  std::size_t stride = 0;
  bool dont_fragment = false;
};

/// Datagrams that have come for a program which is not behind the TUN: `stride` bytes each.
struct LocalDatagrams {
  std::uint64_t program = 0;
  Destination from;
  Slice payload;
  std::size_t stride = 1;
};

/// Headers of a packet of the application as an ICMP error quotes them; `size` and `sequence` are those of its payload.
[[nodiscard]] Bytes quote_of(const DatagramTuple& tuple, std::size_t size, std::uint16_t sequence);

class DatagramFlows {
 public:
  static constexpr std::size_t kTrainsMax = 4096;
  static constexpr std::size_t kErrorsMax = 256;
  /// What every packet may have, whatever the path takes: the least that IPv6 promises.
  static constexpr std::size_t kPacketMin = 1280;

  /// All outlive this object.
  struct Parts {
    const Directory& directory;
    resolver::AddressPool& addresses;
    Peers& peers;
    session::Endpoint& sessions;
    BlockPool& pool;
  };

  DatagramFlows(DatagramFlowsConfig config, FlowsConfig waiting, Parts parts)
      : config_(config),
        waiting_(waiting),
        parts_(parts),
        placement_(waiting.held_interval, parts.peers, parts.sessions, parts.pool),
        ended_(config.ended_max) {}

  void handle_packets(Instant now, WallTime wall, DatagramsOut packets);
  /// Of any session; what is not ours is left alone.
  void handle_event(Instant now, const session::Event& event);
  void handle_event(Instant now, const PeerEvent& event);
  void handle_changes(Instant now, const DirectoryChanges& changes);
  void set_unsettled(Instant now, bool unsettled);
  void retry_held(Instant now);
  [[nodiscard]] std::size_t held() const { return placement_.held(); }
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  void end_all(Instant now);

  /// The next packet for the TUN; false when there is none.
  [[nodiscard]] bool poll_packet(tcp::Packet& packet);
  [[nodiscard]] std::optional<LocalDatagrams> poll_local();
  /// The program is gone.
  void end_program(Instant now, std::uint64_t program);
  /// The next ICMP error for the TUN, a whole packet.
  [[nodiscard]] std::optional<Bytes> poll_error();

  [[nodiscard]] std::size_t size() const { return flows_.size(); }
  /// Living ones that were active last, at most `living_max`, and then those that ended last.
  [[nodiscard]] std::vector<FlowInfo> list(Instant now, std::size_t living_max) const;
  [[nodiscard]] std::size_t opened() const { return opened_; }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)>& refusals() const {
    return refusals_;
  }

 private:
  using Stage = FlowStage;
  using Order = FlowPlacement::Order;
  using FlowKey = std::uint64_t;  ///< never reused

  struct Flow : PlacedFlow {
    DatagramTuple tuple;
    session::DatagramBacklog backlog;  ///< until it is open
    Instant active;
    FlowMeter meter;
    std::size_t last_size = 0;        ///< of the payload sent last, for errors about it
    std::uint16_t last_sequence = 0;  ///< the same, of an echo
    TimerId timer;
  };
  using List = std::list<Flow>;

  [[nodiscard]] Flow* find(FlowKey key);
  [[nodiscard]] std::expected<Flow*, FlowRefusal> start(Instant now, WallTime wall, const DatagramTuple& tuple);
  void place(Instant now, Flow& flow) { obey(now, flow, placement_.place(now, flow)); }
  void obey(Instant now, Flow& flow, Order order);
  void open(Instant now, Flow& flow);
  void refuse(Instant now, Flow& flow, FlowRefusal reason, std::optional<tcp::Refusal> answer = {});
  /// Gives up the stream and forgets the flow, but for what people are told of it.
  void end(Instant now, Flow& flow, std::optional<std::uint64_t> reset_code, std::string_view how);
  void finish(Instant now, Flow& flow) { end(now, flow, {}, "closed"); }
  void reset(Instant now, Flow& flow, std::uint64_t code = kResetByApplication) { end(now, flow, code, "reset"); }
  void expire(Instant now, Flow& flow);
  [[nodiscard]] Duration idle_time(const Flow& flow) const;

  void keep(Flow& flow, const DatagramsOut& packets);
  void send(Instant now, Flow& flow, Slice payload, std::size_t stride);
  [[nodiscard]] bool is_too_big(Instant now, const Flow& flow, const DatagramsOut& packets);
  void read_control(Instant now, Flow& flow);
  /// False when the flow is gone.
  [[nodiscard]] bool handle_reply(Instant now, Flow& flow, const DatagramReply& reply);
  void read_datagrams(Instant now, session::SessionId session);

  void tell(const DatagramTuple& tuple, std::size_t size, std::uint16_t sequence, tcp::Refusal answer);
  [[nodiscard]] bool build(tcp::Packet& packet, const DatagramTuple& tuple, Slice payload, std::size_t stride);
  [[nodiscard]] bool build_echo_reply(tcp::Packet& packet, const DatagramTuple& tuple, const Slice& payload);
  template <typename Predicate>
  [[nodiscard]] std::vector<FlowKey> select(Predicate predicate) const;

  DatagramFlowsConfig config_;
  FlowsConfig waiting_;
  Parts parts_;
  FlowPlacement placement_;
  List flows_;  ///< the one that was silent longest first
  std::unordered_map<FlowKey, List::iterator> by_key_;
  std::unordered_map<DatagramTuple, FlowKey, DatagramTupleHash> by_tuple_;
  TimerWheel timers_;
  EndedFlows ended_;
  FlowKey next_key_ = 1;

  struct Incoming {
    DatagramTuple tuple;
    Slice payload;
    std::size_t stride = 1;
  };
  std::deque<Incoming> incoming_;
  std::deque<LocalDatagrams> local_;
  std::deque<Bytes> errors_;
  std::uint16_t next_identification_ = 1;
  std::size_t opened_ = 0;
  std::uint64_t dropped_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)> refusals_{};
};

}  // namespace postern::client
