#include "client_core/flow_target.hpp"

#include "schema/session.pb.h"

namespace postern::client {

namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(FlowRefusal::kCount)> kNames = {
    "unknown_name",      "no_resource",        "port_not_allowed", "no_lease",
    "no_relay",          "no_instance",        "too_many_flows",   "timed_out",
    "refused_by_target", "target_unreachable", "target_silent",    "refused_by_connector"};

/// schema/session.proto: the comments of RefusalReason.
FlowVerdict verdict_for(wire::RefusalReason reason) {
  switch (reason) {
    case wire::REFUSAL_CONNECTION_REFUSED:
      return {false, FlowRefusal::RefusedByTarget, tcp::Refusal::Reset, false};
    case wire::REFUSAL_HOST_UNREACHABLE:
    case wire::REFUSAL_NAME_NOT_FOUND:
    case wire::REFUSAL_NAME_LOOKUP_FAILED:
      return {false, FlowRefusal::TargetUnreachable, tcp::Refusal::HostUnreachable, false};
    case wire::REFUSAL_NETWORK_UNREACHABLE:
      return {false, FlowRefusal::TargetUnreachable, tcp::Refusal::NetworkUnreachable, false};
    case wire::REFUSAL_TIMED_OUT:
      return {false, FlowRefusal::TargetSilent, tcp::Refusal::Silence, false};
    case wire::REFUSAL_RESOURCES:
      return {false, FlowRefusal::TooManyFlows, tcp::Refusal::Reset, true};
    case wire::REFUSAL_DRAINING:
      return {false, FlowRefusal::NoInstance, tcp::Refusal::HostUnreachable, true, true};
    default:
      return {false, FlowRefusal::RefusedByConnector, tcp::Refusal::AdminProhibited, false};
  }
}

/// Nothing for what is neither.
std::optional<FlowVerdict> verdict_of(const wire::FlowReply& reply) {
  if (reply.has_opened()) {
    FlowVerdict opened;
    opened.opened = true;
    opened.connected = IpAddress::from_bytes(as_bytes(reply.opened().address())).value_or(IpAddress());
    opened.connect_time = std::chrono::microseconds(reply.opened().connect_us());
    return opened;
  }
  if (reply.has_refused()) {
    FlowVerdict refused = verdict_for(reply.refused().reason());
    refused.is_unknown_name = reply.refused().reason() == wire::REFUSAL_NAME_NOT_FOUND;
    return refused;
  }
  return std::nullopt;
}

std::expected<FlowTarget, FlowRefusal> target_of(WallTime wall, const Directory& directory, const Destination& to) {
  const Decision decision = decide(wall, directory, to);
  if (decision.refusal) return std::unexpected(*decision.refusal);
  FlowTarget target;
  target.resource = decision.resource->id;
  target.remote_network = decision.resource->remote_network;
  if (const auto* name = std::get_if<model::DnsName>(&to.host)) {
    target.host = name->text();
  } else {
    target.address = std::get<IpAddress>(to.host);
  }
  target.port = to.port.value_or(0);
  target.protocol = to.protocol;
  return target;
}

}  // namespace

std::string_view to_string(FlowRefusal reason) {
  return kNames[static_cast<std::size_t>(reason)];
}

tcp::Refusal answer_for(FlowRefusal reason) {
  switch (reason) {
    case FlowRefusal::UnknownName:
    case FlowRefusal::NoInstance:
    case FlowRefusal::TimedOut:
    case FlowRefusal::TargetUnreachable:
      return tcp::Refusal::HostUnreachable;
    case FlowRefusal::NoRelay:
      return tcp::Refusal::NetworkUnreachable;
    case FlowRefusal::TooManyFlows:
    case FlowRefusal::RefusedByTarget:
      return tcp::Refusal::Reset;
    case FlowRefusal::TargetSilent:
      return tcp::Refusal::Silence;
    default:
      return tcp::Refusal::AdminProhibited;
  }
}

Destination FlowTarget::destination() const {
  Destination result{address, port, protocol};
  if (auto name = host.empty() ? std::nullopt : model::DnsName::parse(host)) result.host = std::move(*name);
  if (port == 0) result.port.reset();
  return result;
}

Bytes FlowTarget::framed_head() const {
  wire::FlowHead head;
  const auto fill = [this](auto* open) {
    open->set_resource_id(resource.value);
    if (host.empty()) {
      open->set_ip(std::string(as_text(address.bytes())));
    } else {
      open->set_host(host);
    }
    if constexpr (requires { open->set_port(0); }) open->set_port(port);
    if constexpr (requires { open->set_family(0); }) open->set_family(static_cast<std::uint32_t>(family));
  };
  if (protocol == model::Protocol::Tcp) fill(head.mutable_open_tcp());
  if (protocol == model::Protocol::Udp) fill(head.mutable_open_udp());
  if (protocol == model::Protocol::Icmp) fill(head.mutable_open_icmp());
  if (protocol == model::Protocol::Dns) {
    head.mutable_resolve()->set_resource_id(resource.value);
    head.mutable_resolve()->set_host(host);
    head.mutable_resolve()->set_type(static_cast<std::uint32_t>(question));
  }
  return wire::frame_message(as_bytes(head.SerializeAsString()));
}

bool is_ended_by(const DirectoryChanges& changes, const Directory& directory, const FlowTarget& target) {
  if (changes.removed_resources.contains(target.resource)) return true;
  if (changes.removed_leases.contains(target.remote_network)) return true;
  if (!changes.changed_resources.contains(target.resource)) return false;
  const Destination to = target.destination();
  const auto* resource = std::visit([&](const auto& host) { return directory.table().match(host); }, to.host);
  return resource == nullptr || resource->id != target.resource ||
         !resource->allows(target.protocol, to.port.value_or(0));
}

Decision decide(WallTime wall, const Directory& directory, const Destination& destination) {
  Decision decision;
  decision.resource = std::visit([&](const auto& host) { return directory.table().match(host); }, destination.host);
  if (decision.resource == nullptr) {
    decision.refusal = FlowRefusal::NoResource;
    return decision;
  }
  if (decision.resource->is_bypass()) {
    decision.refusal = FlowRefusal::NoResource;
    return decision;
  }
  decision.lease = directory.find_lease(decision.resource->remote_network);
  const bool is_judged = destination.port || destination.protocol == model::Protocol::Icmp;
  if (is_judged && !decision.resource->allows(destination.protocol, destination.port.value_or(0))) {
    decision.refusal = FlowRefusal::PortNotAllowed;
  } else if (decision.lease == nullptr || decision.lease->expires_at <= wall) {
    decision.refusal = FlowRefusal::NoLease;
  }
  return decision;
}

std::expected<FlowTarget, FlowRefusal> find_target(Instant now, WallTime wall, const Directory& directory,
                                                   resolver::AddressPool& pool, const SocketAddress& destination,
                                                   model::Protocol protocol) {
  Destination to{destination.ip, destination.port, protocol};
  if (pool.network().contains(destination.ip)) {
    const model::DnsName* name = pool.name_of(now, destination.ip);
    if (name == nullptr) return std::unexpected(FlowRefusal::UnknownName);
    to.host = *name;
  }
  auto target = target_of(wall, directory, to);
  if (target) target->family = destination.ip.family();
  return target;
}

std::expected<FlowTarget, FlowRefusal> find_target(Instant now, WallTime wall, const Directory& directory,
                                                   resolver::AddressPool& pool, const Destination& to) {
  const auto* address = std::get_if<IpAddress>(&to.host);
  const bool is_virtual = address != nullptr && pool.network().contains(*address);
  const model::DnsName* name = is_virtual ? pool.name_of(now, *address) : nullptr;
  return target_of(wall, directory, name != nullptr ? Destination{*name, to.port, to.protocol} : to);
}

std::optional<FlowVerdict> parse_flow_reply(ByteView message) {
  wire::FlowReply reply;
  if (!reply.ParseFromArray(message.data(), static_cast<int>(message.size()))) return std::nullopt;
  return verdict_of(reply);
}

std::optional<DatagramReply> parse_datagram_reply(ByteView message) {
  wire::FlowReply reply;
  if (!reply.ParseFromArray(message.data(), static_cast<int>(message.size()))) return std::nullopt;
  if (reply.has_failed()) return DatagramReply{verdict_for(reply.failed().reason()), true};
  auto verdict = verdict_of(reply);
  if (!verdict) return std::nullopt;
  return DatagramReply{std::move(*verdict), false};
}

}  // namespace postern::client
