// The unix socket: connections, lines, bounds. What a request means is the handler's business.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
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
  /// Answers that a peer does not read; at the bound it is closed.
  static constexpr std::size_t kUnreadMax = 4 * 1024 * 1024;

  using LineHandler = std::function<void(IpcConnection, std::string_view line)>;
  using CloseHandler = std::function<void(IpcConnection)>;

  IpcServer(runtime::EventLoop& loop, LineHandler on_line, CloseHandler on_close)
      : loop_(loop), on_line_(std::move(on_line)), on_close_(std::move(on_close)) {}
  ~IpcServer();
  IpcServer(const IpcServer&) = delete;
  IpcServer& operator=(const IpcServer&) = delete;

  /// Mode 0660, group `postern` where it exists. A socket file that nobody listens on is replaced; one that somebody
  /// does is AlreadyRunning.
  [[nodiscard]] std::expected<void, Problem> listen(const std::string& path);
  void send(IpcConnection connection, std::string_view line);
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  struct Connection {
    runtime::Descriptor fd;
    std::string incoming;
    std::string outgoing;
    bool is_closing = false;
  };

  void accept();
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
