// A socket towards one target that carries datagrams: UDP, or ICMP echo without privilege (a "ping socket").
//
// ICMP errors about what was sent come from poll_error(), also those that the kernel would otherwise keep for the next
// send. Trains go out and come in by one call where the kernel can (UDP GSO and GRO).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {

class ConnectedSocket {
 public:
  enum class Kind : std::uint8_t { Udp, Ping };

  /// Nothing is sent. The error is errno; EACCES of a ping socket: net.ipv4.ping_group_range does not let this process.
  [[nodiscard]] static std::expected<ConnectedSocket, int> open(Kind kind, const SocketAddress& target);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] Kind kind() const { return kind_; }

  /// Datagrams of `stride` bytes each, the last may be shorter; empty is one empty datagram. Of a ping socket each is
  /// `[sequence: 2][data]` of a request. Says how many the kernel did not take.
  std::size_t send(ByteView bytes, std::size_t stride);

  struct Received {
    std::size_t offset = 0;  ///< of the first datagram in the buffer
    std::size_t size = 0;    ///< bytes of all
    std::size_t stride = 1;  ///< of each, the last may be shorter
  };
  /// Into `buffer` (at least 64 KiB); of a ping socket `[sequence: 2][data]` of one reply. Nothing: empty for now.
  [[nodiscard]] std::optional<Received> receive(MutableBytes buffer);
  /// errno of the next ICMP error, 0 for one that means nothing to the sender; nothing when there are none.
  [[nodiscard]] std::optional<int> poll_error();

 private:
  ConnectedSocket(Descriptor fd, Kind kind, bool v6) : fd_(std::move(fd)), kind_(kind), v6_(v6) {}
  void configure();
  /// errno, 0 when it was sent.
  int send_once(ByteView bytes, std::size_t segment);
  [[nodiscard]] std::optional<Received> received_of(ByteView buffer, std::size_t size, std::size_t stride) const;

  Descriptor fd_;
  Kind kind_;
  bool v6_;
  bool segmentation_ = false;
};

}  // namespace postern::runtime
