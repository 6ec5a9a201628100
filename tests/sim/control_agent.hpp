// An agent's control channel in virtual time: what runtime's ControlClient does over TLS, over a pipe that can be cut.
//
// The pipe is reliable and ordered. While no packet passes it holds what was sent; an agent that has heard nothing for
// 30 s gives it up, and a host that got another address or whose NAT box was switched off never gets through it again.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "controller_core/controller.hpp"
#include "sim/node.hpp"

namespace postern::sim {

class ControllerNode;

struct AgentIdentity {
  wire::AgentRole role = wire::AGENT_ROLE_UNSPECIFIED;
  identity::PrivateKey key{};
  std::string refresh_token{};
};

struct Down {
  std::uint32_t code = 0;  ///< of Denied
  std::string reason;
  bool final = false;
};

struct AgentEvents {
  std::function<void()> up;
  std::function<void(const Down&)> down;
  std::function<void(const wire::ControllerMessage&)> message;
};

/// One connection. Both ends hold it; each may be gone while the other does not know.
struct Pipe {
  controller::ConnectionNumber number;
  HostId agent = 0;
  HostId server = 0;
  std::uint64_t place = 0;  ///< of the agent's host when it was opened
  std::uint64_t server_run = 0;
  bool agent_open = true;
  bool server_open = true;
  struct End {};
  std::deque<std::variant<wire::AgentMessage, controller::ConnectionEnd>> up;
  std::deque<std::variant<wire::ControllerMessage, End>> down;
  bool up_moves = false;
  bool down_moves = false;
  std::function<void(std::variant<wire::ControllerMessage, End>&)> to_agent;
};

class ControlAgent : public std::enable_shared_from_this<ControlAgent> {
 public:
  ControlAgent(Fabric& fabric, ControllerNode& server, HostId host, AgentIdentity identity, AgentEvents events);

  void start() { attempt(); }
  /// No event comes after it.
  void stop();
  void send(const wire::AgentMessage& message);
  void set_known_version(std::uint64_t version) { known_version_ = version; }
  void reconnect_now();
  /// The connection ends now, without a word of the owner (a middlebox sends RST).
  void cut();

  /// Since when messages pass in both directions; nothing while they do not.
  [[nodiscard]] std::optional<Instant> healthy_since() const { return healthy_since_; }
  /// Looks at the path; call it whenever the network may have changed.
  void update_health();

 private:
  void attempt();
  void connected();
  void receive(std::variant<wire::ControllerMessage, Pipe::End>& what);
  void answer(const wire::Challenge& challenge);
  void go_down(Down down, controller::ConnectionEnd end = controller::ConnectionEnd::Lost);
  void retry(Duration at_least, Duration at_most);
  void check_silence();
  [[nodiscard]] bool path_works() const;
  /// Runs `action` later, unless this object or its present attempt is gone by then.
  void later(Duration wait, void (ControlAgent::*action)());

  Fabric& fabric_;
  ControllerNode& server_;
  HostId host_;
  AgentIdentity identity_;
  AgentEvents events_;
  std::shared_ptr<Pipe> pipe_;
  std::uint64_t attempt_ = 0;  ///< what was planned for an earlier one does not happen
  bool waiting_ = false;
  bool stopped_ = false;
  bool welcomed_ = false;
  unsigned failures_ = 0;
  Instant opened_;
  Instant heard_;
  std::uint64_t known_version_ = 0;
  std::string route_;
  std::optional<Instant> healthy_since_;
};

}  // namespace postern::sim
