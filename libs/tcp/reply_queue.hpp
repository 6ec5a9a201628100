// Packets that belong to no flow any more: resets and refusals. Bounded; at the bound a reply is dropped and counted,
// and the kernel repeats its question.
#pragma once

#include <deque>
#include <optional>

#include "tcp/segment.hpp"
#include "tcp/segment_writer.hpp"

namespace postern::tcp {

class ReplyQueue {
 public:
  static constexpr std::size_t kPacketsMax = 4096;

  /// All of them say whether there was room.
  [[nodiscard]] bool push_segment(const FlowTuple& tuple, const SegmentPlan& plan);
  /// RFC 9293 §3.10.7.1: the RST for a segment to no flow. Never to a RST.
  [[nodiscard]] bool push_reset_for(const Segment& segment);
  [[nodiscard]] bool push_refusal(wire::Unreachable kind, ByteView syn);
  bool pop(Packet& packet);

 private:
  struct Reply {
    FlowTuple tuple;
    SegmentPlan plan;
    /// An ICMP error; then `plan` is not used.
    std::unique_ptr<Packet> refusal;
  };
  std::deque<Reply> replies_;
};

}  // namespace postern::tcp
