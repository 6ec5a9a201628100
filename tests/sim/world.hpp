// The cast of a simulation: a server with its relay, a relay of its own, two private networks with their connectors,
// and clients behind all kinds of NAT. And the loop that lets time pass.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/client_node.hpp"
#include "sim/connector_node.hpp"
#include "sim/controller_node.hpp"
#include "sim/relay_node.hpp"

namespace postern::sim {

/// Where choices come from: a seed, or the bytes of a fuzzer.
class Chooser {
 public:
  virtual ~Chooser() = default;
  /// 0 to bound - 1.
  virtual std::size_t below(std::size_t bound) = 0;
  [[nodiscard]] virtual bool is_done() const = 0;
  [[nodiscard]] bool one_in(std::size_t bound) { return below(bound) == 0; }
};

struct Client {
  std::string name;
  std::string user;
  std::uint64_t device = 0;  ///< id of the present one
  std::unique_ptr<ClientNode> node;
};

/// One process with a connector's pair of tokens.
struct Instance {
  std::string connector;
  std::string remote_network;
  std::unique_ptr<ConnectorNode> node;
};

struct WorldOptions {
  std::uint64_t seed = 1;
  std::size_t clients = 3;
  std::size_t instances_per_connector = 1;
};

class World {
  // First, so that it goes last: every program holds on to it.
  Fabric fabric_;
  WorldOptions options_;

 public:
  explicit World(const WorldOptions& options);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Signs every client in and starts everything.
  void start();
  void run_until(Instant end);
  void run_for(Duration time) { run_until(now() + time); }
  /// Until `done`, looked at every `step`; false after `limit`.
  template <typename Condition>
  bool run_while_not(Condition done, Duration limit, Duration step = std::chrono::milliseconds(100)) {
    const Instant end = now() + limit;
    while (!done()) {
      if (now() >= end) return false;
      run_for(step);
    }
    return true;
  }
  [[nodiscard]] Instant now() const { return fabric_.time.now(); }
  [[nodiscard]] Fabric& fabric() { return fabric_; }
  [[nodiscard]] Network& network() { return fabric_.network; }
  /// Every agent looks whether its channel works: after each change of the network.
  void update_health();
  /// A new device for this client, made by signing in.
  void sign_in(Client& client);
  [[nodiscard]] bool is_server_reachable();

  std::unique_ptr<ControllerNode> server;
  std::vector<std::unique_ptr<RelayNode>> relays;  ///< the first one is the server's own
  std::vector<Client> clients;
  std::vector<Instance> instances;
  std::vector<LanId> client_lans;
  std::vector<LanId> connector_lans;
  LanId server_lan = 0;
  PrivateNetwork private_network;
  /// Told of connections at targets; the number is the instance's.
  std::function<void(std::size_t instance, std::uint16_t port)> target_opened = [](std::size_t, std::uint16_t) {};
  std::function<void(std::size_t instance, std::uint16_t port)> target_ended = [](std::size_t, std::uint16_t) {};

 private:
  void add_lans();
  void add_instance(const std::string& connector, const std::string& remote_network, LanId lan);
  [[nodiscard]] std::vector<Node*> nodes() const;
};

}  // namespace postern::sim
