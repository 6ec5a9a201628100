// Links, addresses and routes of this network namespace. Errors are one sentence for people.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "runtime/tun/netlink.hpp"

namespace postern::runtime {

struct Route {
  IpPrefix destination;
  std::optional<IpAddress> gateway;
  std::uint32_t interface_index = 0;
  std::string interface_name;  ///< filled by list_routes()
  std::uint32_t metric = 0;

  [[nodiscard]] bool is_default() const { return destination.length() == 0; }
};

struct InterfaceAddress {
  IpPrefix network;
  IpAddress address;
  std::uint32_t interface_index = 0;
};

/// What makes kernel TCP fast over our TUN, whatever the host's defaults are (facts/performance.md §0.2, §4.3).
struct RouteTuning {
  std::string congestion_control = "cubic";
  std::uint32_t initial_window = 100;  ///< segments, both directions
  bool quick_ack = true;
};

struct RoutingError {
  int code = 0;  ///< errno
  std::string text;
};

class Routing {
 public:
  [[nodiscard]] static std::expected<Routing, RoutingError> open();

  [[nodiscard]] static std::optional<std::uint32_t> interface_index(const std::string& name);
  /// Brings the link up with this MTU and queue length.
  [[nodiscard]] std::expected<void, RoutingError> set_up(std::uint32_t interface, std::uint32_t mtu,
                                                         std::uint32_t queue_length);
  /// An address that is there already is fine.
  [[nodiscard]] std::expected<void, RoutingError> add_address(std::uint32_t interface, const IpAddress& address,
                                                              unsigned prefix_length);
  /// Into the main table, with tuning; replaces a route of ours, never one of another interface.
  [[nodiscard]] std::expected<void, RoutingError> add_route(std::uint32_t interface, const IpPrefix& destination,
                                                            const RouteTuning& tuning);
  /// A route that is gone already is fine.
  [[nodiscard]] std::expected<void, RoutingError> remove_route(std::uint32_t interface, const IpPrefix& destination);

  /// Unicast routes of the main table, both families.
  [[nodiscard]] std::expected<std::vector<Route>, RoutingError> list_routes();
  [[nodiscard]] std::expected<std::vector<InterfaceAddress>, RoutingError> list_addresses();

 private:
  explicit Routing(NetlinkSocket socket) : socket_(std::move(socket)) {}
  NetlinkSocket socket_;
};

}  // namespace postern::runtime
