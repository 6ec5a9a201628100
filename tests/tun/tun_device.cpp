#include "tun/tun_device.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace postern::tun_probe {

namespace {

constexpr int kSkipped = 77;

[[noreturn]] void skip(const char* what) {
  std::fprintf(stderr, "tun_probe: skipped: %s: %s\n", what, std::strerror(errno));
  std::exit(kSkipped);
}

void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) {
    std::fprintf(stderr, "tun_probe: failed: %s\n", command.c_str());
    std::exit(1);
  }
}

int open_device() {
  const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) skip("/dev/net/tun");
  ifreq request{};
  std::strncpy(request.ifr_name, "probe0", IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd, TUNSETIFF, &request) != 0) skip("TUNSETIFF");
  if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) != 0) skip("TUNSETOFFLOAD");
  return fd;
}

}  // namespace

TunDevice TunDevice::open_in_new_namespace(int mtu) {
  if (unshare(CLONE_NEWNET) != 0) skip("unshare(CLONE_NEWNET)");
  const int fd = open_device();
  run("ip link set lo up");
  run("sysctl -qw net.ipv6.conf.probe0.accept_dad=0 net.ipv6.conf.probe0.disable_ipv6=0");
  run("ip link set probe0 mtu " + std::to_string(mtu) + " txqueuelen 5000 up");
  run("ip addr add 10.99.0.1/32 dev probe0");
  run("ip addr add fd99::1/128 dev probe0 nodad");
  run("ip route add 10.99.1.0/24 dev probe0 src 10.99.0.1 congctl cubic initcwnd 100 quickack 1");
  run("ip route add fd99:1::/64 dev probe0 src fd99::1 congctl cubic initcwnd 100 quickack 1");
  // 10 000 connections must not run out of ports while the kernel's side is in TIME-WAIT.
  run("sysctl -qw net.ipv4.ip_local_port_range='1024 65535'");
  return TunDevice(fd);
}

TunDevice::~TunDevice() {
  if (fd_ >= 0) ::close(fd_);
}

std::size_t TunDevice::read(MutableBytes into) {
  const ssize_t size = ::read(fd_, into.data(), into.size());
  return size > 0 ? static_cast<std::size_t>(size) : 0;
}

bool TunDevice::write(const tcp::Packet& packet) {
  std::array<iovec, 2 + tcp::Packet::kPayloadSlicesMax> parts{};
  const auto part = [](const std::uint8_t* data, std::size_t size) {
    return iovec{const_cast<std::uint8_t*>(data), size};
  };
  parts[0] = part(packet.vnet.data(), packet.vnet.size());
  parts[1] = part(packet.headers.data(), packet.headers_size);
  for (std::size_t i = 0; i < packet.payload_slices; ++i) {
    parts[2 + i] = part(packet.payload[i].data(), packet.payload[i].size());
  }
  return ::writev(fd_, parts.data(), static_cast<int>(2 + packet.payload_slices)) > 0;
}

}  // namespace postern::tun_probe
