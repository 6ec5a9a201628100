// A TCP connection to a server: its addresses are found and tried one after the other, or a proxy is asked for it.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>

#include "runtime/http/io_loop.hpp"
#include "runtime/http/tls.hpp"

namespace postern::runtime {

struct TcpConnected {
  int descriptor = -1;   ///< non-blocking; the receiver's from now on
  std::string remote{};  ///< "192.0.2.1 443", for logs
};

/// A running attempt; destroying it ends the attempt, and `done` is not called any more.
class TcpConnect {
 public:
  /// The error is a phrase: why none of the addresses was reached.
  using Done = std::function<void(std::expected<TcpConnected, std::string>)>;

  /// 5 s for each address. Calls `done` from start() or later, on the loop.
  TcpConnect(IoLoop& loop, const ServerAddress& server, Done done);
  ~TcpConnect();
  void start();
  /// What was connected last is of no use, because of `problem`: calls `done` again for the next address, or with that.
  void next(std::string problem);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace postern::runtime
