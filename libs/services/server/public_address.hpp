// Where agents and browsers find the server: a host and a port, as they stand in its URL.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.hpp"

namespace postern::server {

struct PublicAddress {
  std::string host{};  ///< a DNS name in lower case, or an IP address without brackets
  std::uint16_t port = 443;

  /// "203.0.113.10", "203.0.113.10:8443", "2001:db8::1", "[2001:db8::1]:8443".
  [[nodiscard]] static std::optional<PublicAddress> parse_ip(std::string_view text);
  /// "postern.example.org" or with a port.
  [[nodiscard]] static std::optional<PublicAddress> parse_name(std::string_view text);
  /// What url() gives.
  [[nodiscard]] static std::optional<PublicAddress> parse_url(std::string_view url);

  [[nodiscard]] std::optional<IpAddress> ip() const { return IpAddress::parse(host); }
  /// "host", "host:8443", "[v6]:8443"
  [[nodiscard]] std::string authority() const;
  [[nodiscard]] std::string url() const { return "https://" + authority(); }
};

}  // namespace postern::server
