// Joins two Ethernet interfaces by a line with a rate, a queue, a delay and random loss, the same in both directions.
//
// A frame waits until the line is free, for at most the queue's time (else it is dropped at the tail), takes its time
// at the line's rate, and arrives after the delay. Loss strikes before the queue. The offloads of whoever sends into
// the interfaces must be off: a frame larger than the MTU, or without checksum, cannot be on a line.
//
// Usage: wan_box LEFT RIGHT DELAY_US LOSS_PER_MILLION RATE_KBIT QUEUE_US SEED
// Prints "ready" when it forwards, and its counters when it is told to end (SIGTERM, SIGINT).
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/random.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::size_t kFrameMax = 2048;
constexpr unsigned kBatch = 64;

struct Line {
  nanoseconds delay{};
  std::uint64_t loss_per_million = 0;
  double nanoseconds_per_byte = 0;
  nanoseconds queue{};
};

struct Counters {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
  std::uint64_t lost = 0;
  std::uint64_t overflowed = 0;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "wan_box: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

/// Sees every frame that arrives at the interface, and sends frames out of it.
int open_interface(const char* name) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
  if (fd < 0) fail("cannot open a packet socket");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(name));
  if (address.sll_ifindex == 0) fail(name);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail(name);
  packet_mreq promiscuous{};
  promiscuous.mr_ifindex = address.sll_ifindex;
  promiscuous.mr_type = PACKET_MR_PROMISC;
  setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous);
  const int yes = 1;
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
  const int buffer = 16 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
  return fd;
}

class Direction {
 public:
  Direction(int from, int to, const Line& line, std::uint64_t seed)
      : from_(from), to_(to), line_(line), random_(seed) {}

  void receive() {
    std::array<std::array<char, kFrameMax>, kBatch> room;
    std::array<iovec, kBatch> parts{};
    std::array<mmsghdr, kBatch> messages{};
    for (std::size_t i = 0; i < kBatch; ++i) {
      parts[i] = {room[i].data(), room[i].size()};
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int count = recvmmsg(from_, messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    const auto now = Clock::now();
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(i);
      take(now, {room[index].data(), messages[index].msg_len});
    }
  }

  void deliver(Clock::time_point now) {
    for (; !waiting_.empty() && waiting_.front().due <= now; waiting_.pop_front()) {
      const std::string& bytes = waiting_.front().bytes;
      if (send(to_, bytes.data(), bytes.size(), 0) < 0) ++counters_.overflowed;
    }
  }
  [[nodiscard]] std::optional<Clock::time_point> next() const {
    return waiting_.empty() ? std::nullopt : std::optional(waiting_.front().due);
  }
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  struct Frame {
    Clock::time_point due;
    std::string bytes;
  };

  void take(Clock::time_point now, std::string_view frame) {
    ++counters_.frames;
    counters_.bytes += frame.size();
    if (line_.loss_per_million > 0 && random_.below(1'000'000) < line_.loss_per_million) {
      ++counters_.lost;
      return;
    }
    const auto start = std::max(now, free_at_);
    if (start - now > line_.queue) {
      ++counters_.overflowed;
      return;
    }
    free_at_ =
        start + nanoseconds(static_cast<std::int64_t>(static_cast<double>(frame.size()) * line_.nanoseconds_per_byte));
    waiting_.push_back({free_at_ + line_.delay, std::string(frame)});
  }

  int from_;
  int to_;
  Line line_;
  postern::SeededRandom random_;
  Clock::time_point free_at_{};
  std::deque<Frame> waiting_;  ///< in order of `due`: the delay is the same for all
  Counters counters_;
};

std::uint64_t number(const char* text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text, text + std::strlen(text), value);
  if (code != std::errc{} || *end != 0) {
    std::fprintf(stderr, "wan_box: %s is no number\n", text);
    std::exit(2);
  }
  return value;
}

void print(const char* name, const Counters& counters) {
  std::printf("%s frames=%llu bytes=%llu lost=%llu overflowed=%llu\n", name,
              static_cast<unsigned long long>(counters.frames), static_cast<unsigned long long>(counters.bytes),
              static_cast<unsigned long long>(counters.lost), static_cast<unsigned long long>(counters.overflowed));
}

int open_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

void run(int left, int right, std::array<Direction, 2>& directions) {
  std::array<pollfd, 3> descriptors{{{left, POLLIN, 0}, {right, POLLIN, 0}, {open_signals(), POLLIN, 0}}};
  for (;;) {
    std::optional<Clock::time_point> next;
    for (const Direction& direction : directions) {
      if (const auto due = direction.next(); due && (!next || *due < *next)) next = due;
    }
    const auto wait = next ? std::max(nanoseconds{}, nanoseconds(*next - Clock::now())) : nanoseconds{};
    const timespec pause{wait.count() / 1'000'000'000, wait.count() % 1'000'000'000};
    if (ppoll(descriptors.data(), descriptors.size(), next ? &pause : nullptr, nullptr) < 0 && errno != EINTR) return;
    if ((descriptors[2].revents & POLLIN) != 0) return;
    for (std::size_t i = 0; i < directions.size(); ++i) {
      if ((descriptors[i].revents & POLLIN) != 0) directions[i].receive();
      directions[i].deliver(Clock::now());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "usage: wan_box LEFT RIGHT DELAY_US LOSS_PER_MILLION RATE_KBIT QUEUE_US SEED\n");
    return 2;
  }
  Line line;
  line.delay = std::chrono::microseconds(number(argv[3]));
  line.loss_per_million = number(argv[4]);
  line.nanoseconds_per_byte = 8e6 / static_cast<double>(std::max<std::uint64_t>(1, number(argv[5])));
  line.queue = std::chrono::microseconds(number(argv[6]));
  const int left = open_interface(argv[1]);
  const int right = open_interface(argv[2]);
  const std::uint64_t seed = number(argv[7]);
  std::array<Direction, 2> directions{Direction(left, right, line, seed), Direction(right, left, line, seed + 1)};
  std::puts("ready");
  std::fflush(stdout);
  run(left, right, directions);
  print(argv[1], directions[0].counters());
  print(argv[2], directions[1].counters());
  return 0;
}
