// The read-only side of Client: state, status, routes.
#include <algorithm>

#include "base/link_address.hpp"
#include "client_core/client.hpp"
#include "client_core/data_plane.hpp"

namespace postern::client {

namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(PacketDrop::kCount)> kPacketDrops = {
    "packet_malformed", "packet_fragment",           "packet_unsupported_protocol", "packet_malformed_udp",
    "datagram_foreign", "datagram_unknown",          "datagram_no_route",           "reply_queue_full",
    "control_unknown",  "local_datagram_no_resource"};
constexpr std::array<std::string_view, static_cast<std::size_t>(tcp::DropReason::kCount)> kTcpDrops = {
    "not_tcp",    "truncated",    "bad_checksum", "bad_flags", "no_flow",     "out_of_window",
    "flow_limit", "buffer_limit", "out_of_order", "fragment",  "bad_address", "reply_limit"};
constexpr std::array<std::string_view, static_cast<std::size_t>(session::DropReason::kCount)> kSessionDrops = {
    "truncated",       "unsupported_version", "unknown_connection", "knock_missing", "knock_invalid",  "knock_expired",
    "handshake_limit", "session_limit",       "undecryptable",      "no_memory",     "unproven_remote"};
constexpr std::array<std::string_view, static_cast<std::size_t>(PeerDrop::kCount)> kPeerDrops = {
    "malformed_message", "unknown_message", "hello_refused"};
constexpr std::array<std::string_view, static_cast<std::size_t>(resolver::ForwarderCount::kCount)> kForwarderDrops = {
    "table_full", "timed_out", "foreign_answer", "no_server"};

template <typename Names, typename Counts>
void add(std::map<std::string, std::uint64_t>& drops, std::string_view prefix, const Names& names,
         const Counts& counts) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) drops[std::string(prefix) + std::string(names[i])] = counts[i];
  }
}

}  // namespace

std::vector<IpAddress> Client::bypassed_addresses() const {
  std::vector<IpAddress> bypassed;
  for (const auto& [id, resource] : directory_.table().all()) {
    const auto* prefix = std::get_if<IpPrefix>(&resource.address.value());
    if (prefix == nullptr || !resource.is_bypass()) continue;
    // One that an equally narrow resource wins over is routed all the same.
    if (directory_.table().match(prefix->address()) == &resource) bypassed.push_back(prefix->address());
  }
  return bypassed;
}

std::vector<IpPrefix> Client::wanted_routes() const {
  std::vector<IpPrefix> wanted = {addresses_.network().v4, addresses_.network().v6};
  for (const auto& [id, resource] : directory_.table().all()) {
    const auto* prefix = std::get_if<IpPrefix>(&resource.address.value());
    if (prefix != nullptr && !resource.is_bypass()) wanted.push_back(*prefix);
  }
  return wanted;
}

resolver::RoutingDomains Client::routing_domains() const {
  std::vector<model::DnsName> names;
  std::vector<model::DnsPattern> patterns;
  for (const auto& [id, resource] : directory_.table().all()) {
    if (const auto* name = std::get_if<model::DnsName>(&resource.address.value())) names.push_back(*name);
    if (const auto* pattern = std::get_if<model::DnsPattern>(&resource.address.value())) patterns.push_back(*pattern);
    names.insert(names.end(), resource.aliases.begin(), resource.aliases.end());
  }
  std::erase_if(names, [&](const model::DnsName& name) { return !names_.has_resource_for(name); });
  return resolver::routing_domains(names, patterns);
}

std::vector<IpAddress> Client::relay_addresses() const {
  std::vector<IpAddress> addresses;
  for (const SocketAddress& address : relay_.addresses()) addresses.push_back(address.ip);
  return addresses;
}

bool Client::has_valid_lease(Instant now) const {
  if (!directory_.is_loaded()) return false;
  if (directory_.table().all().empty()) return true;
  return std::ranges::any_of(directory_.leases(),
                             [&](const auto& entry) { return entry.second.expires_at > wall(now); });
}

ClientState Client::state(Instant now) const {
  if (has_valid_lease(now) && relay_.is_bound(now)) return ClientState::Online;
  return !control_up_ && !control_failure_.empty() ? ClientState::Offline : ClientState::Connecting;
}

std::string Client::reason(Instant now) const {
  if (state(now) == ClientState::Online) return control_up_ ? "" : "the controller is away: " + control_failure_;
  if (!control_up_ && !control_failure_.empty()) return control_failure_;
  if (!control_up_) return "connecting to the controller";
  if (!directory_.is_loaded()) return "waiting for the controller's first update";
  if (!relay_.udp_address()) return "the controller has named no relay";
  if (!relay_.is_bound(now)) {
    const std::string tls = relay_.link_failure();
    return "the relay " + relay_.udp_address()->to_string() + " has not answered over UDP yet" +
           (tls.empty() ? "" : ", and is not reached over TLS: " + tls);
  }
  return "no lease is valid";
}

std::vector<ResourceStatus> Client::resource_status(Instant now) const {
  std::vector<ResourceStatus> all;
  for (const auto& [id, resource] : directory_.table().all()) {
    ResourceStatus& entry = all.emplace_back();
    entry.id = id.value;
    entry.name = resource.name;
    entry.address = resource.address.text();
    for (const auto& alias : resource.aliases) entry.aliases.push_back(alias.text());
    entry.tcp_ports = ports_text(resource.tcp);
    entry.udp_ports = ports_text(resource.udp);
    entry.allows_icmp = resource.allow_icmp;
    const Lease* lease = directory_.find_lease(resource.remote_network);
    if (lease == nullptr) continue;
    entry.remote_network = lease->remote_network_name;
    const bool has_instance = std::ranges::any_of(directory_.instances(), [&](const auto& instance) {
      return instance.second.remote_network == resource.remote_network;
    });
    entry.reachable = lease->expires_at > wall(now) && has_instance;
  }
  return all;
}

/// A link is known to people by its relay's address.
std::string Client::remote_text(const SocketAddress& remote) const {
  if (!is_link_address(remote)) return remote.to_string();
  return relay_.udp_address() ? relay_.udp_address()->to_string() : "";
}

std::vector<SessionStatus> Client::session_status() const {
  std::vector<SessionStatus> all;
  if (!plane_) return all;
  for (const auto& [id, peer] : plane_->peers.all()) {
    SessionStatus& entry = all.emplace_back();
    entry.connector = peer.instance.connector_name;
    entry.instance = id.value;
    entry.state = state_word(peer);
    entry.flows = peer.flows;
    entry.failure = peer.failure;
    const Lease* lease = directory_.find_lease(peer.instance.remote_network);
    if (lease != nullptr) entry.remote_network = lease->remote_network_name;
    const auto stats = peer.session ? plane_->sessions.stats(*peer.session) : std::nullopt;
    if (!stats) continue;
    const PathReport report = plane_->direct.report(*peer.session);
    entry.path = report.is_direct ? "direct" : "relay";
    entry.path_reason = path::sentence(report.reason);
    entry.transport = transport_word(stats->path.remote);
    entry.remote = remote_text(stats->path.remote);
    entry.round_trip = stats->smoothed_rtt;
    entry.bytes_sent = stats->bytes_sent;
    entry.bytes_received = stats->bytes_received;
    entry.packets_lost = stats->packets_lost;
    entry.packet_size = stats->packet_size;
  }
  return all;
}

void Client::collect_drops(ClientStatus& status) const {
  add(status.drops, "", kPacketDrops, drops_);
  add(status.drops, "tcp_", kTcpDrops, tcp_.drops());
  add(status.drops, "dns_", kForwarderDrops, dns_.forwarder().counts());
  if (directory_.malformed_entries() > 0) status.drops["control_malformed_entry"] = directory_.malformed_entries();
  if (!plane_) return;
  add(status.drops, "session_", kSessionDrops, plane_->sessions.drops());
  add(status.drops, "peer_", kPeerDrops, plane_->peers.drops());
  for (std::size_t i = 0; i < plane_->flows.refusals().size(); ++i) {
    const std::uint64_t refused = plane_->flows.refusals()[i] + plane_->datagrams.refusals()[i];
    if (refused > 0) status.drops["flow_" + std::string(to_string(static_cast<FlowRefusal>(i)))] = refused;
  }
  const session::DatagramCounters& queues = plane_->sessions.datagram_counters();
  const std::array<std::pair<const char*, std::uint64_t>, 5> datagrams{{
      {"datagram_no_flow", plane_->datagrams.dropped()},
      {"datagram_queue_full", queues.dropped_queue + queues.dropped_unread},
      {"datagram_no_memory", queues.dropped_memory},
      {"datagram_malformed", queues.dropped_malformed},
      {"datagram_incomplete", queues.dropped_partial},
  }};
  for (const auto& [name, count] : datagrams) {
    if (count > 0) status.drops[name] = count;
  }
}

FlowList Client::flows(Instant now, std::size_t living_max) const {
  FlowList list;
  if (!plane_) return list;
  list.flows = plane_->flows.list(now, living_max);
  list.living = plane_->flows.size() + plane_->datagrams.size();
  std::ranges::move(plane_->datagrams.list(now, living_max), std::back_inserter(list.flows));
  const auto order = [](const FlowInfo& flow) {
    return std::pair(flow.ended_ago.has_value(), flow.ended_ago.value_or(flow.age));
  };
  std::ranges::stable_sort(list.flows, {}, order);
  const auto ended = std::ranges::find_if(list.flows, [](const FlowInfo& flow) { return flow.ended_ago.has_value(); });
  const auto living = static_cast<std::size_t>(ended - list.flows.begin());
  if (living > living_max) list.flows.erase(list.flows.begin() + static_cast<std::ptrdiff_t>(living_max), ended);
  for (FlowInfo& flow : list.flows) {
    const model::Resource* resource = directory_.table().find(flow.resource);
    if (resource != nullptr) flow.resource_name = resource->name;
    flow.user = account_;
  }
  return list;
}

ClientStatus Client::status(Instant now) const {
  ClientStatus status;
  status.state = state(now);
  status.reason = reason(now);
  status.network = network_;
  status.network_name = network_name_;
  status.account = account_;
  status.device = device_name_;
  status.resources = resource_status(now);
  status.sessions = session_status();
  status.relay = relay_.status(now);
  for (const auto& [id, lease] : directory_.leases()) {
    if (!status.lease_expires_at || lease.expires_at < *status.lease_expires_at) {
      status.lease_expires_at = lease.expires_at;
    }
  }
  if (plane_) {
    status.flows = plane_->flows.size() + plane_->datagrams.size();
    status.flows_opened = plane_->flows.opened() + plane_->datagrams.opened();
  }
  collect_drops(status);
  return status;
}

}  // namespace postern::client
