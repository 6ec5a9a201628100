// The HTTP half of ProxyHandshake.
#include <algorithm>
#include <array>
#include <cctype>

#include "client_core/proxy_handshake.hpp"

namespace postern::client {

namespace {

constexpr std::string_view kEnd = "\r\n\r\n";

bool is_same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// The next line of `rest` without its line break.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find("\r\n");
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 2);
  return line;
}

/// Fields between us and the program, which the server behind must not see (RFC 9110 §7.6.1).
bool is_hop_field(std::string_view name) {
  constexpr std::array<std::string_view, 4> kHop = {"proxy-authorization", "proxy-connection", "connection",
                                                    "keep-alive"};
  return std::ranges::any_of(kHop, [&](std::string_view hop) { return is_same_word(name, hop); });
}

bool is_visible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7F'; });
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  std::string result;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    const bool is_last = at + 4 == text.size();
    const std::size_t padding = is_last ? (text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0) : 0;
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t digit = i >= 4 - padding ? 0 : kDigits.find(text[at + i]);
      if (digit == std::string_view::npos) return std::nullopt;
      bits = bits << 6 | static_cast<std::uint32_t>(digit);
    }
    for (std::size_t i = 0; i < 3 - padding; ++i) result += static_cast<char>(bits >> (16 - 8 * i) & 0xFF);
  }
  return result;
}

ProxyHandshake::Step ProxyHandshake::read_http_head() {
  const std::size_t end = pending_.find(kEnd);
  if (end == std::string::npos) return Step::More;
  const std::string head = pending_.substr(0, end + 2);
  pending_.erase(0, end + kEnd.size());
  std::string_view fields = head;
  const std::string_view line = take_line(fields);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  const bool has_target = first != std::string_view::npos && last > first;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = has_target ? line.substr(first + 1, last - first - 1) : std::string_view();
  if (!has_target || !line.substr(last + 1).starts_with("HTTP/1.") || !is_visible(method) || !is_visible(target)) {
    return fail_http("400 Bad Request", "this is no HTTP/1.1 request");
  }
  if (!is_authorized(fields)) {
    return fail_http("407 Proxy Authentication Required", "user and password are wrong or missing",
                     "Proxy-Authenticate: Basic realm=\"postern\"\r\n");
  }
  if (method != "CONNECT") return accept_url(method, target, fields);
  auto destination = parse_destination(target);
  if (!destination || !destination->port || target.find('/') != std::string_view::npos) {
    return fail_http("400 Bad Request", "CONNECT needs HOST:PORT");
  }
  destination_ = std::move(*destination);
  return Step::Ready;
}

/// RFC 9112 §3.2.2: what a program sends that uses an HTTP proxy for plain HTTP.
ProxyHandshake::Step ProxyHandshake::accept_url(std::string_view method, std::string_view url,
                                                std::string_view fields) {
  constexpr std::string_view kScheme = "http://";
  if (!is_same_word(url.substr(0, kScheme.size()), kScheme)) {
    return fail_http("400 Bad Request", "this is a proxy: it takes CONNECT and requests with an http:// URL");
  }
  url.remove_prefix(kScheme.size());
  const std::size_t path_at = std::min(url.find_first_of("/?#"), url.size());
  auto destination = parse_destination(url.substr(0, path_at));
  if (!destination) return fail_http("400 Bad Request", "the URL names no host");
  if (!destination->port) destination->port = 80;
  destination_ = std::move(*destination);
  std::string_view path = url.substr(path_at);
  path = path.substr(0, path.find('#'));
  std::string rewritten(method);
  rewritten += path.starts_with('/') ? " " : " /";
  rewritten += std::string(path) + " HTTP/1.1\r\n";
  while (!fields.empty()) {
    const std::string_view field = take_line(fields);
    if (!is_hop_field(trim(field.substr(0, field.find(':'))))) rewritten += std::string(field) + "\r\n";
  }
  rewritten += "Connection: close\r\n\r\n";
  pending_.insert(0, rewritten);
  is_forwarded_ = true;
  return Step::Ready;
}

bool ProxyHandshake::is_authorized(std::string_view fields) const {
  if (login_ == nullptr) return true;
  const std::string expected = login_->user + ":" + login_->password;
  while (!fields.empty()) {
    const std::string_view field = take_line(fields);
    const std::size_t colon = field.find(':');
    if (colon == std::string_view::npos || !is_same_word(field.substr(0, colon), "proxy-authorization")) continue;
    const std::string_view value = trim(field.substr(colon + 1));
    constexpr std::string_view kBasic = "basic ";
    if (!is_same_word(value.substr(0, kBasic.size()), kBasic)) return false;
    const auto given = decode_base64(trim(value.substr(kBasic.size())));
    return given && is_same_secret(*given, expected);
  }
  return false;
}

ProxyHandshake::Step ProxyHandshake::fail_http(std::string_view status, std::string_view text, std::string_view field) {
  const std::string body = std::string(text) + "\n";
  output_ +=
      "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(field) +
      "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  return Step::Failed;
}

}  // namespace postern::client
