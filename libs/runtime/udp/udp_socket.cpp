#include "runtime/udp/udp_socket.hpp"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "runtime/udp/socket_address.hpp"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace postern::runtime {
namespace {

/// What waits while the kernel's buffer is full: some milliseconds at a gigabit. Above it QUIC sees loss and slows
/// down.
constexpr std::size_t kWaitingBytesMax = 1 << 20;
/// Linux before 6.9 takes 64 segments in one send.
constexpr std::size_t kSegmentsMax = 64;
constexpr std::size_t kPayloadMaxV4 = 65507;
constexpr std::size_t kPayloadMaxV6 = 65527;

void set_option(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

UdpError error_of(int code, const SocketAddress& address) {
  UdpErrorKind kind = UdpErrorKind::Failed;
  if (code == EADDRINUSE) kind = UdpErrorKind::AddressInUse;
  if (code == EACCES || code == EPERM) kind = UdpErrorKind::NoPermission;
  if (code == EADDRNOTAVAIL) kind = UdpErrorKind::AddressNotAvailable;
  return {kind, "cannot use UDP " + address.to_string() + ": " + std::generic_category().message(code)};
}

bool is_unspecified(const IpAddress& ip) {
  const ByteView bytes = ip.bytes();
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

template <typename T>
T read_cmsg(const cmsghdr* header) {
  T value{};
  std::memcpy(&value, CMSG_DATA(header), sizeof value);
  return value;
}

/// Control messages of a send, built in place.
class ControlWriter {
 public:
  template <typename T>
  void put(int level, int type, T value) {
    auto* header = reinterpret_cast<cmsghdr*>(bytes_.data() + used_);
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(CMSG_DATA(header), &value, sizeof value);
    used_ += CMSG_SPACE(sizeof value);
  }
  void attach(msghdr& message) {
    message.msg_control = used_ > 0 ? bytes_.data() : nullptr;
    message.msg_controllen = used_;
  }

 private:
  alignas(cmsghdr) std::array<std::uint8_t, 64> bytes_{};
  std::size_t used_ = 0;
};

void read_control(msghdr& message, UdpReceived& received) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == SOL_UDP && header->cmsg_type == UDP_GRO) {
      const int size = read_cmsg<int>(header);
      if (size > 0) received.stride = static_cast<std::size_t>(size);
    } else if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_TOS) {
      received.ecn = read_cmsg<std::uint8_t>(header) & 3U;
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_TCLASS) {
      received.ecn = static_cast<std::uint8_t>(read_cmsg<int>(header) & 3);
    }
  }
}

}  // namespace

bool kernel_mangles_trains() {
  utsname name{};
  unsigned major = 0;
  unsigned minor = 0;
  unsigned patch = 0;
  if (uname(&name) != 0 || std::sscanf(name.release, "%u.%u.%u", &major, &minor, &patch) < 2) return false;
  return major == 7 && (minor == 0 || (minor == 1 && patch <= 4));
}

std::expected<UdpSocket, UdpError> UdpSocket::open(const SocketAddress& address, const UdpOptions& options) {
  const bool any = is_unspecified(address.ip);
  int family = any || address.ip.is_v6() ? AF_INET6 : AF_INET;
  Descriptor fd(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd && any && errno == EAFNOSUPPORT) {
    family = AF_INET;
    fd = Descriptor(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  if (!fd) return std::unexpected(error_of(errno, address));
  UdpSocket result(std::move(fd), family == AF_INET6, !any);
  result.configure(options);
  const KernelAddress local = to_kernel(address, family);
  if (bind(result.fd(), local.get(), local.size) == 0) return result;
  const int code = errno;
  if (!any || family == AF_INET || code != EADDRNOTAVAIL) return std::unexpected(error_of(code, address));
  // IPv6 is compiled in but switched off (net.ipv6.conf.all.disable_ipv6).
  return open({IpAddress::v4(0U), address.port}, options);
}

void UdpSocket::configure(const UdpOptions& options) {
  const int fd = fd_.get();
  if (family_v6_) {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, only_v6_ ? 1 : 0);
    set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  }
  // On a dual-stack socket the IPv4 options hold for its IPv4 traffic.
  set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
  set_option(fd, SOL_UDP, UDP_GRO, 1);
  if (options.reuse_port) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (options.mark != 0) set_option(fd, SOL_SOCKET, SO_MARK, static_cast<int>(options.mark));
  // Plain first: it works without a privilege; the forced form raises it where we have one.
  set_option(fd, SOL_SOCKET, SO_RCVBUF, options.receive_buffer);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, options.send_buffer);
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, options.receive_buffer);
  set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, options.send_buffer);
  int size = 0;
  socklen_t length = sizeof size;
  segmentation_ = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, &length) == 0 && !kernel_mangles_trains();
}

SocketAddress UdpSocket::local_address() const {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return from_kernel(storage).value_or(SocketAddress{});
}

std::optional<UdpReceived> UdpSocket::receive(MutableBytes buffer) {
  sockaddr_storage from{};
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<std::uint8_t, 128> control;
  // An error of an earlier send (ICMP) or an empty datagram is passed over; a socket that only fails is left alone.
  for (int tries = 0; tries < 64; ++tries) {
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(fd_.get(), &message, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (got <= 0) continue;
    if ((message.msg_flags & MSG_TRUNC) != 0) {
      ++counters_.truncated;
      continue;
    }
    UdpReceived received;
    const auto address = from_kernel(from);
    if (!address) continue;
    received.from = *address;
    received.size = static_cast<std::size_t>(got);
    received.stride = received.size;
    read_control(message, received);
    received.stride = std::min(received.stride, received.size);
    counters_.bytes_received += received.size;
    return received;
  }
  return std::nullopt;
}

SendOutcome UdpSocket::send(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn) {
  if (bytes.empty()) return SendOutcome::Sent;
  if (stride == 0) stride = bytes.size();
  if (is_blocked()) return enqueue(to, bytes, stride, ecn);
  bool blocked = false;
  const std::size_t done = send_trains(to, bytes, stride, ecn, blocked);
  if (blocked) return enqueue(to, bytes.subspan(done), stride, ecn);
  return refused_ ? SendOutcome::Dropped : SendOutcome::Sent;
}

bool UdpSocket::flush() {
  while (!waiting_.empty()) {
    Waiting& next = waiting_.front();
    bool blocked = false;
    const std::size_t done = send_trains(next.to, next.bytes, next.stride, next.ecn, blocked);
    if (blocked) {
      waiting_bytes_ -= done;
      next.bytes.erase(next.bytes.begin(), next.bytes.begin() + static_cast<std::ptrdiff_t>(done));
      return false;
    }
    waiting_bytes_ -= next.bytes.size();
    waiting_.pop_front();
  }
  return true;
}

SendOutcome UdpSocket::enqueue(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn) {
  if (waiting_bytes_ + bytes.size() > kWaitingBytesMax) {
    counters_.dropped_queue_full += (bytes.size() + stride - 1) / stride;
    return SendOutcome::Dropped;
  }
  waiting_bytes_ += bytes.size();
  waiting_.push_back({to, to_bytes(bytes), stride, ecn});
  return SendOutcome::Queued;
}

std::size_t UdpSocket::train_size_max(const SocketAddress& to, std::size_t stride) const {
  if (!segmentation_) return stride;
  const std::size_t payload_max = to.ip.is_v4() ? kPayloadMaxV4 : kPayloadMaxV6;
  return std::max<std::size_t>(1, std::min(kSegmentsMax, payload_max / stride)) * stride;
}

std::size_t UdpSocket::send_trains(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn,
                                   bool& blocked) {
  refused_ = false;
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ByteView train = bytes.subspan(done, std::min(train_size_max(to, stride), bytes.size() - done));
    switch (send_once(to, train, stride, ecn)) {
      case Attempt::Sent:
        counters_.bytes_sent += train.size();
        break;
      case Attempt::Blocked:
        blocked = true;
        return done;
      case Attempt::Refused:
        refused_ = true;
        break;
      case Attempt::NoSegmentation:
        continue;  // the same bytes again, one by one
    }
    done += train.size();
  }
  return done;
}

UdpSocket::Attempt UdpSocket::send_once(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn) {
  if (to.ip.is_v6() && !family_v6_) {
    ++counters_.dropped_unreachable;
    return Attempt::Refused;
  }
  KernelAddress address = to_kernel(to, family_v6_ ? AF_INET6 : AF_INET);
  iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_name = &address.storage;
  message.msg_namelen = address.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlWriter control;
  const bool segmented = bytes.size() > stride;
  if (segmented) control.put(SOL_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(stride));
  if (ecn != 0) {
    if (to.ip.is_v4()) control.put(IPPROTO_IP, IP_TOS, static_cast<int>(ecn));
    if (to.ip.is_v6()) control.put(IPPROTO_IPV6, IPV6_TCLASS, static_cast<int>(ecn));
  }
  control.attach(message);
  for (int tries = 0; tries < 3; ++tries) {
    if (sendmsg(fd_.get(), &message, 0) >= 0) return Attempt::Sent;
    if (errno == EINTR || errno == ECONNREFUSED) continue;  // the second is an old ICMP answer, not about this send
    break;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return Attempt::Blocked;
  if (segmented && (errno == EIO || errno == EINVAL)) {  // no checksum offload on the way out: off for good
    segmentation_ = false;
    return Attempt::NoSegmentation;
  }
  ++(errno == EMSGSIZE ? counters_.dropped_too_large : counters_.dropped_unreachable);
  return Attempt::Refused;
}

}  // namespace postern::runtime
