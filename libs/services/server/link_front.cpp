#include "services/server/link_front.hpp"

#include "runtime/loop/event_loop.hpp"
#include "wire/link_message.hpp"

namespace postern::server {
namespace {

/// Written as far as it goes in one piece; then the connection ends.
void refuse(const std::shared_ptr<runtime::ByteStream>& stream, const std::string& status, const std::string& why) {
  auto answer = std::make_shared<std::string>("HTTP/1.1 " + status +
                                              "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: " +
                                              std::to_string(why.size() + 1) + "\r\n\r\n" + why + "\n");
  stream->write_some(as_bytes(*answer), [stream, answer](std::error_code, std::size_t) { stream->shutdown(); });
}

}  // namespace

LinkFront::LinkFront(runtime::HttpServer& http, Accept accept) : accept_(std::move(accept)) {
  http.upgrade(std::string(wire::kLinkTarget),
               [this](const std::shared_ptr<runtime::ByteStream>& stream, const runtime::HttpRequest& request) {
                 handle(stream, request);
               });
}

void LinkFront::handle(const std::shared_ptr<runtime::ByteStream>& stream, const runtime::HttpRequest& request) {
  if (rate_.try_take(signin::address_key(stream->remote()), runtime::monotonic_now())) {
    return refuse(stream, "429 Too Many Requests", "Too many links were opened from this address; wait a minute.");
  }
  if (const auto wanted = runtime::LinkSocket::check_upgrade(request); !wanted) {
    return refuse(stream, "400 Bad Request", wanted.error());
  }
  auto connection = runtime::LinkSocket::take(*stream);
  if (!connection) return stream->abort();
  accept_(std::move(*connection), std::string(runtime::find_header(request.headers, "Sec-WebSocket-Key")));
}

}  // namespace postern::server
