#include "runtime/tun/tun_device.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace postern::runtime {
namespace {

constexpr unsigned kTcpOffload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
constexpr unsigned kUdpOffload = 0x20 | 0x40;  // TUN_F_USO4, TUN_F_USO6; older headers lack the names

TunError error_of(int code, const std::string& name) {
  const std::string why = std::generic_category().message(code);
  switch (code) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return {TunErrorKind::Missing,
              "cannot make the TUN device " + name +
                  ": /dev/net/tun is missing; run `modprobe tun`, or give the container the device"};
    case EPERM:
    case EACCES:
      return {TunErrorKind::NoPermission,
              "cannot make the TUN device " + name + ": permission denied; run as root or with CAP_NET_ADMIN"};
    case EBUSY:
      return {TunErrorKind::Busy, "cannot make the TUN device " + name +
                                      ": another process uses it; stop that process or choose another name"};
    default:
      return {TunErrorKind::Failed, "cannot make the TUN device " + name + ": " + why};
  }
}

}  // namespace

std::expected<TunDevice, TunError> TunDevice::open(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name) return std::unexpected(error_of(EINVAL, name));
  Descriptor fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return std::unexpected(error_of(errno, name));
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) return std::unexpected(error_of(errno, name));
  int header_size = kVnetSize;
  if (ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size) != 0) return std::unexpected(error_of(errno, name));
  const std::string given = request.ifr_name;
  TunDevice device(std::move(fd), given, if_nametoindex(given.c_str()));
  if (!device.enable_offload()) return std::unexpected(error_of(errno, name));
  return device;
}

bool TunDevice::enable_offload() {
  if (ioctl(fd_.get(), TUNSETOFFLOAD, kTcpOffload) != 0) return false;
  udp_segmentation_ = ioctl(fd_.get(), TUNSETOFFLOAD, kTcpOffload | kUdpOffload) == 0;
  return true;
}

std::optional<std::size_t> TunDevice::read(std::span<std::uint8_t, kVnetSize> vnet, MutableBytes packet) {
  std::array<iovec, 2> parts{iovec{vnet.data(), vnet.size()}, iovec{packet.data(), packet.size()}};
  for (;;) {
    const ssize_t got = readv(fd_.get(), parts.data(), static_cast<int>(parts.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= static_cast<ssize_t>(kVnetSize)) return std::nullopt;
    ++counters_.packets_read;
    return static_cast<std::size_t>(got) - kVnetSize;
  }
}

bool TunDevice::write(std::span<const ByteView> pieces) {
  std::array<iovec, kPiecesMax> parts;
  if (pieces.size() > parts.size()) {
    ++counters_.write_refused;
    return false;
  }
  std::transform(pieces.begin(), pieces.end(), parts.begin(), [](ByteView piece) {
    return iovec{const_cast<std::uint8_t*>(piece.data()), piece.size()};
  });
  for (;;) {
    if (writev(fd_.get(), parts.data(), static_cast<int>(pieces.size())) >= 0) {
      ++counters_.packets_written;
      return true;
    }
    if (errno == EINTR) continue;
    ++counters_.write_refused;
    return false;
  }
}

}  // namespace postern::runtime
