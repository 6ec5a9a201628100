#include "runtime/udp/network_monitor.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace postern::runtime {
namespace {

constexpr Duration kQuiet = std::chrono::milliseconds(300);
constexpr Duration kLongest = std::chrono::seconds(2);

}  // namespace

NetworkMonitor::NetworkMonitor(EventLoop& loop, std::function<void()> changed)
    : loop_(loop),
      changed_(std::move(changed)),
      fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (!fd_ || bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd_.reset();
  if (fd_) loop_.add(fd_.get(), EPOLLIN, [this](std::uint32_t) { handle_readable(); });
  loop_.add_participant(*this);
}

NetworkMonitor::~NetworkMonitor() {
  loop_.remove_participant(*this);
  if (fd_) loop_.remove(fd_.get());
}

void NetworkMonitor::handle_readable() {
  std::array<char, 16384> part;
  bool any = false;
  // ENOBUFS: messages were lost, which is a change as well. What they say in detail is not looked at.
  for (int i = 0; i < 64; ++i) {
    const ssize_t got = recv(fd_.get(), part.data(), part.size(), 0);
    if (got < 0 && errno != ENOBUFS) break;
    any = true;
  }
  if (!any) return;
  const Instant now = loop_.now();
  if (!latest_) latest_ = now + kLongest;
  due_ = std::min(now + kQuiet, *latest_);
}

void NetworkMonitor::end_turn(Instant now) {
  if (!due_ || now < *due_) return;
  due_.reset();
  latest_.reset();
  changed_();
}

}  // namespace postern::runtime
