// The life of UDP and ICMP flows. Packets towards the TUN are built in datagram_packets.cpp.
#include "client_core/datagram_flows.hpp"

#include <algorithm>

namespace postern::client {

namespace {

/// PROTOCOL.md §4.4.
constexpr std::uint64_t kResetByApplication = 0x10;
constexpr std::uint64_t kResetRevoked = 0x11;
constexpr std::uint16_t kDnsPort = 53;
/// Payload up to this size is copied, so that it does not pin the block it was read into.
constexpr std::size_t kCopyMax = 2048;

std::uint16_t sequence_of(const DatagramsOut& packets) {
  const ByteView payload = packets.payload.view();
  return packets.tuple.protocol == model::Protocol::Icmp && payload.size() >= 2 ? load_u16(payload.data()) : 0;
}

}  // namespace

DatagramFlows::Flow* DatagramFlows::find(FlowKey id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &*found->second;
}

DatagramFlows::Flow* DatagramFlows::find(session::SessionId session, session::StreamId stream) {
  const auto found = by_stream_.find({session.value, stream.value});
  return found == by_stream_.end() ? nullptr : find(found->second);
}

template <typename Predicate>
std::vector<DatagramFlows::FlowKey> DatagramFlows::select(Predicate predicate) const {
  std::vector<FlowKey> ids;
  for (const Flow& flow : flows_) {
    if (predicate(flow)) ids.push_back(flow.id);
  }
  std::ranges::sort(ids);  // the same order in every run
  return ids;
}

// --- from the application ------------------------------------------------------------------------------------------

void DatagramFlows::handle_packets(Instant now, WallTime wall, DatagramsOut packets) {
  const auto known = by_tuple_.find(packets.tuple);
  const auto started = known == by_tuple_.end() ? start(now, wall, packets.tuple) : find(known->second);
  const std::size_t size = std::min(packets.stride, packets.payload.size());
  if (!started) {
    ++refusals_[static_cast<std::size_t>(started.error())];
    return tell(packets.tuple, size, sequence_of(packets), answer_for(started.error()));
  }
  Flow* flow = *started;
  flow->active = now;
  flow->bytes_up += packets.payload.size();
  flow->last_size = size;
  flow->last_sequence = sequence_of(packets);
  flows_.splice(flows_.end(), flows_, by_id_.at(flow->id));
  if (flow->instance.value == 0 && !held_.contains(flow->id)) {
    const FlowKey id = flow->id;
    place(now, *flow);
    flow = find(id);
    if (flow == nullptr) return;  // refused
  }
  if (flow->stage != Stage::Waiting && is_too_big(now, *flow, packets)) return;
  if (flow->stage != Stage::Open) keep(*flow, packets);
  if (flow->stage == Stage::Waiting) return;
  Slice small = packets.payload.size() <= kCopyMax ? parts_.pool.copy(packets.payload.view()) : Slice();
  send(now, *flow, small.empty() ? std::move(packets.payload) : std::move(small), packets.stride);
}

std::expected<DatagramFlows::Flow*, FlowRefusal> DatagramFlows::start(Instant now, WallTime wall,
                                                                      const DatagramTuple& tuple) {
  auto target = find_target(now, wall, parts_.directory, parts_.addresses, tuple.destination, tuple.protocol);
  if (!target) return std::unexpected(target.error());
  if (flows_.size() >= config_.flows_max) make_room();
  Flow& flow = flows_.emplace_back();
  flow.id = next_id_++;
  flow.tuple = tuple;
  flow.target = std::move(*target);
  flow.since = flow.active = now;
  flow.timer = timers_.arm(now + waiting_.peer_deadline, flow.id);
  by_id_[flow.id] = std::prev(flows_.end());
  by_tuple_[tuple] = flow.id;
  return &flow;
}

void DatagramFlows::make_room() {
  end(flows_.front(), kResetByApplication);
}

void DatagramFlows::keep(Flow& flow, const DatagramsOut& packets) {
  const ByteView bytes = packets.payload.view();
  const std::size_t stride = std::max<std::size_t>(packets.stride, 1);
  std::size_t at = 0;
  do {
    const std::size_t evicted = flow.backlog.push(parts_.pool, bytes.subspan(at, std::min(stride, bytes.size() - at)));
    if (flow.stage == Stage::Waiting) dropped_ += evicted;  // later ones have left, and are kept for another instance
    at += stride;
  } while (at < bytes.size());
}

void DatagramFlows::send(Instant now, Flow& flow, Slice payload, std::size_t stride) {
  if (!parts_.sessions.send_datagrams(now, flow.session, flow.stream, std::move(payload), stride)) ++dropped_;
  parts_.peers.note_written(now, flow.instance);
}

/// Answers packets that must not be split and do not fit; the application's kernel then makes smaller ones.
bool DatagramFlows::is_too_big(Instant now, const Flow& flow, const DatagramsOut& packets) {
  if (!packets.dont_fragment) return false;
  const auto limit = parts_.sessions.datagram_limit(now, flow.session, flow.stream);
  const std::size_t headers = wire::ip_header_size(flow.tuple.source.ip.family()) +
                              (flow.tuple.protocol == model::Protocol::Udp ? wire::UdpView::kHeaderSize : 6);
  const std::size_t mtu = std::max(kPacketMin, limit.payload + headers);
  const std::size_t size = std::min(packets.stride, packets.payload.size());
  if (!limit.is_settled || size + headers <= mtu) return false;
  const Bytes quote = quote_of(flow.tuple, size, flow.last_sequence);
  Bytes error(kPacketMin);
  error.resize(wire::build_packet_too_big(error, static_cast<std::uint16_t>(mtu), quote));
  if (!error.empty() && errors_.size() < kErrorsMax) errors_.push_back(std::move(error));
  return true;
}

// --- a flow's life -------------------------------------------------------------------------------------------------

void DatagramFlows::place(Instant now, Flow& flow) {
  const auto instance = parts_.peers.choose(now, flow.target.remote_network, flow.tried);
  if (!instance) {
    if (unsettled_) return hold(now, flow);
    return refuse(flow, what_is_missing());
  }
  flow.stage = Stage::Waiting;
  flow.instance = *instance;
  parts_.peers.count_flow(*instance, 1);
  const Peer* peer = parts_.peers.find(*instance);
  if (peer->stage == PeerStage::Ready && !peer->suspect) return open(now, flow);
  parts_.peers.note_written(now, *instance);
}

FlowRefusal DatagramFlows::what_is_missing() const {
  return parts_.peers.has_relay() ? FlowRefusal::NoInstance : FlowRefusal::NoRelay;
}

void DatagramFlows::hold(Instant now, Flow& flow) {
  flow.stage = Stage::Waiting;
  flow.tried.clear();
  held_.insert(flow.id);
  if (!next_look_) next_look_ = now + waiting_.held_interval;
}

void DatagramFlows::set_unsettled(Instant now, bool unsettled) {
  if (std::exchange(unsettled_, unsettled) && !unsettled) retry_held(now);
}

void DatagramFlows::retry_held(Instant now) {
  next_look_.reset();
  for (const FlowKey id : std::exchange(held_, {})) place(now, *find(id));
}

void DatagramFlows::open(Instant now, Flow& flow) {
  const Peer* peer = parts_.peers.find(flow.instance);
  const auto stream = parts_.sessions.open_stream(*peer->session);
  Slice head = parts_.pool.copy(flow.target.framed_head());
  if (!stream || head.empty()) {
    if (stream) parts_.sessions.reset(*peer->session, *stream, kResetByApplication);
    return refuse(flow, FlowRefusal::TooManyFlows);
  }
  flow.stage = Stage::Opening;
  flow.session = *peer->session;
  flow.stream = *stream;
  by_stream_[{flow.session.value, flow.stream.value}] = flow.id;
  (void)parts_.sessions.write(flow.session, flow.stream, std::move(head));
  for (std::size_t i = 0; i < flow.backlog.size(); ++i) {
    send(now, flow, flow.backlog.at(i), std::max<std::size_t>(flow.backlog.at(i).size(), 1));
  }
  timers_.cancel(flow.timer);
  flow.timer = timers_.arm(flow.since + waiting_.open_deadline, flow.id);
}

/// Before the answer is known: gives up the stream, if there is one, and the place at the peer.
void DatagramFlows::leave_peer(Flow& flow) {
  if (flow.stage != Stage::Waiting) {
    by_stream_.erase({flow.session.value, flow.stream.value});
    parts_.sessions.reset(flow.session, flow.stream, kResetByApplication);
  }
  flow.stage = Stage::Waiting;
  flow.reply = wire::LengthPrefixedReader{wire::kFlowMessageMax};
  if (flow.instance.value != 0) parts_.peers.count_flow(flow.instance, -1);
}

void DatagramFlows::retry_elsewhere(Instant now, Flow& flow) {
  leave_peer(flow);
  flow.tried.push_back(flow.instance);
  flow.instance = {};
  place(now, flow);
}

void DatagramFlows::refuse(Flow& flow, FlowRefusal reason, std::optional<tcp::Refusal> answer) {
  ++refusals_[static_cast<std::size_t>(reason)];
  tell(flow.tuple, flow.last_size, flow.last_sequence, answer.value_or(answer_for(reason)));
  end(flow, kResetByApplication);
}

void DatagramFlows::end(Flow& flow, std::optional<std::uint64_t> reset_code) {
  if (flow.stage != Stage::Waiting) {
    by_stream_.erase({flow.session.value, flow.stream.value});
    if (reset_code) {
      parts_.sessions.reset(flow.session, flow.stream, *reset_code);
    } else {
      (void)parts_.sessions.finish(flow.session, flow.stream);
    }
  }
  if (flow.instance.value != 0) parts_.peers.count_flow(flow.instance, -1);
  timers_.cancel(flow.timer);
  held_.erase(flow.id);
  by_tuple_.erase(flow.tuple);
  const auto place = by_id_.extract(flow.id);
  flows_.erase(place.mapped());
}

void DatagramFlows::end_all() {
  for (const FlowKey id : select([](const Flow&) { return true; })) end(*find(id), kResetByApplication);
}

// --- from the session ----------------------------------------------------------------------------------------------

void DatagramFlows::handle_event(Instant now, const session::Event& event) {
  if (const auto* datagrams = std::get_if<session::DatagramsReadable>(&event)) {
    return read_datagrams(now, datagrams->session);
  }
  const auto [session, stream] = std::visit(
      [](const auto& e) -> std::pair<session::SessionId, session::StreamId> {
        if constexpr (requires { e.stream; })
          return {e.session, e.stream};
        else
          return {e.session, session::kControlStream};
      },
      event);
  Flow* flow = find(session, stream);
  if (flow == nullptr) return;
  if (std::holds_alternative<session::StreamReadable>(event)) {
    read_control(now, *flow);
  } else if (std::holds_alternative<session::StreamReset>(event) ||
             std::holds_alternative<session::StreamStopped>(event) ||
             std::holds_alternative<session::StreamClosed>(event)) {
    end(*flow, kResetByApplication);
  }
}

void DatagramFlows::read_control(Instant now, Flow& flow) {
  const auto [session, stream] = std::pair(flow.session, flow.stream);
  for (Slice slice = parts_.sessions.read(session, stream); !slice.empty();
       slice = parts_.sessions.read(session, stream)) {
    parts_.sessions.consume(session, stream, slice.size());
    ByteView bytes = slice.view();
    while (!bytes.empty()) {
      const auto taken = flow.reply.feed(bytes);
      bytes = bytes.subspan(taken.value_or(bytes.size()));
      if (taken && !flow.reply.has_message()) continue;
      const auto reply = taken ? parse_datagram_reply(flow.reply.message()) : std::nullopt;
      if (!reply) return end(flow, kResetByApplication);
      flow.reply.next();
      if (!handle_reply(now, flow, *reply)) return;
    }
  }
  if (parts_.sessions.at_end(session, stream)) end(flow);
}

bool DatagramFlows::handle_reply(Instant now, Flow& flow, const DatagramReply& reply) {
  const FlowVerdict& verdict = reply.verdict;
  if (reply.is_failure) {
    tell(flow.tuple, flow.last_size, flow.last_sequence, verdict.answer);
    return true;
  }
  if (verdict.try_elsewhere && flow.stage == Stage::Opening &&
      parts_.peers.has_other(now, flow.target.remote_network, flow.instance, flow.tried)) {
    retry_elsewhere(now, flow);
    return false;
  }
  if (!verdict.opened) {
    refuse(flow, verdict.refusal, verdict.answer);
    return false;
  }
  if (flow.stage == Stage::Open) return true;
  flow.stage = Stage::Open;
  flow.connected = verdict.connected;
  flow.connect_time = verdict.connect_time;
  flow.backlog.clear();
  flow.tried = {};
  ++opened_;
  timers_.cancel(flow.timer);
  flow.timer = timers_.arm(now + idle_time(flow), flow.id);
  return true;
}

void DatagramFlows::read_datagrams(Instant now, session::SessionId session) {
  while (auto train = parts_.sessions.read_datagrams(session)) {
    Flow* flow = find(session, train->flow);
    if (flow == nullptr || incoming_.size() + local_.size() >= kTrainsMax) {
      ++dropped_;
      continue;
    }
    flow->active = now;
    flow->bytes_down += train->bytes.size();
    flows_.splice(flows_.end(), flows_, by_id_.at(flow->id));
    if (flow->tuple.program == 0) {
      incoming_.push_back({flow->tuple, std::move(train->bytes), train->stride});
    } else {
      local_.push_back({flow->tuple.program, flow->target.destination(), std::move(train->bytes), train->stride});
    }
  }
}

std::optional<LocalDatagrams> DatagramFlows::poll_local() {
  if (local_.empty()) return std::nullopt;
  LocalDatagrams datagrams = std::move(local_.front());
  local_.pop_front();
  return datagrams;
}

void DatagramFlows::end_program(std::uint64_t program) {
  for (const FlowKey id : select([&](const Flow& f) { return f.tuple.program == program; })) end(*find(id));
}

// --- peers, revocation, time ---------------------------------------------------------------------------------------

void DatagramFlows::handle_event(Instant now, const PeerEvent& event) {
  if (const auto* ready = std::get_if<PeerReady>(&event)) {
    for (const FlowKey id :
         select([&](const Flow& f) { return f.stage == Stage::Waiting && f.instance == ready->instance; })) {
      open(now, *find(id));
    }
  } else if (const auto* lost = std::get_if<PeerLost>(&event)) {
    for (const FlowKey id : select([&](const Flow& f) { return f.instance == lost->instance; })) {
      Flow& flow = *find(id);
      flow.stage == Stage::Open ? end(flow, kResetByApplication) : retry_elsewhere(now, flow);
    }
  } else if (const auto* suspect = std::get_if<PeerSuspect>(&event)) {
    for (const FlowKey id :
         select([&](const Flow& f) { return f.stage != Stage::Open && f.instance == suspect->instance; })) {
      Flow& flow = *find(id);
      const bool has_other = parts_.peers.has_other(now, flow.target.remote_network, flow.instance, flow.tried);
      if (has_other) retry_elsewhere(now, flow);
    }
  } else if (const auto* revoked = std::get_if<PeerRevoked>(&event)) {
    for (const FlowKey id : select([&](const Flow& f) {
           const bool is_named = std::ranges::find(revoked->resources, f.target.resource) != revoked->resources.end();
           return f.instance == revoked->instance && (revoked->all || is_named);
         })) {
      end(*find(id), kResetRevoked);
    }
  }
}

void DatagramFlows::handle_changes(const DirectoryChanges& changes) {
  if (changes.removed_resources.empty() && changes.removed_leases.empty()) return;
  for (const FlowKey id : select([&](const Flow& f) {
         return changes.removed_resources.contains(f.target.resource) ||
                changes.removed_leases.contains(f.target.remote_network);
       })) {
    end(*find(id), kResetRevoked);
  }
}

Duration DatagramFlows::idle_time(const Flow& flow) const {
  if (flow.tuple.protocol == model::Protocol::Icmp) return config_.icmp_idle;
  return flow.tuple.destination.port == kDnsPort ? config_.dns_idle : config_.udp_idle;
}

void DatagramFlows::handle_timeout(Instant now) {
  while (const auto id = timers_.poll(now)) {
    if (Flow* flow = find(*id)) expire(now, *flow);
  }
  if (next_look_ && now >= *next_look_) retry_held(now);
}

void DatagramFlows::expire(Instant now, Flow& flow) {
  if (flow.stage != Stage::Open)
    return refuse(flow, held_.contains(flow.id) ? what_is_missing() : FlowRefusal::TimedOut);
  const Duration idle = now - flow.active;
  if (idle >= idle_time(flow)) return end(flow);
  flow.timer = timers_.arm(flow.active + idle_time(flow), flow.id);
}

std::optional<Instant> DatagramFlows::next_timeout() const {
  const auto timer = timers_.next_timeout();
  if (!timer || !next_look_) return timer ? timer : next_look_;
  return std::min(*timer, *next_look_);
}

}  // namespace postern::client
