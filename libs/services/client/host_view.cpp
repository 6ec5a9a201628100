#include "services/client/host_view.hpp"

#include <algorithm>

namespace postern::client {

std::expected<HostView, std::string> observe_host(runtime::Routing& routing, std::uint32_t own_interface) {
  HostView view;
  const auto addresses = routing.list_addresses();
  if (!addresses) return std::unexpected(addresses.error().text);
  for (const auto& address : *addresses) {
    if (address.interface_index != own_interface) view.present.push_back(address.network);
  }
  const auto routes = routing.list_routes();
  if (!routes) return std::unexpected(routes.error().text);
  for (const auto& route : *routes) {
    if (route.interface_index == own_interface && own_interface != 0) continue;
    if (!route.is_default()) view.present.push_back(route.destination);
    if (route.gateway) view.gateways.push_back(*route.gateway);
  }
  // The kernel lists in no promised order; equal views must compare equal.
  std::ranges::sort(view.present);
  std::ranges::sort(view.gateways);
  return view;
}

}  // namespace postern::client
