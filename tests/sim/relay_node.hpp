// A relay: in the server's process, or in one of its own as an agent of the control channel (PROTOCOL.md §6.1).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "controller_core/controller.hpp"
#include "relay_core/relay.hpp"
#include "sim/control_agent.hpp"
#include "sim/node.hpp"

namespace postern::sim {

class RelayNode final : public Node {
 public:
  /// `server` is null for the one in the server's process.
  RelayNode(Fabric& fabric, ControllerNode* server, LanId lan, std::string name);

  /// The clock of the host: network time, until the controller has told what that is.
  std::function<WallTime()> host_clock;

  void start();
  void stop();
  [[nodiscard]] bool is_running() const { return is_running_; }
  void revoke(const RouteId& route);

  /// Relays of their own: the token that the admin got, for the next start(), with a new key.
  void enrol(std::string token);
  [[nodiscard]] HostId host() const { return host_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// As the controller is told of the one in its process.
  [[nodiscard]] controller::RelayEndpoint endpoint() const;
  [[nodiscard]] std::size_t bindings() const { return relay_ ? relay_->binding_count() : 0; }
  [[nodiscard]] const relay_core::Relay* core() const { return relay_ ? &*relay_ : nullptr; }
  [[nodiscard]] bool is_member() const { return seal_key_.has_value(); }

 protected:
  void turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  void receive(const SocketAddress& from, MutableBytes bytes, std::size_t stride);
  void serve();
  void handle_message(const wire::ControllerMessage& message);
  void report();
  [[nodiscard]] WallTime wall() const;

  ControllerNode* server_;
  std::string name_;
  HostId host_ = 0;
  bool is_running_ = false;
  // kept over a restart
  identity::PrivateKey key_;
  std::string token_;
  std::optional<identity::SealKey> seal_key_;
  // of the process
  std::optional<relay_core::Relay> relay_;
  relay_core::RelayOutput output_;
  std::shared_ptr<ControlAgent> control_;
  std::optional<Duration> wall_offset_;
  std::optional<Instant> report_at_;
};

}  // namespace postern::sim
