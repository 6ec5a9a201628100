// A connected client: the core joined to TUN, UDP socket, control channel and the host's routes and DNS. Without a TUN
// (proxy mode) it changes nothing on the host, and only local streams lead to it.
//
// It lives from connect to disconnect, on the data thread. A turn reads what has come (within a budget, so that TUN and
// network take turns), lets the core settle, and writes everything that came out of it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/block.hpp"
#include "client_core/client.hpp"
#include "runtime/http/agent_links.hpp"
#include "runtime/http/control_client.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/os/idle_memory.hpp"
#include "runtime/os/log.hpp"
#include "runtime/tun/routing.hpp"
#include "runtime/udp/network_monitor.hpp"
#include "runtime/udp/port_mapping.hpp"
#include "runtime/udp/udp_socket.hpp"
#include "services/client/dns/dns_keeper.hpp"
#include "services/client/host_view.hpp"
#include "services/client/io_buffer.hpp"
#include "services/client/proxy/local_streams.hpp"
#include "services/client/proxy/udp_associations.hpp"
#include "services/client/state_store.hpp"
#include "services/client/tun_link.hpp"
#include "services/client/upstream_dns.hpp"

namespace postern::client {

struct EngineConfig {
  SignIn sign_in;
  identity::PrivateKey key;
  std::string tun_name;  ///< empty: no TUN
  std::string software;
  std::vector<IpPrefix> avoid{};               ///< what the range of virtual addresses collided with before
  bool keeps_range = false;                    ///< no better range exists
  bool maps_port = true;                       ///< the router is asked for a port
  std::vector<std::string> proxy_addresses{};  ///< of a proxy that is given by name
};

/// Why an engine cannot go on by itself.
struct EngineEnded {
  enum class Kind : std::uint8_t {
    SignInEnded,  ///< the server does not know this device (any more): a person must sign in
    Refused,      ///< final for another reason
    Restart,      ///< the virtual range collides with something new, or the state has to be fetched afresh
  };
  Kind kind = Kind::Refused;
  std::string reason;
  std::vector<IpPrefix> avoid{};  ///< Restart: for EngineConfig
};

class Engine final : public runtime::TurnParticipant {
 public:
  struct Parts {
    runtime::EventLoop& loop;
    runtime::Logger& log;
    RandomSource& random;
    BlockPool& pool;
    const StateStore& store;
    DnsKeeper& dns;
    LocalStreams& streams;
    UdpAssociations& associations;
  };
  using Ended = std::function<void(EngineEnded)>;

  /// `ended` is called on the loop, in a task of its own.
  [[nodiscard]] static std::expected<std::unique_ptr<Engine>, Problem> start(EngineConfig config, Parts parts,
                                                                             Ended ended);
  ~Engine() override;

  /// Also looks at the kernel's routes.
  [[nodiscard]] ClientStatus status();
  [[nodiscard]] std::optional<Instant> controller_lost_at() const { return client_.controller_lost_at(); }
  /// The server's name has other addresses now; they are tried at once.
  void set_server_addresses(std::vector<std::string> addresses);
  /// The proxy's name has these addresses now.
  void set_proxy_addresses(std::vector<std::string> addresses);
  [[nodiscard]] Explanation explain(const Destination& destination) const;
  [[nodiscard]] FlowList flows(std::size_t living_max) const;
  /// What the keeper found.
  void handle_dns(DnsReport report);
  /// Says goodbye to the connectors, restores DNS. The destructor does the rest.
  void stop();

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  Engine(EngineConfig config, Parts parts, Ended ended, runtime::Routing routing, std::optional<TunLink> tun,
         runtime::UdpSocket udp, ClientConfig client);

  void start_control();
  void handle_control(runtime::ControlEvent event);
  void handle_control_down(const runtime::ControlDown& down);
  void end(EngineEnded::Kind kind, std::string reason, std::vector<IpPrefix> avoid = {});

  // data
  void read_tun(Instant now);
  void read_udp(Instant now);
  void write_tun(Instant now);
  void write_udp(Instant now);
  void serve_streams(Instant now);
  void read_associations(Instant now);
  void write_associations(Instant now);
  [[nodiscard]] runtime::AgentLinks::Events link_events();
  void follow_link();
  void handle_outputs(Instant now);

  // host
  void look_at_host(Instant now);
  void look_at_addresses();
  void follow_mapping();
  void handle_mapping_changed();
  void add_mapping(ClientStatus& status) const;
  void apply_routes();
  void apply_dns();
  void save_names(Instant now);
  [[nodiscard]] HostFacts host_facts() const;

  EngineConfig config_;
  Parts parts_;
  Ended ended_;
  runtime::Routing routing_;
  std::optional<TunLink> tun_;
  runtime::UdpSocket udp_;
  Client client_;
  runtime::AgentLinks links_;
  UpstreamDns upstream_;
  std::unique_ptr<runtime::ControlClient> control_;
  HostView host_;
  DnsReport dns_report_;
  /// Until then the host's DNS is being set up for the first time, and names of resources lead nowhere yet.
  std::optional<Instant> dns_awaited_until_;
  bool is_dns_wanted_ = false;
  std::size_t domains_left_out_ = 0;

  IoBuffer receive_buffer_;
  IoBuffer transmit_buffer_;
  Buffer tun_block_;
  tcp::Packet packet_;
  bool tun_readable_ = true;
  bool udp_readable_ = true;
  bool routes_dirty_ = false;
  bool has_ended_ = false;
  bool is_stopped_ = false;
  ClientState reported_ = ClientState::Connecting;
  std::string last_failure_;
  std::uint64_t saved_generation_ = 0;
  Instant next_look_;
  std::optional<Instant> next_save_;
  std::optional<runtime::NetworkMonitor> monitor_;
  std::optional<runtime::PortMapping> mapping_;
  std::optional<SocketAddress> reflexive_;  ///< the last one
  runtime::IdleMemory memory_{parts_.pool};
};

}  // namespace postern::client
