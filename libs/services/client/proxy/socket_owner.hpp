// Which user of this machine is at the other end of a TCP connection over loopback, or sends datagrams.
#pragma once

#include <sys/types.h>

#include <optional>

#include "base/ip.hpp"

namespace postern::client {

/// Asks the kernel (sock_diag(7)) about the peer's socket of a connected one; nothing where the peer is not on this
/// machine, is gone, or the kernel does not say.
[[nodiscard]] std::optional<uid_t> owner_of_peer(int fd);
/// The same for the UDP socket from which datagrams come to `ours`.
[[nodiscard]] std::optional<uid_t> owner_of_datagrams(const SocketAddress& source, const SocketAddress& ours);

}  // namespace postern::client
