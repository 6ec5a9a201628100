// An HTTPS server: routes by method and path, answers now or later, and hands upgrades to whoever asked for them.
//
// It lives on one IoLoop. Connections that are not (yet) a WebSocket stand in one list by age; at the bound the oldest
// is closed. Each phase has a deadline: TLS handshake 10 s, a request 10 s, an answer 60 s, writing it 30 s.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/http/http_message.hpp"
#include "runtime/http/io_loop.hpp"
#include "runtime/http/tls.hpp"

namespace postern::runtime {

struct HttpServerConfig {
  TlsListenerConfig tls{};
  std::size_t connections_max = 1024;  ///< without WebSockets
  Duration request_max = std::chrono::seconds(10);
  Duration answer_max = std::chrono::seconds(60);
  Duration write_max = std::chrono::seconds(30);
};

struct HttpServerCounters {
  std::uint64_t requests = 0;
  std::uint64_t malformed = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t displaced = 0;
  std::uint64_t upgrades = 0;
};

class HttpServer {
 public:
  /// From any thread, once. An answer that never comes closes the connection.
  using Responder = std::function<void(HttpResponse)>;
  /// On the loop's thread.
  using Handler = std::function<void(const HttpRequest&, Responder)>;
  /// Takes over the connection of an upgrade request; see WebSocket::accept.
  using Upgrader = std::function<void(std::shared_ptr<ByteStream>, const HttpRequest&)>;

  HttpServer(IoLoop& loop, HttpServerConfig config);
  ~HttpServer();

  /// A GET route answers HEAD too.
  void route(const std::string& method, const std::string& path, Handler handler);
  void upgrade(const std::string& path, Upgrader upgrader);

  [[nodiscard]] std::expected<void, ListenError> start();
  [[nodiscard]] std::expected<void, std::string> replace_certificate(const std::string& certificate_pem,
                                                                     const std::string& private_key_pem);
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] const HttpServerCounters& counters() const;
  [[nodiscard]] const TlsListenerCounters& tls_counters() const;
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace postern::runtime
