// The local port that speaks SOCKS5 and HTTP. Each connection says what it wants (ProxyHandshake), then it becomes a
// stream of LocalStreams, or an association for UDP.
//
// Who may use it: without a password only this machine, and of it only `owner` and root where an owner is set (the
// kernel says whose socket is at the other end). With a password everybody who knows it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/strong_id.hpp"
#include "client_core/proxy_handshake.hpp"
#include "runtime/loop/event_loop.hpp"
#include "services/client/problem.hpp"
#include "services/client/proxy/local_streams.hpp"
#include "services/client/proxy/udp_associations.hpp"

namespace postern::client {

struct ProxyConfig {
  SocketAddress listen;
  std::optional<ProxyLogin> login{};
  std::optional<uid_t> owner{};
};

struct ProxyCounters {
  std::uint64_t accepted = 0;
  std::uint64_t foreign = 0;    ///< of another user or machine: closed
  std::uint64_t full = 0;       ///< closed at a bound
  std::uint64_t malformed = 0;  ///< said nothing that we know, no right password, or nothing at all
};

class ProxyServer final : public runtime::TurnParticipant {
 public:
  /// Connections that have not said yet what they want, and how long they may take.
  static constexpr std::size_t kHandshakesMax = 512;
  static constexpr Duration kHandshakeTime = std::chrono::seconds(10);

  /// `loop`, `streams` and `associations` outlive the server.
  [[nodiscard]] static std::expected<std::unique_ptr<ProxyServer>, Problem> start(ProxyConfig config,
                                                                                  runtime::EventLoop& loop,
                                                                                  LocalStreams& streams,
                                                                                  UdpAssociations& associations);
  ~ProxyServer() override;

  /// Where it listens, with the port that the kernel chose.
  [[nodiscard]] const SocketAddress& address() const { return address_; }
  [[nodiscard]] const ProxyCounters& counters() const { return counters_; }

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  using ConnectionId = StrongId<struct ProxyConnectionTag>;
  struct Connection {
    runtime::Descriptor fd;
    ProxyHandshake handshake;
  };

  ProxyServer(ProxyConfig config, runtime::EventLoop& loop, LocalStreams& streams, UdpAssociations& associations,
              runtime::Descriptor listener, SocketAddress address);
  void accept();
  [[nodiscard]] bool may_use(int fd) const;
  void handle_ready(ConnectionId id);
  void begin_stream(Connection& connection, std::string output);
  void begin_association(Connection& connection, std::string output);
  void close(ConnectionId id);

  ProxyConfig config_;
  runtime::EventLoop& loop_;
  LocalStreams& streams_;
  UdpAssociations& associations_;
  runtime::Descriptor listener_;
  SocketAddress address_;
  std::map<ConnectionId, Connection> connections_;
  std::deque<std::pair<Instant, ConnectionId>> deadlines_;
  std::uint64_t numbers_ = 0;
  std::optional<Instant> accept_again_;  ///< no descriptor was free
  ProxyCounters counters_;
};

}  // namespace postern::client
