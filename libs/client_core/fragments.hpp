// Puts fragmented packets of local applications together: what the kernel cut because it is longer than the MTU, or
// than what we said that fits (RFC 791 §3.2, RFC 8200 §4.5). TCP is never fragmented by a kernel and is not taken.
//
// The local kernel gives all pieces at once, in order, so little is ever waiting. Pieces that overlap drop their packet
// (RFC 5722).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.hpp"
#include "wire/packet.hpp"

namespace postern::client {

class Fragments {
 public:
  static constexpr std::size_t kPacketsMax = 64;
  static constexpr std::size_t kBytesMax = 512 * 1024;
  static constexpr Duration kPatience = std::chrono::seconds(1);
  /// Of an IP packet.
  static constexpr std::size_t kPacketMax = 65'535;

  /// A piece. When it was the last one missing: the whole packet, without extension headers and with DF cleared, valid
  /// until the next call.
  [[nodiscard]] std::optional<ByteView> add(Instant now, const wire::IpView& ip);
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// Packets that were never whole.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  struct Piece {
    std::uint32_t offset = 0;
    Bytes bytes;
  };
  struct Packet {
    IpAddress source;
    IpAddress destination;
    std::uint8_t protocol = 0;
    std::uint32_t identification = 0;
    Instant since;
    std::optional<std::size_t> size;  ///< of the payload, once the last piece is here
    std::size_t have = 0;
    std::vector<Piece> pieces;  ///< by offset
  };
  [[nodiscard]] std::size_t find(const wire::IpView& ip) const;
  /// False when the piece cannot belong to the packet.
  [[nodiscard]] static bool insert(Packet& packet, const wire::IpView& ip);
  [[nodiscard]] std::optional<ByteView> assemble(const Packet& packet);
  void erase(std::size_t index);
  void drop(std::size_t index);

  std::vector<Packet> packets_;  ///< the oldest first
  std::size_t bytes_ = 0;
  std::uint64_t dropped_ = 0;
  Bytes whole_;
};

}  // namespace postern::client
