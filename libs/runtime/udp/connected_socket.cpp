#include "runtime/udp/connected_socket.hpp"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/udp/socket_address.hpp"
#include "runtime/udp/udp_socket.hpp"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace postern::runtime {
namespace {

/// A burst of a fast client; the kernel cuts them at net.core.{r,w}mem_max.
constexpr int kBuffer = 2 << 20;
/// Larger ones are fragmented by the kernel, which it does not do to trains.
constexpr std::size_t kSegmentMax = 1452;
constexpr std::size_t kTrainMax = 65'000;
constexpr std::size_t kSegmentsMax = 64;
constexpr std::size_t kEchoHeader = 8;
constexpr std::size_t kEchoOwn = 6;  ///< type, code, checksum, identifier: what is ours and not the flow's
constexpr std::uint8_t kRequestV4 = 8;
constexpr std::uint8_t kRequestV6 = 128;
constexpr std::uint8_t kReplyV4 = 0;
constexpr std::uint8_t kReplyV6 = 129;
constexpr std::uint8_t kTimeExceededV4 = 11;
constexpr std::uint8_t kTimeExceededV6 = 3;

void set_option(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

std::expected<ConnectedSocket, int> ConnectedSocket::open(Kind kind, const SocketAddress& target) {
  const int family = target.ip.is_v4() ? AF_INET : AF_INET6;
  const int protocol = kind == Kind::Udp ? 0 : family == AF_INET ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  ConnectedSocket result(Descriptor(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)), kind,
                         family == AF_INET6);
  if (!result.fd_) return std::unexpected(errno);
  result.configure();
  const KernelAddress to = to_kernel(target);
  if (connect(result.fd(), to.get(), to.size) != 0) return std::unexpected(errno);
  return result;
}

void ConnectedSocket::configure() {
  const int fd = fd_.get();
  set_option(fd, v6_ ? int{IPPROTO_IPV6} : int{IPPROTO_IP}, v6_ ? IPV6_RECVERR : IP_RECVERR, 1);
  set_option(fd, SOL_SOCKET, SO_RCVBUF, kBuffer);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, kBuffer);
  if (kind_ == Kind::Ping) return;
  set_option(fd, SOL_UDP, UDP_GRO, 1);
  int size = 0;
  socklen_t length = sizeof size;
  segmentation_ = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, &length) == 0 && !kernel_mangles_trains();
}

int ConnectedSocket::send_once(ByteView bytes, std::size_t segment) {
  std::array<std::uint8_t, kEchoOwn> own{v6_ ? kRequestV6 : kRequestV4};
  std::array<iovec, 2> parts{iovec{own.data(), own.size()},
                             iovec{const_cast<std::uint8_t*>(bytes.data()), bytes.size()}};
  const bool is_ping = kind_ == Kind::Ping;
  msghdr message{};
  message.msg_iov = is_ping ? parts.data() : &parts[1];
  message.msg_iovlen = is_ping ? 2 : 1;
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(std::uint16_t))> control{};
  if (segment > 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto value = static_cast<std::uint16_t>(segment);
    std::memcpy(CMSG_DATA(header), &value, sizeof value);
  }
  // An error of an earlier packet is told once in place of sending; it also waits in the error queue.
  for (int tries = 0; tries < 3; ++tries) {
    if (sendmsg(fd_.get(), &message, 0) >= 0) return 0;
    const bool is_stale = errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH || errno == EINTR;
    if (!is_stale) return errno;
  }
  return errno;
}

std::size_t ConnectedSocket::send(ByteView bytes, std::size_t stride) {
  if (bytes.size() <= stride) return send_once(bytes, 0) == 0 ? 0 : 1;
  std::size_t lost = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t in_train =
        std::min({kSegmentsMax, kTrainMax / stride, (bytes.size() - at + stride - 1) / stride});
    if (segmentation_ && stride <= kSegmentMax && in_train > 1) {
      const ByteView train = bytes.subspan(at, std::min(in_train * stride, bytes.size() - at));
      const int error = send_once(train, stride);
      if (error == EINVAL || error == EIO) {
        segmentation_ = false;  // this device, or its MTU, does not take trains
        continue;
      }
      if (error != 0) lost += in_train;
      at += train.size();
      continue;
    }
    const std::size_t size = std::min(stride, bytes.size() - at);
    if (send_once(bytes.subspan(at, size), 0) != 0) ++lost;
    at += size;
  }
  return lost;
}

std::optional<ConnectedSocket::Received> ConnectedSocket::receive(MutableBytes buffer) {
  alignas(cmsghdr) std::array<std::uint8_t, 64> control;
  for (int tries = 0; tries < 64; ++tries) {
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(fd_.get(), &message, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (got < 0) continue;  // an ICMP error, told by poll_error() too
    const auto size = static_cast<std::size_t>(got);
    std::size_t stride = size;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_UDP || header->cmsg_type != UDP_GRO) continue;
      int segment = 0;
      std::memcpy(&segment, CMSG_DATA(header), sizeof segment);
      if (segment > 0) stride = static_cast<std::size_t>(segment);
    }
    if (const auto received = received_of(buffer.first(size), size, stride)) return received;
  }
  return std::nullopt;
}

std::optional<ConnectedSocket::Received> ConnectedSocket::received_of(ByteView buffer, std::size_t size,
                                                                      std::size_t stride) const {
  if (kind_ == Kind::Udp) return Received{0, size, std::max<std::size_t>(stride, 1)};
  if (size < kEchoHeader || buffer[0] != (v6_ ? kReplyV6 : kReplyV4)) return std::nullopt;
  return Received{kEchoOwn, size - kEchoOwn, size - kEchoOwn};
}

std::optional<int> ConnectedSocket::poll_error() {
  std::array<std::uint8_t, 64> quoted;
  alignas(cmsghdr) std::array<std::uint8_t, 256> control;
  iovec part{quoted.data(), quoted.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(fd_.get(), &message, MSG_ERRQUEUE) < 0) return std::nullopt;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    const bool is_v4 = header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR;
    const bool is_v6 = header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR;
    if (!is_v4 && !is_v6) continue;
    sock_extended_err error{};
    std::memcpy(&error, CMSG_DATA(header), sizeof error);
    // A smaller MTU: the kernel knows it now and fragments. A loop in the target's network: silence, as on the LAN.
    const bool is_loop = error.ee_type == (is_v4 ? kTimeExceededV4 : kTimeExceededV6);
    const bool is_icmp = error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6;
    return error.ee_errno == EMSGSIZE || is_loop || !is_icmp ? 0 : static_cast<int>(error.ee_errno);
  }
  return 0;
}

}  // namespace postern::runtime
