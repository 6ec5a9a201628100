#include "runtime/tun/routing.hpp"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace postern::runtime {
namespace {

RoutingError error_of(int code, const std::string& doing) {
  std::string text = "cannot " + doing + ": " + std::generic_category().message(code);
  if (code == EPERM || code == EACCES) text += " (CAP_NET_ADMIN is needed)";
  return {code, text};
}

std::uint8_t family_of(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

void put_tuning(NetlinkMessage& message, const RouteTuning& tuning, bool with_congestion_control) {
  const std::size_t metrics = message.begin_nested(RTA_METRICS);
  message.attribute_u32(RTAX_INITCWND, tuning.initial_window);
  message.attribute_u32(RTAX_INITRWND, tuning.initial_window);
  message.attribute_u32(RTAX_QUICKACK, tuning.quick_ack ? 1 : 0);
  if (with_congestion_control) message.attribute_text(RTAX_CC_ALGO, tuning.congestion_control);
  message.end_nested(metrics);
}

NetlinkMessage route_message(std::uint16_t type, std::uint16_t flags, std::uint32_t interface,
                             const IpPrefix& destination) {
  NetlinkMessage message(type, flags);
  rtmsg body{};
  body.rtm_family = family_of(destination.address());
  body.rtm_dst_len = static_cast<std::uint8_t>(destination.length());
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = destination.address().is_v4() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_UNICAST;
  message.put(body);
  message.attribute(RTA_DST, destination.address().bytes());
  message.attribute_u32(RTA_OIF, interface);
  return message;
}

std::uint32_t u32_of(ByteView value) {
  std::uint32_t result = 0;
  if (value.size() >= sizeof result) std::memcpy(&result, value.data(), sizeof result);
  return result;
}

std::optional<Route> parse_route(ByteView payload) {
  rtmsg body{};
  if (payload.size() < sizeof body) return std::nullopt;
  std::memcpy(&body, payload.data(), sizeof body);
  if (body.rtm_type != RTN_UNICAST || (body.rtm_family != AF_INET && body.rtm_family != AF_INET6)) return std::nullopt;
  std::uint32_t table = body.rtm_table;
  Route route;
  Bytes zero(body.rtm_family == AF_INET ? 4 : 16);
  auto destination = IpAddress::from_bytes(zero);
  for_each_attribute(payload.subspan(NLMSG_ALIGN(sizeof body)), [&](std::uint16_t type, ByteView value) {
    if (type == RTA_TABLE) table = u32_of(value);
    if (type == RTA_DST) destination = IpAddress::from_bytes(value);
    if (type == RTA_GATEWAY) route.gateway = IpAddress::from_bytes(value);
    if (type == RTA_OIF) route.interface_index = u32_of(value);
    if (type == RTA_PRIORITY) route.metric = u32_of(value);
  });
  if (table != RT_TABLE_MAIN || !destination) return std::nullopt;
  route.destination = IpPrefix::containing(*destination, body.rtm_dst_len);
  std::array<char, IF_NAMESIZE> name{};
  if (if_indextoname(route.interface_index, name.data()) != nullptr) route.interface_name = name.data();
  return route;
}

std::optional<InterfaceAddress> parse_address(ByteView payload) {
  ifaddrmsg body{};
  if (payload.size() < sizeof body) return std::nullopt;
  std::memcpy(&body, payload.data(), sizeof body);
  std::optional<IpAddress> address;
  std::optional<IpAddress> local;  // IPv4: our own end where the link is point to point
  for_each_attribute(payload.subspan(NLMSG_ALIGN(sizeof body)), [&](std::uint16_t type, ByteView value) {
    if (type == IFA_ADDRESS) address = IpAddress::from_bytes(value);
    if (type == IFA_LOCAL) local = IpAddress::from_bytes(value);
  });
  if (!address && !local) return std::nullopt;
  const IpAddress network = address.value_or(*local);
  return InterfaceAddress{IpPrefix::containing(network, body.ifa_prefixlen), local.value_or(network), body.ifa_index};
}

}  // namespace

std::expected<Routing, RoutingError> Routing::open() {
  auto socket = NetlinkSocket::open();
  if (!socket) return std::unexpected(error_of(socket.error(), "open a netlink socket"));
  return Routing(std::move(*socket));
}

std::optional<std::uint32_t> Routing::interface_index(const std::string& name) {
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) return std::nullopt;
  return index;
}

std::expected<void, RoutingError> Routing::set_up(std::uint32_t interface, std::uint32_t mtu,
                                                  std::uint32_t queue_length) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg body{};
  body.ifi_family = AF_UNSPEC;
  body.ifi_index = static_cast<int>(interface);
  body.ifi_flags = IFF_UP;
  body.ifi_change = IFF_UP;
  message.put(body);
  message.attribute_u32(IFLA_MTU, mtu);
  message.attribute_u32(IFLA_TXQLEN, queue_length);
  const auto done = socket_.request(std::move(message));
  if (!done) return std::unexpected(error_of(done.error(), "bring the interface up"));
  return {};
}

std::expected<void, RoutingError> Routing::add_address(std::uint32_t interface, const IpAddress& address,
                                                       unsigned prefix_length) {
  NetlinkMessage message(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  ifaddrmsg body{};
  body.ifa_family = family_of(address);
  body.ifa_prefixlen = static_cast<std::uint8_t>(prefix_length);
  body.ifa_flags = address.is_v6() ? IFA_F_NODAD : 0;
  body.ifa_index = interface;
  message.put(body);
  message.attribute(IFA_LOCAL, address.bytes());
  message.attribute(IFA_ADDRESS, address.bytes());
  const auto done = socket_.request(std::move(message));
  if (!done && done.error() != EEXIST) {
    return std::unexpected(error_of(done.error(), "give the interface the address " + address.to_string()));
  }
  return {};
}

std::expected<void, RoutingError> Routing::add_route(std::uint32_t interface, const IpPrefix& destination,
                                                     const RouteTuning& tuning) {
  // Without NLM_F_REPLACE: the same prefix over another interface is somebody else's and stays.
  constexpr std::uint16_t kFlags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  std::expected<void, int> done;
  for (const bool with_congestion_control : {true, false}) {
    NetlinkMessage message = route_message(RTM_NEWROUTE, kFlags, interface, destination);
    put_tuning(message, tuning, with_congestion_control);
    done = socket_.request(std::move(message));
    // A kernel without this algorithm refuses the metric; the route matters more.
    if (done || (done.error() != EINVAL && done.error() != ENOENT)) break;
  }
  if (done) return {};
  if (done.error() == EEXIST) {
    const auto routes = list_routes();
    if (!routes) return std::unexpected(routes.error());
    for (const Route& route : *routes) {
      if (route.destination == destination && route.interface_index == interface) return {};
    }
  }
  return std::unexpected(error_of(done.error(), "add the route " + destination.to_string()));
}

std::expected<void, RoutingError> Routing::remove_route(std::uint32_t interface, const IpPrefix& destination) {
  const auto done = socket_.request(route_message(RTM_DELROUTE, NLM_F_ACK, interface, destination));
  if (!done && done.error() != ESRCH && done.error() != ENODEV) {
    return std::unexpected(error_of(done.error(), "remove the route " + destination.to_string()));
  }
  return {};
}

std::expected<std::vector<Route>, RoutingError> Routing::list_routes() {
  NetlinkMessage message(RTM_GETROUTE, NLM_F_DUMP);
  message.put(rtmsg{});
  std::vector<Route> routes;
  const auto done = socket_.dump(std::move(message), [&](std::uint16_t type, ByteView payload) {
    if (type != RTM_NEWROUTE) return;
    if (auto route = parse_route(payload)) routes.push_back(std::move(*route));
  });
  if (!done) return std::unexpected(error_of(done.error(), "list the routes"));
  return routes;
}

std::expected<std::vector<InterfaceAddress>, RoutingError> Routing::list_addresses() {
  NetlinkMessage message(RTM_GETADDR, NLM_F_DUMP);
  message.put(ifaddrmsg{});
  std::vector<InterfaceAddress> addresses;
  const auto done = socket_.dump(std::move(message), [&](std::uint16_t type, ByteView payload) {
    if (type != RTM_NEWADDR) return;
    if (const auto address = parse_address(payload)) addresses.push_back(*address);
  });
  if (!done) return std::unexpected(error_of(done.error(), "list the addresses"));
  return addresses;
}

}  // namespace postern::runtime
