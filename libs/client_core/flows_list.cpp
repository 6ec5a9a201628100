// What Flows and DatagramFlows tell about their flows.
#include <algorithm>

#include "base/link_address.hpp"
#include "client_core/datagram_flows.hpp"
#include "client_core/flows.hpp"

namespace postern::client {

namespace {

void describe_way(FlowInfo& info, const session::Endpoint& sessions, session::SessionId session) {
  const auto stats = sessions.stats(session);
  if (!stats) return;
  info.path = stats->path.label == 0 ? "relay" : "direct";
  info.transport = transport_word(stats->path.remote);
  info.round_trip = stats->smoothed_rtt;
}

}  // namespace

FlowInfo Flows::describe(Instant now, const Flow& flow) const {
  FlowInfo info;
  info.id = flow.id.value;
  info.resource = flow.target.resource;
  const FlowTarget& target = flow.target;
  info.destination = target.destination().text();
  info.state = to_string(flow.stage);
  const FlowMeter& meter = flow.meter;
  info.connect_time = meter.connect_time();
  if (info.connect_time) info.connected = SocketAddress{meter.connected(), target.port}.to_string();
  info.open_time = meter.open_time();
  info.first_byte_time = meter.first_byte_time();
  info.bytes_up = meter.bytes_up();
  info.bytes_down = meter.bytes_down();
  info.age = now - meter.started();
  info.stalls = meter.stalls(now);
  if (const Peer* peer = parts_.peers.find(flow.instance)) info.connector = peer->instance.connector_name;
  if (flow.stage != Stage::Waiting) describe_way(info, parts_.sessions, flow.session);
  return info;
}

void Flows::remember(Instant now, FlowInfo info, std::string_view how) {
  info.state = how;
  ended_.emplace_front(now, std::move(info));
  if (ended_.size() > config_.ended_max) ended_.pop_back();
}

std::vector<FlowInfo> Flows::list(Instant now, std::size_t living_max) const {
  std::vector<const Flow*> living;
  living.reserve(flows_.size());
  for (const auto& [id, flow] : flows_) living.push_back(&flow);
  const auto by_age = [](const Flow* a, const Flow* b) {
    return std::pair(a->meter.started(), a->id) > std::pair(b->meter.started(), b->id);
  };
  const auto shown = static_cast<std::ptrdiff_t>(std::min(living_max, living.size()));
  std::ranges::partial_sort(living, living.begin() + shown, by_age);
  living.resize(static_cast<std::size_t>(shown));
  std::vector<FlowInfo> all;
  for (const Flow* flow : living) all.push_back(describe(now, *flow));
  for (const auto& [at, info] : ended_) {
    all.push_back(info);
    all.back().ended_ago = now - at;
  }
  return all;
}

// --- UDP and ICMP --------------------------------------------------------------------------------------------------

FlowInfo DatagramFlows::describe(Instant now, const Flow& flow) const {
  FlowInfo info;
  info.id = flow.key;
  info.protocol = flow.tuple.protocol;
  info.resource = flow.target.resource;
  info.destination = flow.target.destination().text();
  info.state = to_string(flow.stage);
  info.bytes_up = flow.bytes_up;
  info.bytes_down = flow.bytes_down;
  info.age = now - flow.since;
  if (const Peer* peer = parts_.peers.find(flow.instance)) info.connector = peer->instance.connector_name;
  if (flow.stage != Stage::Waiting) describe_way(info, parts_.sessions, flow.session);
  if (flow.stage != Stage::Open) return info;
  const bool has_port = flow.target.port != 0;
  info.connected = has_port ? SocketAddress{flow.connected, flow.target.port}.to_string() : flow.connected.to_string();
  info.connect_time = flow.connect_time;
  return info;
}

std::vector<FlowInfo> DatagramFlows::list(Instant now, std::size_t max) const {
  std::vector<FlowInfo> all;
  for (auto flow = flows_.rbegin(); flow != flows_.rend() && all.size() < max; ++flow) {
    all.push_back(describe(now, *flow));
  }
  return all;
}

}  // namespace postern::client
