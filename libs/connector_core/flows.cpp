// The life of a flow: head, checks, name, connection, end. Moving bytes is in flow_bytes.cpp.
#include "connector_core/flows.hpp"

#include <algorithm>

namespace postern::connector {

using session::SessionId;
using session::StreamId;

Flows::Flows(SessionPort& port, BlockPool& pool, const PolicyStore& policy, const NetworkClock& clock,
             const FlowAuthority& authority, FlowLimits limits)
    : port_(port), pool_(pool), policy_(policy), clock_(clock), authority_(authority), limits_(limits) {}

Flow* Flows::find(SessionId session, StreamId stream) {
  const auto streams = streams_.find(session);
  if (streams == streams_.end()) return nullptr;
  const auto found = streams->second.find(stream);
  return found == streams->second.end() ? nullptr : flows_.find(found->second);
}

std::size_t Flows::size(SessionId session) const {
  const auto streams = streams_.find(session);
  return streams == streams_.end() ? 0 : streams->second.size();
}

void Flows::handle_opened(Instant now, SessionId session, StreamId stream) {
  if (find(session, stream) != nullptr) return;
  if (flows_.size() >= limits_.flows_max + limits_.flows_max / 8) {
    // Even refused ones are too many: they wait for a client that does not finish.
    port_.reset(session, stream, static_cast<std::uint64_t>(ResetCode::NoReply));
    return;
  }
  Flow& flow = flows_.emplace(session, stream, now);
  streams_[session].emplace(stream, SlabHandle{flow.id.value});
  arm(now, flow, limits_.head_timeout);
}

void Flows::handle_readable(Instant now, SessionId session, StreamId stream) {
  Flow* flow = find(session, stream);
  if (flow == nullptr) return;
  switch (flow->stage) {
    case FlowStage::HeadPending:
      return read_head(now, *flow);
    case FlowStage::Open:
      return flow->datagrams ? read_control(now, *flow) : pull(now, *flow);
    case FlowStage::Refused:
    case FlowStage::Answered:
      return discard(*flow);
    case FlowStage::Resolving:
    case FlowStage::Connecting:
      return;  // held in the stream's window until the target is connected
  }
}

void Flows::read_head(Instant now, Flow& flow) {
  for (Slice slice = port_.read(flow.session, flow.stream); !slice.empty();
       slice = port_.read(flow.session, flow.stream)) {
    const auto taken = flow.head.feed(slice.view());
    port_.consume(flow.session, flow.stream, taken.value_or(slice.size()));
    if (!taken) {
      ++counters_.bad_heads;
      return refuse(now, flow, {wire::REFUSAL_BAD_REQUEST, "the head of the flow is too large"});
    }
    if (!flow.head.has_message()) continue;
    slice.remove_prefix(*taken);
    flow.to_target.push(std::move(slice));
    const Bytes head = to_bytes(flow.head.message());
    flow.head.next();
    return begin(now, flow, head);
  }
  if (port_.at_end(flow.session, flow.stream)) {
    ++counters_.bad_heads;
    refuse(now, flow, {wire::REFUSAL_BAD_REQUEST, "the stream ended before its head"});
  }
}

void Flows::begin(Instant now, Flow& flow, ByteView head) {
  wire::FlowHead message;
  const bool parsed = message.ParseFromArray(head.data(), static_cast<int>(head.size()));
  if (!parsed) {
    ++counters_.bad_heads;
    return refuse(now, flow, {wire::REFUSAL_BAD_REQUEST, "the head of the flow cannot be read"});
  }
  auto target = parse_target(message);
  if (!target) {
    ++counters_.bad_heads;
    return refuse(now, flow, std::move(target.error()));
  }
  flow.target = std::move(*target);
  if (draining_) return refuse(now, flow, {wire::REFUSAL_DRAINING, "this connector is going away"});
  auto grant = authority_.authorise(now, flow.session, flow.target);
  if (!grant) return refuse(now, flow, std::move(grant.error()));
  flow.lease = grant->lease;
  const bool is_question = flow.target.protocol == model::Protocol::Dns;
  if (flow.target.protocol != model::Protocol::Tcp && !is_question) begin_datagrams(now, flow);
  const bool memory_is_short = pool_.bytes_in_use() > pool_.bytes_max() / 10 * 9;
  const auto opening = opening_.find(flow.session);
  const bool is_waiting_enough = opening != opening_.end() && opening->second >= limits_.opening_per_session_max;
  const bool is_full = flows_.size() > limits_.flows_max || is_waiting_enough ||
                       (flow.datagrams && datagram_flows_[flow.session] > limits_.datagram_flows_per_session_max);
  if (is_full || memory_is_short || !port_.has_budget(flow.session)) {
    return refuse(now, flow, {wire::REFUSAL_RESOURCES, "this connector has no room for another flow"});
  }
  if (is_question) return ask(now, flow, *grant->resource);
  auto destination = destination_of(flow.target, *grant->resource);
  if (!destination) return refuse(now, flow, std::move(destination.error()));
  set_opening(flow, true);
  if (const auto* address = std::get_if<IpAddress>(&*destination)) return connect(now, flow, {address, 1});
  flow.stage = FlowStage::Resolving;
  arm(now, flow, limits_.resolve_timeout);
  requests_.push_back(ResolveName{flow.id, std::get<model::DnsName>(*destination)});
}

void Flows::handle_resolved(Instant now, FlowId id, std::expected<std::vector<IpAddress>, ResolveFailure> result) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Resolving || flow->is_question) return;
  if (!result) {
    const bool unknown = result.error() == ResolveFailure::NameNotFound;
    return refuse(
        now, *flow,
        {unknown ? wire::REFUSAL_NAME_NOT_FOUND : wire::REFUSAL_NAME_LOOKUP_FAILED,
         unknown ? "the connector's resolver does not know the name" : "the connector's resolver did not answer"});
  }
  if (result->empty()) return refuse(now, *flow, {wire::REFUSAL_NAME_NOT_FOUND, "the name has no address"});
  connect(now, *flow, *result);
}

void Flows::connect(Instant now, Flow& flow, std::span<const IpAddress> addresses) {
  auto permitted = permitted_addresses(addresses, policy_.table());
  if (!permitted) return refuse(now, flow, std::move(permitted.error()));
  if (flow.target.family) {
    std::ranges::stable_partition(*permitted,
                                  [&](const IpAddress& address) { return address.family() == *flow.target.family; });
  }
  std::vector<SocketAddress> targets;
  for (const IpAddress& address : *permitted) targets.push_back({address, flow.target.port});
  flow.stage = FlowStage::Connecting;
  arm(now, flow, limits_.connect_timeout);
  if (flow.datagrams) {
    requests_.push_back(OpenDatagrams{flow.id, flow.target.protocol, std::move(targets)});
  } else {
    requests_.push_back(ConnectTcp{flow.id, std::move(targets)});
  }
}

void Flows::handle_connected(Instant now, FlowId id, const SocketAddress& address, Duration took) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Connecting) return;
  timers_.cancel(flow->timer);
  set_opening(*flow, false);
  flow->connected = address;
  flow->connect_time = took;
  flow->stage = FlowStage::Open;
  wire::FlowReply message;
  message.mutable_opened()->set_address(std::string(as_text(address.ip.bytes())));
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
  message.mutable_opened()->set_connect_us(static_cast<std::uint32_t>(microseconds));
  if (!reply(*flow, message)) return abort(now, *flow, FlowEnding::ResetByPeer);
  ++counters_.opened;
  flow->path = port_.path_of(flow->session).value_or(session::Path{});
  report(now, *flow, FlowReport::Kind::Opened, FlowEnding::Finished);
  if (flow->datagrams) return open_datagrams(now, *flow);
  if (!flow->to_target.empty()) {
    flow->write_requested = true;
    requests_.push_back(WriteTarget{flow->id});
  }
  pull(now, *flow);
}

void Flows::handle_connect_failed(Instant now, FlowId id, wire::RefusalReason reason, std::string detail) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Connecting) return;
  refuse(now, *flow, {reason, std::move(detail)});
}

void Flows::set_opening(Flow& flow, bool is_opening) {
  if (std::exchange(flow.is_opening, is_opening) == is_opening) return;
  std::size_t& count = opening_[flow.session];
  is_opening ? ++count : --count;
  if (count == 0) opening_.erase(flow.session);
}

void Flows::refuse(Instant now, Flow& flow, Refusal refusal) {
  ++counters_.refused;
  set_opening(flow, false);
  if (!flow.lease) flow.lease = authority_.lease_of(flow.session);
  report(now, flow, FlowReport::Kind::Refused, FlowEnding::Finished, refusal);
  drop_pending(flow);
  end_question(flow);
  wire::FlowReply message;
  message.mutable_refused()->set_reason(refusal.reason);
  constexpr std::size_t kDetailMax = 512;  // the whole reply is at most 1 KiB
  message.mutable_refused()->set_detail(refusal.detail.substr(0, kDetailMax));
  flow.stage = FlowStage::Refused;
  if (!reply(flow, message) || !port_.finish(flow.session, flow.stream)) return forget(flow);
  arm(now, flow, limits_.refused_timeout);
  discard(flow);
}

void Flows::abort(Instant now, Flow& flow, FlowEnding ending) {
  const auto code = ending == FlowEnding::Revoked        ? ResetCode::Revoked
                    : ending == FlowEnding::ShuttingDown ? ResetCode::ShuttingDown
                    : flow.stage != FlowStage::Open      ? ResetCode::NoReply
                                                         : ResetCode::Reset;
  if (ending != FlowEnding::SessionEnded) {
    drop_pending(flow);
    const auto number = static_cast<std::uint64_t>(code);
    // What the target had sent before its RST is the client's.
    if (ending == FlowEnding::ResetByTarget) {
      port_.reset_when_delivered(now, flow.session, flow.stream, number);
    } else {
      port_.reset(flow.session, flow.stream, number);
    }
  }
  if (flow.stage == FlowStage::Open) report(now, flow, FlowReport::Kind::Closed, ending);
  const bool has_work =
      flow.stage == FlowStage::Resolving || flow.stage == FlowStage::Connecting || flow.stage == FlowStage::Open;
  if (has_work) requests_.push_back(AbortTarget{flow.id});
  forget(flow);
}

void Flows::forget(Flow& flow) {
  timers_.cancel(flow.timer);
  set_opening(flow, false);
  const auto streams = streams_.find(flow.session);
  if (streams != streams_.end()) {
    streams->second.erase(flow.stream);
    if (streams->second.empty()) streams_.erase(streams);
  }
  if (flow.datagrams) {
    const auto counted = datagram_flows_.find(flow.session);
    if (--counted->second == 0) datagram_flows_.erase(counted);
  }
  end_question(flow);
  flows_.erase(SlabHandle{flow.id.value});
}

void Flows::handle_peer_reset(Instant now, SessionId session, StreamId stream, std::uint64_t code) {
  Flow* flow = find(session, stream);
  if (flow == nullptr || flow->peer_reset) return;
  const bool is_orderly = code == static_cast<std::uint64_t>(ResetCode::Reset);
  if (!is_orderly || flow->stage != FlowStage::Open || flow->datagrams) {
    return abort(now, *flow, FlowEnding::ResetByPeer);
  }
  flow->peer_reset = true;
  arm(now, *flow, limits_.reset_patience);
  pull(now, *flow);
}

void Flows::handle_stream_closed(Instant now, SessionId session, StreamId stream) {
  Flow* flow = find(session, stream);
  if (flow == nullptr) return;
  if (flow->stage == FlowStage::Refused || flow->stage == FlowStage::Answered) return forget(*flow);
  const bool is_settling = flow->peer_reset || (flow->peer_finished && flow->target_ended);
  if (flow->stage == FlowStage::Open && is_settling) return;  // settle() ends it
  abort(now, *flow, FlowEnding::ResetByPeer);
}

void Flows::handle_session_gone(Instant now, SessionId session) {
  for (const FlowId id : all(session)) {
    if (Flow* flow = find(id)) abort(now, *flow, FlowEnding::SessionEnded);
  }
}

void Flows::close_all(Instant now, FlowEnding ending) {
  for (const FlowId id : all(std::nullopt)) {
    if (Flow* flow = find(id)) abort(now, *flow, ending);
  }
}

ClosedFlows Flows::reauthorise(Instant now, std::optional<SessionId> only) {
  ClosedFlows closed;
  for (const FlowId id : all(only)) {
    Flow* flow = find(id);
    const bool has_target = flow != nullptr && flow->stage != FlowStage::HeadPending &&
                            flow->stage != FlowStage::Refused && flow->stage != FlowStage::Answered;
    if (!has_target) continue;
    if (is_still_allowed(now, *flow)) continue;
    closed[flow->session].insert(flow->target.resource);
    abort(now, *flow, FlowEnding::Revoked);
  }
  return closed;
}

bool Flows::is_still_allowed(Instant now, const Flow& flow) const {
  const auto grant = authority_.authorise(now, flow.session, flow.target);
  if (!grant) return false;
  if (flow.stage != FlowStage::Open) return true;  // the address is still to be checked
  const auto destination = destination_of(flow.target, *grant->resource);
  if (!destination) return false;
  const auto* address = std::get_if<IpAddress>(&*destination);
  if (address != nullptr && *address != flow.connected.ip) return false;  // the alias stands for another machine now
  return permitted_addresses({&flow.connected.ip, 1}, policy_.table()).has_value();
}

std::vector<FlowId> Flows::all(std::optional<SessionId> only) const {
  std::vector<FlowId> ids;
  const auto collect = [&ids](const StreamMap& streams) {
    for (const auto& [stream, handle] : streams) ids.emplace_back(handle.value);
  };
  if (!only) {
    for (const auto& [session, streams] : streams_) collect(streams);
  } else if (const auto found = streams_.find(*only); found != streams_.end()) {
    collect(found->second);
  }
  return ids;
}

void Flows::arm(Instant now, Flow& flow, Duration after) {
  timers_.cancel(flow.timer);
  flow.timer = timers_.arm(now + after, flow.id.value);
}

void Flows::handle_timeout(Instant now) {
  while (const auto cookie = timers_.poll(now)) {
    if (Flow* flow = find(FlowId(*cookie))) expire(now, *flow);
  }
}

void Flows::expire(Instant now, Flow& flow) {
  switch (flow.stage) {
    case FlowStage::HeadPending:
      ++counters_.bad_heads;
      return refuse(now, flow, {wire::REFUSAL_BAD_REQUEST, "the head of the flow did not come"});
    case FlowStage::Resolving:
      requests_.push_back(AbortTarget{flow.id});
      return refuse(now, flow, {wire::REFUSAL_NAME_LOOKUP_FAILED, "the connector's resolver did not answer"});
    case FlowStage::Connecting:
      requests_.push_back(AbortTarget{flow.id});
      return refuse(now, flow, {wire::REFUSAL_TIMED_OUT, "the target did not answer"});
    case FlowStage::Refused:
    case FlowStage::Answered:
      return abort(now, flow, FlowEnding::ResetByPeer);
    case FlowStage::Open:
      if (flow.datagrams) return expire_idle(now, flow);
      return flow.peer_reset ? abort(now, flow, FlowEnding::ResetByPeer) : void();
  }
}

std::optional<Request> Flows::poll_request() {
  while (!requests_.empty()) {
    Request request = std::move(requests_.front());
    requests_.pop_front();
    if (const auto* write = std::get_if<WriteTarget>(&request)) {
      Flow* flow = find(write->flow);
      if (flow == nullptr) continue;
      flow->write_requested = false;
    }
    return request;
  }
  return std::nullopt;
}

std::optional<FlowReport> Flows::poll_report() {
  if (reports_.empty()) return std::nullopt;
  FlowReport report = std::move(reports_.front());
  reports_.pop_front();
  return report;
}

void Flows::report(Instant now, const Flow& flow, FlowReport::Kind kind, FlowEnding ending, const Refusal& refusal) {
  if (reports_.size() >= limits_.reports_max) {
    reports_.pop_front();
    ++counters_.reports_dropped;
  }
  FlowReport& report = reports_.emplace_back();
  report.kind = kind;
  report.flow = flow.id;
  report.lease = flow.lease;
  report.target = flow.target;
  report.connected = flow.connected;
  report.refusal = refusal.reason;
  report.detail = refusal.detail;
  report.ending = ending;
  report.bytes_to_target = flow.bytes_to_target;
  report.bytes_from_target = flow.bytes_from_target;
  report.at = clock_.at(now);
  report.duration = now - flow.started;
  report.path = port_.path_of(flow.session).value_or(flow.path);
  report.round_trip = port_.round_trip(flow.session);
  if (kind == FlowReport::Kind::Refused) return;
  report.connect_time = flow.connect_time;
  if (flow.first_byte) report.first_byte_time = *flow.first_byte - flow.started;
  report.stalls = flow.meter.stalls(now);
}

}  // namespace postern::connector
