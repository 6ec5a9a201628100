// The client without IO: packets of the TUN, datagrams of the relay and messages of the controller come in; packets,
// datagrams, messages and things to do for the owner come out.
//
// This object only routes. What it routes between:
//
//     TUN ──▶ tcp::Endpoint ◀──▶ Flows ◀──▶ session::Endpoint ──▶ relay
//      └────▶ DnsFront             │              ▲
//                              Directory ──▶ Peers┤        RelayLink ──▶ relay
//                                       DirectPaths ────── checks ─────▶ connectors
//
// A turn: handle_* for everything that has come, settle(), then poll_* until each gives nothing.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client_core/datagram_flows.hpp"
#include "client_core/direct_paths.hpp"
#include "client_core/directory.hpp"
#include "client_core/dns_front.hpp"
#include "client_core/explanation.hpp"
#include "client_core/flows.hpp"
#include "client_core/fragments.hpp"
#include "client_core/peers.hpp"
#include "client_core/relay_link.hpp"
#include "client_core/route_plan.hpp"
#include "client_core/status.hpp"
#include "resolver/routing_domains.hpp"
#include "schema/control.pb.h"
#include "wire/packet.hpp"
#include "wire/vnet_header.hpp"

namespace postern::client {

struct ClientConfig {
  session::Credentials credentials;
  Digest device{};          ///< of the credentials' key
  std::string software;     ///< "postern/0.1.0 linux"
  std::string server_host;  ///< never answered with a virtual address
  std::string proxy_host;   ///< the same; empty without a proxy, or with one that is given by address
  resolver::VirtualNetwork network;
  std::uint16_t mtu = 1500;
  bool ipv6 = true;  ///< whether names get AAAA answers: not where the host has IPv6 switched off
  session::Limits session_limits;
  std::uint16_t udp_payload_max = 1452;  ///< or session::kJumboPayload where this host's network has such frames
  PeersConfig peers;
  FlowsConfig flows;
  DirectPathsConfig direct;
  bool joins_datagrams = false;  ///< the TUN takes trains of UDP datagrams
  std::uint32_t receive_window = 2U << 20;
  std::uint32_t send_buffer = 4U << 20;
};

// --- what the owner has to do --------------------------------------------------------------------------------------

struct SendToController {
  wire::AgentMessage message;
};
/// wanted_routes() has changed.
struct RoutesChanged {};
/// The update did not fit what is held: ask for a full one (known version 0) and connect again.
struct NeedFullUpdate {};
/// Somebody waits for what only the controller knows: connect now rather than after the next pause.
struct ReconnectControl {};
struct Note {
  bool is_warning = false;
  std::string text;
};
using ClientOutput = std::variant<SendToController, RoutesChanged, NeedFullUpdate, ReconnectControl, Note>;

enum class PacketDrop : std::uint8_t {
  MalformedPacket,
  Fragment,             ///< of TCP, or of a packet that never became whole
  UnsupportedProtocol,  ///< neither TCP, UDP nor an echo request, answered with ICMP
  MalformedUdp,
  ForeignSource,    ///< a datagram that is neither from the relay nor a session's
  UnknownDatagram,  ///< neither STUN nor QUIC
  NoRoute,          ///< QUIC before the controller has given a route
  ReplyQueueFull,
  UnknownControlMessage,
  LocalNoResource,  ///< a program's datagram to a name of no resource, or before there is a route
  kCount
};

class Client {
 public:
  static constexpr Duration kHeartbeat = std::chrono::seconds(10);
  /// So long after the controller or the relay has come back, or the network has changed, others may still be coming
  /// back too: what is missing then is waited for.
  static constexpr Duration kSettleTime = std::chrono::seconds(5);
  /// Between two wishes for the control channel.
  static constexpr Duration kReconnectInterval = std::chrono::seconds(1);
  static constexpr std::size_t kRepliesMax = 1024;
  /// Of route_notes(); further ones are left out.
  static constexpr std::size_t kNotesMax = 64;

  /// `pool` and `random` outlive the client.
  Client(ClientConfig config, BlockPool& pool, RandomSource& random);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // --- control channel -----------------------------------------------------------------------------------------------
  void handle_control_up(Instant now);
  /// `reason` is one sentence for people.
  void handle_control_down(Instant now, std::string reason);
  void handle_control_message(Instant now, const wire::ControllerMessage& message);
  [[nodiscard]] std::uint64_t known_version() const { return directory_.version(); }
  /// The route that this process holds, for Authenticate; nothing before the first Welcome.
  [[nodiscard]] const std::optional<RouteId>& route() const { return route_; }

  // --- TUN and relay -------------------------------------------------------------------------------------------------
  void handle_tun_packet(Instant now, ByteView vnet, Slice packet);
  /// One received train; the bytes may be changed.
  void handle_train(Instant now, const SocketAddress& from, MutableBytes bytes, std::size_t stride, std::uint8_t ecn);
  void handle_timeout(Instant now);
  void handle_network_change(Instant now);
  /// The addresses of this host but those of our TUN, and the port of the UDP socket: what direct paths start from.
  void set_host_addresses(std::vector<path::Interface> interfaces, std::uint16_t port);
  /// The port of this host's router that leads to our socket, while there is one.
  void set_mapped_port(const std::optional<SocketAddress>& mapped);
  /// How the relay sees our socket; nothing while it does not.
  [[nodiscard]] std::optional<SocketAddress> reflexive_address() const { return relay_.mapped_address(); }
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  /// Does what the packets and messages since the last call ask for.
  void settle(Instant now);
  /// The next packet for the TUN; false when there is none.
  [[nodiscard]] bool poll_tun(Instant now, tcp::Packet& packet);
  /// The next train for the relay, written into `buffer` (at least 64 KiB, page-aligned).
  [[nodiscard]] std::optional<session::Transmit> poll_transmit(Instant now, MutableBytes buffer);
  [[nodiscard]] std::optional<ClientOutput> poll_output();

  // --- streams that are no packets of the TUN (a local proxy) --------------------------------------------------------
  /// Flows::open(); refused at once while the controller has given no route.
  void open_flow(Instant now, tcp::FlowId id, const Destination& to, ApplicationSide& side);
  /// What the application of such a flow did; settle() afterwards.
  void handle_application_event(Instant now, const tcp::Event& event);

  /// A payload of a program that talks UDP through us without the TUN (SOCKS5); settle() afterwards. `program` is not
  /// 0.
  void handle_local_datagram(Instant now, std::uint64_t program, const Destination& to, Slice payload);
  void end_program(Instant now, std::uint64_t program);
  [[nodiscard]] std::optional<LocalDatagrams> poll_local_datagrams();

  /// Questions for other name servers and their answers; settle() afterwards.
  [[nodiscard]] resolver::Forwarder& forwarder() { return dns_.forwarder(); }
  [[nodiscard]] resolver::AddressPool& addresses() { return addresses_; }
  [[nodiscard]] const resolver::VirtualNetwork& network() const { return addresses_.network(); }
  /// True once the controller has said what there is.
  [[nodiscard]] bool is_loaded() const { return directory_.is_loaded(); }

  // --- relay link ----------------------------------------------------------------------------------------------------
  /// The link over TLS that shall be open. Datagrams to its name go into it, and come from it with that as their
  /// source.
  [[nodiscard]] std::optional<wire::WantedLink> wanted_link() const { return relay_.wanted_link(); }
  void handle_link_open(Instant now, const SocketAddress& link) { relay_.handle_link_open(now, link); }
  void handle_link_closed(Instant now, const SocketAddress& link, const std::string& reason) {
    relay_.handle_link_closed(now, link, reason);
  }

  /// Since when the controller is away; nothing while it is there, or before the first attempt has failed.
  [[nodiscard]] std::optional<Instant> controller_lost_at() const { return control_lost_at_; }
  // --- state ---------------------------------------------------------------------------------------------------------
  [[nodiscard]] std::vector<IpPrefix> wanted_routes() const;
  /// Inside of them, what stays outside (PROTOCOL.md §4.7).
  [[nodiscard]] std::vector<IpAddress> bypassed_addresses() const;
  /// What a host's resolver that routes by domain has to send to us; not the server's own name, unless it is below one.
  [[nodiscard]] resolver::RoutingDomains routing_domains() const;
  /// Addresses of relays, which must never be routed into the TUN.
  [[nodiscard]] std::vector<IpAddress> relay_addresses() const;
  [[nodiscard]] ClientState state(Instant now) const;
  [[nodiscard]] ClientStatus status(Instant now) const;
  /// Living flows, at most `living_max`, the newest first, and those that ended last.
  [[nodiscard]] FlowList flows(Instant now, std::size_t living_max) const;
  /// What the TUN should be given, and what never (runtime's part: plan_routes, then the kernel).
  [[nodiscard]] RouteRequest route_request(const HostFacts& host) const;
  /// What would become of a TCP connection to there, now. Changes nothing and sends nothing.
  [[nodiscard]] Explanation explain(Instant now, const Destination& destination, const HostFacts& host) const;
  /// Resources whose addresses are (partly) not reached through the TUN on this host, one sentence each.
  [[nodiscard]] std::vector<std::string> route_notes(const HostFacts& host) const;
  /// Ends all sessions and flows (disconnect, sign-out).
  void close(Instant now);

 private:
  /// Everything that hangs on the route id of this process.
  struct DataPlane;
  class Explainer;

  void handle_welcome(Instant now, const wire::Welcome& welcome);
  void handle_client_update(Instant now, const wire::ClientUpdate& update);
  void adopt_route(Instant now, const RouteId& route);
  void settle_relay(Instant now);
  void settle_held(Instant now);
  void settle_questions(Instant now);
  bool collect_records(Instant now);
  void settle_paths(Instant now);
  void handle_path_event(Instant now, const PeerEvent& event);
  void handle_direct_train(Instant now, const SocketAddress& from, MutableBytes bytes, std::size_t stride,
                           std::uint8_t ecn);
  /// Whether what is missing may still come: the news are young, or cut off.
  [[nodiscard]] bool is_unsettled(Instant now) const { return !control_up_ || now < settled_at_; }
  void settle_events(Instant now);
  void handle_session_event(Instant now, const session::Event& event);
  void handle_tcp_event(Instant now, const tcp::Event& event);
  void send_heartbeat(Instant now);

  void handle_fragment(Instant now, const wire::IpView& ip);
  /// `packet` is what `ip` looks into.
  void handle_udp(Instant now, ByteView vnet, const wire::IpView& ip, const Slice& packet, bool dont_fragment);
  void handle_icmp(Instant now, ByteView vnet, const wire::IpView& ip, const Slice& packet, bool dont_fragment);
  void handle_resolver_udp(Instant now, const wire::VnetHeader& header, const wire::IpView& ip,
                           const wire::UdpView& udp);
  void refuse_packet(const wire::IpView& ip, wire::Unreachable kind);
  void queue_reply(ByteView packet);
  void queue_errors();

  [[nodiscard]] WallTime wall(Instant now) const;
  [[nodiscard]] bool has_valid_lease(Instant now) const;
  [[nodiscard]] std::string reason(Instant now) const;
  void collect_drops(ClientStatus& status) const;
  [[nodiscard]] std::vector<ResourceStatus> resource_status(Instant now) const;
  [[nodiscard]] std::string remote_text(const SocketAddress& remote) const;
  [[nodiscard]] std::vector<SessionStatus> session_status() const;
  void count(PacketDrop why) { ++drops_[static_cast<std::size_t>(why)]; }

  ClientConfig config_;
  BlockPool& pool_;
  RandomSource& random_;
  Directory directory_;
  resolver::AddressPool addresses_;
  tcp::Endpoint tcp_;
  ResourceNames names_;
  DnsFront dns_;
  RelayLink relay_;
  Fragments fragments_;
  std::optional<RouteId> route_;
  std::unique_ptr<DataPlane> plane_;

  bool control_up_ = false;
  std::string control_failure_;  ///< why it is down; empty while the first attempt runs
  std::optional<Instant> control_lost_at_;
  Duration wall_offset_{};  ///< network time since the epoch at Instant 0
  std::string network_;
  std::string network_name_;
  std::string account_;
  std::string device_name_;
  std::optional<Instant> next_heartbeat_;
  bool was_bound_ = false;
  path::LocalView local_;
  Instant settled_at_{};
  bool told_unsettled_ = false;  ///< what flows were told last
  Instant next_reconnect_{};

  std::deque<ClientOutput> outputs_;
  std::deque<Bytes> replies_;  ///< whole IP packets for the TUN
  Bytes scratch_;
  std::array<std::uint64_t, static_cast<std::size_t>(PacketDrop::kCount)> drops_{};
};

}  // namespace postern::client
