// A WebSocket connection (RFC 6455) of either side, over any byte stream: whole binary messages in and out.
//
// Everything happens on the loop's thread. What waits to be sent is bounded: a peer that reads too slowly is cut off.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "runtime/http/byte_stream.hpp"
#include "runtime/http/http_message.hpp"
#include "runtime/http/io_loop.hpp"

namespace postern::runtime {

struct WebSocketLimits {
  std::size_t message_max = 4 * 1024 * 1024;
  std::size_t queued_bytes_max = 8 * 1024 * 1024;  ///< a full update and a lot behind it
  std::size_t queued_messages_max = 4096;
  Duration handshake_max = std::chrono::seconds(10);
  Duration silence_max = std::chrono::seconds(30);  ///< pings are sent at half of it
};

class WebSocket {
 public:
  struct Events {
    std::function<void()> opened{};
    std::function<void(ByteView)> message{};
    /// Once, and nothing after it; also when opening failed. The reason is for logs.
    std::function<void(const std::string& reason)> closed{};
  };

  /// Answers the upgrade request that came over `stream`.
  [[nodiscard]] static std::shared_ptr<WebSocket> accept(IoLoop& loop, std::shared_ptr<ByteStream> stream,
                                                         const HttpRequest& upgrade, const WebSocketLimits& limits,
                                                         Events events);
  /// Asks for an upgrade; `host` is the Host header.
  [[nodiscard]] static std::shared_ptr<WebSocket> connect(IoLoop& loop, std::shared_ptr<ByteStream> stream,
                                                          const std::string& host, const std::string& target,
                                                          const WebSocketLimits& limits, Events events);

  virtual ~WebSocket() = default;
  /// False when the connection is closed, or was cut off because its queue was full.
  virtual bool send(Bytes message) = 0;
  /// Sends what is queued, then says goodbye. Messages that still arrive are dropped.
  virtual void close() = 0;
  /// Ends it now. `closed` is called later, unless the owner has cleared its events with forget().
  virtual void abort() = 0;
  /// No event is called any more: the owner goes away.
  virtual void forget() = 0;
  /// While paused no message is delivered, and the peer feels it as back pressure.
  virtual void pause() = 0;
  virtual void resume() = 0;
  [[nodiscard]] virtual const std::string& remote() const = 0;
  /// After `closed`: the stream ended or was reset by the other side without a goodbye, as when its process is killed.
  [[nodiscard]] virtual bool was_cut() const = 0;
};

}  // namespace postern::runtime
