// The server's process: controller core, what it has committed, its agents' connections, and the relay in its process.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "controller_core/bench_test_util.hpp"
#include "sim/control_agent.hpp"
#include "sim/relay_node.hpp"

namespace postern::sim {

class ControllerNode final : public Node {
 public:
  ControllerNode(Fabric& fabric, HostId host);

  [[nodiscard]] HostId host() const { return host_; }
  /// The server's own relay; runs while the server does.
  void set_relay(RelayNode* relay) { relay_ = relay; }

  /// Plans, commits and applies; the command must be good.
  controller::CommandResult run(const controller::Command& command);
  void start();
  /// kill -9: what was committed stays.
  void stop();
  [[nodiscard]] bool is_running() const { return controller_ != nullptr; }
  [[nodiscard]] WallTime wall() const;
  /// The server's clock is set.
  void jump(std::chrono::milliseconds by) { jump_ += by; }
  [[nodiscard]] const controller::Controller& core() const { return *controller_; }

  // --- connections -------------------------------------------------------------------------------------------------
  void open(const std::shared_ptr<Pipe>& pipe);
  void send_by_agent(const std::shared_ptr<Pipe>& pipe, wire::AgentMessage message);
  void close_by_agent(const std::shared_ptr<Pipe>& pipe, controller::ConnectionEnd end);
  /// Whether packets pass on this connection now.
  [[nodiscard]] bool passes(const Pipe& pipe) const;
  [[nodiscard]] std::size_t connections() const { return pipes_.size(); }
  std::uint64_t flows_logged = 0;

 protected:
  void turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  void drain();
  void handle(controller::SendMessage& output);
  void handle(controller::CloseConnection& output);
  void handle(controller::CommitFirst& output);
  void handle(controller::RevokeRoute& output);
  void handle(controller::FlowLogged& output);
  void move_up(const std::shared_ptr<Pipe>& pipe);
  void move_down(const std::shared_ptr<Pipe>& pipe);

  HostId host_;
  RelayNode* relay_ = nullptr;
  identity::PrivateKey signing_;
  controller::ModelState stored_;
  std::unique_ptr<controller::Controller> controller_;
  std::uint64_t run_ = 0;  ///< which process this is
  std::uint64_t next_number_ = 1;
  std::map<controller::ConnectionNumber, std::shared_ptr<Pipe>> pipes_;
  std::chrono::milliseconds jump_{};
};

}  // namespace postern::sim
