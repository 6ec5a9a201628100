#include "mapping/http.hpp"

#include <algorithm>
#include <charconv>

namespace postern::mapping {

namespace {

constexpr std::string_view kScheme = "http://";
constexpr std::uint16_t kPort = 80;
constexpr std::size_t kNumberMax = 8;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_same_word(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, {}, lower, lower);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

std::optional<std::size_t> parse_number(std::string_view text, int base) {
  std::size_t value = 0;
  if (text.empty() || text.size() > kNumberMax) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// It is written into a request line: no blank and no control character may be in it.
bool is_path(std::string_view text) {
  return text.starts_with('/') && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

std::optional<HttpTarget> parse_target(std::string_view url) {
  if (url.size() > kUrlMax || !is_same_word(url.substr(0, kScheme.size()), kScheme)) return std::nullopt;
  url.remove_prefix(kScheme.size());
  const std::string_view host = url.substr(0, url.find('/'));
  const std::string_view path = url.substr(host.size());
  const std::size_t colon = host.find(':');
  const auto ip = IpAddress::parse(host.substr(0, colon));
  const auto port = colon == std::string_view::npos ? kPort : parse_number(host.substr(colon + 1), 10).value_or(0);
  if (!ip || !ip->is_v4() || port == 0 || port > 0xffff) return std::nullopt;
  if (!path.empty() && !is_path(path)) return std::nullopt;
  return HttpTarget{{*ip, static_cast<std::uint16_t>(port)}, path.empty() ? "/" : std::string(path)};
}

std::optional<HttpTarget> resolve(const HttpTarget& base, std::string_view reference) {
  if (reference.find("://") != std::string_view::npos) return parse_target(reference);
  if (reference.empty() || reference.size() > kUrlMax || reference.starts_with("//")) return std::nullopt;
  std::string path(reference);
  // Relative to the folder of the document (RFC 3986 §5.2.3).
  if (!path.starts_with('/')) path = base.path.substr(0, base.path.rfind('/') + 1) + path;
  if (path.size() > kUrlMax || !is_path(path)) return std::nullopt;
  return HttpTarget{base.host, std::move(path)};
}

std::string get_request(const HttpTarget& target) {
  return "GET " + target.path + " HTTP/1.1\r\nHost: " + target.host.to_string() +
         "\r\nConnection: close\r\nUser-Agent: postern UPnP/1.1\r\n\r\n";
}

std::string post_request(const HttpTarget& target, std::string_view action, std::string_view body) {
  return "POST " + target.path + " HTTP/1.1\r\nHost: " + target.host.to_string() +
         "\r\nConnection: close\r\nUser-Agent: postern UPnP/1.1\r\nContent-Type: text/xml; charset=\"utf-8\"" +
         "\r\nSOAPAction: \"" + std::string(action) + "\"\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}

// --- the answer ------------------------------------------------------------------------------------------------------

HttpReply::State HttpReply::add(ByteView bytes) {
  if (state_ != State::Incomplete) return state_;
  if (bytes_.size() + bytes.size() > kHeadMax + kBodyMax) return fail();
  bytes_ += as_text(bytes);
  if (!has_head_) {
    const std::size_t end = bytes_.find("\r\n\r\n");
    if (end == std::string::npos ? bytes_.size() > kHeadMax : end > kHeadMax) return fail();
    if (end == std::string::npos) return state_;
    if (read_head(end) == State::Bad) return state_;
  }
  return read_body();
}

HttpReply::State HttpReply::read_head(std::size_t end) {
  const std::string head = bytes_.substr(0, end + 2);
  bytes_.erase(0, end + 4);
  has_head_ = true;
  // "HTTP/1.1 200 OK"
  constexpr std::size_t kStatusAt = 9;
  const auto status = parse_number(std::string_view(head).substr(std::min(kStatusAt, end), 3), 10);
  if (!head.starts_with("HTTP/1.") || !status || *status < 100) return fail();
  status_ = static_cast<unsigned>(*status);
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t line_end = head.find("\r\n", at);
    const std::string_view line = std::string_view(head).substr(at, line_end - at);
    at = line_end + 2;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (is_same_word(line.substr(0, colon), "transfer-encoding")) {
      if (!is_same_word(value, "chunked")) return fail();
      framing_ = Framing::Chunked;
    } else if (is_same_word(line.substr(0, colon), "content-length") && framing_ != Framing::Chunked) {
      const auto length = parse_number(value, 10);
      if (!length || *length > kBodyMax) return fail();
      framing_ = Framing::Length;
      length_ = *length;
    }
  }
  return state_;
}

HttpReply::State HttpReply::read_body() {
  if (framing_ == Framing::Chunked) return read_chunks();
  if (body_.size() + bytes_.size() > kBodyMax) return fail();
  body_ += bytes_;
  bytes_.clear();
  if (framing_ == Framing::Length && body_.size() >= length_) {
    body_.resize(length_);
    state_ = State::Complete;
  }
  return state_;
}

// RFC 9112 §7.1
HttpReply::State HttpReply::read_chunks() {
  std::size_t at = 0;
  while (state_ == State::Incomplete) {
    const std::string_view rest = std::string_view(bytes_).substr(at);
    const std::size_t line_end = rest.find("\r\n");
    if (line_end == std::string::npos && rest.size() > kHeadMax) return fail();
    if (line_end == std::string::npos) break;
    const auto size = parse_number(trimmed(rest.substr(0, std::min(line_end, rest.find(';')))), 16);
    if (!size || *size > kBodyMax - body_.size()) return fail();
    if (*size == 0) {
      state_ = State::Complete;
      break;
    }
    const std::size_t end = line_end + 2 + *size;
    if (rest.size() < end + 2) break;
    if (rest.substr(end, 2) != "\r\n") return fail();
    body_ += rest.substr(line_end + 2, *size);
    at += end + 2;
  }
  bytes_.erase(0, at);
  return state_;
}

HttpReply::State HttpReply::end() {
  if (state_ != State::Incomplete) return state_;
  const bool is_whole = has_head_ && framing_ == Framing::UntilEnd;
  return state_ = is_whole ? State::Complete : State::Bad;
}

}  // namespace postern::mapping
