// TCP connections by the thousand, and answers that are timed, from one thread without any library of ours, so that it
// measures others.
//
// serve: accepts on these ports of every address; each connection lives until its peer ends it.
// open: opens connections, so many at a time, and resets each as soon as it is there; prints JSON.
// hold: opens connections spread over the ports, says "held COUNT", ends with its standard input.
// echo, ping: pings.hpp.
//
// Resets leave no TIME_WAIT behind, or `open` would use up the ports of the machine within seconds.
#include <fcntl.h>
#include <sys/resource.h>

#include <unordered_map>

#include "pings.hpp"
#include "sockets.hpp"

namespace {

using namespace flow_load;

void raise_file_limit() {
  constexpr rlim_t kWanted = 500'000;
  const rlimit wanted{kWanted, kWanted};
  if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

struct Ports {
  int first = 0;
  int last = 0;
  [[nodiscard]] int count() const { return last - first + 1; }
};

Ports parse_ports(const std::string& text) {
  Ports ports;
  const int read = std::sscanf(text.c_str(), "%d-%d", &ports.first, &ports.last);
  if (read == 1) ports.last = ports.first;
  if (read < 1 || ports.first < 1 || ports.last > 65'535 || ports.last < ports.first) fail("ports are FIRST-LAST");
  return ports;
}

/// -1 when the connection could not even begin.
int begin_connect(const sockaddr_in& to) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  const linger reset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

/// Leaves the reason in errno.
bool is_connected(int fd) {
  socklen_t size = sizeof errno;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &size) == 0 && errno == 0;
}

// --- serve -----------------------------------------------------------------------------------------------------------

void serve(const Ports& ports) {
  Poller poller;
  std::vector<bool> listens(1'000'000);
  for (int port = ports.first; port <= ports.last; ++port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = address_of("0.0.0.0", port);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || listen(fd, 4096) != 0) {
      fail("listen");
    }
    listens[static_cast<std::size_t>(fd)] = true;
    poller.add(fd, EPOLLIN);
  }
  std::puts("serving");
  std::fflush(stdout);
  for (;;) {
    for (const epoll_event& event : poller.wait(-1)) {
      const int fd = event.data.fd;
      if (!listens[static_cast<std::size_t>(fd)]) {
        close(fd);  // nothing is ever sent: readable means ended
        continue;
      }
      for (int peer = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); peer >= 0;
           peer = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) {
        poller.add(peer, EPOLLIN | EPOLLRDHUP);
      }
    }
  }
}

// --- open ------------------------------------------------------------------------------------------------------------

void open_many(const sockaddr_in& to, double seconds, std::size_t at_once) {
  Poller poller;
  std::unordered_map<int, Clock::time_point> pending;
  std::vector<double> took_us;
  std::uint64_t failed = 0;
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (Clock::now() < end) {
    while (pending.size() < at_once) {
      const auto began = Clock::now();
      const int fd = begin_connect(to);
      if (fd < 0) {
        ++failed;
        break;
      }
      poller.add(fd, EPOLLOUT);
      pending.emplace(fd, began);
    }
    for (const epoll_event& event : poller.wait(100)) {
      const auto found = pending.find(event.data.fd);
      if (is_connected(event.data.fd)) {
        took_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - found->second).count());
      } else {
        ++failed;
      }
      pending.erase(found);
      close(event.data.fd);
    }
  }
  const double wall = std::chrono::duration<double>(Clock::now() - start).count();
  std::ranges::sort(took_us);
  std::printf(
      "{\"opened\": %zu, \"failed\": %llu, \"seconds\": %.3f, \"per_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
      took_us.size(), static_cast<unsigned long long>(failed), wall, static_cast<double>(took_us.size()) / wall,
      percentile(took_us, 0.5), percentile(took_us, 0.99));
}

// --- hold ------------------------------------------------------------------------------------------------------------

void hold_many(const char* ip, const Ports& ports, std::size_t wanted) {
  constexpr std::size_t kAtOnce = 200;
  Poller poller;
  std::vector<int> all;
  std::size_t begun = 0;
  std::size_t held = 0;
  std::size_t pending = 0;
  while (held < wanted) {
    while (pending < kAtOnce && begun < wanted) {
      const int port = ports.first + static_cast<int>(begun) % ports.count();
      const int fd = begin_connect(address_of(ip, port));
      if (fd < 0) fail("connect");
      poller.add(fd, EPOLLOUT | EPOLLONESHOT);
      all.push_back(fd);
      ++begun;
      ++pending;
    }
    const auto events = poller.wait(20'000);
    if (events.empty()) fail("no connection for 20 s");
    for (const epoll_event& event : events) {
      if (!is_connected(event.data.fd)) fail("a connection was refused");
      --pending;
      ++held;
    }
  }
  std::printf("held %zu\n", held);
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  // In order: of so many resets at once, those for which an interface's queue has no room are lost for good.
  const linger in_order{0, 0};
  for (const int fd : all) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &in_order, sizeof in_order);
    close(fd);
  }
}

}  // namespace

int main(int argc, char** argv) {
  raise_file_limit();
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 2 && words[0] == "serve") {
    serve(parse_ports(words[1]));
  } else if (words.size() == 5 && words[0] == "open") {
    open_many(address_of(argv[2], std::atoi(argv[3])), std::atof(argv[4]), std::strtoul(argv[5], nullptr, 10));
  } else if (words.size() == 4 && words[0] == "hold") {
    hold_many(argv[2], parse_ports(words[2]), std::strtoul(argv[4], nullptr, 10));
  } else if (words.size() == 2 && words[0] == "echo") {
    echo(std::atoi(argv[2]));
  } else if (words.size() == 5 && words[0] == "ping") {
    ping(words[1], argv[3], std::atoi(argv[4]), std::atof(argv[5]));
  } else {
    std::fputs(
        "usage: flow_load serve FIRST-LAST | open IP PORT SECONDS AT-ONCE | hold IP FIRST-LAST COUNT\n"
        "       flow_load echo PORT | ping tcp|udp IP PORT SECONDS\n",
        stderr);
    return 2;
  }
  return 0;
}
