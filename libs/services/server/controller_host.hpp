// The Controller joined to its store, its agents' connections and its clock: plan, commit, apply, and let everybody
// know.
//
// Everything happens on the loop's thread. Nothing is applied that was not committed, and everything a step produced is
// handled before the next step is planned.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "controller_core/controller.hpp"
#include "runtime/http/http_server.hpp"
#include "runtime/http/io_loop.hpp"
#include "runtime/http/websocket.hpp"
#include "runtime/os/log.hpp"
#include "runtime/store/store.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

struct ControlChannelCounters {
  std::uint64_t opened = 0;
  std::uint64_t malformed = 0;      ///< messages that are not an AgentMessage
  std::uint64_t refused_busy = 0;   ///< connections above the bound
  std::uint64_t flows_dropped = 0;  ///< flow records that the store was too slow for
};

class ControllerHost {
 public:
  using RevokeRoute = std::function<void(const RouteId&)>;
  /// Control channels at one time; a new one beyond them gets 503 and tries again later.
  static constexpr std::size_t kConnectionsMax = 20'000;

  ControllerHost(runtime::IoLoop& loop, controller::Controller& controller, runtime::Store& store,
                 model::NetworkId network, runtime::Logger& log, RevokeRoute revoke_route,
                 std::size_t connections_max = kConnectionsMax);
  ~ControllerHost();

  [[nodiscard]] std::expected<controller::CommandResult, ServerError> execute(const controller::Command& command,
                                                                              std::string_view actor,
                                                                              std::string_view origin);
  /// Records that are the service's own business (secrets), in a transaction of their own.
  [[nodiscard]] std::expected<void, ServerError> commit(const controller::ChangeSet& changes);
  void set_relay(const controller::RelayEndpoint& relay);
  void set_relay_names(model::RelayId relay, std::vector<SocketAddress> addresses);
  /// Called behind each change that somebody made.
  void on_changed(std::function<void()> changed) { changed_ = std::move(changed); }

  /// /control/v1
  void take_connection(std::shared_ptr<runtime::ByteStream> stream, const runtime::HttpRequest& request);
  /// Writes what waits and says goodbye to every agent.
  void stop();

  [[nodiscard]] const controller::Controller& controller() const { return controller_; }
  [[nodiscard]] runtime::Store& store() { return store_; }
  [[nodiscard]] model::NetworkId network() const { return network_; }
  [[nodiscard]] const ControlChannelCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }

 private:
  void handle_message(controller::ConnectionNumber number, ByteView bytes);
  void handle_closed(controller::ConnectionNumber number, const std::string& reason);
  void drain();
  void handle(controller::SendMessage output);
  void handle(const controller::CloseConnection& output);
  void handle(const controller::CommitFirst& output);
  void handle(const controller::RevokeRoute& output);
  void handle(const controller::FlowLogged& output);
  void arm_timer();
  void write_flows();

  runtime::IoLoop& loop_;
  controller::Controller& controller_;
  runtime::Store& store_;
  model::NetworkId network_;
  runtime::Logger& log_;
  RevokeRoute revoke_route_;
  std::size_t connections_max_;
  std::function<void()> changed_ = [] {};
  std::map<controller::ConnectionNumber, std::shared_ptr<runtime::WebSocket>> connections_;
  std::uint64_t next_number_ = 1;
  runtime::Timer timer_;
  runtime::Timer flow_timer_;
  std::vector<runtime::FlowLogEntry> flows_;  // bounded, see kFlowsWaitingMax
  bool draining_ = false;
  ControlChannelCounters counters_;
};

}  // namespace postern::server
