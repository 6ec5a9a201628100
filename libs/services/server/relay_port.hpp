// The relay's UDP socket and the Relay machine behind it, on an event loop: a thread of the server's process, or the
// whole of a relay's own.
#pragma once

#include <expected>
#include <memory>
#include <optional>

#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/route_id.hpp"
#include "relay_core/relay.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/udp/udp_socket.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

struct RelaySnapshot {
  std::uint64_t epoch = 0;
  std::size_t bindings = 0;
  relay_core::RelayStats stats{};
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t send_dropped = 0;
};

class RelayPort final : public runtime::TurnParticipant {
 public:
  /// Opens the socket; the error is about `listen`. `loop` outlives the port.
  [[nodiscard]] static std::expected<std::unique_ptr<RelayPort>, ServerError> open(runtime::EventLoop& loop,
                                                                                   const SocketAddress& listen);
  ~RelayPort() override;
  RelayPort(const RelayPort&) = delete;
  RelayPort& operator=(const RelayPort&) = delete;

  /// Begins a relay with nobody bound and an epoch of its own; before the first one datagrams are dropped unread.
  void begin(relay_core::RelayConfig config, RandomSource& random);
  /// Joins and leaves the loop, on its thread.
  void attach();
  void detach();

  [[nodiscard]] bool has_begun() const { return relay_.has_value(); }
  [[nodiscard]] std::uint64_t epoch() const { return relay_->epoch(); }
  void revoke(const RouteId& route);
  [[nodiscard]] RelaySnapshot snapshot() const;
  /// Network time instead of the host's clock: what makes UTC out of monotonic time.
  void set_wall_offset(Duration offset) { wall_offset_ = offset; }

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  RelayPort(runtime::EventLoop& loop, runtime::UdpSocket socket);
  void work();
  [[nodiscard]] WallTime wall() const;

  runtime::EventLoop& loop_;
  runtime::UdpSocket socket_;
  std::optional<relay_core::Relay> relay_;
  relay_core::RelayOutput out_;
  std::uint8_t* buffer_;
  std::optional<Duration> wall_offset_;
  bool pending_ = false;  // the socket may have more
};

}  // namespace postern::server
