// Is this connector truly connected? One answer, given over HTTP on loopback and over a unix socket.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::connector {

struct Health {
  bool ok = false;
  std::string reason;  ///< one sentence when it is not
};

/// A response to GET of one path.
struct LocalPage {
  int status = 200;
  std::string body;
  std::string content_type = "text/plain; charset=utf-8";
};

/// Answers GET and HEAD of a few fixed paths over HTTP/1.x, one request per connection. At most 64 connections, 4 KiB
/// and 5 s each; at the bound the oldest is closed.
class LocalHttp final : public runtime::TurnParticipant {
 public:
  static constexpr std::size_t kConnectionsMax = 64;
  static constexpr std::size_t kRequestMax = 4096;
  /// Nothing for an unknown path (404).
  using Handler = std::function<std::optional<LocalPage>(std::string_view path)>;

  LocalHttp(runtime::EventLoop& loop, Handler handler);
  ~LocalHttp() override;
  LocalHttp(const LocalHttp&) = delete;
  LocalHttp& operator=(const LocalHttp&) = delete;

  /// The error is one sentence for people. Port 0 picks one.
  [[nodiscard]] std::optional<std::string> listen(const SocketAddress& address);
  [[nodiscard]] std::vector<SocketAddress> addresses() const;

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  struct Connection {
    runtime::Descriptor fd;
    std::string request;
    Instant ends;
  };
  void accept_all(int listener);
  void handle_readable(int fd);
  void drop(int fd);

  runtime::EventLoop& loop_;
  Handler handler_;
  std::vector<runtime::Descriptor> listeners_;
  std::map<int, Connection> connections_;
  std::deque<int> order_;  ///< oldest first
};

/// The text of the response to `request`, which ends with an empty line; pure, for tests.
[[nodiscard]] std::string answer_http(std::string_view request, const LocalHttp::Handler& handler);

/// Tells whoever connects the health in one line: "OK", or the reason.
class HealthSocket {
 public:
  HealthSocket(runtime::EventLoop& loop, std::function<Health()> health);
  ~HealthSocket();
  HealthSocket(const HealthSocket&) = delete;
  HealthSocket& operator=(const HealthSocket&) = delete;

  /// The error is one sentence for people. A socket file that nobody listens on is replaced.
  [[nodiscard]] std::optional<std::string> listen(const std::string& path);

 private:
  void accept_all();

  runtime::EventLoop& loop_;
  std::function<Health()> health_;
  runtime::Descriptor listener_;
  std::string path_;
};

/// The health command: asks the unix socket, and where there is none the HTTP port. Blocks for at most 5 s.
[[nodiscard]] Health ask_health(const std::string& socket_path, std::uint16_t http_port);

}  // namespace postern::connector
