#include "client_core/flows.hpp"

#include <algorithm>

namespace postern::client {

Flows::Flow* Flows::find(tcp::FlowId id) {
  const auto found = flows_.find(id);
  return found == flows_.end() ? nullptr : &found->second;
}

template <typename Predicate>
std::vector<tcp::FlowId> Flows::select(Predicate predicate) const {
  std::vector<tcp::FlowId> ids;
  for (const auto& [id, flow] : flows_) {
    if (predicate(flow)) ids.push_back(id);
  }
  std::ranges::sort(ids);  // the same order in every run
  return ids;
}

// --- a flow's life -------------------------------------------------------------------------------------------------

void Flows::open(Instant now, WallTime wall, tcp::FlowId id, const Destination& to, ApplicationSide& side) {
  start(now, id, side, to, find_target(now, wall, parts_.directory, parts_.addresses, to));
}

void Flows::start(Instant now, tcp::FlowId id, ApplicationSide& side, const Destination& to,
                  std::expected<FlowTarget, FlowRefusal> target) {
  if (!target) {
    ++refusals_[static_cast<std::size_t>(target.error())];
    FlowInfo info;
    info.id = id.value;
    info.destination = to.text();
    ended_.remember(now, std::move(info), to_string(target.error()));
    return side.refuse(now, id, {target.error(), answer_for(target.error())});
  }
  Flow& flow = flows_[id];
  flow.key = id.value;
  flow.id = id;
  flow.side = &side;
  flow.target = std::move(*target);
  flow.meter.handle_started(now);
  new_.emplace_back(now, flow.id);
  place(now, flow);
}

void Flows::obey(Instant now, Flow& flow, Order order) {
  switch (order) {
    case Order::None:
      return;
    case Order::Open:
      if (!placement_.open(now, flow)) refuse(now, flow, FlowRefusal::TooManyFlows);
      return;
    case Order::Refuse:
      return refuse(now, flow, placement_.what_is_missing());
    case Order::Move:
      placement_.leave(flow);
      return place(now, flow);
    case Order::End:
      return abort(now, flow, kResetByApplication);
    case Order::Revoke:
      return abort(now, flow, kResetRevoked);
  }
}

void Flows::set_unsettled(Instant now, bool unsettled) {
  if (placement_.set_unsettled(unsettled)) retry_held(now);
}

void Flows::retry_held(Instant now) {
  for (const std::uint64_t key : placement_.take_held()) place(now, *find(tcp::FlowId(key)));
}

void Flows::refuse(Instant now, Flow& flow, FlowRefusal reason, std::optional<tcp::Refusal> answer) {
  ++refusals_[static_cast<std::size_t>(reason)];
  flow.side->refuse(now, flow.id, {reason, answer.value_or(answer_for(reason))});
  placement_.leave(flow);
  forget(now, flow, to_string(reason));
}

void Flows::abort(Instant now, Flow& flow, std::uint64_t code) {
  if (flow.stage == Stage::Open) {
    flow.side->abort(now, flow.id);
  } else {
    ++refusals_[static_cast<std::size_t>(FlowRefusal::NoResource)];
    flow.side->refuse(now, flow.id, {FlowRefusal::NoResource, tcp::Refusal::AdminProhibited});
  }
  if (flow.stage != Stage::Waiting) parts_.sessions.reset(flow.session, flow.stream, code);
  forget(now, flow, "reset");
}

void Flows::forget(Instant now, const Flow& flow, std::string_view how) {
  ended_.remember(now, describe_flow(now, flow, flow.meter, parts_.peers, parts_.sessions), how);
  placement_.release(flow);
  flows_.erase(flow.id);
}

void Flows::abort_all(Instant now) {
  for (const tcp::FlowId id : select([](const Flow&) { return true; })) abort(now, *find(id), kResetByApplication);
}

// --- application → target ------------------------------------------------------------------------------------------

void Flows::handle_event(Instant now, WallTime wall, const tcp::Event& event) {
  if (const auto* incoming = std::get_if<tcp::Incoming>(&event)) {
    const SocketAddress& to = incoming->tuple.remote;
    return start(now, incoming->flow, parts_.tun, {to.ip, to.port},
                 find_target(now, wall, parts_.directory, parts_.addresses, to));
  }
  Flow* flow = find(std::visit([](const auto& e) { return e.flow; }, event));
  if (flow == nullptr) return;
  if (const auto* data = std::get_if<tcp::Data>(&event)) {
    handle_data(now, *flow, data->bytes);
  } else if (const auto* acknowledged = std::get_if<tcp::Acknowledged>(&event)) {
    if (flow->stage != Stage::Open) return;
    flow->meter.handle_taken(now, acknowledged->bytes);
    flow->undelivered -= std::min(flow->undelivered, acknowledged->bytes);
    parts_.sessions.consume(flow->session, flow->stream, acknowledged->bytes);
    pump_to_application(now, *flow);
    settle_reset(now, *flow);
  } else if (std::holds_alternative<tcp::PeerFinished>(event)) {
    flow->app_finished = true;
    if (flow->stage == Stage::Open) (void)parts_.sessions.finish(flow->session, flow->stream);
    parts_.peers.note_written(now, flow->instance);
  } else if (std::holds_alternative<tcp::Aborted>(event)) {
    if (flow->stage == Stage::Open) {
      parts_.sessions.reset_when_delivered(now, flow->session, flow->stream, kResetByApplication);
    } else if (flow->stage == Stage::Opening) {
      parts_.sessions.reset(flow->session, flow->stream, kResetByApplication);
    }
    forget(now, *flow, "reset");
  } else if (std::holds_alternative<tcp::FlowClosed>(event)) {
    forget(now, *flow, "closed");
  }
}

void Flows::handle_data(Instant now, Flow& flow, const Slice& bytes) {
  if (flow.stage != Stage::Open) return;  // cannot be: nothing was accepted
  const std::size_t size = bytes.size();
  Slice small = size <= config_.copy_max ? parts_.pool.copy(bytes.view()) : Slice();
  if (!parts_.sessions.write(flow.session, flow.stream, small.empty() ? bytes : std::move(small))) {
    return;  // the target wants no more: its reset is on the way to us, or has come
  }
  parts_.peers.note_written(now, flow.instance);
  flow.withheld += size;
  flow.meter.handle_sent(size);
  handle_writable(now, flow);
}

void Flows::handle_writable(Instant now, Flow& flow) {
  if (flow.withheld == 0) return;
  if (parts_.sessions.writable(flow.session, flow.stream) == 0) {
    const bool is_closed = parts_.sessions.pressure(flow.session, flow.stream).is_peer_window_closed;
    return flow.meter.begin_upward_stall(now, is_closed ? StallCause::SlowServer : StallCause::Path);
  }
  flow.meter.end_upward_stall(now);
  flow.side->grant(flow.id, std::exchange(flow.withheld, 0));
}

// --- target → application ------------------------------------------------------------------------------------------

void Flows::handle_event(Instant now, const session::Event& event) {
  const auto key = placement_.find(event);
  if (!key) {
    // A connector opens no streams in this version of the protocol.
    const auto* opened = std::get_if<session::StreamOpened>(&event);
    if (opened != nullptr) parts_.sessions.reset(opened->session, opened->stream, kResetByApplication);
    return;
  }
  Flow* flow = find(tcp::FlowId(*key));
  if (std::holds_alternative<session::StreamReadable>(event)) {
    handle_readable(now, *flow);
  } else if (std::holds_alternative<session::StreamWritable>(event)) {
    handle_writable(now, *flow);
  } else if (const auto* reset = std::get_if<session::StreamReset>(&event)) {
    handle_reset(now, *flow, reset->code);
  } else if (const auto* stopped = std::get_if<session::StreamStopped>(&event)) {
    handle_reset(now, *flow, stopped->code);
  } else if (std::holds_alternative<session::StreamClosed>(event)) {
    if (flow->target_reset) return;  // settle_reset() ends it
    if (flow->stage != Stage::Open) return abort(now, *flow, kResetByApplication);
    finish_application(now, *flow);
  }
}

/// A target's RST comes behind its last byte; with any other code the flow ends at once.
void Flows::handle_reset(Instant now, Flow& flow, std::uint64_t code) {
  if (flow.target_reset) return;
  if (code != kResetByApplication) return abort(now, flow, code);
  const tcp::FlowId id = flow.id;
  if (flow.stage == Stage::Opening) handle_readable(now, flow);
  if (find(id) == nullptr) return;
  if (flow.stage == Stage::Opening) accept_before_reset(now, flow);
  flow.target_reset = true;
  resets_.emplace_back(now + config_.reset_patience, id);
  pump_to_application(now, flow);
  settle_reset(now, flow);
}

void Flows::settle_reset(Instant now, Flow& flow) {
  if (!flow.target_reset || flow.undelivered > 0) return;
  if (parts_.sessions.pressure(flow.session, flow.stream).unread > 0) return;
  abort(now, flow, kResetByApplication);
}

/// The reset has overtaken the reply, which a refusal never is: the target had accepted the connection.
void Flows::accept_before_reset(Instant now, Flow& flow) {
  flow.stage = Stage::Open;
  flow.side->accept(now, flow.id);
}

void Flows::handle_readable(Instant now, Flow& flow) {
  while (flow.stage == Stage::Opening) {
    Slice slice = parts_.sessions.read(flow.session, flow.stream);
    if (slice.empty()) {
      if (parts_.sessions.at_end(flow.session, flow.stream)) abort(now, flow, kResetByApplication);
      return;
    }
    const std::size_t before = slice.size();
    const tcp::FlowId id = flow.id;
    if (!read_reply(now, flow, slice) || find(id) == nullptr) return;
    parts_.sessions.consume(flow.session, flow.stream, before - slice.size());
    note_received(now, flow, slice.size());
    if (!slice.empty()) send_to_application(now, flow, std::move(slice));
  }
  pump_to_application(now, flow);
}

/// Takes what belongs to FlowReply off the front of `slice`. False when the flow is gone.
bool Flows::read_reply(Instant now, Flow& flow, Slice& slice) {
  const auto taken = flow.reply.feed(slice.view());
  if (taken) slice.remove_prefix(*taken);
  if (taken && !flow.reply.has_message()) return true;
  const auto verdict = taken ? parse_flow_reply(flow.reply.message()) : std::nullopt;
  if (!verdict) {
    abort(now, flow, kResetByApplication);
    return false;
  }
  if (placement_.is_to_move(now, flow, *verdict)) {
    obey(now, flow, Order::Move);
    return false;
  }
  if (!verdict->opened) {
    refuse(now, flow, verdict->refusal, verdict->answer);
    return false;
  }
  flow.reply = wire::LengthPrefixedReader{wire::kFlowMessageMax};
  flow.tried = {};
  flow.stage = Stage::Open;
  flow.meter.handle_opened(now, verdict->connected, verdict->connect_time);
  ++opened_;
  flow.side->accept(now, flow.id);
  return true;
}

void Flows::pump_to_application(Instant now, Flow& flow) {
  if (flow.stage != Stage::Open || flow.target_finished) return;
  while (flow.side->sendable(flow.id) > 0) {
    Slice slice = parts_.sessions.read(flow.session, flow.stream);
    if (slice.empty()) break;
    note_received(now, flow, slice.size());
    send_to_application(now, flow, std::move(slice));
  }
  if (parts_.sessions.at_end(flow.session, flow.stream)) finish_application(now, flow);
}

void Flows::send_to_application(Instant now, Flow& flow, Slice bytes) {
  flow.undelivered += bytes.size();
  flow.side->send(now, flow.id, std::move(bytes));
}

void Flows::note_received(Instant now, Flow& flow, std::size_t bytes) {
  const bool is_full = parts_.sessions.pressure(flow.session, flow.stream).is_own_window_full;
  flow.meter.handle_received(now, bytes, is_full);
}

void Flows::finish_application(Instant now, Flow& flow) {
  if (std::exchange(flow.target_finished, true)) return;
  flow.side->finish(now, flow.id);
}

// --- peers, revocation, time ---------------------------------------------------------------------------------------

void Flows::handle_event(Instant now, const PeerEvent& event) {
  const auto order_for = [&](const Flow& f) { return placement_.order_for(now, f, event); };
  for (const tcp::FlowId id : select([&](const Flow& f) { return order_for(f) != Order::None; })) {
    Flow& flow = *find(id);
    obey(now, flow, order_for(flow));  // those before it may have taken the room elsewhere
  }
}

void Flows::handle_changes(Instant now, const DirectoryChanges& changes) {
  if (!changes.may_end_flows()) return;
  for (const tcp::FlowId id : select([&](const Flow& f) { return is_ended_by(changes, parts_.directory, f.target); })) {
    abort(now, *find(id), kResetRevoked);
  }
}

void Flows::handle_timeout(Instant now) {
  while (!new_.empty() && now - new_.front().first >= config_.peer_deadline) {
    const auto entry = new_.front();
    new_.pop_front();
    Flow* flow = find(entry.second);
    if (flow == nullptr || flow->stage == Stage::Open) continue;
    if (placement_.is_held(*flow)) {
      refuse(now, *flow, placement_.what_is_missing());
    } else if (flow->stage == Stage::Waiting) {
      refuse(now, *flow, FlowRefusal::TimedOut);
    } else {
      opening_.push_back(entry);
    }
  }
  while (!opening_.empty() && now - opening_.front().first >= config_.open_deadline) {
    Flow* flow = find(opening_.front().second);
    opening_.pop_front();
    if (flow != nullptr && flow->stage != Stage::Open) refuse(now, *flow, FlowRefusal::TimedOut);
  }
  while (!resets_.empty() && now >= resets_.front().first) {
    Flow* flow = find(resets_.front().second);
    resets_.pop_front();
    if (flow != nullptr) abort(now, *flow, kResetByApplication);
  }
  if (const auto look = placement_.next_look(); look && now >= *look) retry_held(now);
}

std::optional<Instant> Flows::next_timeout() const {
  std::optional<Instant> next = placement_.next_look();
  const auto consider = [&](Instant at) { next = next ? std::min(*next, at) : at; };
  if (!new_.empty()) consider(new_.front().first + config_.peer_deadline);
  if (!opening_.empty()) consider(opening_.front().first + config_.open_deadline);
  if (!resets_.empty()) consider(resets_.front().first);
  return next;
}

}  // namespace postern::client
