#include "services/client/server_url.hpp"

#include <algorithm>
#include <charconv>

#include "base/ip.hpp"
#include "model/resource.hpp"

namespace postern::client {

namespace {

std::optional<Digest> parse_digest(std::string_view text) {
  std::string plain;
  std::ranges::copy_if(text, std::back_inserter(plain), [](char c) { return c != ':'; });
  auto bytes = plain.size() == 64 ? from_hex(plain) : from_base64url(text);
  if (!bytes || bytes->size() != sizeof(Digest)) return std::nullopt;
  Digest digest{};
  std::ranges::copy(*bytes, digest.begin());
  return digest;
}

/// Without what copying from a chat or a script leaves around it: blanks, line ends, a pair of quotes.
std::string_view unwrap(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const auto trim = [&] {
    const std::size_t first = text.find_first_not_of(kBlanks);
    text = first == std::string_view::npos ? std::string_view()
                                           : text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
  };
  trim();
  const bool is_quoted =
      text.size() >= 2 && text.front() == text.back() && (text.front() == '"' || text.front() == '\'');
  if (is_quoted) text = text.substr(1, text.size() - 2);
  trim();
  return text;
}

bool parse_port(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

/// "host", "host:443", "192.0.2.1:443", "[2001:db8::1]:443"
bool parse_authority(std::string_view text, runtime::ServerAddress& server) {
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (!port.empty() && (port[0] != ':' || !parse_port(port.substr(1), server.port))) return false;
  server.host = host;
  return IpAddress::parse(host).has_value() || model::DnsName::parse(host).has_value();
}

}  // namespace

std::expected<ServerTarget, std::string> parse_server_target(std::string_view text, std::string_view fingerprint) {
  constexpr std::string_view kScheme = "https://";
  std::string_view rest = unwrap(text);
  const std::string quoted = "\"" + std::string(rest.substr(0, 200)) + "\"";
  if (rest.starts_with(kScheme)) {
    rest.remove_prefix(kScheme.size());
  } else if (rest.find("://") != std::string_view::npos) {
    return std::unexpected(quoted + " is no https URL: use the enrolment URL that the server's administrator gave you");
  }
  std::string_view fragment;
  if (const std::size_t mark = rest.find('#'); mark != std::string_view::npos) {
    fragment = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  ServerTarget target;
  if (!parse_authority(rest.substr(0, rest.find('/')), target.server)) {
    return std::unexpected(quoted + " names no server: use https://HOST[:PORT]/#ca=… or HOST");
  }
  if (fragment.starts_with("ca=")) {
    target.trust.root_pin = parse_digest(fragment.substr(3));
    if (!target.trust.root_pin)
      return std::unexpected("the digest behind #ca= is damaged: copy the whole enrolment URL");
  }
  fingerprint = unwrap(fingerprint);
  if (!fingerprint.empty()) {
    const auto digest = parse_digest(fingerprint);
    if (!digest) return std::unexpected("the fingerprint is no SHA-256 digest (64 hex digits or 43 of base64url)");
    if (target.trust.root_pin && target.trust.root_pin != digest) {
      return std::unexpected("the fingerprint and the URL's #ca= name different keys: one of them is wrong");
    }
    target.trust.root_pin = digest;
  }
  return target;
}

}  // namespace postern::client
