// A TUN device with virtio headers and TCP offload, in a network namespace that the process has made for itself.
#pragma once

#include <string>

#include "base/bytes.hpp"
#include "tcp/types.hpp"

namespace postern::tun_probe {

class TunDevice {
 public:
  /// Makes the namespace, the device, its addresses and routes (`congctl cubic`). Must run before any thread starts.
  /// Exits with 77 (skipped) when there is no right to do so.
  [[nodiscard]] static TunDevice open_in_new_namespace(int mtu);
  TunDevice(TunDevice&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  TunDevice(const TunDevice&) = delete;
  TunDevice& operator=(const TunDevice&) = delete;
  TunDevice& operator=(TunDevice&&) = delete;
  ~TunDevice();

  [[nodiscard]] int fd() const { return fd_; }
  /// Virtio header and packet; 0 when there is none now.
  [[nodiscard]] std::size_t read(MutableBytes into);
  [[nodiscard]] bool write(const tcp::Packet& packet);

 private:
  explicit TunDevice(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace postern::tun_probe
