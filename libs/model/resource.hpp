// A Resource: an address pattern, ports, and the Remote Network behind which it lives. Parsed once at the border.
#pragma once

#include <compare>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.hpp"
#include "model/ids.hpp"

namespace postern::model {

/// A DNS name: lower case, no trailing dot, labels of 1..63 of [a-z0-9_-], at most 253 bytes. One label is fine.
class DnsName {
 public:
  /// Folds case and drops one trailing dot; refuses everything else that is not a name.
  [[nodiscard]] static std::optional<DnsName> parse(std::string_view text);
  [[nodiscard]] const std::string& text() const { return text_; }
  auto operator<=>(const DnsName&) const = default;

 private:
  std::string text_;
};

/// A name with `*` (zero or more characters) or `?` (exactly one). `*.corp.int` does not match `corp.int`.
class DnsPattern {
 public:
  [[nodiscard]] static std::optional<DnsPattern> parse(std::string_view text);
  [[nodiscard]] bool matches(const DnsName& name) const;
  /// More literal characters win over fewer.
  [[nodiscard]] std::size_t literal_characters() const;
  [[nodiscard]] const std::string& text() const { return text_; }
  auto operator<=>(const DnsPattern&) const = default;

 private:
  std::string text_;
};

/// What a Resource's address is: a literal name, a pattern, or an IP prefix (a single address is a host prefix).
class ResourceAddress {
 public:
  using Value = std::variant<DnsName, DnsPattern, IpPrefix>;
  enum class Error : std::uint8_t { Empty, InvalidIpOrFqdn, HostBitsSet };

  [[nodiscard]] static std::expected<ResourceAddress, Error> parse(std::string_view text);
  [[nodiscard]] const Value& value() const { return value_; }
  [[nodiscard]] bool matches(const DnsName& name) const;
  [[nodiscard]] bool matches(const IpAddress& address) const;
  /// Orders by specificity (facts: single IP > narrow CIDR > wide CIDR; literal > wildcard; more literals > fewer).
  [[nodiscard]] bool more_specific_than(const ResourceAddress& other) const;
  /// A literal name or a single IP address.
  [[nodiscard]] bool is_literal() const;
  [[nodiscard]] std::string text() const;
  auto operator<=>(const ResourceAddress&) const = default;

 private:
  Value value_;
};

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  auto operator<=>(const PortRange&) const = default;
};

enum class PortPolicy : std::uint8_t { AllowAll, Restricted, DenyAll };

struct ProtocolRule {
  PortPolicy policy = PortPolicy::AllowAll;
  std::vector<PortRange> ports;  ///< sorted, disjoint; used by Restricted only

  /// "80,443,8000-9000"; "" or "*" allows all, "none" denies all. Ports 1..65535, joined and sorted. Blanks around
  /// numbers are fine. text() gives what parse() reads back.
  [[nodiscard]] static std::optional<ProtocolRule> parse(std::string_view text);
  [[nodiscard]] bool allows(std::uint16_t port) const;
  [[nodiscard]] std::string text() const;
  auto operator<=>(const ProtocolRule&) const = default;
};

/// Bypass: a destination inside a wider resource that is reached as if Postern were not there.
enum class Routing : std::uint8_t { Through, Bypass };

/// Dns: questions about a name itself (PROTOCOL.md §4.8); whoever may reach any port of it may ask.
enum class Protocol : std::uint8_t { Tcp, Udp, Icmp, Dns };
/// "tcp", "udp", "icmp", "dns".
[[nodiscard]] std::string_view to_string(Protocol protocol);

struct Resource {
  static constexpr std::uint32_t kPriorityMax = 1000;

  ResourceId id;
  std::string name;
  RemoteNetworkId remote_network;
  ResourceAddress address;
  std::vector<DnsName> aliases;
  ProtocolRule tcp;
  ProtocolRule udp;
  bool allow_icmp = true;
  Routing routing = Routing::Through;
  std::uint32_t priority = 0;  ///< among equally specific ones the higher wins

  [[nodiscard]] bool is_bypass() const { return routing == Routing::Bypass; }

  /// ICMP and questions have no ports.
  [[nodiscard]] bool allows(Protocol protocol, std::uint16_t port) const {
    if (protocol == Protocol::Icmp) return allow_icmp;
    if (protocol == Protocol::Dns) return true;
    return (protocol == Protocol::Udp ? udp : tcp).allows(port);
  }
  auto operator<=>(const Resource&) const = default;
};

}  // namespace postern::model
