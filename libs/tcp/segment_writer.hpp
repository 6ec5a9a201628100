// Turns plans into packets: virtio header, IP and TCP headers. Payload is never touched: the checksum field holds the
// pseudo-header's sum and the kernel does the rest if anybody ever needs it (CHECKSUM_PARTIAL).
#pragma once

#include "tcp/flow.hpp"
#include "tcp/types.hpp"
#include "wire/packet.hpp"

namespace postern::tcp {

/// Writes the headers of `packet`, whose payload slices are already there. `tuple` is the flow's: the packet goes from
/// its remote to its local address.
void write_segment(const FlowTuple& tuple, const SegmentPlan& plan, Packet& packet);

/// The ICMP error that refuses the connection attempt `syn` (its IP packet); nothing when it must not be answered.
[[nodiscard]] std::optional<Packet> make_refusal(wire::Unreachable kind, ByteView syn);

}  // namespace postern::tcp
