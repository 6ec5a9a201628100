// What a person means by HOST[:PORT]: a name or an address, and perhaps a port. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "model/resource.hpp"

namespace postern::client {

struct Destination {
  std::variant<model::DnsName, IpAddress> host;
  std::optional<std::uint16_t> port;
  model::Protocol protocol = model::Protocol::Tcp;

  /// Without the port.
  [[nodiscard]] std::string host_text() const;
  /// "host", "host:80", "192.0.2.1:80", "[2001:db8::1]:80", "2001:db8::1", "host:53/udp", "host/icmp".
  [[nodiscard]] std::string text() const;

  bool operator==(const Destination&) const = default;

 private:
  [[nodiscard]] std::string with_port() const;
};

/// A name or an address without brackets, as a program names a host; nothing for what can be neither.
[[nodiscard]] std::optional<std::variant<model::DnsName, IpAddress>> parse_host(std::string_view text);

/// Takes what text() gives, also with "/tcp", "/udp" or "/icmp" behind it, "host port", "[2001:db8::1]" and URLs (http
/// and https bring their port along). Blanks around it are fine. The error is a sentence for people.
[[nodiscard]] std::expected<Destination, std::string> parse_destination(std::string_view text);

}  // namespace postern::client
