#include "runtime/http/https_request.hpp"

#include <array>
#include <utility>

#include "runtime/http/control_client.hpp"
#include "runtime/http/http_parser.hpp"
#include "runtime/http/io_loop.hpp"

namespace postern::runtime {
namespace {

class Exchange {
 public:
  Exchange(const ServerAddress& server, const OutgoingRequest& request) : server_(server) {
    outgoing_ = std::string(request.method) + ' ' + std::string(request.target) +
                " HTTP/1.1\r\nHost: " + host_header(server) + "\r\nConnection: close\r\nUser-Agent: postern\r\n";
    if (!request.content_type.empty()) outgoing_ += "Content-Type: " + std::string(request.content_type) + "\r\n";
    for (const auto& [name, value] : request.headers) outgoing_ += name + ": " + value + "\r\n";
    if (!request.body.empty() || request.method == "POST") {
      outgoing_ += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    }
    outgoing_ += "\r\n" + std::string(request.body);
  }

  std::expected<HttpResponse, ConnectError> run(const ServerTrust& trust, Duration timeout) {
    Timer deadline(loop_);
    deadline.start(timeout, [this] { fail("the answer did not come in time"); });
    TlsConnect connect(loop_, server_, trust, timeout, [this](auto connected) {
      if (!connected) return finish(std::unexpected(connected.error()));
      stream_ = std::move(*connected);
      write();
    });
    loop_.run();
    if (stream_) stream_->abort();
    return std::move(result_);
  }

 private:
  void finish(std::expected<HttpResponse, ConnectError> result) {
    result_ = std::move(result);
    loop_.stop();
  }

  void fail(const std::string& what) {
    finish(std::unexpected(
        ConnectError{ConnectError::Kind::Unreachable, "the request to " + host_header(server_) + " failed: " + what}));
  }

  void write() {
    stream_->write_some(as_bytes(std::string_view(outgoing_).substr(written_)),
                        [this](std::error_code error, std::size_t size) {
                          if (error) return fail(error.message());
                          written_ += size;
                          written_ < outgoing_.size() ? write() : read();
                        });
  }

  void read() {
    stream_->read_some(buffer_, [this](std::error_code error, std::size_t size) {
      if (error) {
        parser_.end();
        return parser_.complete() ? finish(parser_.take_response()) : fail("the answer is cut short");
      }
      if (!parser_.feed(ByteView(buffer_).first(size))) return fail("the answer is not HTTP, or larger than 1 MiB");
      parser_.complete() ? finish(parser_.take_response()) : read();
    });
  }

  IoLoop loop_;
  const ServerAddress& server_;
  std::shared_ptr<ByteStream> stream_;
  std::string outgoing_;
  std::size_t written_ = 0;
  std::array<std::uint8_t, 8192> buffer_{};
  HttpParser parser_{HttpParser::Role::Client};
  std::expected<HttpResponse, ConnectError> result_ = std::unexpected(ConnectError{});
};

}  // namespace

std::string host_header(const ServerAddress& server) {
  const std::string host = server.host.contains(':') ? '[' + server.host + ']' : server.host;
  return server.port == 443 ? host : host + ':' + std::to_string(server.port);
}

std::expected<HttpResponse, ConnectError> https_exchange(const ServerAddress& server, const ServerTrust& trust,
                                                         const OutgoingRequest& request, Duration timeout) {
  return Exchange(server, request).run(trust, timeout);
}

std::expected<HttpResponse, std::string> https_request(const ServerAddress& server, const ServerTrust& trust,
                                                       std::string_view method, std::string_view target,
                                                       std::string_view body, std::string_view content_type,
                                                       Duration timeout) {
  const OutgoingRequest request{.method = method, .target = target, .body = body, .content_type = content_type};
  auto result = https_exchange(server, trust, request, timeout);
  if (!result) return std::unexpected(result.error().message);
  return std::move(*result);
}

}  // namespace postern::runtime
