// Bytes of open flows: from the stream to the target, from the target to the stream, and the two ends.
#include "connector_core/flows.hpp"

namespace postern::connector {

void Flows::pull(Instant now, Flow& flow) {
  bool got = false;
  for (Slice slice = port_.read(flow.session, flow.stream); !slice.empty();
       slice = port_.read(flow.session, flow.stream)) {
    flow.meter.handle_received(now, slice.size(), port_.pressure(flow.session, flow.stream).is_own_window_full);
    flow.to_target.push(std::move(slice));
    got = true;
  }
  if (port_.at_end(flow.session, flow.stream)) flow.peer_finished = true;
  if (got && !flow.write_requested) {
    flow.write_requested = true;
    requests_.push_back(WriteTarget{flow.id});
  }
  settle(now, flow);
}

void Flows::discard(Flow& flow) {
  for (Slice slice = port_.read(flow.session, flow.stream); !slice.empty();
       slice = port_.read(flow.session, flow.stream)) {
    port_.consume(flow.session, flow.stream, slice.size());
  }
}

void Flows::settle(Instant now, Flow& flow) {
  if (flow.peer_reset) return flow.to_target.empty() ? abort(now, flow, FlowEnding::ResetByPeer) : void();
  if (flow.peer_finished && flow.to_target.empty() && !flow.finish_requested) {
    flow.finish_requested = true;
    requests_.push_back(FinishTarget{flow.id});
  }
  if (!flow.finish_requested || !flow.target_ended) return;
  requests_.push_back(CloseTarget{flow.id});
  report(now, flow, FlowReport::Kind::Closed, FlowEnding::Finished);
  forget(flow);
}

std::size_t Flows::gather(FlowId id, std::span<ByteView> pieces) const {
  const Flow* flow = find(id);
  return flow == nullptr || flow->stage != FlowStage::Open ? 0 : flow->to_target.gather(pieces);
}

void Flows::handle_written(Instant now, FlowId id, std::size_t size) {
  Flow* flow = find(id);
  if (flow == nullptr || size == 0) return;
  flow->to_target.pop(size);
  flow->meter.handle_taken(now, size);
  flow->bytes_to_target += size;
  counters_.bytes_to_targets += size;
  port_.consume(flow->session, flow->stream, size);
  settle(now, *flow);
}

std::size_t Flows::read_budget(Instant now, FlowId id) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Open || flow->target_ended || flow->peer_reset) return 0;
  const std::size_t budget = port_.writable(flow->session, flow->stream);
  flow->read_blocked = budget == 0;
  if (budget == 0) {
    const bool is_closed = port_.pressure(flow->session, flow->stream).is_peer_window_closed;
    flow->meter.begin_upward_stall(now, is_closed ? session::StallCause::SlowReader : session::StallCause::Path);
  }
  return budget;
}

void Flows::handle_writable(Instant now, session::SessionId session, session::StreamId stream) {
  Flow* flow = find(session, stream);
  if (flow == nullptr || !flow->read_blocked) return;
  flow->read_blocked = false;
  flow->meter.end_upward_stall(now);
  requests_.push_back(ResumeTarget{flow->id});
}

void Flows::handle_target_bytes(Instant now, FlowId id, Slice bytes) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Open || flow->peer_reset) return;
  flow->bytes_from_target += bytes.size();
  if (!flow->first_byte) flow->first_byte = now;
  counters_.bytes_from_targets += bytes.size();
  if (!port_.write(flow->session, flow->stream, std::move(bytes))) abort(now, *flow, FlowEnding::ResetByPeer);
}

void Flows::handle_target_finished(Instant now, FlowId id) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Open || flow->target_ended) return;
  flow->target_ended = true;
  if (!port_.finish(flow->session, flow->stream)) return abort(now, *flow, FlowEnding::ResetByPeer);
  settle(now, *flow);
}

void Flows::handle_target_reset(Instant now, FlowId id) {
  if (Flow* flow = find(id)) abort(now, *flow, FlowEnding::ResetByTarget);
}

bool Flows::reply(Flow& flow, const wire::FlowReply& message) {
  const std::string bytes = message.SerializeAsString();
  Slice framed = pool_.copy(wire::frame_message(as_bytes(bytes)));
  return !framed.empty() && port_.write(flow.session, flow.stream, std::move(framed));
}

void Flows::drop_pending(Flow& flow) {
  if (flow.to_target.empty()) return;
  port_.consume(flow.session, flow.stream, flow.to_target.size());
  flow.to_target.clear();
}

}  // namespace postern::connector
