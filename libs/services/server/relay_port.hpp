// The relay's UDP socket and links, and the Relay machine behind them, on an event loop: a thread of the server's
// process, or the whole of a relay's own.
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
#include "services/server/relay_links.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

struct RelaySnapshot {
  std::uint64_t epoch = 0;
  std::size_t bindings = 0;
  relay_core::RelayStats stats{};
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t send_dropped = 0;
  LinkStats links{};
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
  /// One more connection that was upgraded (PROTOCOL.md §3.6); `key` is its Sec-WebSocket-Key.
  void accept_link(runtime::LinkSocket::Connection connection, const std::string& key) {
    links_.accept(std::move(connection), key);
  }
  [[nodiscard]] RelaySnapshot snapshot() const;
  /// Network time instead of the host's clock: what makes UTC out of monotonic time.
  void set_wall_offset(Duration offset) { wall_offset_ = offset; }

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  RelayPort(runtime::EventLoop& loop, runtime::UdpSocket socket);
  void work();
  void forward(const SocketAddress& from, ByteView bytes, std::size_t stride, std::uint8_t ecn);
  [[nodiscard]] WallTime wall() const;

  runtime::EventLoop& loop_;
  runtime::UdpSocket socket_;
  RelayLinks links_;
  std::uint64_t forged_ = 0;  ///< datagrams that claim to come from a link
  std::optional<relay_core::Relay> relay_;
  relay_core::RelayOutput out_;
  std::uint8_t* buffer_;
  std::optional<Duration> wall_offset_;
  bool pending_ = false;  // the socket may have more
};

}  // namespace postern::server
