// What the client says about itself, as a value.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/time.hpp"
#include "model/resource.hpp"

namespace postern::client {

/// DESIGN §6. `Online` only when a lease is valid (or there is nothing to have one for) and the relay has proven the
/// binding within the last keepalive.
///
///     NotRunning (no daemon)    Paused ◀─disconnect─┐
///                                 │connect          │
///     Offline ◀──no answer── Connecting ──bound──▶ Online
///        │                        ▲
///        └─────────▶ Authenticating (sign-in runs)
enum class ClientState : std::uint8_t { NotRunning, Offline, Authenticating, Connecting, Online, Paused };
[[nodiscard]] std::string_view to_string(ClientState state);
[[nodiscard]] std::optional<ClientState> parse_client_state(std::string_view text);

/// "all", "none" or "80,443,8000-9000".
[[nodiscard]] std::string ports_text(const model::ProtocolRule& rule);

struct ResourceStatus {
  std::uint64_t id = 0;
  std::string name;
  std::string address;
  std::vector<std::string> aliases;
  std::string remote_network;
  std::string tcp_ports;
  std::string udp_ports;
  bool allows_icmp = true;
  bool reachable = false;  ///< its lease is valid and an instance is known
};

struct SessionStatus {
  std::string connector;
  std::uint64_t instance = 0;
  std::string remote_network;
  std::string state;  ///< "connecting", "ready", "suspect", "down"
  std::string path;   ///< "relay" or "direct"
  std::string remote;
  std::optional<Duration> round_trip;
  std::uint32_t flows = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t packets_lost = 0;
  std::string failure;
  std::string transport{};      ///< "udp", or "tls" for a relay that UDP does not reach
  std::string path_reason{};    ///< why it is "relay", one sentence
  std::size_t packet_size = 0;  ///< UDP payload that the path is known to carry
};

struct RelayStatus {
  std::string name;
  std::string address;
  bool bound = false;
  std::optional<Duration> round_trip;
  std::string transport = "udp";  ///< or "tls"
  std::string why{};              ///< of "tls", one phrase
};

/// The host's DNS: who owns it, and whether names of Resources lead to us.
struct DnsStatus {
  std::string manager;            ///< "systemd-resolved", "NetworkManager", "resolvconf", "file", "none"
  std::string state;              ///< "off", "installed", "contested", "failed"
  std::string reason;             ///< why this manager
  std::string problem;            ///< one sentence, empty when all is well
  bool routes_by_domain = false;  ///< only names of Resources come to us, not all
  std::size_t domains = 0;        ///< how many domains lead to Resources
  std::vector<std::string> upstream;
};

/// What the owner of the client has made of this host; `postern doctor` compares it with what is there.
struct HostStatus {
  std::string tun;
  std::string resolver;
  std::string range_v4;
  std::string range_v6;
  std::size_t routes = 0;
  std::vector<std::string> missing_routes;  ///< wanted, but not there
};

/// The port that this host's router was asked for.
struct PortMappingStatus {
  std::string outside;  ///< empty while there is none
  std::string method;   ///< "NAT-PMP" or "UPnP"
  std::string why;      ///< there is none, one sentence; empty while it is being asked for
};

/// The local SOCKS5 and HTTP port.
struct ProxyStatus {
  std::string address;
  std::uint64_t streams = 0;       ///< open now, those of `postern nc` too
  std::uint64_t accepted = 0;      ///< connections since the start
  std::uint64_t refused = 0;       ///< of other users, over a bound, or without sense
  std::uint64_t associations = 0;  ///< of UDP, open now
};

/// Where this device is enrolled; nothing here is secret.
struct ServerStatus {
  std::string host;
  std::uint16_t port = 0;
  std::vector<std::string> addresses;
  std::string root_pin;  ///< base64url; empty: a public certificate
  std::string proxy;     ///< "host:port"; empty: none on the way
};

struct ClientStatus {
  ClientState state = ClientState::Offline;
  std::string reason;  ///< one sentence for people, empty when online and nothing is amiss
  std::string network;
  std::string network_name;
  std::string account;
  std::string device;
  std::vector<ResourceStatus> resources;
  std::vector<SessionStatus> sessions;
  std::optional<HostStatus> host;  ///< while connected
  std::optional<ServerStatus> server;
  std::optional<ProxyStatus> proxy;
  std::optional<PortMappingStatus> port_mapping;  ///< while connected, unless it is switched off
  bool has_tun = true;                            ///< false: the daemon was told to make none
  std::vector<std::string> notes;  ///< what a person should know about this host's network, one sentence each
  std::optional<RelayStatus> relay;
  std::optional<WallTime> lease_expires_at;  ///< the earliest
  DnsStatus dns;
  std::uint64_t flows = 0;
  std::uint64_t flows_opened = 0;
  /// Everything dropped or refused, by reason; zeros are left out.
  std::map<std::string, std::uint64_t> drops;
};

}  // namespace postern::client
