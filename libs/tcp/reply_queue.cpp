#include "tcp/reply_queue.hpp"

namespace postern::tcp {

bool ReplyQueue::push_segment(const FlowTuple& tuple, const SegmentPlan& plan) {
  if (replies_.size() >= kPacketsMax) return false;
  replies_.push_back({tuple, plan, nullptr});
  return true;
}

bool ReplyQueue::push_reset_for(const Segment& segment) {
  if (segment.is_rst()) return true;
  SegmentPlan plan;
  plan.flags = wire::tcp_flag::kRst;
  if (segment.is_ack()) {
    plan.sequence = segment.acknowledgment;
  } else {
    plan.flags |= wire::tcp_flag::kAck;
    plan.acknowledgment = segment.sequence + segment.length();
  }
  return push_segment(segment.tuple, plan);
}

bool ReplyQueue::push_refusal(wire::Unreachable kind, ByteView syn) {
  if (replies_.size() >= kPacketsMax) return false;
  auto packet = make_refusal(kind, syn);
  if (packet) replies_.push_back({{}, {}, std::make_unique<Packet>(*std::move(packet))});
  return true;
}

bool ReplyQueue::pop(Packet& packet) {
  if (replies_.empty()) return false;
  Reply& reply = replies_.front();
  if (reply.refusal) {
    packet = std::move(*reply.refusal);
  } else {
    write_segment(reply.tuple, reply.plan, packet);
  }
  replies_.pop_front();
  return true;
}

}  // namespace postern::tcp
