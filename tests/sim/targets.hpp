// The private network behind a connector: names, hosts that listen or do not, and their ends of TCP connections.
//
// A target answers each byte with one of its own (content(position, 2)); one port in four first sends a bulk. Every
// connection has a destination port of its own in the whole run, so that both of its ends can be told to belong
// together.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "connector_core/connector.hpp"
#include "sim/node.hpp"

namespace postern::sim {

/// Which ports a Resource lets through is said in whole classes.
enum class PortClass : std::uint8_t { Low = 0, High = 1 };
inline constexpr std::uint16_t kPortsPerClass = 10'000;
[[nodiscard]] constexpr std::uint16_t first_port(PortClass which) {
  return static_cast<std::uint16_t>(kPortsPerClass * (1 + static_cast<int>(which)));
}
/// What a target says of its own accord on this port.
[[nodiscard]] constexpr std::uint64_t bulk_of(std::uint16_t port) {
  return port % 4 == 3 ? 300'000 : 0;
}

struct PrivateNetwork {
  std::map<std::string, IpAddress> names;
  /// Hosts that are there; true: they listen on every port, false: on none.
  std::map<IpAddress, bool> hosts;
};

/// Told of what reaches a target.
struct TargetEvents {
  std::function<void(std::uint16_t port)> opened;
  std::function<void(std::uint16_t port)> ended;
};

class Targets {
 public:
  /// `owner` is woken when something has come for it. All outlive this object.
  Targets(Node& owner, Fabric& fabric, const PrivateNetwork& network, connector::Connector& core, BlockPool& pool,
          TargetEvents events);
  ~Targets();

  void handle(const connector::Request& request);
  /// Lets every target send what it has to, as far as the core takes it.
  void pump();
  [[nodiscard]] std::size_t size() const { return connections_.size(); }

 private:
  struct Connection {
    std::uint16_t port = 0;
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    bool peer_finished = false;
    bool finished = false;
  };

  void resolve(const connector::ResolveName& request);
  void connect(const connector::ConnectTcp& request);
  void write(connector::FlowId flow);
  void send(connector::FlowId flow, Connection& connection);
  void end(connector::FlowId flow);
  /// Runs `action` when the answer of the network is there, unless this process has ended.
  void later(Duration wait, std::function<void()> action);

  Node& owner_;
  Fabric& fabric_;
  const PrivateNetwork& network_;
  connector::Connector& core_;
  BlockPool& pool_;
  TargetEvents events_;
  std::map<connector::FlowId, Connection> connections_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace postern::sim
