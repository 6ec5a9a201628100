// One UDP socket that moves trains: GRO on receive, GSO on send, no fragmentation, IPv4 and IPv6 on one descriptor.
//
// Watch fd() edge-triggered for EPOLLIN | EPOLLOUT. On EPOLLIN call receive() until it gives nothing. On EPOLLOUT call
// flush(). While is_blocked() the kernel's buffer is full: what send() is given waits in a bounded queue, so callers
// should stop asking their core for more until flush() has emptied it.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {

/// Linux 7.0-rc1 to 7.1.4 mangles trains of equal-length datagrams (facts/performance.md §2): none are sent there.
[[nodiscard]] bool kernel_mangles_trains();

struct UdpOptions {
  /// Wanted kernel buffers. With CAP_NET_ADMIN they are forced, else the kernel cuts them at net.core.{r,w}mem_max.
  int receive_buffer = 8 << 20;
  int send_buffer = 4 << 20;
  /// Several sockets share the port (one per worker).
  bool reuse_port = false;
  /// SO_MARK, 0 for none; needs CAP_NET_ADMIN.
  std::uint32_t mark = 0;
};

enum class UdpErrorKind : std::uint8_t { AddressInUse, NoPermission, AddressNotAvailable, Failed };
struct UdpError {
  UdpErrorKind kind = UdpErrorKind::Failed;
  std::string text;  ///< one sentence for people
};

struct UdpReceived {
  SocketAddress from;
  std::size_t size = 0;    ///< bytes at the start of the buffer
  std::size_t stride = 0;  ///< size of each datagram, the last may be shorter; never 0
  std::uint8_t ecn = 0;    ///< the two ECN bits
};

enum class SendOutcome : std::uint8_t {
  Sent,     ///< the kernel took everything
  Queued,   ///< the socket is blocked; the rest waits for flush()
  Dropped,  ///< the queue is full, or the network refused it; counted
};

struct UdpCounters {
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t dropped_queue_full = 0;   ///< datagrams
  std::uint64_t dropped_too_large = 0;    ///< sends refused with EMSGSIZE
  std::uint64_t dropped_unreachable = 0;  ///< sends refused with no route, a firewall and the like
  std::uint64_t truncated = 0;            ///< received trains larger than the buffer
};

class UdpSocket {
 public:
  /// Binds to `address`; the unspecified address of either family gives a dual-stack socket where the host has IPv6.
  [[nodiscard]] static std::expected<UdpSocket, UdpError> open(const SocketAddress& address, const UdpOptions& options);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] SocketAddress local_address() const;
  [[nodiscard]] bool is_dual_stack() const { return family_v6_ && !only_v6_; }

  /// One train into `buffer` (at least 64 KiB, page-aligned); nothing when the socket is empty.
  [[nodiscard]] std::optional<UdpReceived> receive(MutableBytes buffer);

  /// `bytes` are datagrams of `stride` each, the last may be shorter. ecn: two bits, set on every datagram.
  SendOutcome send(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn);
  [[nodiscard]] bool is_blocked() const { return !waiting_.empty(); }
  /// Sends what waited; true when nothing waits any more.
  bool flush();

  [[nodiscard]] bool uses_segmentation() const { return segmentation_; }
  [[nodiscard]] const UdpCounters& counters() const { return counters_; }

 private:
  struct Waiting {
    SocketAddress to;
    Bytes bytes;
    std::size_t stride;
    std::uint8_t ecn;
  };
  enum class Attempt : std::uint8_t { Sent, Blocked, Refused, NoSegmentation };

  UdpSocket(Descriptor fd, bool v6, bool only_v6) : fd_(std::move(fd)), family_v6_(v6), only_v6_(only_v6) {}
  void configure(const UdpOptions& options);
  /// Sends from the start of `bytes` as far as the kernel takes it; the return value is how much is done with.
  std::size_t send_trains(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn, bool& blocked);
  Attempt send_once(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn);
  [[nodiscard]] std::size_t train_size_max(const SocketAddress& to, std::size_t stride) const;
  SendOutcome enqueue(const SocketAddress& to, ByteView bytes, std::size_t stride, std::uint8_t ecn);

  Descriptor fd_;
  bool family_v6_ = false;
  bool only_v6_ = false;
  bool segmentation_ = true;
  bool refused_ = false;  ///< the last send_trains() lost something
  std::deque<Waiting> waiting_;
  std::size_t waiting_bytes_ = 0;
  UdpCounters counters_;
};

}  // namespace postern::runtime
