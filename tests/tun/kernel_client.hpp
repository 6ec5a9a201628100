// Kernel sockets that talk to the probe server: blocking calls, every one with a deadline.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "tun/pattern.hpp"
#include "tun/probe_server.hpp"

namespace postern::tun_probe {

enum class Family : std::uint8_t { V4, V6 };

/// A connected (or not) TCP socket, closed at the end of its life.
class KernelSocket {
 public:
  KernelSocket(Family family, Service service);
  ~KernelSocket();
  KernelSocket(const KernelSocket&) = delete;
  KernelSocket& operator=(const KernelSocket&) = delete;

  /// errno of connect(), 0 when connected.
  [[nodiscard]] int connect_error() const { return connect_error_; }
  /// All of `bytes`; errno, 0 when done.
  int send_all(ByteView bytes);
  /// `size` bytes of the pattern from its position 0.
  int send_pattern(const Pattern& pattern, std::uint64_t size);
  /// Takes `size` bytes (or all until the end of the stream) and compares them with the pattern from 0 on.
  struct Received {
    std::uint64_t bytes = 0;
    bool matches = true;
    int error = 0;
    bool ended = false;
  };
  Received receive_pattern(const Pattern& pattern, std::uint64_t size);
  void shut_down_sending();
  void close();
  /// Sends RST instead of FIN at close().
  void set_reset_on_close();
  void set_receive_buffer(int bytes);
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
  int connect_error_ = 0;
  Bytes storage_;
  MutableBytes buffer_;
};

}  // namespace postern::tun_probe
