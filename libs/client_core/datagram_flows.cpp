// The life of UDP and ICMP flows. Packets towards the TUN are built in datagram_packets.cpp.
#include "client_core/datagram_flows.hpp"

#include <algorithm>

namespace postern::client {

namespace {

constexpr std::uint16_t kDnsPort = 53;
/// Payload up to this size is copied, so that it does not pin the block it was read into.
constexpr std::size_t kCopyMax = 2048;

std::uint16_t sequence_of(const DatagramsOut& packets) {
  const ByteView payload = packets.payload.view();
  return packets.tuple.protocol == model::Protocol::Icmp && payload.size() >= 2 ? load_u16(payload.data()) : 0;
}

}  // namespace

DatagramFlows::Flow* DatagramFlows::find(FlowKey key) {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &*found->second;
}

template <typename Predicate>
std::vector<DatagramFlows::FlowKey> DatagramFlows::select(Predicate predicate) const {
  std::vector<FlowKey> ids;
  for (const Flow& flow : flows_) {
    if (predicate(flow)) ids.push_back(flow.key);
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
  flow->meter.handle_sent(packets.payload.size());
  flow->last_size = size;
  flow->last_sequence = sequence_of(packets);
  flows_.splice(flows_.end(), flows_, by_key_.at(flow->key));
  if (flow->instance.value == 0 && !placement_.is_held(*flow)) {
    const FlowKey key = flow->key;
    place(now, *flow);
    flow = find(key);
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
  if (flows_.size() >= config_.flows_max) reset(now, flows_.front());
  Flow& flow = flows_.emplace_back();
  flow.key = next_key_++;
  flow.tuple = tuple;
  flow.target = std::move(*target);
  flow.active = now;
  flow.meter.handle_started(now);
  flow.timer = timers_.arm(now + waiting_.peer_deadline, flow.key);
  by_key_[flow.key] = std::prev(flows_.end());
  by_tuple_[tuple] = flow.key;
  return &flow;
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

void DatagramFlows::obey(Instant now, Flow& flow, Order order) {
  switch (order) {
    case Order::None:
      return;
    case Order::Open:
      return open(now, flow);
    case Order::Refuse:
      return refuse(now, flow, placement_.what_is_missing());
    case Order::Move:
      placement_.leave(flow);
      return place(now, flow);
    case Order::End:
      return reset(now, flow);
    case Order::Revoke:
      return reset(now, flow, kResetRevoked);
  }
}

void DatagramFlows::set_unsettled(Instant now, bool unsettled) {
  if (placement_.set_unsettled(unsettled)) retry_held(now);
}

void DatagramFlows::retry_held(Instant now) {
  for (const FlowKey key : placement_.take_held()) place(now, *find(key));
}

void DatagramFlows::open(Instant now, Flow& flow) {
  if (!placement_.open(now, flow)) return refuse(now, flow, FlowRefusal::TooManyFlows);
  for (std::size_t i = 0; i < flow.backlog.size(); ++i) {
    send(now, flow, flow.backlog.at(i), std::max<std::size_t>(flow.backlog.at(i).size(), 1));
  }
  timers_.cancel(flow.timer);
  flow.timer = timers_.arm(flow.meter.started() + waiting_.open_deadline, flow.key);
}

void DatagramFlows::refuse(Instant now, Flow& flow, FlowRefusal reason, std::optional<tcp::Refusal> answer) {
  ++refusals_[static_cast<std::size_t>(reason)];
  tell(flow.tuple, flow.last_size, flow.last_sequence, answer.value_or(answer_for(reason)));
  end(now, flow, kResetByApplication, to_string(reason));
}

void DatagramFlows::end(Instant now, Flow& flow, std::optional<std::uint64_t> reset_code, std::string_view how) {
  ended_.remember(now, describe_flow(now, flow, flow.meter, parts_.peers, parts_.sessions), how);
  if (flow.stage != Stage::Waiting && reset_code) {
    parts_.sessions.reset(flow.session, flow.stream, *reset_code);
  } else if (flow.stage != Stage::Waiting) {
    (void)parts_.sessions.finish(flow.session, flow.stream);
  }
  placement_.release(flow);
  timers_.cancel(flow.timer);
  by_tuple_.erase(flow.tuple);
  const auto place = by_key_.extract(flow.key);
  flows_.erase(place.mapped());
}

void DatagramFlows::end_all(Instant now) {
  for (const FlowKey id : select([](const Flow&) { return true; })) reset(now, *find(id));
}

// --- from the session ----------------------------------------------------------------------------------------------

void DatagramFlows::handle_event(Instant now, const session::Event& event) {
  if (const auto* datagrams = std::get_if<session::DatagramsReadable>(&event)) {
    return read_datagrams(now, datagrams->session);
  }
  const auto key = placement_.find(event);
  Flow* flow = key ? find(*key) : nullptr;
  if (flow == nullptr) return;
  if (std::holds_alternative<session::StreamReadable>(event)) {
    read_control(now, *flow);
  } else if (std::holds_alternative<session::StreamReset>(event) ||
             std::holds_alternative<session::StreamStopped>(event) ||
             std::holds_alternative<session::StreamClosed>(event)) {
    reset(now, *flow);
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
      if (!reply) return reset(now, flow);
      flow.reply.next();
      if (!handle_reply(now, flow, *reply)) return;
    }
  }
  if (parts_.sessions.at_end(session, stream)) finish(now, flow);
}

bool DatagramFlows::handle_reply(Instant now, Flow& flow, const DatagramReply& reply) {
  const FlowVerdict& verdict = reply.verdict;
  if (reply.is_failure) {
    tell(flow.tuple, flow.last_size, flow.last_sequence, verdict.answer);
    return true;
  }
  if (flow.stage == Stage::Opening && placement_.is_to_move(now, flow, verdict)) {
    obey(now, flow, Order::Move);
    return false;
  }
  if (!verdict.opened) {
    refuse(now, flow, verdict.refusal, verdict.answer);
    return false;
  }
  if (flow.stage == Stage::Open) return true;
  flow.stage = Stage::Open;
  flow.meter.handle_opened(now, verdict.connected, verdict.connect_time);
  flow.backlog.clear();
  flow.tried = {};
  ++opened_;
  timers_.cancel(flow.timer);
  flow.timer = timers_.arm(now + idle_time(flow), flow.key);
  return true;
}

void DatagramFlows::read_datagrams(Instant now, session::SessionId session) {
  while (auto train = parts_.sessions.read_datagrams(session)) {
    const auto key = placement_.find(session, train->flow);
    Flow* flow = key ? find(*key) : nullptr;
    if (flow == nullptr || incoming_.size() + local_.size() >= kTrainsMax) {
      ++dropped_;
      continue;
    }
    flow->active = now;
    flow->meter.handle_received(now, train->bytes.size(), false);
    flow->meter.handle_taken(now, train->bytes.size());  // nobody waits for a datagram
    flows_.splice(flows_.end(), flows_, by_key_.at(flow->key));
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

void DatagramFlows::end_program(Instant now, std::uint64_t program) {
  for (const FlowKey id : select([&](const Flow& f) { return f.tuple.program == program; })) finish(now, *find(id));
}

// --- peers, revocation, time ---------------------------------------------------------------------------------------

void DatagramFlows::handle_event(Instant now, const PeerEvent& event) {
  const auto order_for = [&](const Flow& f) { return placement_.order_for(now, f, event); };
  for (const FlowKey key : select([&](const Flow& f) { return order_for(f) != Order::None; })) {
    Flow& flow = *find(key);
    obey(now, flow, order_for(flow));  // those before it may have taken the room elsewhere
  }
}

void DatagramFlows::handle_changes(Instant now, const DirectoryChanges& changes) {
  if (!changes.may_end_flows()) return;
  for (const FlowKey key : select([&](const Flow& f) { return is_ended_by(changes, parts_.directory, f.target); })) {
    reset(now, *find(key), kResetRevoked);
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
  if (const auto look = placement_.next_look(); look && now >= *look) retry_held(now);
}

void DatagramFlows::expire(Instant now, Flow& flow) {
  if (flow.stage != Stage::Open)
    return refuse(now, flow, placement_.is_held(flow) ? placement_.what_is_missing() : FlowRefusal::TimedOut);
  const Duration idle = now - flow.active;
  if (idle >= idle_time(flow)) return finish(now, flow);
  flow.timer = timers_.arm(flow.active + idle_time(flow), flow.key);
}

std::optional<Instant> DatagramFlows::next_timeout() const {
  const auto timer = timers_.next_timeout();
  const auto look = placement_.next_look();
  if (!timer || !look) return timer ? timer : look;
  return std::min(*timer, *look);
}

}  // namespace postern::client
