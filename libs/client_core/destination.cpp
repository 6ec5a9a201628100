#include "client_core/destination.hpp"

#include <algorithm>
#include <charconv>

namespace postern::client {

namespace {

constexpr std::string_view kBlanks = " \t\r\n";

struct Scheme {
  std::string_view prefix;
  std::uint16_t port;
};
constexpr std::array kSchemes = {Scheme{"https://", 443}, Scheme{"http://", 80}};

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

/// The host without brackets, and what stands for the port (empty: nothing). False: brackets that do not match.
bool split(std::string_view text, std::string_view& host, std::string_view& port) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    host = text.substr(1, close - 1);
    port = trim(text.substr(close + 1));
    if (port.starts_with(':')) port.remove_prefix(1);
    return IpAddress::parse(host).has_value();
  }
  if (const std::size_t blank = text.find_first_of(kBlanks); blank != std::string_view::npos) {
    host = text.substr(0, blank);
    port = trim(text.substr(blank));
    return true;
  }
  host = text;
  // Two colons or more without brackets: an IPv6 address and nothing else.
  if (std::ranges::count(text, ':') != 1) return true;
  const std::size_t colon = text.find(':');
  host = text.substr(0, colon);
  port = text.substr(colon + 1);
  return !port.empty();
}

}  // namespace

std::string Destination::host_text() const {
  if (const auto* name = std::get_if<model::DnsName>(&host)) return name->text();
  return std::get<IpAddress>(host).to_string();
}

std::string Destination::text() const {
  const std::string suffix = protocol == model::Protocol::Tcp ? "" : "/" + std::string(model::to_string(protocol));
  if (!port) return host_text() + suffix;
  return suffix.empty() ? with_port() : with_port() + suffix;
}

std::string Destination::with_port() const {
  const auto* address = std::get_if<IpAddress>(&host);
  return address != nullptr ? SocketAddress{*address, *port}.to_string() : host_text() + ":" + std::to_string(*port);
}

std::optional<std::variant<model::DnsName, IpAddress>> parse_host(std::string_view text) {
  if (const auto address = IpAddress::parse(text)) return *address;
  // As a Resource's address: that tells "300.1.2.3", a mistyped address, from a name.
  const auto parsed = model::ResourceAddress::parse(text);
  const auto* name = parsed ? std::get_if<model::DnsName>(&parsed->value()) : nullptr;
  if (name == nullptr) return std::nullopt;
  return *name;
}

std::expected<Destination, std::string> parse_destination(std::string_view given) {
  const auto wrong = [&](const char* what) {
    return std::unexpected("\"" + std::string(given.substr(0, 100)) + "\" " + what +
                           ": use HOST, HOST:PORT, an IPv4 address, or an IPv6 address in brackets");
  };
  std::string_view text = trim(given);
  Destination destination;
  for (const Scheme& scheme : kSchemes) {
    if (!text.starts_with(scheme.prefix)) continue;
    text.remove_prefix(scheme.prefix.size());
    text = text.substr(0, text.find_first_of("/?#"));
    destination.port = scheme.port;
    break;
  }
  for (const model::Protocol protocol : {model::Protocol::Tcp, model::Protocol::Udp, model::Protocol::Icmp}) {
    const std::string suffix = "/" + std::string(model::to_string(protocol));
    if (!text.ends_with(suffix)) continue;
    destination.protocol = protocol;
    text = trim(text.substr(0, text.size() - suffix.size()));
    break;
  }
  std::string_view host;
  std::string_view port;
  if (!split(text, host, port)) return wrong("is no host and port");
  if (!port.empty()) {
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0) {
      return wrong("has no port from 1 to 65535");
    }
    destination.port = number;
  }
  auto parsed = parse_host(host);
  if (!parsed) return wrong("names no host");
  destination.host = std::move(*parsed);
  return destination;
}

}  // namespace postern::client
