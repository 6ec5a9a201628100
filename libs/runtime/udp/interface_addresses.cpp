#include "runtime/udp/interface_addresses.hpp"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {

namespace {

std::optional<IpAddress> address_of(const sockaddr* address) {
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof v4);
    return IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(&v4.sin_addr), sizeof v4.sin_addr});
  }
  if (address->sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6;
  std::memcpy(&v6, address, sizeof v6);
  return IpAddress::from_bytes({v6.sin6_addr.s6_addr, sizeof v6.sin6_addr.s6_addr});
}

unsigned length_of(const IpAddress& mask) {
  unsigned length = 0;
  for (const std::uint8_t byte : mask.bytes()) length += static_cast<unsigned>(std::popcount(byte));
  return length;
}

unsigned mtu_of(int fd, const std::string& interface) {
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  return ioctl(fd, SIOCGIFMTU, &request) == 0 && request.ifr_mtu > 0 ? static_cast<unsigned>(request.ifr_mtu) : 0;
}

}  // namespace

unsigned largest_mtu(std::string_view but) {
  const Descriptor fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  unsigned largest = 0;
  for (const HostAddress& own : interface_addresses()) {
    if (fd && own.interface != but) largest = std::max(largest, mtu_of(fd.get(), own.interface));
  }
  return largest;
}

std::vector<HostAddress> interface_addresses() {
  std::vector<HostAddress> all;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return all;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(first, &freeifaddrs);
  for (const ifaddrs* each = first; each != nullptr; each = each->ifa_next) {
    if ((each->ifa_flags & IFF_UP) == 0 || (each->ifa_flags & IFF_LOOPBACK) != 0) continue;
    const auto address = address_of(each->ifa_addr);
    const auto mask = address_of(each->ifa_netmask);
    if (address && mask) all.push_back({each->ifa_name, *address, length_of(*mask)});
  }
  return all;
}

}  // namespace postern::runtime
