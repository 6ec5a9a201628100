// The TUN device with its addresses and routes. All of it goes away with the object, or with the process.
#pragma once

#include <expected>
#include <set>
#include <string>
#include <vector>

#include "client_core/route_plan.hpp"
#include "resolver/virtual_network.hpp"
#include "runtime/os/log.hpp"
#include "runtime/tun/routing.hpp"
#include "runtime/tun/tun_device.hpp"
#include "services/client/problem.hpp"

namespace postern::client {

class TunLink {
 public:
  static constexpr std::uint16_t kMtu = 1500;
  /// Packets the kernel holds for us. Several flows with full windows of small segments fit; a drop here costs a
  /// retransmission.
  static constexpr std::uint32_t kQueueLength = 8192;

  [[nodiscard]] static std::expected<TunLink, Problem> open(const std::string& name,
                                                            const resolver::VirtualNetwork& network,
                                                            runtime::Routing& routing);
  /// Says at start what open() would say later.
  [[nodiscard]] static std::expected<void, Problem> probe(const std::string& name);

  [[nodiscard]] runtime::TunDevice& device() { return device_; }
  /// False where the host has IPv6 switched off.
  [[nodiscard]] bool has_ipv6() const { return has_ipv6_; }

  /// Adds what is missing and removes what is no longer planned; a route that the kernel refuses is logged once.
  void apply(runtime::Routing& routing, const RoutePlan& plan, runtime::Logger& log);
  [[nodiscard]] const std::set<IpPrefix>& routes() const { return routes_; }
  /// What of the plan the kernel does not have now, whoever removed or refused it.
  [[nodiscard]] std::vector<IpPrefix> missing(runtime::Routing& routing, const RoutePlan& plan) const;

 private:
  explicit TunLink(runtime::TunDevice device) : device_(std::move(device)) {}

  runtime::TunDevice device_;
  bool has_ipv6_ = false;
  std::set<IpPrefix> routes_;
  std::set<IpPrefix> refused_;
};

}  // namespace postern::client
