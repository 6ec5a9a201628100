// Runs in a network namespace of its own, which needs root (or CAP_SYS_ADMIN); elsewhere it says so and is skipped.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "runtime/tun/routing.hpp"
#include "runtime/tun/tun_device.hpp"

namespace postern::runtime {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

/// A fresh network namespace for this thread while it lives.
class Namespace {
 public:
  Namespace() : before_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    ok_ = before_ >= 0 && unshare(CLONE_NEWNET) == 0;
  }
  ~Namespace() {
    if (ok_) {
      EXPECT_EQ(0, setns(before_, CLONE_NEWNET));
    }
    close(before_);
  }
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  int before_;
  bool ok_ = false;
};

class Tun : public testing::Test {
 protected:
  void SetUp() override {
    if (!namespace_.ok()) GTEST_SKIP() << "no network namespace of our own: " << std::strerror(errno);
    if (access("/dev/net/tun", R_OK) != 0) GTEST_SKIP() << "no /dev/net/tun here";
    buffer_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(4096, 72 * 1024)));
  }
  [[nodiscard]] std::optional<std::size_t> read(TunDevice& device) {
    pollfd wait{device.fd(), POLLIN, 0};
    if (poll(&wait, 1, 5000) != 1) return std::nullopt;
    return device.read(vnet_, {buffer_.get(), 72 * 1024});
  }
  Namespace namespace_;
  std::unique_ptr<std::uint8_t, Free> buffer_;
  std::array<std::uint8_t, TunDevice::kVnetSize> vnet_{};
};

TEST_F(Tun, APacketForARouteOfTheDeviceIsReadWithItsVirtioHeader) {
  auto device = TunDevice::open("postern-t%d");
  ASSERT_TRUE(device) << device.error().text;
  auto routing = Routing::open();
  ASSERT_TRUE(routing);
  ASSERT_TRUE(routing->set_up(device->index(), 1400, 5000));
  ASSERT_TRUE(routing->add_address(device->index(), *IpAddress::parse("100.96.0.1"), 32));
  const auto route = routing->add_route(device->index(), *IpPrefix::parse("192.0.2.0/24"), {});
  ASSERT_TRUE(route) << route.error().text;

  const Descriptor socket_fd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(80);
  to.sin_addr.s_addr = htonl(0xc0000207);
  (void)connect(socket_fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  std::optional<std::size_t> size;
  do {
    size = read(*device);
    ASSERT_TRUE(size);
  } while ((buffer_.get()[0] >> 4) != 4);     // the kernel's own IPv6 messages come first
  constexpr std::uint8_t kNeedsChecksum = 1;  // VIRTIO_NET_HDR_F_NEEDS_CSUM
  EXPECT_EQ(kNeedsChecksum, vnet_[0]) << "the kernel filled in a checksum";
  EXPECT_EQ(6, buffer_.get()[9]);
  EXPECT_EQ(0xc0000207U, load_u32(buffer_.get() + 16));
  EXPECT_FALSE(device->read(vnet_, {buffer_.get(), 72 * 1024}));
}

TEST_F(Tun, AWrittenPacketReachesTheKernel) {
  auto device = TunDevice::open("postern-t%d");
  ASSERT_TRUE(device) << device.error().text;
  auto routing = Routing::open();
  ASSERT_TRUE(routing->set_up(device->index(), 1400, 5000));
  ASSERT_TRUE(routing->add_address(device->index(), *IpAddress::parse("100.96.0.1"), 32));
  ASSERT_TRUE(routing->add_route(device->index(), *IpPrefix::parse("192.0.2.0/24"), {}));
  const Descriptor socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(5353);
  at.sin_addr.s_addr = htonl(0x64600001);
  ASSERT_EQ(0, bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at));

  // IPv4 + UDP 192.0.2.7:53 -> 100.96.0.1:5353 "hi", no UDP checksum.
  Bytes packet = *from_hex(
      "4500001e0000400040110000c00002076460000100351"
      "4e9000a00006869");
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 20; i += 2) sum += load_u16(packet.data() + i);
  sum = (sum & 0xffff) + (sum >> 16);
  store_u16(packet.data() + 10, static_cast<std::uint16_t>(~((sum & 0xffff) + (sum >> 16))));
  const std::array<std::uint8_t, TunDevice::kVnetSize> vnet{};
  const ByteView whole(packet);
  const std::array<ByteView, 3> pieces{ByteView(vnet), whole.first(20), whole.subspan(20)};
  EXPECT_TRUE(device->write(pieces));
  pollfd wait{socket_fd.get(), POLLIN, 0};
  ASSERT_EQ(1, poll(&wait, 1, 5000));
  std::array<char, 16> text{};
  EXPECT_EQ(2, recv(socket_fd.get(), text.data(), text.size(), 0));
  EXPECT_STREQ("hi", text.data());

  const std::array<ByteView, 1> nonsense{ByteView(vnet).first(3)};
  EXPECT_FALSE(device->write(nonsense));
  EXPECT_EQ(1U, device->counters().write_refused);
}

TEST_F(Tun, RoutesAreListedAddedOnceAndRemoved) {
  auto device = TunDevice::open("postern-t%d");
  ASSERT_TRUE(device) << device.error().text;
  auto routing = Routing::open();
  ASSERT_TRUE(routing->set_up(device->index(), 1400, 5000));
  for (const char* text : {"198.51.100.0/24", "2001:db8:7::/48"}) {
    const IpPrefix prefix = *IpPrefix::parse(text);
    const auto count = [&] {
      const auto routes = routing->list_routes();
      return std::count_if(routes->begin(), routes->end(), [&](const Route& route) {
        return route.destination == prefix && route.interface_name == device->name();
      });
    };
    EXPECT_EQ(0, count());
    const auto added = routing->add_route(device->index(), prefix, {});
    EXPECT_TRUE(added) << added.error().text;
    EXPECT_TRUE(routing->add_route(device->index(), prefix, {})) << "the same route again is fine";
    EXPECT_EQ(1, count());
    EXPECT_TRUE(routing->remove_route(device->index(), prefix));
    EXPECT_TRUE(routing->remove_route(device->index(), prefix)) << "a route that is gone is fine";
    EXPECT_EQ(0, count());
  }
}

TEST_F(Tun, ARouteOfAnotherInterfaceIsNotReplaced) {
  auto one = TunDevice::open("postern-t%d");
  auto two = TunDevice::open("postern-t%d");
  ASSERT_TRUE(one && two);
  auto routing = Routing::open();
  ASSERT_TRUE(routing->set_up(one->index(), 1400, 500));
  ASSERT_TRUE(routing->set_up(two->index(), 1400, 500));
  const IpPrefix prefix = *IpPrefix::parse("198.51.100.0/24");
  EXPECT_TRUE(routing->add_route(one->index(), prefix, {}));
  const auto refused = routing->add_route(two->index(), prefix, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(EEXIST, refused.error().code);
}

TEST_F(Tun, TheTuningOfARouteIsWhatTheKernelUses) {
  auto device = TunDevice::open("postern-t%d");
  ASSERT_TRUE(device);
  auto routing = Routing::open();
  ASSERT_TRUE(routing->set_up(device->index(), 1400, 500));
  ASSERT_TRUE(routing->add_address(device->index(), *IpAddress::parse("100.96.0.1"), 32));
  ASSERT_TRUE(routing->add_route(device->index(), *IpPrefix::parse("192.0.2.0/24"), {"reno", 100, true}));
  // `ip` shows metrics as they are stored.
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen("ip route show 192.0.2.0/24", "r"), pclose);
  std::array<char, 512> line{};
  if (fgets(line.data(), static_cast<int>(line.size()), pipe.get()) == nullptr) GTEST_SKIP() << "no ip command here";
  const std::string text = line.data();
  for (const char* part : {"initcwnd 100", "initrwnd 100", "quickack 1", "congctl reno"}) {
    EXPECT_NE(std::string::npos, text.find(part)) << text;
  }
}

TEST_F(Tun, ADeviceThatIsTakenSaysSo) {
  auto first = TunDevice::open("postern-taken");
  ASSERT_TRUE(first);
  const auto second = TunDevice::open("postern-taken");
  ASSERT_FALSE(second);
  EXPECT_EQ(TunErrorKind::Busy, second.error().kind);
}

TEST(TunDevice, AnImpossibleNameIsRefused) {
  EXPECT_FALSE(TunDevice::open("a-name-that-is-too-long"));
  EXPECT_FALSE(TunDevice::open(""));
}

}  // namespace
}  // namespace postern::runtime
