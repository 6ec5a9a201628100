// IpAddress and SocketAddress to and from the kernel's form. v4-mapped IPv6 is IPv4 everywhere above this line.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>

#include "base/ip.hpp"

namespace postern::runtime {

struct KernelAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// For a socket of `socket_family` (AF_INET or AF_INET6): an IPv4 address becomes v4-mapped on an IPv6 socket.
[[nodiscard]] KernelAddress to_kernel(const SocketAddress& address, int socket_family);
/// In the address's own family.
[[nodiscard]] KernelAddress to_kernel(const SocketAddress& address);
/// Nothing for other families.
[[nodiscard]] std::optional<SocketAddress> from_kernel(const sockaddr_storage& storage);

}  // namespace postern::runtime
