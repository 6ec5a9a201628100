#include "services/server/public_address.hpp"

#include <charconv>

#include "model/resource.hpp"

namespace postern::server {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

}  // namespace

std::optional<PublicAddress> PublicAddress::parse_ip(std::string_view text) {
  if (const auto ip = IpAddress::parse(text)) return PublicAddress{.host = ip->to_string()};
  if (text.starts_with('[') && text.ends_with(']')) {
    const auto ip = IpAddress::parse(text.substr(1, text.size() - 2));
    return ip ? std::optional(PublicAddress{.host = ip->to_string()}) : std::nullopt;
  }
  const auto socket = SocketAddress::parse(text);
  if (!socket || socket->port == 0) return std::nullopt;
  return PublicAddress{.host = socket->ip.to_string(), .port = socket->port};
}

std::optional<PublicAddress> PublicAddress::parse_name(std::string_view text) {
  PublicAddress address;
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos) {
    const auto port = parse_port(text.substr(colon + 1));
    if (!port) return std::nullopt;
    address.port = *port;
    text = text.substr(0, colon);
  }
  const auto name = model::DnsName::parse(text);
  if (!name || IpAddress::parse(text)) return std::nullopt;
  address.host = name->text();
  return address;
}

std::optional<PublicAddress> PublicAddress::parse_url(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  const std::string_view authority = url.substr(kScheme.size(), url.find('/', kScheme.size()) - kScheme.size());
  if (auto address = parse_ip(authority)) return address;
  return parse_name(authority);
}

std::string PublicAddress::authority() const {
  const std::string shown = host.contains(':') ? '[' + host + ']' : host;
  return port == 443 ? shown : shown + ':' + std::to_string(port);
}

}  // namespace postern::server
