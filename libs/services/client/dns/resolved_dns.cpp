#include "services/client/dns/resolved_dns.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "services/client/dns/dns_choice.hpp"

namespace postern::client {

namespace {

using runtime::BusCall;
using runtime::BusReply;
using runtime::BusTarget;

constexpr BusTarget kManager = {kResolvedService, "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager"};

Bytes address_bytes(const IpAddress& address) {
  return to_bytes(address.bytes());
}

std::int32_t link_of(const DnsPlan& plan) {
  return static_cast<std::int32_t>(plan.interface_index);
}

/// a(iiay): link, family, address
std::vector<IpAddress> read_servers(BusReply& reply, std::int32_t without_link) {
  std::vector<IpAddress> servers;
  if (!reply.enter_array("(iiay)")) return servers;
  while (reply.enter_struct("iiay")) {
    const auto link = reply.i32();
    (void)reply.i32();
    const auto bytes = reply.bytes();
    reply.leave();
    const auto address = bytes ? IpAddress::from_bytes(*bytes) : std::nullopt;
    if (!address || link == without_link) continue;
    if (std::ranges::find(servers, *address) == servers.end()) servers.push_back(*address);
  }
  return servers;
}

}  // namespace

std::expected<DnsChange, std::string> ResolvedDns::apply(const DnsPlan& plan) {
  if (applied_ == plan && is_in_force(plan)) return DnsChange::None;
  if (applied_ && applied_->interface_index != plan.interface_index) (void)remove();
  applied_ = plan;
  // Answers of a moment ago, made without us, would hide the new names for minutes.
  auto done = set_link(plan);
  if (done) done = set("FlushCaches", bus_.prepare(kManager, "FlushCaches"));
  if (!done) return std::unexpected(done.error());
  return DnsChange::Made;
}

std::expected<void, std::string> ResolvedDns::set(const char* method, BusCall call) {
  const auto done = bus_.call(std::move(call));
  if (done) return {};
  return std::unexpected("systemd-resolved refused " + std::string(method) + ": " + done.error());
}

std::expected<void, std::string> ResolvedDns::set_link(const DnsPlan& plan) {
  const std::int32_t link = link_of(plan);
  set_modes(plan);
  auto default_route = bus_.prepare(kManager, "SetLinkDefaultRoute");
  auto done = set("SetLinkDefaultRoute", std::move(default_route.i32(link).flag(false)));
  if (!done) return done;
  auto domains = bus_.prepare(kManager, "SetLinkDomains");
  domains.i32(link).open_array("(sb)");
  for (const std::string& domain : plan.domains) domains.open_struct("sb").text(domain).flag(true).close();
  done = set("SetLinkDomains", std::move(domains.close()));
  if (!done) return done;
  // The server last: until then the link answers nothing, so no name goes to it that should not.
  auto servers = bus_.prepare(kManager, "SetLinkDNS");
  servers.i32(link).open_array("(iay)").open_struct("iay");
  servers.i32(plan.resolver.is_v4() ? AF_INET : AF_INET6).bytes(address_bytes(plan.resolver)).close().close();
  return set("SetLinkDNS", std::move(servers));
}

/// What a host may have switched on for all links and our answers, made up here, cannot do. Older versions know fewer
/// of these calls, and then there is nothing to switch off.
void ResolvedDns::set_modes(const DnsPlan& plan) {
  for (const char* method : {"SetLinkDNSSEC", "SetLinkDNSOverTLS", "SetLinkLLMNR", "SetLinkMulticastDNS"}) {
    auto call = bus_.prepare(kManager, method);
    (void)bus_.call(std::move(call.i32(link_of(plan)).text("no")));
  }
}

bool ResolvedDns::is_in_force(const DnsPlan& plan) {
  auto reply = bus_.get(kManager, "DNS", "a(iiay)");
  if (!reply || !reply->enter_array("(iiay)")) return false;
  bool found = false;
  while (reply->enter_struct("iiay")) {
    const auto link = reply->i32();
    (void)reply->i32();
    found |= reply->bytes() == address_bytes(plan.resolver) && link == link_of(plan);
    reply->leave();
  }
  return found;
}

std::expected<void, std::string> ResolvedDns::remove() {
  if (!applied_) return {};
  const auto plan = *std::exchange(applied_, std::nullopt);
  auto call = bus_.prepare(kManager, "RevertLink");
  (void)bus_.call(std::move(call.i32(link_of(plan))));  // the link may be gone already, and its settings with it
  (void)bus_.call(bus_.prepare(kManager, "FlushCaches"));
  return {};
}

std::vector<IpAddress> ResolvedDns::upstream(const DnsPlan& plan) {
  for (const char* property : {"DNS", "FallbackDNS"}) {
    auto reply = bus_.get(kManager, property, "a(iiay)");
    auto servers = reply ? read_servers(*reply, link_of(plan)) : std::vector<IpAddress>{};
    if (!servers.empty()) return servers;
  }
  return {};
}

}  // namespace postern::client
