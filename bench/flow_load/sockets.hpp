// What both kinds of load share: sockets, waiting for them, and percentiles.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace flow_load {

using Clock = std::chrono::steady_clock;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "flow_load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

inline sockaddr_in address_of(const char* ip, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (inet_pton(AF_INET, ip, &address.sin_addr) != 1) fail(ip);
  return address;
}

class Poller {
 public:
  Poller() : fd_(epoll_create1(EPOLL_CLOEXEC)) {}
  void add(int fd, std::uint32_t events) {
    epoll_event event{events, {}};
    event.data.fd = fd;
    if (epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }
  [[nodiscard]] std::vector<epoll_event> wait(int milliseconds) {
    std::vector<epoll_event> events(512);
    const int count = epoll_wait(fd_, events.data(), static_cast<int>(events.size()), milliseconds);
    events.resize(static_cast<std::size_t>(std::max(0, count)));
    return events;
  }

 private:
  int fd_;
};

/// Of values that are sorted; 0 when there are none.
inline double percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
}

}  // namespace flow_load
