#include "client_core/client.hpp"

#include <algorithm>

#include "base/link_address.hpp"
#include "base/network_time.hpp"
#include "client_core/data_plane.hpp"
#include "identity/keys.hpp"
#include "wire/quic_header.hpp"

namespace postern::client {

namespace {

tcp::EndpointConfig tcp_config(const ClientConfig& config, RandomSource& random) {
  tcp::EndpointConfig tcp;
  tcp.mtu = config.mtu;
  tcp.receive_window = config.receive_window;
  tcp.send_buffer_max = config.send_buffer;
  tcp.isn_key = random.make<std::array<std::uint8_t, 16>>();
  return tcp;
}

}  // namespace

Client::Client(ClientConfig config, BlockPool& pool, RandomSource& random)
    : config_(std::move(config)),
      pool_(pool),
      random_(random),
      addresses_(config_.network),
      tcp_(tcp_config(config_, random)),
      names_(directory_),
      dns_(addresses_, names_, random, tcp_, pool),
      relay_(&identity::hmac_sha256, random) {
  dns_.set_answers_ipv6(config_.ipv6);
  names_.set_server_host(model::DnsName::parse(config_.server_host));
  names_.set_proxy_host(model::DnsName::parse(config_.proxy_host));
}

Client::~Client() = default;

WallTime Client::wall(Instant now) const {
  return WallTime{std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch() + wall_offset_)};
}

// --- control channel -------------------------------------------------------------------------------------------------

void Client::handle_control_up(Instant now) {
  control_up_ = true;
  control_failure_.clear();
  control_lost_at_.reset();
  next_heartbeat_ = now + kHeartbeat;
  settled_at_ = now + kSettleTime;
}

void Client::handle_control_down(Instant now, std::string reason) {
  if (!control_lost_at_) control_lost_at_ = now;
  control_up_ = false;
  control_failure_ = std::move(reason);
  next_heartbeat_.reset();
}

void Client::handle_control_message(Instant now, const wire::ControllerMessage& message) {
  switch (message.body_case()) {
    case wire::ControllerMessage::kWelcome:
      return handle_welcome(now, message.welcome());
    case wire::ControllerMessage::kClientUpdate:
      return handle_client_update(now, message.client_update());
    case wire::ControllerMessage::kRelayUp:
      relay_.handle_relay_up(now, wall_offset_, message.relay_up().relay());
      if (plane_) plane_->peers.forget_failures();
      outputs_.push_back(RoutesChanged{});
      return;
    case wire::ControllerMessage::kRelayDown:
      relay_.handle_relay_down(now, message.relay_down().name());
      outputs_.push_back(RoutesChanged{});
      return;
    case wire::ControllerMessage::kHeartbeatReply:
      wall_offset_ = network_time_offset(message.heartbeat_reply().server_time_ms(), now);
      return;
    case wire::ControllerMessage::kDenied:
    case wire::ControllerMessage::kChallenge:
      return;  // the channel's own business
    default:
      count(PacketDrop::UnknownControlMessage);
  }
}

void Client::handle_welcome(Instant now, const wire::Welcome& welcome) {
  wall_offset_ = network_time_offset(welcome.server_time_ms(), now);
  network_ = welcome.network();
  network_name_ = welcome.network_name();
  account_ = welcome.account();
  device_name_ = welcome.agent_name();
  control_up_ = true;
  control_failure_.clear();
  RouteId route;
  if (welcome.route_id().size() != route.bytes.size()) return count(PacketDrop::UnknownControlMessage);
  std::ranges::copy(as_bytes(welcome.route_id()), route.bytes.begin());
  if (route != route_) adopt_route(now, route);
  relay_.handle_relays(now, wall_offset_, {welcome.relays().begin(), welcome.relays().end()});
  plane_->peers.forget_failures();
  next_heartbeat_ = now;
  outputs_.push_back(RoutesChanged{});
}

/// A new route ends everything that was built on the old one: peers address us by it.
void Client::adopt_route(Instant now, const RouteId& route) {
  if (plane_) {
    plane_->end_flows(now);
    (void)collect_records(now);
    outputs_.push_back(Note{true, "the controller gave this client a new route; its sessions have ended"});
  }
  relay_.clear();
  was_bound_ = false;
  plane_.reset();
  route_ = route;
  session::EndpointConfig sessions;
  sessions.role = session::Role::Client;
  sessions.credentials = config_.credentials;
  sessions.route = route;
  sessions.limits = config_.session_limits;
  sessions.udp_payload_max = config_.udp_payload_max;
  PeersConfig peers = config_.peers;
  peers.device = config_.device;
  peers.software = config_.software;
  DatagramFlowsConfig datagrams;
  datagrams.mtu = config_.mtu;
  datagrams.joins_datagrams = config_.joins_datagrams;
  plane_ = std::make_unique<DataPlane>(std::move(sessions), std::move(peers), config_.flows, datagrams, config_.direct,
                                       DataPlane::Shared{directory_, addresses_, tcp_, pool_, random_});
}

void Client::handle_client_update(Instant now, const wire::ClientUpdate& update) {
  const auto changes = directory_.apply(update);
  if (!changes) {
    outputs_.push_back(NeedFullUpdate{});
    return;
  }
  if (changes->resources_changed) outputs_.push_back(RoutesChanged{});
  if (!plane_) return;
  plane_->flows.handle_changes(now, *changes);
  plane_->datagrams.handle_changes(now, *changes);
  plane_->questions.handle_changes(*changes);
  plane_->peers.handle_changes(now, *changes, is_unsettled(now));
  if (!changes->changed_instances.empty()) plane_->retry_held(now);
}

void Client::send_heartbeat(Instant now) {
  wire::AgentMessage message;
  wire::Heartbeat* heartbeat = message.mutable_heartbeat();
  heartbeat->set_certificate_digest(std::string(as_text(config_.device)));
  if (relay_.is_bound(now)) heartbeat->add_relays(relay_.name());
  heartbeat->set_sent_at(to_nanoseconds(now));
  outputs_.push_back(SendToController{std::move(message)});
  next_heartbeat_ = now + kHeartbeat;
}

// --- the relay's side ------------------------------------------------------------------------------------------------

void Client::handle_train(Instant now, const SocketAddress& from, MutableBytes bytes, std::size_t stride,
                          std::uint8_t ecn) {
  if (stride == 0) stride = std::max<std::size_t>(bytes.size(), 1);  // one datagram
  if (!relay_.is_relay(from)) return handle_direct_train(now, from, bytes, stride, ecn);
  relay_.note_received(now, from);
  switch (wire::classify_datagram(bytes)) {
    case wire::DatagramClass::Stun:
      for (std::size_t at = 0; at < bytes.size(); at += stride) {
        const auto datagram = bytes.subspan(at, std::min(stride, bytes.size() - at));
        if (!relay_.handle_datagram(now, from, datagram)) count(PacketDrop::UnknownDatagram);
      }
      return;
    case wire::DatagramClass::Quic:
      if (!plane_) return count(PacketDrop::NoRoute);
      plane_->sessions.handle_train(now, {{0, from}, bytes, stride, ecn});
      return;
    case wire::DatagramClass::Unknown:
      count(PacketDrop::UnknownDatagram);
  }
}

void Client::handle_network_change(Instant now) {
  settled_at_ = now + kSettleTime;
  relay_.handle_network_change(now);
  if (plane_) plane_->peers.forget_failures();
}

/// The kernel joins datagrams of one sender whatever they are: a check may ride in a train of the session.
void Client::handle_direct_train(Instant now, const SocketAddress& from, MutableBytes bytes, std::size_t stride,
                                 std::uint8_t ecn) {
  if (!plane_ || is_link_address(from)) return count(PacketDrop::ForeignSource);
  const auto class_at = [&](std::size_t at) { return wire::classify_datagram(bytes.subspan(at)); };
  for (std::size_t at = 0; at < bytes.size();) {
    const wire::DatagramClass kind = class_at(at);
    std::size_t end = at + stride;
    while (kind == wire::DatagramClass::Quic && end < bytes.size() && class_at(end) == kind) end += stride;
    const MutableBytes run = bytes.subspan(at, std::min(end, bytes.size()) - at);
    at = end;
    if (kind == wire::DatagramClass::Quic) {
      plane_->sessions.handle_train(now, {{session::kDirectLabel, from}, run, stride, ecn});
      continue;
    }
    const auto message = wire::StunView::parse(run);
    if (!message || !plane_->direct.handle_message(now, from, *message)) count(PacketDrop::ForeignSource);
  }
}

void Client::set_host_addresses(std::vector<path::Interface> interfaces, std::uint16_t port) {
  local_.interfaces = std::move(interfaces);
  local_.port = port;
}

void Client::set_mapped_port(const std::optional<SocketAddress>& mapped) {
  local_.mapped.assign(mapped ? 1 : 0, mapped.value_or(SocketAddress{}));
}

std::optional<session::Transmit> Client::poll_transmit(Instant now, MutableBytes buffer) {
  if (const auto request = relay_.poll_transmit()) {
    std::ranges::copy(request->datagram, buffer.begin());
    return session::Transmit{{0, request->to}, buffer.first(request->datagram.size()), request->datagram.size(), 0};
  }
  if (!plane_) return std::nullopt;
  if (const auto check = plane_->direct.poll_transmit(now)) {
    std::ranges::copy(check->datagram, buffer.begin());
    const ByteView datagram = buffer.first(check->datagram.size());
    return session::Transmit{{session::kDirectLabel, check->to}, datagram, datagram.size(), 0};
  }
  auto train = plane_->sessions.poll_transmit(now, buffer);
  if (train && train->path.remote == relay_.address()) relay_.note_sent(now);
  return train;
}

// --- the TUN's side --------------------------------------------------------------------------------------------------

void Client::refuse_packet(const wire::IpView& ip, wire::Unreachable kind) {
  scratch_.resize(1280);
  queue_reply(ByteView(scratch_).first(wire::build_unreachable(scratch_, kind, ip.packet)));
}

void Client::queue_reply(ByteView packet) {
  if (packet.empty()) return;
  if (replies_.size() >= kRepliesMax) return count(PacketDrop::ReplyQueueFull);
  replies_.push_back(to_bytes(packet));
}

bool Client::poll_tun(Instant now, tcp::Packet& packet) {
  if (replies_.empty()) return (plane_ && plane_->datagrams.poll_packet(packet)) || tcp_.poll_packet(now, packet);
  packet.vnet = {};
  packet.headers_size = 0;
  packet.payload[0] = pool_.copy(replies_.front());
  packet.payload_slices = 1;
  replies_.pop_front();
  if (!packet.payload[0].empty()) return true;
  count(PacketDrop::ReplyQueueFull);  // no block is free
  return poll_tun(now, packet);
}

// --- turns -----------------------------------------------------------------------------------------------------------

void Client::settle(Instant now) {
  settle_relay(now);
  settle_held(now);
  settle_events(now);
  settle_paths(now);
  if (plane_) queue_errors();
  settle_questions(now);
  while (auto datagram = dns_.poll_datagram()) {
    scratch_.resize(datagram->message.size() + 64);
    queue_reply(ByteView(scratch_).first(wire::build_udp(scratch_, datagram->from, datagram->to, datagram->message)));
  }
  const bool is_bound = relay_.is_bound(now);
  const bool is_due = next_heartbeat_ && now >= *next_heartbeat_;
  if (control_up_ && (is_due || (is_bound != was_bound_ && next_heartbeat_))) send_heartbeat(now);
  was_bound_ = is_bound;
}

/// An answer may let a connection go on to its next question.
void Client::settle_questions(Instant now) {
  do {
    dns_.settle(now);
    while (const auto question = dns_.poll_question()) {
      if (plane_) {
        plane_->questions.ask(now, wall(now), question->id, question->name, question->type);
      } else {
        dns_.handle_records(now, question->id, std::unexpected(FlowRefusal::NoRelay));
      }
    }
  } while (collect_records(now));
}

/// False when there were no answers.
bool Client::collect_records(Instant now) {
  bool had_any = false;
  while (const auto answer = plane_ ? plane_->questions.poll_answer() : std::nullopt) {
    dns_.handle_records(now, answer->id, answer->records);
    had_any = true;
  }
  return had_any;
}

void Client::settle_relay(Instant now) {
  const auto changes = relay_.poll_changes(now);
  if (!plane_) return;
  if (changes.proven) {
    plane_->peers.forget_failures();
    // The machine that the relay runs on is there again: so may be the controller.
    if (!control_up_ && !control_failure_.empty()) outputs_.push_back(ReconnectControl{});
  }
  for (const RouteId& route : changes.unbound_peers) plane_->peers.handle_unbound(now, route);
  if (changes.refused) outputs_.push_back(Note{true, "the relay refuses this client's ticket"});
  plane_->peers.set_relay(now, relay_.is_bound(now) ? relay_.address() : std::nullopt);
}

void Client::settle_paths(Instant now) {
  if (!plane_) return;
  DirectPaths& direct = plane_->direct;
  const auto mapped = relay_.mapped_address();
  local_.reflexive.assign(mapped ? 1 : 0, mapped.value_or(SocketAddress{}));
  direct.set_relay(now, relay_.is_bound(now) ? relay_.address() : std::nullopt);
  direct.set_local(now, local_);
  direct.retain([&](session::SessionId session) { return plane_->peers.find(session) != nullptr; });
  for (const auto& [id, peer] : plane_->peers.all()) {
    if (peer.session) direct.note_flows(now, *peer.session, peer.flows);
  }
  while (const auto message = direct.poll_message()) {
    plane_->peers.send_candidates(now, message->first, message->second);
  }
}

/// New flows wait while it is not certain what there is (Flows::set_unsettled).
void Client::settle_held(Instant now) {
  if (!plane_) return;
  const bool is_bound = relay_.is_bound(now);
  if (is_bound != was_bound_) {
    settled_at_ = std::max(settled_at_, now + kSettleTime);
    plane_->retry_held(now);
  }
  told_unsettled_ = is_unsettled(now);
  plane_->flows.set_unsettled(now, told_unsettled_);
  plane_->datagrams.set_unsettled(now, told_unsettled_);
  plane_->questions.set_unsettled(now, told_unsettled_);
  if (control_up_ || plane_->held() == 0 || now < next_reconnect_) return;
  next_reconnect_ = now + kReconnectInterval;
  outputs_.push_back(ReconnectControl{});
}

void Client::handle_tcp_event(Instant now, const tcp::Event& event) {
  if (const auto* incoming = std::get_if<tcp::Incoming>(&event)) {
    const SocketAddress& to = incoming->tuple.remote;
    if (addresses_.network().is_resolver(to.ip)) {
      if (to.port == DnsFront::kPort) return dns_.handle_incoming(now, incoming->flow);
      return tcp_.refuse(now, incoming->flow, tcp::Refusal::Reset);
    }
    if (!plane_) return tcp_.refuse(now, incoming->flow, tcp::Refusal::NetworkUnreachable);
  } else if (dns_.handle_event(now, event)) {
    return;
  }
  if (plane_) plane_->flows.handle_event(now, wall(now), event);
}

void Client::open_flow(Instant now, tcp::FlowId id, const Destination& to, ApplicationSide& side) {
  if (plane_) return plane_->flows.open(now, wall(now), id, to, side);
  side.refuse(now, id, {FlowRefusal::NoRelay, answer_for(FlowRefusal::NoRelay)});
}

void Client::handle_application_event(Instant now, const tcp::Event& event) {
  if (plane_) plane_->flows.handle_event(now, wall(now), event);
}

void Client::handle_path_event(Instant now, const PeerEvent& event) {
  if (const auto* ready = std::get_if<PeerReady>(&event)) {
    const Peer* peer = plane_->peers.find(ready->instance);
    if (peer == nullptr || !peer->session || !ready->is_new) return;
    plane_->direct.set_excluded(wanted_routes());
    plane_->direct.handle_ready(now, *peer->session);
  } else if (const auto* candidates = std::get_if<PeerCandidates>(&event)) {
    plane_->direct.handle_candidates(now, candidates->session, candidates->candidates);
  }
}

void Client::handle_session_event(Instant now, const session::Event& event) {
  const bool is_datagrams = std::holds_alternative<session::DatagramsReadable>(event);
  if (!is_datagrams && (plane_->direct.handle_event(now, event) || plane_->peers.handle_event(now, event))) return;
  if (!is_datagrams) {
    plane_->flows.handle_event(now, event);
    plane_->questions.handle_event(now, event);
  }
  plane_->datagrams.handle_event(now, event);
}

void Client::settle_events(Instant now) {
  bool is_busy = true;
  while (is_busy) {
    is_busy = false;
    while (const auto event = tcp_.poll_event()) {
      handle_tcp_event(now, *event);
      is_busy = true;
    }
    if (!plane_) continue;
    while (const auto event = plane_->sessions.poll_event()) {
      handle_session_event(now, *event);
      is_busy = true;
    }
    while (const auto event = plane_->peers.poll_event()) {
      const bool is_silent = std::holds_alternative<PeerSuspect>(*event) || std::holds_alternative<PeerLost>(*event);
      if (is_silent) relay_.handle_silent_peer(now);
      handle_path_event(now, *event);
      plane_->flows.handle_event(now, *event);
      plane_->datagrams.handle_event(now, *event);
      plane_->questions.handle_event(now, *event);
      is_busy = true;
    }
  }
}

void Client::handle_timeout(Instant now) {
  tcp_.handle_timeout(now);
  relay_.handle_timeout(now);
  dns_.handle_timeout(now);
  if (!plane_) return;
  plane_->sessions.handle_timeout(now);
  plane_->peers.handle_timeout(now);
  plane_->direct.handle_timeout(now);
  plane_->flows.handle_timeout(now);
  plane_->datagrams.handle_timeout(now);
  plane_->questions.handle_timeout(now);
}

std::optional<Instant> Client::next_timeout() const {
  std::optional<Instant> next;
  const auto consider = [&](std::optional<Instant> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  consider(tcp_.next_timeout());
  consider(relay_.next_timeout());
  consider(dns_.next_timeout());
  if (control_up_) consider(next_heartbeat_);
  if (plane_) {
    consider(plane_->sessions.next_timeout());
    consider(plane_->peers.next_timeout());
    consider(plane_->direct.next_timeout());
    consider(plane_->flows.next_timeout());
    consider(plane_->datagrams.next_timeout());
    consider(plane_->questions.next_timeout());
    if (plane_->held() > 0 && control_up_ && told_unsettled_) consider(settled_at_);
  }
  return next;
}

std::optional<ClientOutput> Client::poll_output() {
  if (outputs_.empty()) return std::nullopt;
  ClientOutput output = std::move(outputs_.front());
  outputs_.pop_front();
  return output;
}

void Client::close(Instant now) {
  if (!plane_) return;
  plane_->end_flows(now);
  settle_events(now);
  (void)collect_records(now);
}

}  // namespace postern::client
