#include "client_core/flows.hpp"

#include <algorithm>

namespace postern::client {

namespace {

/// PROTOCOL.md §4.4.
constexpr std::uint64_t kResetByApplication = 0x10;
constexpr std::uint64_t kResetRevoked = 0x11;

}  // namespace

Flows::Flow* Flows::find(tcp::FlowId id) {
  const auto found = flows_.find(id);
  return found == flows_.end() ? nullptr : &found->second;
}

Flows::Flow* Flows::find(session::SessionId session, session::StreamId stream) {
  const auto found = by_stream_.find({session.value, stream.value});
  return found == by_stream_.end() ? nullptr : find(found->second);
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
    remember(now, std::move(info), to_string(target.error()));
    return side.refuse(now, id, {target.error(), answer_for(target.error())});
  }
  Flow& flow = flows_[id];
  flow.id = id;
  flow.side = &side;
  flow.target = std::move(*target);
  flow.meter.handle_started(now);
  new_.emplace_back(now, flow.id);
  place(now, flow);
}

void Flows::place(Instant now, Flow& flow) {
  const auto instance = parts_.peers.choose(now, flow.target.remote_network, flow.tried);
  if (!instance) {
    if (unsettled_ || parts_.peers.awaits_successor(now, flow.target.remote_network)) return hold(now, flow);
    return refuse(now, flow, what_is_missing());
  }
  flow.stage = Stage::Waiting;
  flow.instance = *instance;
  parts_.peers.count_flow(*instance, 1);
  const Peer* peer = parts_.peers.find(*instance);
  if (peer->stage == PeerStage::Ready && !peer->suspect) return open(now, flow);
  parts_.peers.note_written(now, *instance);
}

FlowRefusal Flows::what_is_missing() const {
  return parts_.peers.has_relay() ? FlowRefusal::NoInstance : FlowRefusal::NoRelay;
}

void Flows::hold(Instant now, Flow& flow) {
  flow.stage = Stage::Waiting;
  flow.tried.clear();
  held_.insert(flow.id);
  if (!next_look_) next_look_ = now + config_.held_interval;
}

void Flows::set_unsettled(Instant now, bool unsettled) {
  if (std::exchange(unsettled_, unsettled) && !unsettled) retry_held(now);
}

void Flows::retry_held(Instant now) {
  next_look_.reset();
  for (const tcp::FlowId id : std::exchange(held_, {})) place(now, *find(id));
}

void Flows::open(Instant now, Flow& flow) {
  const Peer* peer = parts_.peers.find(flow.instance);
  const auto stream = parts_.sessions.open_stream(*peer->session);
  const Bytes head = flow.target.framed_head();
  Slice bytes = parts_.pool.copy(head);
  if (!stream || bytes.empty()) {
    if (stream) parts_.sessions.reset(*peer->session, *stream, kResetByApplication);
    return refuse(now, flow, FlowRefusal::TooManyFlows);
  }
  flow.stage = Stage::Opening;
  flow.session = *peer->session;
  flow.stream = *stream;
  by_stream_[key(flow)] = flow.id;
  (void)parts_.sessions.write(flow.session, flow.stream, std::move(bytes));
  parts_.peers.note_written(now, flow.instance);
}

/// Before the answer is known: gives up the stream, if there is one, and the place at the peer.
void Flows::leave_peer(Flow& flow) {
  if (flow.stage != Stage::Waiting) {
    by_stream_.erase(key(flow));
    parts_.sessions.reset(flow.session, flow.stream, kResetByApplication);
  }
  flow.stage = Stage::Waiting;
  flow.reply = wire::LengthPrefixedReader{wire::kFlowMessageMax};
  parts_.peers.count_flow(flow.instance, -1);
}

void Flows::retry_elsewhere(Instant now, Flow& flow) {
  leave_peer(flow);
  flow.tried.push_back(flow.instance);
  flow.instance = {};
  place(now, flow);
}

void Flows::refuse(Instant now, Flow& flow, FlowRefusal reason, std::optional<tcp::Refusal> answer) {
  ++refusals_[static_cast<std::size_t>(reason)];
  flow.side->refuse(now, flow.id, {reason, answer.value_or(answer_for(reason))});
  if (flow.instance.value != 0) leave_peer(flow);
  erase(now, flow, to_string(reason));
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

void Flows::forget(Instant now, Flow& flow, std::string_view how) {
  if (flow.stage != Stage::Waiting) by_stream_.erase(key(flow));
  if (flow.instance.value != 0) parts_.peers.count_flow(flow.instance, -1);
  erase(now, flow, how);
}

void Flows::erase(Instant now, const Flow& flow, std::string_view how) {
  remember(now, describe(now, flow), how);
  held_.erase(flow.id);
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
    parts_.sessions.consume(flow->session, flow->stream, acknowledged->bytes);
    pump_to_application(now, *flow);
  } else if (std::holds_alternative<tcp::PeerFinished>(event)) {
    flow->app_finished = true;
    if (flow->stage == Stage::Open) (void)parts_.sessions.finish(flow->session, flow->stream);
    parts_.peers.note_written(now, flow->instance);
  } else if (std::holds_alternative<tcp::Aborted>(event)) {
    if (flow->stage != Stage::Waiting) parts_.sessions.reset(flow->session, flow->stream, kResetByApplication);
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
  const auto [session, stream] = std::visit(
      [](const auto& e) -> std::pair<session::SessionId, session::StreamId> {
        if constexpr (requires { e.stream; })
          return {e.session, e.stream};
        else
          return {e.session, session::kControlStream};
      },
      event);
  Flow* flow = find(session, stream);
  if (flow == nullptr) {
    // A connector opens no streams in this version of the protocol.
    if (std::holds_alternative<session::StreamOpened>(event))
      parts_.sessions.reset(session, stream, kResetByApplication);
    return;
  }
  if (std::holds_alternative<session::StreamReadable>(event)) {
    handle_readable(now, *flow);
  } else if (std::holds_alternative<session::StreamWritable>(event)) {
    handle_writable(now, *flow);
  } else if (const auto* reset = std::get_if<session::StreamReset>(&event)) {
    if (flow->stage == Stage::Opening && reset->code == kResetByApplication) accept_before_reset(now, *flow);
    abort(now, *flow, reset->code);
  } else if (const auto* stopped = std::get_if<session::StreamStopped>(&event)) {
    abort(now, *flow, stopped->code);
  } else if (std::holds_alternative<session::StreamClosed>(event)) {
    if (flow->stage != Stage::Open) return abort(now, *flow, kResetByApplication);
    finish_application(now, *flow);
  }
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
    if (!slice.empty()) flow.side->send(now, flow.id, std::move(slice));
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
  if (verdict->leaving) {
    parts_.peers.note_leaving(now, flow.instance);
    retry_elsewhere(now, flow);
    return false;
  }
  if (verdict->try_elsewhere && parts_.peers.has_other(now, flow.target.remote_network, flow.instance, flow.tried)) {
    retry_elsewhere(now, flow);
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
    flow.side->send(now, flow.id, std::move(slice));
  }
  if (parts_.sessions.at_end(flow.session, flow.stream)) finish_application(now, flow);
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
  if (const auto* ready = std::get_if<PeerReady>(&event)) {
    const auto waiting =
        select([&](const Flow& f) { return f.stage == Stage::Waiting && f.instance == ready->instance; });
    for (const tcp::FlowId id : waiting) open(now, *find(id));
  } else if (const auto* lost = std::get_if<PeerLost>(&event)) {
    handle_peer_lost(now, lost->instance);
  } else if (const auto* suspect = std::get_if<PeerSuspect>(&event)) {
    for (const tcp::FlowId id :
         select([&](const Flow& f) { return f.stage != Stage::Open && f.instance == suspect->instance; })) {
      Flow& flow = *find(id);
      if (parts_.peers.has_other(now, flow.target.remote_network, flow.instance, flow.tried))
        retry_elsewhere(now, flow);
    }
  } else if (const auto* revoked = std::get_if<PeerRevoked>(&event)) {
    for (const tcp::FlowId id : select([&](const Flow& f) {
           const bool named = std::ranges::find(revoked->resources, f.target.resource) != revoked->resources.end();
           return f.instance == revoked->instance && (revoked->all || named);
         })) {
      abort(now, *find(id), kResetRevoked);
    }
  }
}

void Flows::handle_peer_lost(Instant now, model::InstanceId instance) {
  for (const tcp::FlowId id : select([&](const Flow& f) { return f.instance == instance; })) {
    Flow& flow = *find(id);
    if (flow.stage == Stage::Open) {
      abort(now, flow, kResetByApplication);
    } else {
      retry_elsewhere(now, flow);
    }
  }
}

void Flows::handle_changes(Instant now, const DirectoryChanges& changes) {
  if (changes.removed_resources.empty() && changes.removed_leases.empty()) return;
  for (const tcp::FlowId id : select([&](const Flow& f) {
         return changes.removed_resources.contains(f.target.resource) ||
                changes.removed_leases.contains(f.target.remote_network);
       })) {
    abort(now, *find(id), kResetRevoked);
  }
}

void Flows::handle_timeout(Instant now) {
  while (!new_.empty() && now - new_.front().first >= config_.peer_deadline) {
    const auto entry = new_.front();
    new_.pop_front();
    Flow* flow = find(entry.second);
    if (flow == nullptr || flow->stage == Stage::Open) continue;
    if (held_.contains(flow->id)) {
      refuse(now, *flow, what_is_missing());
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
  if (next_look_ && now >= *next_look_) retry_held(now);
}

std::optional<Instant> Flows::next_timeout() const {
  std::optional<Instant> next = next_look_;
  const auto consider = [&](Instant at) { next = next ? std::min(*next, at) : at; };
  if (!new_.empty()) consider(new_.front().first + config_.peer_deadline);
  if (!opening_.empty()) consider(opening_.front().first + config_.open_deadline);
  return next;
}

}  // namespace postern::client
