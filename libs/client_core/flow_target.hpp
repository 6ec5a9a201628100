// Where an application's connection leads: from the address it connected to, to a Resource and what the connector is
// asked for. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "client_core/destination.hpp"
#include "client_core/directory.hpp"
#include "resolver/address_pool.hpp"
#include "tcp/types.hpp"
#include "wire/dns.hpp"
#include "wire/framing.hpp"

namespace postern::client {

/// Why a connection was refused; each has a counter in the status.
enum class FlowRefusal : std::uint8_t {
  UnknownName,  ///< a virtual address that stands for no name
  NoResource,   ///< no Resource matches (any more)
  PortNotAllowed,
  NoLease,          ///< no lease for its remote network, or it has expired
  NoRelay,          ///< nothing can be sent
  NoInstance,       ///< no connector instance is reachable
  TooManyFlows,     ///< the session's or the process's bound
  TimedOut,         ///< nobody answered within the time allowed
  RefusedByTarget,  ///< the target answered RST
  TargetUnreachable,
  TargetSilent,
  RefusedByConnector,  ///< it did not allow it
  kCount
};
[[nodiscard]] std::string_view to_string(FlowRefusal reason);
/// What the application gets to see.
[[nodiscard]] tcp::Refusal answer_for(FlowRefusal reason);

struct FlowTarget {
  model::ResourceId resource;
  model::RemoteNetworkId remote_network;
  std::string host;  ///< empty: `address` was asked for literally
  IpAddress address;
  std::uint16_t port = 0;  ///< 0 for ICMP and questions
  model::Protocol protocol = model::Protocol::Tcp;
  IpFamily family = IpFamily::V4;  ///< that the application used; matters for UDP and ICMP
  wire::DnsType question{};        ///< what a question asks for

  [[nodiscard]] Destination destination() const;
  /// FlowHead, ready to be written to its stream.
  [[nodiscard]] Bytes framed_head() const;
};

/// What decides about a flow, in this order: the Resource, its ports, the lease of its remote network.
struct Decision {
  const model::Resource* resource = nullptr;
  const Lease* lease = nullptr;
  std::optional<FlowRefusal> refusal;  ///< the first that applies
};
/// Without a port, TCP and UDP ports are not judged.
[[nodiscard]] Decision decide(WallTime wall, const Directory& directory, const Destination& destination);

[[nodiscard]] std::expected<FlowTarget, FlowRefusal> find_target(Instant now, WallTime wall, const Directory& directory,
                                                                 resolver::AddressPool& pool,
                                                                 const SocketAddress& destination,
                                                                 model::Protocol protocol = model::Protocol::Tcp);
/// The same for who names a name itself; `to` has a port. An address of the virtual range that stands for no name is
/// taken literally: without a TUN nobody was given it.
[[nodiscard]] std::expected<FlowTarget, FlowRefusal> find_target(Instant now, WallTime wall, const Directory& directory,
                                                                 resolver::AddressPool& pool, const Destination& to);

/// Whether this update of the directory ends a flow to there. Ports and aliases of a Resource may change under its
/// flows: those that it still lets through live on.
[[nodiscard]] bool is_ended_by(const DirectoryChanges& changes, const Directory& directory, const FlowTarget& target);

/// A connector's answer: opened, or what to answer to the application.
struct FlowVerdict {
  bool opened = false;
  FlowRefusal refusal = FlowRefusal::RefusedByConnector;
  tcp::Refusal answer = tcp::Refusal::AdminProhibited;
  bool try_elsewhere = false;  ///< this instance is full or ends; another one may take the flow
  bool leaving = false;        ///< it ends
  bool is_unknown_name = false;
  IpAddress connected{};    ///< opened: to where
  Duration connect_time{};  ///< and how long connect() took there
};
/// Nothing for a message that is no FlowReply.
[[nodiscard]] std::optional<FlowVerdict> parse_flow_reply(ByteView message);

/// On the stream of a UDP or ICMP flow: the same, or what the target's network said about a packet.
struct DatagramReply {
  FlowVerdict verdict;
  bool is_failure = false;  ///< the flow goes on; verdict.answer is for the last packet
};
[[nodiscard]] std::optional<DatagramReply> parse_datagram_reply(ByteView message);

}  // namespace postern::client
