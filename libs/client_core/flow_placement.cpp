#include "client_core/flow_placement.hpp"

#include <algorithm>

namespace postern::client {

std::string_view to_string(FlowStage stage) {
  constexpr std::array<std::string_view, 3> kNames = {"waiting", "opening", "open"};
  return kNames[static_cast<std::size_t>(stage)];
}

FlowPlacement::Order FlowPlacement::place(Instant now, PlacedFlow& flow) {
  const model::RemoteNetworkId network = flow.target.remote_network;
  const auto instance = peers_.choose(now, network, flow.tried);
  if (!instance) {
    if (!unsettled_ && !peers_.awaits_successor(now, network)) return Order::Refuse;
    flow.tried.clear();
    held_.insert(flow.key);
    if (!next_look_) next_look_ = now + held_interval_;
    return Order::None;
  }
  flow.instance = *instance;
  peers_.count_flow(*instance, 1);
  const Peer* peer = peers_.find(*instance);
  if (peer->stage == PeerStage::Ready && !peer->suspect) return Order::Open;
  peers_.note_written(now, *instance);
  return Order::None;
}

FlowRefusal FlowPlacement::what_is_missing() const {
  return peers_.has_relay() ? FlowRefusal::NoInstance : FlowRefusal::NoRelay;
}

bool FlowPlacement::open(Instant now, PlacedFlow& flow) {
  const session::SessionId session = *peers_.find(flow.instance)->session;
  const auto stream = sessions_.open_stream(session);
  Slice head = pool_.copy(flow.target.framed_head());
  if (!stream || head.empty()) {
    if (stream) sessions_.reset(session, *stream, kResetByApplication);
    return false;
  }
  flow.stage = FlowStage::Opening;
  flow.session = session;
  flow.stream = *stream;
  by_stream_[stream_key(flow)] = flow.key;
  (void)sessions_.write(session, *stream, std::move(head));
  peers_.note_written(now, flow.instance);
  return true;
}

void FlowPlacement::leave(PlacedFlow& flow) {
  if (flow.stage != FlowStage::Waiting) {
    by_stream_.erase(stream_key(flow));
    sessions_.reset(flow.session, flow.stream, kResetByApplication);
  }
  flow.stage = FlowStage::Waiting;
  flow.reply = wire::LengthPrefixedReader{wire::kFlowMessageMax};
  if (flow.instance.value == 0) return;
  peers_.count_flow(flow.instance, -1);
  flow.tried.push_back(std::exchange(flow.instance, {}));
}

bool FlowPlacement::is_to_move(Instant now, const PlacedFlow& flow, const FlowVerdict& verdict) {
  if (verdict.leaving) {
    peers_.note_leaving(now, flow.instance);
    return true;
  }
  return verdict.try_elsewhere && has_other(now, flow);
}

void FlowPlacement::release(const PlacedFlow& flow) {
  if (flow.stage != FlowStage::Waiting) by_stream_.erase(stream_key(flow));
  if (flow.instance.value != 0) peers_.count_flow(flow.instance, -1);
  held_.erase(flow.key);
}

std::optional<std::uint64_t> FlowPlacement::find(session::SessionId session, session::StreamId stream) const {
  const auto found = by_stream_.find({session.value, stream.value});
  return found == by_stream_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::uint64_t> FlowPlacement::find(const session::Event& event) const {
  return std::visit(
      [this](const auto& e) -> std::optional<std::uint64_t> {
        if constexpr (requires { e.stream; }) return find(e.session, e.stream);
        return std::nullopt;
      },
      event);
}

FlowPlacement::Order FlowPlacement::order_for(Instant now, const PlacedFlow& flow, const PeerEvent& event) const {
  const bool is_open = flow.stage == FlowStage::Open;
  if (const auto* ready = std::get_if<PeerReady>(&event)) {
    return flow.instance == ready->instance && flow.stage == FlowStage::Waiting ? Order::Open : Order::None;
  }
  if (const auto* lost = std::get_if<PeerLost>(&event)) {
    if (flow.instance != lost->instance) return Order::None;
    return is_open ? Order::End : Order::Move;
  }
  if (const auto* suspect = std::get_if<PeerSuspect>(&event)) {
    return flow.instance == suspect->instance && !is_open && has_other(now, flow) ? Order::Move : Order::None;
  }
  if (const auto* revoked = std::get_if<PeerRevoked>(&event)) {
    return flow.instance == revoked->instance ? Order::Revoke : Order::None;
  }
  return Order::None;
}

bool FlowPlacement::set_unsettled(bool unsettled) {
  return std::exchange(unsettled_, unsettled) && !unsettled;
}

std::vector<std::uint64_t> FlowPlacement::take_held() {
  next_look_.reset();
  std::vector<std::uint64_t> keys(held_.begin(), held_.end());
  held_.clear();
  return keys;
}

}  // namespace postern::client
