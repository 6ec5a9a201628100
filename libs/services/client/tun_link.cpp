#include "services/client/tun_link.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace postern::client {

namespace {

Problem problem_of(const runtime::TunError& error) {
  switch (error.kind) {
    case runtime::TunErrorKind::Missing:
    case runtime::TunErrorKind::NoPermission:
      return {config::ExitCode::NotPermitted, error.text};
    case runtime::TunErrorKind::Busy:
      return {config::ExitCode::AlreadyRunning, error.text};
    case runtime::TunErrorKind::Failed:
      break;
  }
  return {config::ExitCode::Failure, error.text};
}

/// proc(5): the effective set, in hex.
bool may_administer_network() {
  constexpr unsigned kCapNetAdmin = 12;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("CapEff:")) continue;
    return (std::strtoull(line.c_str() + std::strlen("CapEff:"), nullptr, 16) >> kCapNetAdmin & 1U) != 0;
  }
  return true;  // no /proc: the kernel will say
}

}  // namespace

std::expected<void, Problem> TunLink::probe(const std::string& name) {
  // Asked first, because the kernel says "busy" about a name that is taken to whoever asks.
  if (!may_administer_network()) {
    return std::unexpected(
        Problem{config::ExitCode::NotPermitted, "the network device " + name +
                                                    " cannot be made without CAP_NET_ADMIN: run posternd as a "
                                                    "system service, or give it that capability"});
  }
  const auto device = runtime::TunDevice::open(name);
  if (!device) return std::unexpected(problem_of(device.error()));
  return {};
}

std::expected<TunLink, Problem> TunLink::open(const std::string& name, const resolver::VirtualNetwork& network,
                                              runtime::Routing& routing) {
  auto device = runtime::TunDevice::open(name);
  if (!device) return std::unexpected(problem_of(device.error()));
  TunLink link(std::move(*device));
  const std::uint32_t index = link.device_.index();
  const auto failed = [](const runtime::RoutingError& error) {
    return std::unexpected(Problem{config::ExitCode::NotPermitted, error.text});
  };
  if (const auto up = routing.set_up(index, kMtu, kQueueLength); !up) return failed(up.error());
  const auto v4 = routing.add_address(index, network.device(IpFamily::V4), 32);
  if (!v4) return failed(v4.error());
  link.has_ipv6_ = routing.add_address(index, network.device(IpFamily::V6), 128).has_value();
  return link;
}

std::vector<IpPrefix> TunLink::missing(runtime::Routing& routing, const RoutePlan& plan) const {
  const auto present = routing.list_routes();
  if (!present) return {};
  std::set<IpPrefix> ours;
  for (const auto& route : *present) {
    if (route.interface_index == device_.index()) ours.insert(route.destination);
  }
  std::vector<IpPrefix> missing;
  for (const IpPrefix& route : plan.routes) {
    const bool is_possible = route.address().is_v4() || has_ipv6_;
    if (is_possible && !ours.contains(route)) missing.push_back(route);
  }
  return missing;
}

void TunLink::apply(runtime::Routing& routing, const RoutePlan& plan, runtime::Logger& log) {
  for (auto route = routes_.begin(); route != routes_.end();) {
    if (plan.routes.contains(*route)) {
      ++route;
      continue;
    }
    (void)routing.remove_route(device_.index(), *route);
    route = routes_.erase(route);
  }
  for (const IpPrefix& route : plan.routes) {
    if (routes_.contains(route) || (route.address().is_v6() && !has_ipv6_)) continue;
    const auto added = routing.add_route(device_.index(), route, {});
    if (added) {
      routes_.insert(route);
      refused_.erase(route);
    } else if (refused_.insert(route).second) {
      log.warn("A route could not be added: " + added.error().text, {{"route", route.to_string()}});
    }
  }
}

}  // namespace postern::client
