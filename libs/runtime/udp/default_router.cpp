#include "runtime/udp/default_router.hpp"

#include <net/route.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "runtime/loop/descriptor.hpp"
#include "runtime/udp/socket_address.hpp"

namespace postern::runtime {

std::optional<IpAddress> default_router_in(std::string_view table) {
  std::optional<IpAddress> best;
  unsigned long best_metric = 0;
  std::istringstream lines{std::string(table)};
  std::string line;
  std::getline(lines, line);  // the heading
  while (std::getline(lines, line)) {
    // Iface Destination Gateway Flags RefCnt Use Metric Mask …; addresses as the machine stores them, in hexadecimal.
    std::array<char, 64> name{};
    unsigned destination = 0;
    unsigned gateway = 0;
    unsigned flags = 0;
    unsigned long metric = 0;
    unsigned mask = 0;
    const int got = std::sscanf(line.c_str(), "%63s %x %x %x %*d %*u %lu %x", name.data(), &destination, &gateway,
                                &flags, &metric, &mask);
    constexpr unsigned kWanted = RTF_UP | RTF_GATEWAY;
    if (got != 6 || destination != 0 || mask != 0 || gateway == 0 || (flags & kWanted) != kWanted) continue;
    if (best && metric >= best_metric) continue;
    best = IpAddress::v4(ntohl(gateway));
    best_metric = metric;
  }
  return best;
}

std::optional<IpAddress> default_router() {
  std::ifstream file("/proc/net/route");
  std::ostringstream text;
  text << file.rdbuf();
  return default_router_in(text.str());
}

std::optional<IpAddress> local_address_towards(const IpAddress& remote) {
  const int family = remote.is_v4() ? AF_INET : AF_INET6;
  const Descriptor fd(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const KernelAddress to = to_kernel({remote, 9});
  if (!fd || connect(fd.get(), to.get(), to.size) != 0) return std::nullopt;
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0) return std::nullopt;
  const auto address = from_kernel(own);
  return address ? std::optional(address->ip) : std::nullopt;
}

}  // namespace postern::runtime
