// Lines of text over a unix socket: one line asks, one line answers. For the admin socket and its command line.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>

#include "base/time.hpp"
#include "runtime/http/io_loop.hpp"
#include "runtime/http/tls.hpp"

namespace postern::runtime {

inline constexpr std::size_t kLineMax = 4 * 1024 * 1024;

/// At most 64 connections; at the bound new ones are closed. A connection that asks nothing for 60 s is closed, and one
/// whose line is longer than kLineMax.
class LineServer {
 public:
  /// From any thread, once; the line has no line break in it.
  using Responder = std::function<void(std::string)>;
  /// On the loop's thread.
  using Handler = std::function<void(std::string line, Responder)>;

  LineServer(IoLoop& loop, std::string path, Handler handler);
  ~LineServer();
  /// Mode 0600; a socket file that nobody listens on is replaced. AddressInUse: somebody does.
  [[nodiscard]] std::expected<void, ListenError> start();
  /// Closes everything and removes the socket file.
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

struct LineError {
  enum class Kind : std::uint8_t {
    NotRunning,    ///< no such socket, or nobody listens
    NotPermitted,  ///< the socket belongs to somebody else
    Failed,        ///< the connection broke, or no answer came in time
  };
  Kind kind = Kind::Failed;
  std::string message{};  ///< one sentence for people
};

/// Blocks for at most `timeout`.
[[nodiscard]] std::expected<std::string, LineError> exchange_line(const std::string& path, std::string line,
                                                                  Duration timeout);

}  // namespace postern::runtime
