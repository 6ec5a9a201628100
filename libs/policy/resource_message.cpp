#include "policy/resource_message.hpp"

#include <algorithm>

namespace postern::policy {

namespace {

wire::PortPolicy to_message(model::PortPolicy policy) {
  switch (policy) {
    case model::PortPolicy::AllowAll:
      return wire::PORT_POLICY_ALLOW_ALL;
    case model::PortPolicy::Restricted:
      return wire::PORT_POLICY_RESTRICTED;
    case model::PortPolicy::DenyAll:
      break;
  }
  return wire::PORT_POLICY_DENY_ALL;
}

void write_rule(const model::ProtocolRule& rule, wire::ProtocolRule& message) {
  message.set_policy(to_message(rule.policy));
  for (const model::PortRange& range : rule.ports) {
    auto* added = message.add_ports();
    added->set_first(range.first);
    added->set_last(range.last);
  }
}

model::PortPolicy from_message(wire::PortPolicy policy) {
  switch (policy) {
    case wire::PORT_POLICY_ALLOW_ALL:
      return model::PortPolicy::AllowAll;
    case wire::PORT_POLICY_RESTRICTED:
      return model::PortPolicy::Restricted;
    default:
      return model::PortPolicy::DenyAll;
  }
}

std::optional<model::ProtocolRule> from_message(const wire::ProtocolRule& message) {
  model::ProtocolRule rule{from_message(message.policy()), {}};
  for (const wire::PortRange& range : message.ports()) {
    if (range.first() == 0 || range.last() < range.first() || range.last() > UINT16_MAX) return std::nullopt;
    rule.ports.push_back({static_cast<std::uint16_t>(range.first()), static_cast<std::uint16_t>(range.last())});
  }
  std::ranges::sort(rule.ports);
  return rule;
}

}  // namespace

wire::Resource to_message(const model::Resource& resource) {
  wire::Resource message;
  message.set_id(resource.id.value);
  message.set_name(resource.name);
  message.set_remote_network_id(resource.remote_network.value);
  message.set_address(resource.address.text());
  for (const model::DnsName& alias : resource.aliases) message.add_aliases(alias.text());
  write_rule(resource.tcp, *message.mutable_tcp());
  write_rule(resource.udp, *message.mutable_udp());
  message.set_allow_icmp(resource.allow_icmp);
  message.set_routing(resource.is_bypass() ? wire::ROUTING_BYPASS : wire::ROUTING_THROUGH);
  message.set_priority(resource.priority);
  return message;
}

std::optional<model::Resource> from_message(const wire::Resource& message) {
  auto address = model::ResourceAddress::parse(message.address());
  auto tcp = from_message(message.tcp());
  auto udp = from_message(message.udp());
  if (message.id() == 0 || !address || !tcp || !udp) return std::nullopt;
  if (message.routing() != wire::ROUTING_THROUGH && message.routing() != wire::ROUTING_BYPASS) return std::nullopt;
  const bool is_bypass = message.routing() == wire::ROUTING_BYPASS;
  if (is_bypass && (!address->is_literal() || !message.aliases().empty())) return std::nullopt;
  model::Resource resource{model::ResourceId(message.id()),
                           message.name(),
                           model::RemoteNetworkId(message.remote_network_id()),
                           std::move(*address),
                           {},
                           std::move(*tcp),
                           std::move(*udp),
                           message.allow_icmp(),
                           is_bypass ? model::Routing::Bypass : model::Routing::Through,
                           message.priority()};
  for (const std::string& text : message.aliases()) {
    auto alias = model::DnsName::parse(text);
    if (!alias) return std::nullopt;
    resource.aliases.push_back(std::move(*alias));
  }
  return resource;
}

}  // namespace postern::policy
