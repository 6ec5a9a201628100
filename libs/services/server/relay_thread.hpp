// The relay's thread: one UDP socket, the Relay machine, and a mailbox for what the controller has to say.
#pragma once

#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/route_id.hpp"
#include "controller_core/controller.hpp"
#include "identity/tokens.hpp"
#include "runtime/http/io_loop.hpp"
#include "services/server/relay_port.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

/// The relay of the same process; agents know it by this name.
inline constexpr std::string_view kLocalRelayName = controller::kOwnRelayName;

class RelayThread {
 public:
  /// Opens the socket; the error is about `listen`.
  [[nodiscard]] static std::expected<std::unique_ptr<RelayThread>, ServerError> open(runtime::IoLoop& controller_loop,
                                                                                     const SocketAddress& listen,
                                                                                     const identity::SealKey& key,
                                                                                     RandomSource& random);
  ~RelayThread();
  void start();
  void stop();

  /// Drawn anew at each start (PROTOCOL.md §3.4).
  [[nodiscard]] std::uint64_t epoch() const;
  /// From the controller's thread. Waits here when the relay's mailbox is full: a revocation is never lost.
  void revoke(const RouteId& route);
  /// From the controller's thread. Closed unused when the relay's mailbox is full.
  void accept_link(runtime::LinkSocket::Connection connection, const std::string& key);
  /// `done` is called on the controller's thread; nothing when the relay's mailbox is full.
  void query(std::function<void(std::optional<RelaySnapshot>)> done);

 private:
  class Worker;
  RelayThread(runtime::IoLoop& controller_loop, std::unique_ptr<Worker> worker);
  void hand_over();

  runtime::IoLoop& controller_loop_;
  std::unique_ptr<Worker> worker_;
  std::thread thread_;
  std::deque<RouteId> waiting_;  // bounded by the number of live routes
  runtime::Timer again_;
};

}  // namespace postern::server
