// postern-connector, joined: the core, one UDP socket, relays, targets, names, the control channel, health.
//
// One thread runs the loop and owns everything here; the control channel has a thread of its own and posts its events.
// A turn: handlers read packets into the endpoint; end_turn() drains sessions into the core and the core's requests
// into sockets, reads targets, and sends what all that produced as trains.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "connector_core/connector.hpp"
#include "connector_core/endpoint_port.hpp"
#include "connector_core/relay_bindings.hpp"
#include "runtime/dns/resolver.hpp"
#include "runtime/http/agent_links.hpp"
#include "runtime/http/control_client.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/os/idle_memory.hpp"
#include "runtime/os/log.hpp"
#include "runtime/os/random.hpp"
#include "runtime/udp/network_monitor.hpp"
#include "runtime/udp/port_mapping.hpp"
#include "runtime/udp/udp_socket.hpp"
#include "services/connector/datagram_sockets.hpp"
#include "services/connector/flow_log.hpp"
#include "services/connector/health.hpp"
#include "services/connector/settings.hpp"
#include "services/connector/target_sockets.hpp"

namespace postern::connector {

class ConnectorService final : private runtime::TurnParticipant {
 public:
  /// `loop` and `log` outlive it. `software` is what it calls itself.
  ConnectorService(runtime::EventLoop& loop, runtime::Logger& log, ConnectorSettings settings, std::string software);
  ~ConnectorService() override;
  ConnectorService(const ConnectorService&) = delete;
  ConnectorService& operator=(const ConnectorService&) = delete;

  /// Opens the UDP socket and the health listeners and starts the control channel.
  [[nodiscard]] std::expected<void, Failure> start();
  /// First: no new flows, and the end as soon as the running ones are done, in 3 s at the latest. Again: at once.
  void stop();
  /// Why the loop was stopped; nothing after an ordinary stop().
  [[nodiscard]] const std::optional<Failure>& failure() const { return failure_; }

  [[nodiscard]] Health health() const;

 private:
  enum class State : std::uint8_t { Offline, Authentication, Online, Error };

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

  // Packets (connector_packets.cpp)
  void receive_packets(Instant now);
  enum class DatagramKind : std::uint8_t { Stun, Quic, Other };
  [[nodiscard]] static DatagramKind kind_of(std::uint8_t first);
  /// One received train with its bytes.
  struct Train {
    SocketAddress from;
    MutableBytes bytes;
    std::size_t stride = 0;
    std::uint8_t ecn = 0;
  };
  void handle_train(Instant now, const Train& train);
  void handle_run(Instant now, DatagramKind kind, const Train& run);
  void send(Instant now, const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn);
  [[nodiscard]] runtime::AgentLinks::Events link_events();
  void follow_links();
  void pump(Instant now);
  void transmit(Instant now);
  void handle_request(Instant now, const Request& request);
  /// Tells the core where this host may be reached.
  void look_at_host(Instant now);
  void handle_mapping_changed();
  void resolve(const ResolveName& request);
  void resolve(const AskNameServer& request);

  // The control channel (connector_control.cpp)
  void start_control();
  void handle_control(runtime::ControlEvent event);
  void handle_down(const runtime::ControlDown& down);
  void handle_message(Instant now, const wire::ControllerMessage& message);
  void handle_welcome(Instant now, const wire::Welcome& welcome);
  [[nodiscard]] bool is_ours(const wire::Welcome& welcome);
  void use_route(Instant now, const wire::Welcome& welcome);
  void handle_update(Instant now, const wire::ConnectorUpdate& update);
  void handle_server_time(Instant now, std::int64_t server_time_ms, Duration age);
  void send_heartbeat(Instant now);
  void restart_control(const char* why);

  void start_health();
  void handle_bindings_changed();
  void handle_relay_note(const RelayNote& note);
  void handle_relay_proven(const SocketAddress& relay);
  void handle_network_changed();
  void set_state(State state, const std::string& reason);
  void update_state(Instant now);
  void tell(Instant now);
  void log_report(const FlowReport& report);
  [[nodiscard]] std::optional<LocalPage> page(std::string_view path) const;
  [[nodiscard]] std::string metrics() const;
  void fail(config::ExitCode code, std::string message);
  void stop_when_done(Instant now);
  [[nodiscard]] std::optional<Instant> housekeeping() const;
  void keep_house(Instant now);

  runtime::EventLoop& loop_;
  runtime::Logger& log_;
  ConnectorSettings settings_;
  std::string software_;
  std::string process_;  ///< hex name of this process in analytics
  runtime::KernelRandom random_;
  identity::PrivateKey key_;
  BlockPool pool_;
  EndpointPort port_;
  Connector core_;
  std::optional<runtime::UdpSocket> udp_;
  std::unique_ptr<session::Endpoint> endpoint_;
  RouteId route_;
  TargetSockets targets_;
  DatagramSockets datagrams_;
  runtime::Resolver resolver_;
  RelayBindings relays_;
  runtime::AgentLinks links_;
  std::unique_ptr<runtime::ControlClient> control_;
  runtime::NetworkMonitor network_;
  std::unique_ptr<LocalHttp> health_http_;
  std::unique_ptr<LocalHttp> metrics_http_;
  std::unique_ptr<HealthSocket> health_socket_;
  std::optional<runtime::PortMapping> mapping_;
  path::LocalView local_;
  Buffer receive_buffer_;
  Buffer send_buffer_;

  State state_ = State::Offline;
  bool control_up_ = false;
  bool ever_welcomed_ = false;
  std::string last_problem_ = "starting";
  std::string network_announced_;
  bool ping_forbidden_told_ = false;
  bool packets_waiting_ = false;         ///< the socket was not emptied in this turn
  bool packets_to_send_ = false;         ///< the endpoint was not emptied in this turn
  std::uint64_t dropped_datagrams_ = 0;  ///< neither STUN nor QUIC, or from nobody we know
  Instant heartbeat_at_;
  Instant started_;
  runtime::IdleMemory memory_;
  std::optional<Instant> control_restart_at_;
  std::optional<Instant> stop_at_;
  std::optional<Failure> failure_;
};

}  // namespace postern::connector
