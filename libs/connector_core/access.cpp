#include "connector_core/access.hpp"

#include <algorithm>
#include <charconv>

#include "wire/dns_records.hpp"

namespace postern::connector {
namespace {

using model::DnsName;

Refusal refuse(wire::RefusalReason reason, std::string detail) {
  return {reason, std::move(detail)};
}

bool has_ended(std::int64_t expires_at, WallTime now) {
  return to_unix_seconds(now) >= expires_at + identity::kClockTolerance.count();
}

/// "10.0.0.1", "127.1", "0x7f000001", "2130706433": resolvers read them as addresses, so they are not names here.
bool is_address_in_disguise(const DnsName& name) {
  const std::string& text = name.text();
  const std::string last = text.substr(text.rfind('.') + 1);
  if (last.starts_with("0x")) return true;
  return std::ranges::all_of(last, [](char c) { return c >= '0' && c <= '9'; });
}

Refusal of_table(policy::TableRefusal refusal) {
  switch (refusal) {
    case policy::TableRefusal::UnknownResource:
      return refuse(wire::REFUSAL_UNKNOWN_RESOURCE, "this connector does not know the resource");
    case policy::TableRefusal::AddressNotInResource:
      return refuse(wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE, "the resource does not contain this host or address");
    case policy::TableRefusal::PortNotAllowed:
      return refuse(wire::REFUSAL_PORT_NOT_ALLOWED, "the resource does not allow this port");
    case policy::TableRefusal::Shadowed:
      return refuse(wire::REFUSAL_SHADOWED, "another resource names this host or address itself");
  }
  return refuse(wire::REFUSAL_UNSPECIFIED, "");
}

std::expected<void, Refusal> check_lease(const identity::Lease* lease, model::ResourceId resource,
                                         const Revocations& revocations, WallTime now) {
  if (lease == nullptr || has_ended(lease->expires_at, now)) {
    return std::unexpected(refuse(wire::REFUSAL_LEASE_EXPIRED, "the session has no valid lease"));
  }
  const auto grant = std::ranges::find(lease->resources, resource.value, &identity::ResourceGrant::resource_id);
  if (grant == lease->resources.end()) {
    return std::unexpected(refuse(wire::REFUSAL_NOT_IN_LEASE, "the lease does not name the resource"));
  }
  if (has_ended(grant->expires_at, now)) {
    return std::unexpected(refuse(wire::REFUSAL_LEASE_EXPIRED, "the access to this resource has ended"));
  }
  if (revocations.voids(*lease, resource)) {
    return std::unexpected(refuse(wire::REFUSAL_REVOKED, "the access was revoked"));
  }
  return {};
}

}  // namespace

std::string Target::to_string() const {
  std::string text;
  if (const auto* name = std::get_if<DnsName>(&host)) {
    text = name->text() + (port != 0 ? ":" + std::to_string(port) : "");
  } else {
    const auto& address = std::get<IpAddress>(host);
    text = port != 0 ? SocketAddress{address, port}.to_string() : address.to_string();
  }
  if (protocol == model::Protocol::Tcp) return text;
  return text + "/" + std::string(model::to_string(protocol));
}

namespace {

/// What the heads of all protocols have.
template <typename Head>
std::expected<Target, Refusal> parse_host(const Head& head, model::Protocol protocol) {
  const auto bad = [](const char* why) { return std::unexpected(refuse(wire::REFUSAL_BAD_REQUEST, why)); };
  if (head.resource_id() == 0) return bad("no resource is named");
  Target target;
  target.resource = model::ResourceId(head.resource_id());
  target.protocol = protocol;
  if constexpr (requires { head.has_ip(); }) {
    const auto address = IpAddress::from_bytes(as_bytes(head.ip()));
    if (head.has_ip() && !address) return bad("the address is neither 4 nor 16 bytes long");
    if (head.has_ip()) {
      target.host = *address;
      return target;
    }
  }
  auto name = DnsName::parse(head.host());
  if (!name || name->text() != head.host()) return bad("the host is not a name in lower case without trailing dot");
  if (is_address_in_disguise(*name)) return bad("the host is an address and not a name");
  target.host = std::move(*name);
  return target;
}

std::expected<Target, Refusal> with_port(std::expected<Target, Refusal> target, std::uint32_t port) {
  if (!target) return target;
  if (port == 0 || port > UINT16_MAX) {
    return std::unexpected(refuse(wire::REFUSAL_BAD_REQUEST, "the port is not 1 to 65535"));
  }
  target->port = static_cast<std::uint16_t>(port);
  return target;
}

std::expected<Target, Refusal> with_family(std::expected<Target, Refusal> target, std::uint32_t family) {
  if (!target || family == 0) return target;
  if (family != 4 && family != 6) {
    return std::unexpected(refuse(wire::REFUSAL_BAD_REQUEST, "the family is neither 4 nor 6"));
  }
  target->family = static_cast<IpFamily>(family);
  return target;
}

std::expected<Target, Refusal> with_question(std::expected<Target, Refusal> target, std::uint32_t type) {
  if (!target) return target;
  target->question = static_cast<wire::DnsType>(type);
  if (type > UINT16_MAX || !wire::is_passed_on(target->question)) {
    return std::unexpected(refuse(wire::REFUSAL_BAD_REQUEST, "questions of this type are not passed on"));
  }
  return target;
}

}  // namespace

std::expected<Target, Refusal> parse_target(const wire::FlowHead& head) {
  switch (head.body_case()) {
    case wire::FlowHead::kOpenTcp:
      return with_port(parse_host(head.open_tcp(), model::Protocol::Tcp), head.open_tcp().port());
    case wire::FlowHead::kOpenUdp:
      return with_family(with_port(parse_host(head.open_udp(), model::Protocol::Udp), head.open_udp().port()),
                         head.open_udp().family());
    case wire::FlowHead::kOpenIcmp:
      return with_family(parse_host(head.open_icmp(), model::Protocol::Icmp), head.open_icmp().family());
    case wire::FlowHead::kResolve:
      return with_question(parse_host(head.resolve(), model::Protocol::Dns), head.resolve().type());
    default:
      return std::unexpected(refuse(wire::REFUSAL_BAD_REQUEST, "the flow is of no kind that this connector knows"));
  }
}

std::expected<const model::Resource*, Refusal> check_access(const identity::Lease* lease, const Target& target,
                                                            const PolicyStore& policy, WallTime now) {
  const auto allowed = check_lease(lease, target.resource, policy.revocations(), now);
  if (!allowed) return std::unexpected(allowed.error());
  const auto found = std::visit(
      [&](const auto& host) { return policy.table().check(target.resource, host, target.protocol, target.port); },
      target.host);
  const bool is_icmp = target.protocol == model::Protocol::Icmp;
  if (!found && is_icmp && found.error() == policy::TableRefusal::PortNotAllowed) {
    return std::unexpected(refuse(wire::REFUSAL_PORT_NOT_ALLOWED, "the resource does not allow ICMP"));
  }
  if (!found) return std::unexpected(of_table(found.error()));
  return *found;
}

std::expected<DnsName, Refusal> question_of(const Target& target, const model::Resource& resource) {
  const auto& asked = std::get<DnsName>(target.host);
  if (resource.address.matches(asked)) return asked;
  if (const auto* real = std::get_if<DnsName>(&resource.address.value())) return *real;
  return std::unexpected(refuse(wire::REFUSAL_NAME_NOT_FOUND, "the alias belongs to a resource without a name"));
}

std::expected<std::variant<DnsName, IpAddress>, Refusal> destination_of(const Target& target,
                                                                        const model::Resource& resource) {
  const auto* name = std::get_if<DnsName>(&target.host);
  if (name == nullptr || resource.address.matches(*name)) return target.host;
  const auto& value = resource.address.value();  // an alias: it stands for what the Resource is
  if (const auto* real = std::get_if<DnsName>(&value)) return *real;
  const auto* prefix = std::get_if<IpPrefix>(&value);
  if (prefix != nullptr && prefix->is_host()) return prefix->address();
  return std::unexpected(
      refuse(wire::REFUSAL_ADDRESS_NOT_IN_RESOURCE, "the alias belongs to a resource of many addresses"));
}

std::expected<std::vector<IpAddress>, Refusal> permitted_addresses(std::span<const IpAddress> found,
                                                                   const policy::ResourceTable& table) {
  std::vector<IpAddress> permitted;
  std::string detail;
  for (const IpAddress& address : found) {
    const auto kind = policy::forbidden_kind(address);
    if (!kind || table.names_literally(address)) {
      permitted.push_back(address);
    } else {
      detail += (detail.empty() ? "" : ", ") + address.to_string() + " is " + std::string(policy::to_string(*kind));
    }
  }
  if (permitted.empty()) {
    return std::unexpected(
        refuse(wire::REFUSAL_FORBIDDEN_ADDRESS, detail + "; add a resource for that very address if it is meant"));
  }
  return permitted;
}

WallTime next_expiry(const identity::Lease& lease, WallTime now) {
  std::int64_t earliest = lease.expires_at;
  for (const identity::ResourceGrant& grant : lease.resources) {
    if (!has_ended(grant.expires_at, now)) earliest = std::min(earliest, grant.expires_at);
  }
  return from_unix_ms((earliest + identity::kClockTolerance.count()) * 1000);
}

}  // namespace postern::connector
