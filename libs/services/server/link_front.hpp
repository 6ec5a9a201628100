// The door to a relay's links: who may open one, on the thread of the HTTPS server (PROTOCOL.md §3.6).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/http/http_server.hpp"
#include "runtime/http/link_socket.hpp"
#include "signin/rate_limit.hpp"

namespace postern::server {

class LinkFront {
 public:
  /// An office behind one address may start its day, and a loop of a broken agent is slowed down.
  static constexpr std::size_t kPerAddress = 120;
  static constexpr std::chrono::minutes kWindow{1};
  static constexpr std::size_t kAddressesMax = 20'000;

  using Accept = std::function<void(runtime::LinkSocket::Connection, const std::string& key)>;

  /// Adds the route; `http` calls this object until it stops.
  LinkFront(runtime::HttpServer& http, Accept accept);
  LinkFront(const LinkFront&) = delete;
  LinkFront& operator=(const LinkFront&) = delete;

 private:
  void handle(const std::shared_ptr<runtime::ByteStream>& stream, const runtime::HttpRequest& request);

  Accept accept_;
  signin::RateLimit rate_{kPerAddress, kWindow, kAddressesMax};
};

}  // namespace postern::server
