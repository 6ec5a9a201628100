// tun_probe: the TCP endpoint against kernel sockets, through a TUN device with offload in a namespace of its own.
// Prints one line per case and the throughput; exits 0 when all hold, 77 when it may not make a namespace.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "tun/kernel_client.hpp"

namespace postern::tun_probe {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

class Probe {
 public:
  explicit Probe(std::uint64_t bulk) : bulk_(bulk), server_(TunDevice::open_in_new_namespace(1500)) {}

  int run_all();

 private:
  using Case = void (Probe::*)(Family);
  void expect(bool holds, const char* what);
  double seconds_since(Clock::time_point start) const {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  void report(const char* what, double seconds, std::uint64_t bytes, std::uint64_t cpu_before);
  bool eventually(const std::function<bool()>& condition);

  void up(Family family);
  void up_blindly(Family family);
  void down(Family family);
  void down_in_pieces(Family family);
  void download(Family family, Service service, const char* what);
  void echo_both_ways(Family family);
  void peer_closes_first(Family family);
  void we_finish_first(Family family);
  void refusals(Family family);
  void reset_by_us(Family family);
  void reset_by_kernel(Family family);
  void slow_owner(Family family);
  void slow_reader(Family family);
  void slow_accept(Family family);
  void withdrawn(Family family);
  void ping_pong(Family family);
  void many_connections(Family family);
  void parallel_bulk(Family family);

  std::uint64_t bulk_;
  Pattern pattern_;
  ProbeServer server_;
  int failures_ = 0;
};

void Probe::expect(bool holds, const char* what) {
  if (holds) return;
  ++failures_;
  std::printf("    FAILED: %s\n", what);
}

bool Probe::eventually(const std::function<bool()>& condition) {
  const auto deadline = Clock::now() + 5s;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

void Probe::report(const char* what, double seconds, std::uint64_t bytes, std::uint64_t cpu_before) {
  const double cpu = static_cast<double>(server_.cpu_ns() - cpu_before) / 1e9;
  std::printf("    %s: %.2f Gb/s, endpoint thread %.3f s/GB\n", what, static_cast<double>(bytes) * 8e-9 / seconds,
              cpu / (static_cast<double>(bytes) * 1e-9));
}

void Probe::up(Family family) {
  KernelSocket socket(family, Service::Discard);
  expect(socket.connect_error() == 0, "connects");
  const auto start = Clock::now();
  const std::uint64_t cpu = server_.cpu_ns();
  expect(socket.send_pattern(pattern_, bulk_) == 0, "sends everything");
  socket.shut_down_sending();
  const auto end = socket.receive_pattern(pattern_, 1);
  expect(end.ended, "the server's FIN comes after it has taken everything");
  report("application to endpoint, checked", seconds_since(start), bulk_, cpu);
  expect(server_.mismatches() == 0, "content is the same");
}

void Probe::up_blindly(Family family) {
  KernelSocket socket(family, Service::DiscardBlindly);
  const auto start = Clock::now();
  const std::uint64_t cpu = server_.cpu_ns();
  expect(socket.send_pattern(pattern_, bulk_) == 0, "sends everything");
  socket.shut_down_sending();
  expect(socket.receive_pattern(pattern_, 1).ended, "ends");
  report("application to endpoint", seconds_since(start), bulk_, cpu);
}

void Probe::down(Family family) {
  download(family, Service::Source, "endpoint to application, checked");
}

void Probe::down_in_pieces(Family family) {
  download(family, Service::SourceInPieces, "endpoint to application, checked");
}

void Probe::download(Family family, Service service, const char* what) {
  KernelSocket socket(family, service);
  std::array<std::uint8_t, 8> size{};
  ByteWriter(size).u64(bulk_);
  const auto start = Clock::now();
  const std::uint64_t cpu = server_.cpu_ns();
  expect(socket.send_all(size) == 0, "asks");
  const auto got = socket.receive_pattern(pattern_, bulk_ + 1);
  report(what, seconds_since(start), bulk_, cpu);
  expect(got.bytes == bulk_ && got.ended && got.matches, "all bytes come, in order, then the end");
}

void Probe::echo_both_ways(Family family) {
  KernelSocket socket(family, Service::Echo);
  const std::uint64_t size = bulk_ / 4;
  const auto start = Clock::now();
  const std::uint64_t cpu = server_.cpu_ns();
  std::thread sender([&] {
    socket.send_pattern(pattern_, size);
    socket.shut_down_sending();
  });
  const auto got = socket.receive_pattern(pattern_, size + 1);
  sender.join();
  report("echo, each way", seconds_since(start), size, cpu);
  expect(got.bytes == size && got.ended && got.matches, "every byte comes back");
}

void Probe::parallel_bulk(Family family) {
  const auto start = Clock::now();
  const std::uint64_t cpu = server_.cpu_ns();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      KernelSocket socket(family, Service::Echo);
      std::thread sender([&] { socket.send_pattern(pattern_, bulk_ / 16); });
      const auto got = socket.receive_pattern(pattern_, bulk_ / 16);
      sender.join();
      if (got.matches && got.bytes == bulk_ / 16) ++good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  report("8 echoes at once, each way", seconds_since(start), bulk_ / 2, cpu);
  expect(good == 8, "every flow has its own bytes");
}

void Probe::peer_closes_first(Family family) {
  KernelSocket socket(family, Service::Echo);
  expect(socket.send_pattern(pattern_, 100'000) == 0, "sends");
  socket.shut_down_sending();
  const auto got = socket.receive_pattern(pattern_, 200'000);
  expect(got.bytes == 100'000 && got.matches && got.ended, "data still comes after our half is closed");
}

void Probe::we_finish_first(Family family) {
  KernelSocket socket(family, Service::FinishFirst);
  expect(socket.receive_pattern(pattern_, 1).ended, "sees the end of the stream");
  expect(socket.send_pattern(pattern_, 1'000'000) == 0, "may still send");
  socket.shut_down_sending();
  expect(eventually([&] { return server_.flows() == 0; }), "the flow ends");
  expect(server_.mismatches() == 0, "what was sent after the FIN arrived");
}

void Probe::refusals(Family family) {
  const bool v4 = family == Family::V4;
  const auto error = [&](Service service) { return KernelSocket(family, service).connect_error(); };
  expect(error(Service::RefuseReset) == ECONNREFUSED, "Reset: ECONNREFUSED");
  expect(error(Service::RefuseHost) == EHOSTUNREACH, "HostUnreachable: EHOSTUNREACH");
  expect(error(Service::RefuseNetwork) == ENETUNREACH, "NetworkUnreachable: ENETUNREACH");
  expect(error(Service::RefuseAdmin) == (v4 ? EHOSTUNREACH : EACCES), "AdminProhibited: EHOSTUNREACH, EACCES");
}

void Probe::reset_by_us(Family family) {
  KernelSocket socket(family, Service::ResetOnData);
  socket.send_pattern(pattern_, 100);
  expect(socket.receive_pattern(pattern_, 1).error == ECONNRESET, "ECONNRESET");
}

void Probe::reset_by_kernel(Family family) {
  {
    KernelSocket socket(family, Service::Echo);
    socket.send_pattern(pattern_, 1000);
    socket.receive_pattern(pattern_, 1000);
    socket.set_reset_on_close();
  }
  expect(eventually([&] { return server_.flows() == 0; }), "the flow is gone");
}

void Probe::slow_owner(Family family) {
  KernelSocket socket(family, Service::StallThenDiscard);
  const std::uint64_t size = 20U << 20;
  const auto start = Clock::now();
  expect(socket.send_pattern(pattern_, size) == 0, "sends through a closed window");
  socket.shut_down_sending();
  expect(socket.receive_pattern(pattern_, 1).ended, "ends");
  expect(seconds_since(start) > 0.6, "was held back");
  expect(server_.mismatches() == 0, "content is the same");
}

void Probe::slow_reader(Family family) {
  KernelSocket socket(family, Service::Source);
  socket.set_receive_buffer(16 * 1024);
  std::array<std::uint8_t, 8> size{};
  ByteWriter(size).u64(2U << 20);
  socket.send_all(size);
  std::this_thread::sleep_for(700ms);  // the case itself: an application that does not read
  const auto got = socket.receive_pattern(pattern_, (2U << 20) + 1);
  expect(got.bytes == (2U << 20) && got.ended && got.matches, "all comes after the window was closed");
}

void Probe::slow_accept(Family family) {
  const auto start = Clock::now();
  KernelSocket socket(family, Service::SlowAccept);
  expect(socket.connect_error() == 0, "connects");
  expect(seconds_since(start) > 2.4, "not before the owner accepted");
  expect(server_.flows() == 1, "repeats of the SYN opened nothing else");
}

void Probe::withdrawn(Family family) {
  // A non-blocking connect that is given up: the kernel says nothing, and answers the SYN-ACK with RST.
  const std::uint64_t before = server_.flows();
  std::thread connecting([&] {
    KernelSocket socket(family, Service::SlowAccept);
    static_cast<void>(socket.connect_error());
    socket.set_reset_on_close();
  });
  expect(eventually([&] { return server_.flows() == before + 1; }), "the SYN is held");
  connecting.join();
  expect(eventually([&] { return server_.flows() == before; }), "RST ends it");
}

void Probe::ping_pong(Family family) {
  KernelSocket socket(family, Service::Echo);
  constexpr int kRounds = 20'000;
  std::array<std::uint8_t, 64> bytes{};
  const auto start = Clock::now();
  for (int i = 0; i < kRounds; ++i) {
    if (socket.send_all(bytes) != 0 || ::recv(socket.fd(), bytes.data(), bytes.size(), MSG_WAITALL) != 64) {
      return expect(false, "ping-pong goes on");
    }
  }
  std::printf("    64 bytes and back: %.1f us\n", seconds_since(start) / kRounds * 1e6);
}

void Probe::many_connections(Family family) {
  constexpr int kConnections = 10'000;
  const auto start = Clock::now();
  int good = 0;
  for (int i = 0; i < kConnections; ++i) {
    KernelSocket socket(family, Service::Echo);
    std::array<std::uint8_t, 4> bytes = {1, 2, 3, 4};
    const bool works = socket.connect_error() == 0 && socket.send_all(bytes) == 0 &&
                       ::recv(socket.fd(), bytes.data(), bytes.size(), MSG_WAITALL) == 4;
    good += works ? 1 : 0;
  }
  std::printf("    connect, 4 bytes and back, close: %.0f/s\n", kConnections / seconds_since(start));
  expect(good == kConnections, "each of 10 000 connections works");
  expect(eventually([&] { return server_.flows() == 0; }), "none is left");
}

int Probe::run_all() {
  const std::vector<std::pair<const char*, Case>> cases = {
      {"bulk up, checked", &Probe::up},
      {"bulk up", &Probe::up_blindly},
      {"bulk down, checked", &Probe::down},
      {"bulk down from pieces of 1372 bytes, checked", &Probe::down_in_pieces},
      {"echo both ways", &Probe::echo_both_ways},
      {"eight echoes at once", &Probe::parallel_bulk},
      {"half-close by the application", &Probe::peer_closes_first},
      {"half-close by us", &Probe::we_finish_first},
      {"refusals", &Probe::refusals},
      {"RST by us", &Probe::reset_by_us},
      {"RST by the kernel", &Probe::reset_by_kernel},
      {"an owner that grants nothing", &Probe::slow_owner},
      {"an application that does not read", &Probe::slow_reader},
      {"an owner that accepts late", &Probe::slow_accept},
      {"reset right after a late accept", &Probe::withdrawn},
      {"ping-pong", &Probe::ping_pong},
      {"10 000 connections", &Probe::many_connections},
  };
  for (const Family family : {Family::V4, Family::V6}) {
    for (const auto& [name, run] : cases) {
      std::printf("%s: %s\n", family == Family::V4 ? "IPv4" : "IPv6", name);
      std::fflush(stdout);
      (this->*run)(family);
      expect(eventually([&] { return server_.flows() == 0; }), "no flow is left");
    }
  }
  expect(server_.drops(tcp::DropReason::BadChecksum) == 0, "no checksum was wrong");
  std::printf("device writes that failed: %lu, most retransmissions of a flow: %lu, out of order: %lu\n",
              static_cast<unsigned long>(server_.write_failures()),
              static_cast<unsigned long>(server_.retransmissions()),
              static_cast<unsigned long>(server_.drops(tcp::DropReason::OutOfOrder)));
  std::printf("%s\n", failures_ == 0 ? "all cases hold" : "SOME CASES FAILED");
  return failures_ == 0 ? 0 : 1;
}

}  // namespace
}  // namespace postern::tun_probe

int main(int argc, char** argv) {
  const std::uint64_t mebibytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1024;
  return postern::tun_probe::Probe(mebibytes << 20).run_all();
}
