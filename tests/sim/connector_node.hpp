// A connector instance: its core, sessions, relay bindings, targets and control channel, joined as the service joins
// them.
#pragma once

#include <memory>
#include <optional>

#include "connector_core/connector.hpp"
#include "connector_core/endpoint_port.hpp"
#include "connector_core/relay_bindings.hpp"
#include "sim/control_agent.hpp"
#include "sim/targets.hpp"

namespace postern::sim {

class ConnectorNode final : public Node {
 public:
  ConnectorNode(Fabric& fabric, ControllerNode& server, LanId lan, const PrivateNetwork& network, TargetEvents events);
  ~ConnectorNode() override;

  void set_refresh_token(std::string token) { refresh_token_ = std::move(token); }
  /// A new process: with a key of its own.
  void start();
  void stop();
  [[nodiscard]] bool is_running() const { return process_ != nullptr; }
  /// The server let it in no more; it has ended.
  [[nodiscard]] bool was_turned_away() const { return turned_away_; }
  /// The host noticed that its addresses changed.
  void handle_network_change();

  [[nodiscard]] HostId host() const { return host_; }
  [[nodiscard]] const std::shared_ptr<ControlAgent>& control() const { return control_; }
  /// Which process this is; sessions end with it.
  [[nodiscard]] std::uint64_t process_number() const { return processes_; }
  [[nodiscard]] std::size_t flows() const;
  [[nodiscard]] std::size_t sessions() const;
  [[nodiscard]] std::size_t targets() const;
  [[nodiscard]] std::size_t pool_in_use() const;
  [[nodiscard]] const connector::Connector* core() const;
  [[nodiscard]] std::vector<std::string> bound_at() const;
  /// The newest; for people.
  [[nodiscard]] const std::string& last_refusal() const { return last_refusal_; }

 protected:
  void turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  struct Process;

  void start_control();
  void restart_control();
  void receive(const SocketAddress& from, MutableBytes bytes, std::size_t stride);
  void handle_down(const Down& down);
  void handle_message(const wire::ControllerMessage& message);
  void handle_welcome(const wire::Welcome& welcome);
  void handle_server_time(std::int64_t server_time_ms);
  void use_route(const wire::Welcome& welcome);
  void handle_relay_proven(const SocketAddress& relay);
  void send_heartbeat();
  void pump();
  void transmit();

  ControllerNode& server_;
  const PrivateNetwork& network_;
  TargetEvents events_;
  HostId host_ = 0;
  std::string refresh_token_;
  std::string last_refusal_;
  bool turned_away_ = false;
  std::uint64_t processes_ = 0;
  std::unique_ptr<Process> process_;
  std::shared_ptr<ControlAgent> control_;
};

}  // namespace postern::sim
