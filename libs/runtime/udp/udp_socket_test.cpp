#include "runtime/udp/udp_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "runtime/udp/socket_address.hpp"

namespace postern::runtime {
namespace {

constexpr std::size_t kBuffer = 72 * 1024;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

/// A socket on loopback with its page-aligned buffer.
struct Peer {
  explicit Peer(const char* address) : socket(*UdpSocket::open(*SocketAddress::parse(address), {})) {
    buffer.reset(static_cast<std::uint8_t*>(std::aligned_alloc(4096, kBuffer)));
  }
  [[nodiscard]] std::optional<UdpReceived> receive() {
    pollfd wait{socket.fd(), POLLIN, 0};
    if (poll(&wait, 1, 5000) != 1) return std::nullopt;
    return socket.receive({buffer.get(), kBuffer});
  }
  [[nodiscard]] ByteView bytes(const UdpReceived& received) const { return {buffer.get(), received.size}; }
  UdpSocket socket;
  std::unique_ptr<std::uint8_t, Free> buffer;
};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 31 >> 3);
  return bytes;
}

TEST(UdpSocket, ATrainArrivesWholeAndSaysHowItIsDivided) {
  Peer from("127.0.0.1:0");
  Peer to("127.0.0.1:0");
  const Bytes sent = pattern(1200 * 40 + 500);
  EXPECT_EQ(SendOutcome::Sent, from.socket.send(to.socket.local_address(), sent, 1200, 0));
  Bytes got;
  std::size_t calls = 0;
  while (got.size() < sent.size()) {
    const auto received = to.receive();
    ASSERT_TRUE(received);
    EXPECT_EQ(std::min<std::size_t>(1200, received->size), received->stride);
    EXPECT_EQ(from.socket.local_address(), received->from);
    const ByteView bytes = to.bytes(*received);
    got.insert(got.end(), bytes.begin(), bytes.end());
    ++calls;
  }
  EXPECT_EQ(sent, got);
  EXPECT_LT(calls, 5U) << "neither GSO nor GRO is at work";
  EXPECT_FALSE(to.socket.receive({to.buffer.get(), kBuffer}));
}

TEST(UdpSocket, ADualStackSocketSpeaksBothFamiliesAndShowsIpv4AsIpv4) {
  Peer any("0.0.0.0:0");
  ASSERT_TRUE(any.socket.is_dual_stack());
  const std::uint16_t port = any.socket.local_address().port;
  for (const char* text : {"127.0.0.1:0", "[::1]:0"}) {
    Peer peer(text);
    const IpAddress host = peer.socket.local_address().ip;
    EXPECT_EQ(SendOutcome::Sent, peer.socket.send({host, port}, pattern(100), 100, 0));
    const auto received = any.receive();
    ASSERT_TRUE(received);
    EXPECT_EQ(peer.socket.local_address(), received->from);
    EXPECT_EQ(SendOutcome::Sent, any.socket.send(received->from, pattern(50), 50, 0));
    const auto answer = peer.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ((SocketAddress{host, port}), answer->from);
  }
}

TEST(UdpSocket, CongestionMarksTravelInBothFamilies) {
  Peer any("0.0.0.0:0");
  Peer v4("127.0.0.1:0");
  Peer v6("[::1]:0");
  for (Peer* peer : {&v4, &v6}) {
    EXPECT_EQ(SendOutcome::Sent, any.socket.send(peer->socket.local_address(), pattern(10), 10, 2));
    const auto received = peer->receive();
    ASSERT_TRUE(received);
    EXPECT_EQ(2, received->ecn);
    const SocketAddress back{peer->socket.local_address().ip, any.socket.local_address().port};
    EXPECT_EQ(SendOutcome::Sent, peer->socket.send(back, pattern(10), 10, 1));
    const auto answer = any.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(1, answer->ecn);
  }
}

TEST(UdpSocket, MoreThanOneSendCanTakeIsDivided) {
  Peer from("127.0.0.1:0");
  Peer to("127.0.0.1:0");
  const Bytes sent = pattern(70 * 1000);  // more than 64 segments and more than one IPv4 payload
  EXPECT_EQ(SendOutcome::Sent, from.socket.send(to.socket.local_address(), sent, 1000, 0));
  Bytes got;
  while (got.size() < sent.size()) {
    const auto received = to.receive();
    ASSERT_TRUE(received);
    const ByteView bytes = to.bytes(*received);
    got.insert(got.end(), bytes.begin(), bytes.end());
  }
  EXPECT_EQ(sent, got);
}

TEST(UdpSocket, ADatagramLargerThanTheDeviceTakesIsCountedAndNotFragmented) {
  Peer from("127.0.0.1:0");
  EXPECT_EQ(SendOutcome::Dropped, from.socket.send(*SocketAddress::parse("127.0.0.1:9"), pattern(65520), 65520, 0));
  EXPECT_EQ(1U, from.socket.counters().dropped_too_large);
}

TEST(UdpSocket, AnIpv6TargetOnAnIpv4SocketIsADropAndNotAnError) {
  Peer from("127.0.0.1:0");
  EXPECT_EQ(SendOutcome::Dropped, from.socket.send(*SocketAddress::parse("[::1]:9"), pattern(10), 10, 0));
  EXPECT_EQ(1U, from.socket.counters().dropped_unreachable);
}

TEST(UdpSocket, AClosedPeerDoesNotDisturbLaterSends) {
  Peer from("127.0.0.1:0");
  SocketAddress gone;
  {
    Peer peer("127.0.0.1:0");
    gone = peer.socket.local_address();
  }
  Peer to("127.0.0.1:0");
  for (int i = 0; i < 5; ++i) (void)from.socket.send(gone, pattern(10), 10, 0);
  EXPECT_FALSE(from.socket.receive({from.buffer.get(), kBuffer}));
  EXPECT_EQ(SendOutcome::Sent, from.socket.send(to.socket.local_address(), pattern(10), 10, 0));
  EXPECT_TRUE(to.receive());
}

TEST(UdpSocket, ATakenPortIsSaidInWords) {
  Peer first("127.0.0.1:0");
  const auto second = UdpSocket::open(first.socket.local_address(), {});
  ASSERT_FALSE(second);
  EXPECT_EQ(UdpErrorKind::AddressInUse, second.error().kind);
  EXPECT_NE(std::string::npos, second.error().text.find(first.socket.local_address().to_string()));
}

/// A namespace with a TAP device behind which nobody answers ARP: what is sent there stays charged to its socket.
class SilentNetwork {
 public:
  SilentNetwork() : before_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    entered_ = before_ >= 0 && unshare(CLONE_NEWNET) == 0;
    tap_ = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    std::strcpy(request.ifr_name, "silent0");
    ok_ = entered_ && tap_ >= 0 && ioctl(tap_, TUNSETIFF, &request) == 0 &&
          std::system("ip address add 192.0.2.1/24 dev silent0 && ip link set silent0 up") == 0;
  }
  ~SilentNetwork() {
    if (tap_ >= 0) close(tap_);
    if (entered_) {
      EXPECT_EQ(0, setns(before_, CLONE_NEWNET));
    }
    if (before_ >= 0) close(before_);
  }
  SilentNetwork(const SilentNetwork&) = delete;
  SilentNetwork& operator=(const SilentNetwork&) = delete;
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  int before_;
  int tap_ = -1;
  bool entered_ = false;
  bool ok_ = false;
};

TEST(UdpSocket, WhatTheKernelDoesNotTakeWaitsUpToABoundAndLeavesWhenThereIsRoom) {
  const SilentNetwork network;
  if (!network.ok()) GTEST_SKIP() << "no network namespace with a TAP device here";
  UdpOptions options;
  options.send_buffer = 40'000;
  auto socket = UdpSocket::open(*SocketAddress::parse("192.0.2.1:0"), options);
  ASSERT_TRUE(socket);
  const SocketAddress silent = *SocketAddress::parse("192.0.2.9:443");
  std::array<int, 3> outcomes{};
  for (int i = 0; i < 200; ++i) ++outcomes[static_cast<std::size_t>(socket->send(silent, pattern(12'000), 1200, 0))];
  EXPECT_GE(outcomes[0], 1);
  EXPECT_GE(outcomes[1], 80) << "about a megabyte waits";
  EXPECT_LE(outcomes[1], 88);
  EXPECT_GE(outcomes[2], 100);
  EXPECT_EQ(static_cast<std::uint64_t>(outcomes[2]) * 10, socket->counters().dropped_queue_full);
  // The kernel gives up on the silent neighbour after some seconds and frees what it held; then the rest goes out.
  const std::uint64_t sent = socket->counters().bytes_sent;
  pollfd wait{socket->fd(), POLLOUT, 0};
  ASSERT_EQ(1, poll(&wait, 1, 20'000));
  (void)socket->flush();
  EXPECT_GT(socket->counters().bytes_sent, sent);
}

}  // namespace
}  // namespace postern::runtime
