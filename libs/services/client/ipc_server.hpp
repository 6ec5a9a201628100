// The unix socket: connections, lines, bounds, and who is at the other end. What a request means is the handler's
// business.
//
// Everybody on the machine may connect (the socket is 0666) and ask; who may change something is decided by what the
// kernel says about the peer (SO_PEERCRED, SO_PEERGROUPS) at the time it connected: root, the daemon's own user, and
// members of the group `postern`. No user can use up the connections of others.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/strong_id.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"
#include "services/client/problem.hpp"

namespace postern::client {

using IpcConnection = StrongId<struct IpcConnectionTag>;

class IpcServer {
 public:
  /// Further connections are closed at once.
  static constexpr std::size_t kConnectionsMax = 64;
  /// Of these, all that people without rights can have together, and each of them alone.
  static constexpr std::size_t kStrangersMax = 48;
  static constexpr std::size_t kPerStrangerMax = 16;
  /// Answers that a peer does not read; at the bound it is closed.
  static constexpr std::size_t kUnreadMax = 4 * 1024 * 1024;

  using LineHandler = std::function<void(IpcConnection, std::string_view line)>;
  using CloseHandler = std::function<void(IpcConnection)>;

  IpcServer(runtime::EventLoop& loop, LineHandler on_line, CloseHandler on_close)
      : loop_(loop), on_line_(std::move(on_line)), on_close_(std::move(on_close)) {}
  ~IpcServer();
  IpcServer(const IpcServer&) = delete;
  IpcServer& operator=(const IpcServer&) = delete;

  /// Mode 0666. A socket file that nobody listens on is replaced; one that somebody does is AlreadyRunning.
  [[nodiscard]] std::expected<void, Problem> listen(const std::string& path);
  /// Whether the peer may change what the daemon does, or the refusal.
  [[nodiscard]] std::expected<void, Problem> check_may_change(IpcConnection connection) const;
  void send(IpcConnection connection, std::string_view line);
  /// Gives the connection away, with what has been read behind the last line. It counts no more here.
  struct Detached {
    runtime::Descriptor fd;
    std::string rest;
    uid_t user = 0;
    bool may_change = false;
  };
  [[nodiscard]] std::optional<Detached> detach(IpcConnection connection);
  [[nodiscard]] std::uint64_t refused() const { return refused_; }
  /// Those that are open and not given away.
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }

 private:
  struct Connection {
    runtime::Descriptor fd;
    uid_t user = 0;
    bool may_change = false;
    std::string incoming;
    std::string outgoing;
    bool is_closing = false;
  };

  void accept();
  /// Whether a bound keeps this user out.
  [[nodiscard]] bool is_full_for(uid_t user, bool may_change) const;
  void handle_ready(IpcConnection id, std::uint32_t events);
  bool read_lines(IpcConnection id);
  void flush(IpcConnection id);
  void close(IpcConnection id);

  runtime::EventLoop& loop_;
  LineHandler on_line_;
  CloseHandler on_close_;
  std::string path_;
  runtime::Descriptor listener_;
  std::map<IpcConnection, Connection> connections_;
  std::uint64_t numbers_ = 0;
  std::uint64_t refused_ = 0;
};

}  // namespace postern::client
