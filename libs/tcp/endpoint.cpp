#include "tcp/endpoint.hpp"

#include <algorithm>
#include <deque>

#include "base/timer_wheel.hpp"
#include "tcp/event_queue.hpp"
#include "tcp/flow_table.hpp"
#include "tcp/reply_queue.hpp"

namespace postern::tcp {

namespace {

constexpr std::uint16_t kMssMin = 216;  // of our own offer, for absurd MTUs
/// RFC 6528: M is a clock that ticks every 4 µs.
constexpr std::uint64_t kIsnTickNs = 4000;

std::uint16_t mss_of(std::uint16_t mtu, std::uint16_t headers) {
  return mtu > headers + kMssMin ? static_cast<std::uint16_t>(mtu - headers) : kMssMin;
}

FlowSettings settings_of(const EndpointConfig& config) {
  return {mss_of(config.mtu, 40), mss_of(config.mtu, 60), config.receive_window};
}

wire::Unreachable unreachable_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::NetworkUnreachable:
      return wire::Unreachable::Network;
    case Refusal::AdminProhibited:
      return wire::Unreachable::AdminProhibited;
    default:
      return wire::Unreachable::Host;
  }
}

}  // namespace

/// Routes: packets to flows, flows to the output queue and the timer wheel. What TCP is stands in Flow.
class Endpoint::Impl {
 public:
  explicit Impl(EndpointConfig config)
      : config_(config), settings_(settings_of(config)), table_(config.isn_key, config.flows_max) {}

  void handle_packet(Instant now, ByteView vnet, const Slice& packet);
  void handle_timeout(Instant now);
  bool poll_packet(Instant now, Packet& packet);
  void accept(Instant now, Flow& flow);
  void refuse(Flow& flow, Refusal refusal);
  void abort(Flow& flow);
  /// To be called after everything that may change what a flow wants to send or when it wants to be woken.
  void settle(Flow& flow);
  void remove(Flow& flow);
  [[nodiscard]] Flow* find(FlowId id) { return table_.find_live(id); }

  const EndpointConfig config_;
  const FlowSettings settings_;
  FlowTable table_;
  TimerWheel timers_;
  EventQueue events_;
  ReplyQueue replies_;
  std::size_t time_wait_count_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)> drops_{};

 private:
  void count(DropReason reason) { ++drops_[static_cast<std::size_t>(reason)]; }
  void count_reply(bool had_room) {
    if (!had_room) count(DropReason::ReplyLimit);
  }
  void handle_segment(Flow& flow, const Segment& segment, Instant now);
  Flow* handle_stray(const Segment& segment, std::uint64_t hash, Instant now);
  void replace(Flow& flow, const Segment& syn, Instant now);
  void expire(Flow& flow, Instant now);
  void arm(Flow& flow);
  void enlist_time_wait(Flow& flow);
  bool evict_time_wait();
  [[nodiscard]] Sequence initial_sequence(const Flow& flow, Instant now) const;

  /// Flows with something to send, in turn; entries of flows that have ended are skipped.
  std::deque<SlabHandle> output_;
  /// Oldest first; entries of flows that have ended are skipped.
  std::deque<SlabHandle> time_waits_;
};

// --- from the device -------------------------------------------------------------------------------------------------

void Endpoint::Impl::handle_packet(Instant now, ByteView vnet, const Slice& packet) {
  const auto segment = Segment::parse(vnet, packet);
  if (!segment) return count(segment.error());
  const std::uint64_t hash = table_.hash(segment->tuple);
  Flow* flow = table_.find(segment->tuple, hash);
  if (flow == nullptr) {
    handle_stray(*segment, hash, now);
  } else if (flow->is_replaced_by(*segment)) {
    replace(*flow, *segment, now);
  } else {
    handle_segment(*flow, *segment, now);
  }
}

Flow* Endpoint::Impl::handle_stray(const Segment& segment, std::uint64_t hash, Instant now) {
  const bool opens = segment.is_syn() && !segment.is_ack() && segment.tuple.remote.port != 0;
  const bool has_room = !table_.is_full() || (opens && evict_time_wait());
  if (!opens || !has_room) {
    count(opens ? DropReason::FlowLimit : DropReason::NoFlow);
    count_reply(replies_.push_reset_for(segment));
    return nullptr;
  }
  Flow& flow = table_.insert(segment, hash, settings_, now);
  events_.push(Incoming{flow.id(), flow.tuple()});
  settle(flow);
  return &flow;
}

void Endpoint::Impl::replace(Flow& flow, const Segment& syn, Instant now) {
  const bool was_known = flow.is_live();
  const Sequence above = flow.after_newest();
  const std::uint64_t hash = flow.hash();
  if (was_known) events_.push(Aborted{flow.id()});
  remove(flow);
  Flow* next = handle_stray(syn, hash, now);
  if (next != nullptr && !was_known) next->initial_above = above;
}

void Endpoint::Impl::handle_segment(Flow& flow, const Segment& segment, Instant now) {
  if (const auto drop = flow.handle_segment(segment, now, events_)) {
    count(*drop);
    if (*drop == DropReason::NoFlow) count_reply(replies_.push_reset_for(segment));
  }
  if (flow.is_reset_due()) return abort(flow);
  settle(flow);
}

// --- time ------------------------------------------------------------------------------------------------------------

void Endpoint::Impl::arm(Flow& flow) {
  // A deadline that moves away, as with every ACK, leaves the timer alone: it looks again when it fires.
  const auto deadline = flow.deadline();
  if (!deadline || (flow.is_timer_armed && flow.timer_at <= *deadline)) return;
  timers_.cancel(flow.timer);
  flow.timer = timers_.arm(*deadline, flow.handle().value);
  flow.timer_at = *deadline;
  flow.is_timer_armed = true;
}

void Endpoint::Impl::expire(Flow& flow, Instant now) {
  flow.is_timer_armed = false;
  const bool answers = flow.state() != FlowState::Held && flow.state() != FlowState::TimeWait;
  flow.handle_timeout(now, events_);
  if (flow.state() == FlowState::Closed && answers) {
    count_reply(replies_.push_segment(flow.tuple(), flow.reset_plan()));
  }
  settle(flow);
}

void Endpoint::Impl::handle_timeout(Instant now) {
  while (const auto cookie = timers_.poll(now)) {
    if (Flow* flow = table_.find(SlabHandle{*cookie})) expire(*flow, now);
  }
}

// --- to the device ---------------------------------------------------------------------------------------------------

bool Endpoint::Impl::poll_packet(Instant now, Packet& packet) {
  std::fill_n(packet.payload.begin(), packet.payload_slices, Slice());
  packet.payload_slices = 0;
  if (replies_.pop(packet)) return true;
  while (!output_.empty()) {
    Flow* flow = table_.find(output_.front());
    output_.pop_front();
    if (flow == nullptr) continue;
    flow->is_output_queued = false;
    const auto plan = flow->take_segment(settings_, packet.payload, now);
    if (plan) write_segment(flow->tuple(), *plan, packet);
    settle(*flow);
    if (plan) return true;
  }
  return false;
}

// --- orders of the owner ---------------------------------------------------------------------------------------------

Sequence Endpoint::Impl::initial_sequence(const Flow& flow, Instant now) const {
  // The table's hash of the tuple must not leak through the number: another key by another input.
  std::array<std::uint8_t, 8> input{};
  store_u32(input.data(), static_cast<std::uint32_t>(flow.hash() >> 32));
  store_u32(&input[4], static_cast<std::uint32_t>(flow.hash()));
  const std::uint64_t clock = to_nanoseconds(now) / kIsnTickNs;
  const Sequence initial(static_cast<std::uint32_t>(clock + siphash(config_.isn_key, input)));
  if (flow.initial_above && initial <= *flow.initial_above) return *flow.initial_above + 1;
  return initial;
}

void Endpoint::Impl::accept(Instant now, Flow& flow) {
  flow.accept(initial_sequence(flow, now), settings_, now);
  settle(flow);
}

void Endpoint::Impl::refuse(Flow& flow, Refusal refusal) {
  if (flow.state() != FlowState::Held || refusal == Refusal::Reset) return abort(flow);
  if (refusal != Refusal::Silence) {
    count_reply(replies_.push_refusal(unreachable_of(refusal), flow.held_syn()));
  }
  remove(flow);
}

void Endpoint::Impl::abort(Flow& flow) {
  if (flow.state() == FlowState::SynReceived) {
    flow.reset_after_handshake();
    return settle(flow);
  }
  count_reply(replies_.push_segment(flow.tuple(), flow.reset_plan()));
  remove(flow);
}

// --- upkeep ----------------------------------------------------------------------------------------------------------

void Endpoint::Impl::settle(Flow& flow) {
  if (flow.state() == FlowState::Closed) return remove(flow);
  if (flow.state() == FlowState::TimeWait) enlist_time_wait(flow);
  if (!flow.is_output_queued && flow.has_output()) {
    flow.is_output_queued = true;
    output_.push_back(flow.handle());
  }
  arm(flow);
}

void Endpoint::Impl::remove(Flow& flow) {
  timers_.cancel(flow.timer);
  if (flow.is_in_time_wait_list) --time_wait_count_;
  table_.erase(flow);
}

void Endpoint::Impl::enlist_time_wait(Flow& flow) {
  if (flow.is_in_time_wait_list) return;
  while (!time_waits_.empty() && table_.find(time_waits_.front()) == nullptr) time_waits_.pop_front();
  flow.is_in_time_wait_list = true;
  ++time_wait_count_;
  time_waits_.push_back(flow.handle());
}

bool Endpoint::Impl::evict_time_wait() {
  while (!time_waits_.empty()) {
    Flow* flow = table_.find(time_waits_.front());
    time_waits_.pop_front();
    if (flow == nullptr) continue;
    remove(*flow);
    return true;
  }
  return false;
}

// --- the public face -------------------------------------------------------------------------------------------------

Endpoint::Endpoint(EndpointConfig config) : impl_(std::make_unique<Impl>(config)) {}
Endpoint::~Endpoint() = default;

void Endpoint::handle_packet(Instant now, ByteView vnet, Slice packet) {
  impl_->handle_packet(now, vnet, packet);
}
void Endpoint::handle_timeout(Instant now) {
  impl_->handle_timeout(now);
}
std::optional<Instant> Endpoint::next_timeout() const {
  return impl_->timers_.next_timeout();
}
std::optional<Event> Endpoint::poll_event() {
  return impl_->events_.pop();
}
bool Endpoint::poll_packet(Instant now, Packet& packet) {
  return impl_->poll_packet(now, packet);
}

std::optional<Packet> Endpoint::poll_packet(Instant now) {
  std::optional<Packet> packet(std::in_place);
  if (!impl_->poll_packet(now, *packet)) packet.reset();
  return packet;
}

void Endpoint::accept(Instant now, FlowId id) {
  if (Flow* flow = impl_->find(id)) impl_->accept(now, *flow);
}

void Endpoint::refuse(Instant /*now*/, FlowId id, Refusal refusal) {
  if (Flow* flow = impl_->find(id)) impl_->refuse(*flow, refusal);
}

std::size_t Endpoint::sendable(FlowId id) const {
  const Flow* flow = impl_->find(id);
  if (flow == nullptr || !flow->may_send()) return 0;
  return impl_->config_.send_buffer_max - std::min<std::size_t>(flow->queued(), impl_->config_.send_buffer_max);
}

void Endpoint::send(Instant now, FlowId id, Slice bytes) {
  Flow* flow = impl_->find(id);
  if (flow == nullptr || !flow->may_send() || bytes.empty()) return;
  flow->send(std::move(bytes), now);
  impl_->settle(*flow);
}

void Endpoint::finish(Instant now, FlowId id) {
  Flow* flow = impl_->find(id);
  if (flow == nullptr) return;
  flow->finish(now);
  impl_->settle(*flow);
}

void Endpoint::abort(Instant /*now*/, FlowId id) {
  if (Flow* flow = impl_->find(id)) impl_->abort(*flow);
}

void Endpoint::grant(FlowId id, std::size_t bytes) {
  Flow* flow = impl_->find(id);
  if (flow == nullptr) return;
  flow->grant(bytes);
  impl_->settle(*flow);
}

std::size_t Endpoint::flows() const {
  return impl_->table_.size() - impl_->time_wait_count_;
}

std::optional<FlowStats> Endpoint::stats(FlowId id) const {
  const Flow* flow = impl_->find(id);
  if (flow == nullptr) return std::nullopt;
  return flow->stats();
}

const std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)>& Endpoint::drops() const {
  return impl_->drops_;
}

}  // namespace postern::tcp
