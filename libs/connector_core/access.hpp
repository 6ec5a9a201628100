// May this lease open this target now? PROTOCOL.md §4.5, in its order; no state of its own.
#pragma once

#include <expected>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/ip.hpp"
#include "connector_core/policy_store.hpp"
#include "identity/tokens.hpp"
#include "model/resource.hpp"
#include "schema/session.pb.h"
#include "wire/dns.hpp"

namespace postern::connector {

/// What a flow asks for.
struct Target {
  model::ResourceId resource;
  std::variant<model::DnsName, IpAddress> host;
  std::uint16_t port = 0;  ///< 0 for ICMP and questions
  model::Protocol protocol = model::Protocol::Tcp;
  /// Whose addresses are tried first.
  std::optional<IpFamily> family{};
  wire::DnsType question{};  ///< what a question asks for

  /// "gitea.home:3000", "192.168.1.20:80", "[2001:db8::1]:80"; for other protocols than TCP with "/udp", "/icmp" or
  /// "/dns".
  [[nodiscard]] std::string to_string() const;
};

struct Refusal {
  wire::RefusalReason reason = wire::REFUSAL_UNSPECIFIED;
  std::string detail;  ///< for people and logs
};

/// Nothing of a Target for: no resource, no or two targets, a port of 0, a name that is not in its canonical form or
/// that is an address in disguise, a question for addresses.
[[nodiscard]] std::expected<Target, Refusal> parse_target(const wire::FlowHead& head);

using LeasePointer = std::shared_ptr<const identity::Lease>;

/// Steps 1 to 5. `lease` is empty before an accepted Hello.
[[nodiscard]] std::expected<const model::Resource*, Refusal> check_access(const identity::Lease* lease,
                                                                          const Target& target,
                                                                          const PolicyStore& policy, WallTime now);

/// What a question is about: the name itself, or the Resource's own where an alias was asked about.
[[nodiscard]] std::expected<model::DnsName, Refusal> question_of(const Target& target, const model::Resource& resource);

/// What must be connected to: the name or address itself, or what the Resource stands for where an alias was asked.
[[nodiscard]] std::expected<std::variant<model::DnsName, IpAddress>, Refusal> destination_of(
    const Target& target, const model::Resource& resource);

/// Step 6: the addresses that may be connected to, in the order given; a Refusal when none is left.
[[nodiscard]] std::expected<std::vector<IpAddress>, Refusal> permitted_addresses(std::span<const IpAddress> found,
                                                                                 const policy::ResourceTable& table);

/// When something that this lease allows may end by itself: its own or a resource's expiry after `now`, with tolerance.
[[nodiscard]] WallTime next_expiry(const identity::Lease& lease, WallTime now);

}  // namespace postern::connector
