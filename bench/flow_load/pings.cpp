#include "pings.hpp"

#include <array>

#include "sockets.hpp"

namespace flow_load {
namespace {

constexpr std::size_t kMessageBytes = 64;
constexpr double kPatienceSeconds = 20;
/// A UDP message that has not come back by then is lost.
constexpr timeval kUdpPatience{1, 0};

int bound(int type, int port) {
  const int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = address_of("0.0.0.0", port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  return fd;
}

void set_no_delay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void answer_datagrams(int fd, std::array<char, 65'536>& buffer) {
  sockaddr_in from{};
  socklen_t size = sizeof from;
  for (;;) {
    const ssize_t got = recvfrom(fd, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) return;
    sendto(fd, buffer.data(), static_cast<std::size_t>(got), 0, reinterpret_cast<const sockaddr*>(&from), size);
  }
}

/// False when the connection has ended. Its peer waits for each answer, so the answer always has room.
bool answer_bytes(int fd, std::array<char, 65'536>& buffer) {
  const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN;
  return got > 0 && send(fd, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) == got;
}

int connected(int type, const char* ip, int port) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const sockaddr_in to = address_of(ip, port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("connect");
  if (type == SOCK_STREAM) set_no_delay(fd);
  const timeval patience = type == SOCK_STREAM ? timeval{static_cast<time_t>(kPatienceSeconds), 0} : kUdpPatience;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Waits for the answer that has this number; late ones of messages given up are read and left. False: it did not come.
bool await_answer(int fd, int type, std::uint64_t number) {
  std::array<char, kMessageBytes> answer{};
  for (;;) {
    const ssize_t got = recv(fd, answer.data(), answer.size(), MSG_WAITALL);
    if (got == 0) fail("the far end has closed the connection");
    if (got < 0 && type == SOCK_STREAM) fail("no answer");
    if (got < 0) return false;
    if (std::memcmp(answer.data(), &number, sizeof number) == 0) return true;
  }
}

}  // namespace

void echo(int port) {
  Poller poller;
  const int listener = bound(SOCK_STREAM, port);
  const int datagrams = bound(SOCK_DGRAM, port);
  if (listen(listener, 128) != 0) fail("listen");
  poller.add(listener, EPOLLIN);
  poller.add(datagrams, EPOLLIN);
  std::puts("answering");
  std::fflush(stdout);
  std::array<char, 65'536> buffer{};
  for (;;) {
    for (const epoll_event& event : poller.wait(-1)) {
      const int fd = event.data.fd;
      if (fd == datagrams) {
        answer_datagrams(fd, buffer);
      } else if (fd != listener) {
        if (!answer_bytes(fd, buffer)) close(fd);
      } else if (const int peer = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); peer >= 0) {
        set_no_delay(peer);
        poller.add(peer, EPOLLIN);
      }
    }
  }
}

void ping(const std::string& protocol, const char* ip, int port, double seconds) {
  const int type = protocol == "tcp" ? SOCK_STREAM : SOCK_DGRAM;
  const int fd = connected(type, ip, port);
  std::array<char, kMessageBytes> message{};
  std::vector<double> took_us;
  std::uint64_t sent = 0;
  const auto start = Clock::now();
  while (seconds_since(start) < (took_us.empty() ? std::max(seconds, kPatienceSeconds) : seconds)) {
    std::memcpy(message.data(), &++sent, sizeof sent);
    const auto began = Clock::now();
    if (send(fd, message.data(), message.size(), 0) < 0) fail("send");
    if (await_answer(fd, type, sent)) took_us.push_back(seconds_since(began) * 1e6 / 2);
  }
  if (took_us.empty()) fail("nothing came back");
  std::ranges::sort(took_us);
  std::printf("{\"sent\": %llu, \"answered\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
              static_cast<unsigned long long>(sent), took_us.size(), percentile(took_us, 0.5),
              percentile(took_us, 0.99), took_us.back());
}

}  // namespace flow_load
