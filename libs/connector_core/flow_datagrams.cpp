// UDP and ICMP flows: the stream is their control, payloads come and go in datagrams.
#include <algorithm>

#include "connector_core/flows.hpp"

namespace postern::connector {

namespace {

constexpr std::uint16_t kDnsPort = 53;
constexpr Duration kFailureWindow = std::chrono::seconds(1);
constexpr unsigned kFailuresPerWindow = 10;  // as many as anybody tells an application in that time

}  // namespace

void Flows::begin_datagrams(Instant now, Flow& flow) {
  drop_pending(flow);  // what followed the head means nothing here
  flow.datagrams = std::make_unique<DatagramPart>();
  flow.datagrams->active = now;
  ++datagram_flows_[flow.session];
}

void Flows::open_datagrams(Instant now, Flow& flow) {
  flow.datagrams->active = now;
  arm(now, flow, idle_time(flow));
  while (auto waiting = flow.datagrams->waiting.pop()) {
    const std::size_t size = std::max<std::size_t>(waiting->size(), 1);
    pass_datagrams(now, flow, {flow.stream, std::move(*waiting), size});
  }
  read_control(now, flow);
}

Duration Flows::idle_time(const Flow& flow) const {
  if (flow.target.protocol == model::Protocol::Icmp) return limits_.icmp_idle;
  return flow.target.port == kDnsPort ? limits_.dns_idle : limits_.udp_idle;
}

/// Nothing but its end is said on the stream after the head.
void Flows::read_control(Instant now, Flow& flow) {
  discard(flow);
  if (port_.at_end(flow.session, flow.stream)) end_datagrams(now, flow);
}

void Flows::end_datagrams(Instant now, Flow& flow) {
  (void)port_.finish(flow.session, flow.stream);
  requests_.push_back(CloseTarget{flow.id});
  report(now, flow, FlowReport::Kind::Closed, FlowEnding::Finished);
  forget(flow);
}

void Flows::expire_idle(Instant now, Flow& flow) {
  const Duration idle = now - flow.datagrams->active;
  if (idle >= idle_time(flow)) return end_datagrams(now, flow);
  arm(now, flow, idle_time(flow) - idle);
}

void Flows::handle_datagrams(Instant now, session::SessionId session) {
  while (auto train = port_.read_datagrams(session)) {
    Flow* flow = find(session, train->flow);
    const bool is_ours = flow != nullptr && flow->datagrams && flow->stage != FlowStage::Refused;
    if (!is_ours) {
      ++counters_.datagrams_dropped;
    } else if (flow->stage == FlowStage::Open) {
      pass_datagrams(now, *flow, std::move(*train));
    } else {
      const ByteView bytes = train->bytes.view();
      std::size_t at = 0;
      do {
        const ByteView payload = bytes.subspan(at, std::min(train->stride, bytes.size() - at));
        counters_.datagrams_dropped += flow->datagrams->waiting.push(pool_, payload);
        at += train->stride;
      } while (at < bytes.size());
    }
  }
}

void Flows::pass_datagrams(Instant now, Flow& flow, session::DatagramTrain train) {
  flow.datagrams->active = now;
  flow.bytes_to_target += train.bytes.size();
  counters_.bytes_to_targets += train.bytes.size();
  requests_.push_back(SendDatagrams{flow.id, std::move(train.bytes), train.stride});
}

void Flows::handle_target_datagrams(Instant now, FlowId id, Slice bytes, std::size_t stride) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Open || !flow->datagrams) return;
  flow->datagrams->active = now;
  flow->bytes_from_target += bytes.size();
  if (!flow->first_byte) flow->first_byte = now;
  counters_.bytes_from_targets += bytes.size();
  if (!port_.send_datagrams(now, flow->session, flow->stream, std::move(bytes), stride)) {
    ++counters_.datagrams_dropped;
  }
}

void Flows::handle_target_failure(Instant now, FlowId id, wire::RefusalReason reason) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Open || !flow->datagrams) return;
  DatagramPart& part = *flow->datagrams;
  if (now - part.failures_from >= kFailureWindow) {
    part.failures_from = now;
    part.failures = 0;
  }
  if (++part.failures > kFailuresPerWindow) return;
  wire::FlowReply message;
  message.mutable_failed()->set_reason(reason);
  if (!reply(*flow, message)) abort(now, *flow, FlowEnding::ResetByPeer);
}

}  // namespace postern::connector
