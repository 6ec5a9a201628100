// What Flows and DatagramFlows tell about their flows.
#include <algorithm>

#include "base/link_address.hpp"
#include "client_core/datagram_flows.hpp"
#include "client_core/flows.hpp"

namespace postern::client {

FlowInfo describe_flow(Instant now, const PlacedFlow& flow, const FlowMeter& meter, const Peers& peers,
                       const session::Endpoint& sessions) {
  FlowInfo info;
  info.id = flow.key;
  info.protocol = flow.target.protocol;
  info.resource = flow.target.resource;
  info.destination = flow.target.destination().text();
  info.state = to_string(flow.stage);
  info.connect_time = meter.connect_time();
  if (info.connect_time) {
    const IpAddress& to = meter.connected();
    info.connected = flow.target.port != 0 ? SocketAddress{to, flow.target.port}.to_string() : to.to_string();
  }
  info.open_time = meter.open_time();
  info.first_byte_time = meter.first_byte_time();
  info.bytes_up = meter.bytes_up();
  info.bytes_down = meter.bytes_down();
  info.age = now - meter.started();
  info.stalls = meter.stalls(now);
  if (const Peer* peer = peers.find(flow.instance)) info.connector = peer->instance.connector_name;
  const auto stats = flow.stage == FlowStage::Waiting ? std::nullopt : sessions.stats(flow.session);
  if (!stats) return info;
  info.path = stats->path.label == 0 ? "relay" : "direct";
  info.transport = transport_word(stats->path.remote);
  info.round_trip = stats->smoothed_rtt;
  return info;
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
  for (const Flow* flow : living) {
    all.push_back(describe_flow(now, *flow, flow->meter, parts_.peers, parts_.sessions));
  }
  ended_.append_to(now, all);
  return all;
}

std::vector<FlowInfo> DatagramFlows::list(Instant now, std::size_t living_max) const {
  std::vector<FlowInfo> all;
  for (auto flow = flows_.rbegin(); flow != flows_.rend() && all.size() < living_max; ++flow) {
    all.push_back(describe_flow(now, *flow, flow->meter, parts_.peers, parts_.sessions));
  }
  ended_.append_to(now, all);
  return all;
}

}  // namespace postern::client
