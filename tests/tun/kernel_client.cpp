#include "tun/kernel_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>

namespace postern::tun_probe {

namespace {

constexpr std::size_t kBuffer = 256 * 1024;
constexpr timeval kDeadline = {20, 0};

int connect_to(int fd, Family family, Service service) {
  const auto port = htons(static_cast<std::uint16_t>(service));
  if (family == Family::V4) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = port;
    inet_pton(AF_INET, "10.99.1.7", &to.sin_addr);
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ? 0 : errno;
  }
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = port;
  inet_pton(AF_INET6, "fd99:1::7", &to.sin6_addr);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ? 0 : errno;
}

}  // namespace

KernelSocket::KernelSocket(Family family, Service service)
    : fd_(::socket(family == Family::V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kDeadline, sizeof kDeadline);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kDeadline, sizeof kDeadline);
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  connect_error_ = connect_to(fd_, family, service);
}

KernelSocket::~KernelSocket() {
  close();
}

void KernelSocket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

int KernelSocket::send_all(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return 0;
}

int KernelSocket::send_pattern(const Pattern& pattern, std::uint64_t size) {
  for (std::uint64_t sent = 0; sent < size;) {
    ByteView next = pattern.at(sent);
    next = next.first(static_cast<std::size_t>(std::min<std::uint64_t>({next.size(), kBuffer, size - sent})));
    if (const int error = send_all(next)) return error;
    sent += next.size();
  }
  return 0;
}

KernelSocket::Received KernelSocket::receive_pattern(const Pattern& pattern, std::uint64_t size) {
  if (storage_.empty()) {
    storage_.resize(kBuffer + 4096);
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    buffer_ = MutableBytes(storage_).subspan((4096 - address % 4096) % 4096, kBuffer);
  }
  Received result;
  while (result.bytes < size) {
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), size - result.bytes));
    const ssize_t got = ::recv(fd_, buffer_.data(), most, 0);
    if (got < 0) result.error = errno;
    result.ended = got == 0;
    if (got <= 0) return result;
    const auto bytes = static_cast<std::size_t>(got);
    result.matches = result.matches && pattern.matches(result.bytes, buffer_.first(bytes));
    result.bytes += bytes;
  }
  return result;
}

void KernelSocket::shut_down_sending() {
  ::shutdown(fd_, SHUT_WR);
}

void KernelSocket::set_reset_on_close() {
  const linger now{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void KernelSocket::set_receive_buffer(int bytes) {
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

}  // namespace postern::tun_probe
