#include "sim/nat.hpp"

namespace postern::sim {

std::string_view to_string(NatKind kind) {
  switch (kind) {
    case NatKind::None:
      return "no NAT";
    case NatKind::EndpointIndependent:
      return "endpoint-independent NAT";
    case NatKind::AddressDependent:
      return "address-dependent NAT";
    case NatKind::AddressAndPortDependent:
      return "address-and-port-dependent NAT";
  }
  return "";
}

SocketAddress Nat::seen_part(const SocketAddress& remote) const {
  switch (kind_) {
    case NatKind::AddressDependent:
      return {remote.ip, 0};
    case NatKind::AddressAndPortDependent:
      return remote;
    default:
      return {};
  }
}

SocketAddress Nat::outbound(Instant now, const SocketAddress& from, const SocketAddress& to) {
  const Key key{from, seen_part(to)};
  Mapping& mapping = mappings_[key];
  if (mapping.port != 0 && now - mapping.used > life_) {
    ports_.erase(mapping.port);
    mapping.port = 0;
  }
  while (mapping.port == 0) {
    const auto port = static_cast<std::uint16_t>(20'000 + random_.below(40'000));
    if (ports_.emplace(port, key).second) mapping.port = port;
  }
  mapping.used = now;
  return {outside_, mapping.port};
}

std::optional<SocketAddress> Nat::inbound(Instant now, const SocketAddress& from, std::uint16_t port) const {
  const auto found = ports_.find(port);
  if (found == ports_.end()) return std::nullopt;
  const Mapping& mapping = mappings_.at(found->second);
  if (now - mapping.used > life_ || found->second.remote != seen_part(from)) return std::nullopt;
  return found->second.inside;
}

}  // namespace postern::sim
