// A packet from the device as the state machine wants it: checked, parsed, with the payload as a slice of its block.
#pragma once

#include <cstdint>
#include <expected>

#include "base/block.hpp"
#include "tcp/sequence.hpp"
#include "tcp/types.hpp"
#include "wire/packet.hpp"

namespace postern::tcp {

struct Segment {
  FlowTuple tuple;
  Sequence sequence;
  Sequence acknowledgment;
  std::uint16_t window = 0;
  std::uint8_t flags = 0;
  Slice payload;
  /// Valid while the packet is being handled.
  ByteView options;
  ByteView packet;

  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  [[nodiscard]] bool is_syn() const { return has(wire::tcp_flag::kSyn); }
  [[nodiscard]] bool is_ack() const { return has(wire::tcp_flag::kAck); }
  [[nodiscard]] bool is_fin() const { return has(wire::tcp_flag::kFin); }
  [[nodiscard]] bool is_rst() const { return has(wire::tcp_flag::kRst); }
  /// SEG.LEN: SYN and FIN count.
  [[nodiscard]] std::uint32_t length() const {
    return static_cast<std::uint32_t>(payload.size()) + (is_syn() ? 1U : 0U) + (is_fin() ? 1U : 0U);
  }

  /// `vnet` is the virtio header; a segment up to 64 KiB that the kernel left whole (TSO) is one segment.
  [[nodiscard]] static std::expected<Segment, DropReason> parse(ByteView vnet, const Slice& packet);
};

}  // namespace postern::tcp
