// What would become of a connection, and why: the value behind `postern explain`.
//
// Nothing here decides. Client::explain() asks what decides about real flows (flow_target, Peers::rank, route_plan) and
// writes down what it says, with what else there was to choose from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/time.hpp"
#include "client_core/flow_target.hpp"
#include "client_core/status.hpp"

namespace postern::client {

/// Why an address is never led into the TUN.
enum class Protection : std::uint8_t { Gateway, DnsServer, Server, Relay };
/// For sentences: "the default gateway".
[[nodiscard]] std::string_view describe(Protection why);

struct ProtectedAddress {
  IpAddress address;
  Protection why = Protection::Gateway;
};

/// What the client cannot know by itself: how its host is connected. Observed by the owner.
struct HostFacts {
  std::vector<IpPrefix> local_networks;  ///< reached without us: on-link networks and routes of others
  std::vector<ProtectedAddress> protected_addresses;
};

enum class ExplainVerdict : std::uint8_t {
  Reached,       ///< a flow would be offered to the chosen instance now
  Refused,       ///< for the reason in `refusal`
  Held,          ///< it would wait for the controller or the relay to come back, and be refused after some seconds
  OwnServer,     ///< the name of the Postern server, which is never answered from a Resource
  Resolver,      ///< the address at which the client answers DNS
  Protected,     ///< a Resource covers it, but the host itself needs it
  LocalNetwork,  ///< a Resource covers it, but so does a network that this host is in, which wins
  NeverRouted,   ///< loopback, link-local, multicast: never led into the TUN
  NoRoom,        ///< its Resource's route was left out at the bound
};

struct ExplainedResource {
  std::uint64_t id = 0;
  std::string name;
  std::string address;
  std::string matched_by;  ///< its address, or the alias
  std::string remote_network;
  std::string tcp_ports;
  std::string udp_ports;
  bool allows_icmp = true;
  std::string why_not;  ///< of those that lost
};

struct ExplainedInstance {
  std::uint64_t id = 0;
  std::string connector;
  std::string state;  ///< as in SessionStatus, or "no session"
  std::string why;    ///< why chosen, or why not
  bool chosen = false;
  std::string path;       ///< of its session: "relay", "direct"; empty without one
  std::string transport;  ///< "udp" or "tls"
  std::string remote;
  std::optional<Duration> round_trip;
};

struct Explanation {
  Destination destination;
  ExplainVerdict verdict = ExplainVerdict::Refused;
  std::optional<FlowRefusal> refusal;
  std::string reason;  ///< one sentence for people

  std::string name;  ///< the name that decides, if one does
  std::vector<IpAddress> virtual_addresses;
  std::optional<ExplainedResource> resource;
  std::vector<ExplainedResource> others;  ///< best first
  std::optional<WallTime> lease_expires_at;
  std::vector<ExplainedInstance> instances;  ///< in the order in which a flow is offered to them
  std::optional<RelayStatus> relay;
  std::vector<std::string> notes;

  [[nodiscard]] bool is_reached() const { return verdict == ExplainVerdict::Reached; }
};
/// "reached", "port_not_allowed", "local_network" …: the verdict as one word.
[[nodiscard]] std::string_view verdict_word(const Explanation& explanation);

}  // namespace postern::client
