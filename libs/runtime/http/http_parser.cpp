#include "runtime/http/http_parser.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>

namespace postern::runtime {

namespace asio = boost::asio;
namespace http = boost::beast::http;

std::string_view find_header(const HttpHeaders& headers, std::string_view name) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  for (const auto& [key, value] : headers) {
    if (std::ranges::equal(key, name, same)) return value;
  }
  return {};
}

namespace {

int status_of(const boost::system::error_code& error) {
  if (error == http::error::header_limit) return 431;
  if (error == http::error::body_limit) return 413;
  return 400;
}

template <typename Parser>
std::unique_ptr<Parser> fresh_parser() {
  auto parser = std::make_unique<Parser>();
  parser->header_limit(kHttpHeaderMax);
  parser->body_limit(kHttpBodyMax);
  parser->eager(true);
  return parser;
}

template <typename Message>
HttpHeaders headers_of(const Message& message) {
  HttpHeaders headers;
  for (const auto& field : message) headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  return headers;
}

/// Feeds `pending` and drops what was used up.
template <typename Parser>
std::expected<void, HttpParseError> put(Parser& parser, Bytes& pending) {
  while (!pending.empty() && !parser.is_done()) {
    boost::system::error_code error;
    const std::size_t used = parser.put(asio::buffer(pending.data(), pending.size()), error);
    pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(used));
    if (error == http::error::need_more) {
      if (!parser.is_header_done() && pending.size() > kHttpHeaderMax) return std::unexpected(HttpParseError{431});
      return {};
    }
    if (error) return std::unexpected(HttpParseError{status_of(error)});
  }
  return {};
}

}  // namespace

struct HttpParser::Impl {
  Role role;
  std::unique_ptr<http::request_parser<http::string_body>> request;
  std::unique_ptr<http::response_parser<http::string_body>> response;
  Bytes pending;

  void renew() {
    if (role == Role::Server) {
      request = fresh_parser<http::request_parser<http::string_body>>();
    } else {
      response = fresh_parser<http::response_parser<http::string_body>>();
    }
  }
};

HttpParser::HttpParser(Role role) : impl_(std::make_unique<Impl>()) {
  impl_->role = role;
  impl_->renew();
}
HttpParser::~HttpParser() = default;

std::expected<void, HttpParseError> HttpParser::feed(ByteView bytes) {
  impl_->pending.insert(impl_->pending.end(), bytes.begin(), bytes.end());
  return impl_->request ? put(*impl_->request, impl_->pending) : put(*impl_->response, impl_->pending);
}

void HttpParser::end() {
  boost::system::error_code ignored;
  if (impl_->response && impl_->response->got_some()) impl_->response->put_eof(ignored);
}

bool HttpParser::complete() const {
  return impl_->request ? impl_->request->is_done() : impl_->response->is_done();
}

bool HttpParser::idle() const {
  return impl_->pending.empty() && !(impl_->request ? impl_->request->got_some() : impl_->response->got_some());
}

bool HttpParser::keep_alive() const {
  return impl_->request ? impl_->request->keep_alive() : impl_->response->keep_alive();
}

bool HttpParser::wants_upgrade() const {
  return impl_->request && impl_->request->upgrade();
}

HttpRequest HttpParser::take_request() {
  auto message = impl_->request->release();
  impl_->renew();
  return {.method = std::string(message.method_string()),
          .target = std::string(message.target()),
          .headers = headers_of(message),
          .body = std::move(message.body())};
}

HttpResponse HttpParser::take_response() {
  auto message = impl_->response->release();
  impl_->renew();
  return {.status = static_cast<int>(message.result_int()),
          .body = std::move(message.body()),
          .headers = headers_of(message)};
}

std::string serialize_response(const HttpResponse& response, bool keep_alive, bool head_only) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + ' ' + std::string(reason) + "\r\n";
  const auto add = [&text](std::string_view name, std::string_view value) {
    text.append(name).append(": ").append(value).append("\r\n");
  };
  const auto add_unless_given = [&](std::string_view name, std::string_view value) {
    if (find_header(response.headers, name).empty()) add(name, value);
  };
  for (const auto& [name, value] : response.headers) {
    // A line break in a value would let it write headers of its own.
    if (value.find_first_of("\r\n") == std::string::npos) add(name, value);
  }
  add_unless_given("Content-Type", "text/plain; charset=utf-8");
  add_unless_given("Cache-Control", "no-store");
  add("Content-Length", std::to_string(response.body.size()));
  add("Connection", keep_alive ? "keep-alive" : "close");
  add("X-Content-Type-Options", "nosniff");
  add("X-Frame-Options", "DENY");
  add("Referrer-Policy", "no-referrer");
  add_unless_given("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  text += "\r\n";
  if (!head_only) text += response.body;
  return text;
}

}  // namespace postern::runtime
