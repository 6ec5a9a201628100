#include "runtime/udp/socket_address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace postern::runtime {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

IpAddress from_v6(const in6_addr& address) {
  const ByteView bytes(address.s6_addr, 16);
  const bool mapped = std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin());
  return *IpAddress::from_bytes(mapped ? bytes.subspan(12) : bytes);
}

KernelAddress to_v6(const SocketAddress& address) {
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(address.port);
  const ByteView bytes = address.ip.bytes();
  if (address.ip.is_v4()) {
    // The unspecified address stays unspecified: a dual-stack socket binds to [::], not to ::ffff:0.0.0.0.
    if (address.ip.to_v4_host_order() != 0) {
      std::memcpy(v6.sin6_addr.s6_addr, kMappedPrefix.data(), kMappedPrefix.size());
      std::memcpy(v6.sin6_addr.s6_addr + 12, bytes.data(), 4);
    }
  } else {
    std::memcpy(v6.sin6_addr.s6_addr, bytes.data(), 16);
  }
  KernelAddress result;
  std::memcpy(&result.storage, &v6, sizeof v6);
  result.size = sizeof v6;
  return result;
}

}  // namespace

KernelAddress to_kernel(const SocketAddress& address, int socket_family) {
  if (socket_family == AF_INET6) return to_v6(address);
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(address.port);
  if (address.ip.is_v4()) std::memcpy(&v4.sin_addr, address.ip.bytes().data(), 4);
  KernelAddress result;
  std::memcpy(&result.storage, &v4, sizeof v4);
  result.size = sizeof v4;
  return result;
}

KernelAddress to_kernel(const SocketAddress& address) {
  return to_kernel(address, address.ip.is_v4() ? AF_INET : AF_INET6);
}

std::optional<SocketAddress> from_kernel(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    return SocketAddress{IpAddress::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    return SocketAddress{from_v6(v6.sin6_addr), ntohs(v6.sin6_port)};
  }
  return std::nullopt;
}

}  // namespace postern::runtime
