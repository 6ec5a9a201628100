#include "services/client/proxy/socket_owner.hpp"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "runtime/loop/descriptor.hpp"
#include "runtime/udp/socket_address.hpp"

namespace postern::client {

namespace {

std::optional<SocketAddress> address_of(int fd, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (ask(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return std::nullopt;
  return runtime::from_kernel(storage);
}

struct Query {
  nlmsghdr header{};
  inet_diag_req_v2 request{};
};

/// The peer's socket has our address as its destination.
Query make_query(const SocketAddress& peer, const SocketAddress& ours, std::uint8_t protocol) {
  Query query;
  query.header.nlmsg_len = sizeof query;
  query.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  query.header.nlmsg_flags = NLM_F_REQUEST;
  query.request.sdiag_family = peer.ip.is_v4() ? AF_INET : AF_INET6;
  query.request.sdiag_protocol = protocol;
  query.request.idiag_states = ~0U;
  inet_diag_sockid& id = query.request.id;
  id.idiag_sport = htons(peer.port);
  id.idiag_dport = htons(ours.port);
  const ByteView source = peer.ip.bytes();
  const ByteView destination = ours.ip.bytes();
  std::memcpy(id.idiag_src, source.data(), source.size());
  std::memcpy(id.idiag_dst, destination.data(), destination.size());
  id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return query;
}

std::optional<uid_t> owner_of(const Query& query) {
  const runtime::Descriptor line(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!line || ::send(line.get(), &query, sizeof query, 0) != sizeof query) return std::nullopt;
  // The kernel answers before send() returns: there is nothing to wait for.
  alignas(nlmsghdr) std::array<char, 4096> answer{};
  const ssize_t size = ::recv(line.get(), answer.data(), answer.size(), MSG_DONTWAIT);
  nlmsghdr header{};
  inet_diag_msg found{};
  if (size < static_cast<ssize_t>(NLMSG_HDRLEN + sizeof found)) return std::nullopt;
  std::memcpy(&header, answer.data(), sizeof header);
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  std::memcpy(&found, answer.data() + NLMSG_HDRLEN, sizeof found);
  return found.idiag_uid;
}

}  // namespace

std::optional<uid_t> owner_of_peer(int fd) {
  const auto peer = address_of(fd, &::getpeername);
  const auto ours = address_of(fd, &::getsockname);
  if (!peer || !ours || peer->ip.family() != ours->ip.family()) return std::nullopt;
  return owner_of(make_query(*peer, *ours, IPPROTO_TCP));
}

std::optional<uid_t> owner_of_datagrams(const SocketAddress& source, const SocketAddress& ours) {
  if (source.ip.family() != ours.ip.family()) return std::nullopt;
  // Of UDP the kernel looks a socket up as for a packet: the source of the question is where the packet comes from.
  return owner_of(make_query(ours, source, IPPROTO_UDP));
}

}  // namespace postern::client
