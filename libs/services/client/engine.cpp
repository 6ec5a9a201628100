#include "services/client/engine.hpp"

#include <sys/epoll.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/link_address.hpp"
#include "runtime/udp/interface_addresses.hpp"

namespace postern::client {

namespace {

/// Per turn; what is left is read in the next one, after both sides have been served.
constexpr int kTunPacketsPerTurn = 64;
constexpr int kTrainsPerTurn = 32;
/// How often local streams and the core answer each other in one turn.
constexpr int kStreamRoundsPerTurn = 16;
/// How often the host's addresses and routes are looked at, although the kernel tells when they change.
constexpr Duration kLookInterval = std::chrono::seconds(30);
/// The host's DNS takes milliseconds to be set up; when it takes longer than this, its own report says why.
constexpr Duration kDnsAwaited = std::chrono::seconds(3);
/// How long after a name got its address this is written down: names come in bursts.
constexpr Duration kSaveDelay = std::chrono::seconds(3);
/// Frames of a network that carries jumbo packets of UDP; sessions find out whether their path does.
constexpr unsigned kJumboMtu = 9000;
/// A pause when no block is free: the kernels on both sides hold the data meanwhile.
constexpr Duration kNoBlockPause = std::chrono::milliseconds(2);
constexpr Duration kLinkPause = std::chrono::milliseconds(2);

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

ClientConfig client_config(const EngineConfig& config, const resolver::VirtualNetwork& network, bool has_ipv6) {
  ClientConfig client;
  client.credentials = {config.key.to_pkcs8(), identity::self_signed_certificate(config.key, runtime::wall_now())};
  client.device = config.key.public_key().digest();
  client.software = config.software;
  client.server_host = config.sign_in.server.host;
  const auto& server = config.sign_in.server;
  const auto* proxy = server.proxies ? server.proxies->proxy_for(server.host) : nullptr;
  if (proxy != nullptr && !IpAddress::parse(proxy->host)) client.proxy_host = proxy->host;
  client.network = network;
  client.ipv6 = has_ipv6;
  client.mtu = TunLink::kMtu;
  return client;
}

}  // namespace

std::expected<std::unique_ptr<Engine>, Problem> Engine::start(EngineConfig config, Parts parts, Ended ended) {
  auto routing = runtime::Routing::open();
  if (!routing) return std::unexpected(Problem{config::ExitCode::NotPermitted, routing.error().text});
  const auto host = observe_host(*routing, 0);
  if (!host) return std::unexpected(Problem{config::ExitCode::Failure, host.error()});
  const Instant now = runtime::monotonic_now();
  const auto saved = parts.store.load_names(now, runtime::wall_now());
  const auto previous = saved ? std::optional(saved->network) : std::nullopt;
  std::vector<IpPrefix> taken = host->present;
  taken.insert(taken.end(), config.avoid.begin(), config.avoid.end());
  auto network = resolver::choose_virtual_network(taken, previous, parts.random);
  if (!network && !config.avoid.empty()) {
    // Resources cover all candidates; names win inside the range then, as nothing better is left.
    config.keeps_range = true;
    network = resolver::choose_virtual_network(host->present, previous, parts.random);
  }
  if (!network) {
    return std::unexpected(Problem{config::ExitCode::Conflict,
                                   "every address range that could stand for names is in use on this host: "
                                   "free 100.96.0.0/12 or 198.18.0.0/15"});
  }
  std::optional<TunLink> tun;
  if (!config.tun_name.empty()) {
    auto link = TunLink::open(config.tun_name, *network, *routing);
    if (!link) return std::unexpected(link.error());
    tun = std::move(*link);
  }
  auto udp = runtime::UdpSocket::open({*IpAddress::parse("::"), 0}, {});
  if (!udp) udp = runtime::UdpSocket::open({*IpAddress::parse("0.0.0.0"), 0}, {});
  if (!udp) return std::unexpected(Problem{config::ExitCode::Failure, udp.error().text});
  ClientConfig client = client_config(config, *network, tun && tun->has_ipv6());
  if (runtime::largest_mtu(config.tun_name) >= kJumboMtu) client.udp_payload_max = session::kJumboPayload;
  client.joins_datagrams = tun && tun->device().has_udp_segmentation();
  std::unique_ptr<Engine> engine(new Engine(std::move(config), parts, std::move(ended), std::move(*routing),
                                            std::move(tun), std::move(*udp), std::move(client)));
  if (saved) engine->client_.addresses().restore(saved->names);
  engine->host_ = *host;
  engine->next_look_ = now + kLookInterval;
  if (engine->config_.maps_port) {
    Engine& self = *engine;
    self.mapping_.emplace(parts.loop, parts.random, [&self] { self.handle_mapping_changed(); });
  }
  engine->look_at_addresses();
  engine->start_control();
  return engine;
}

Engine::Engine(EngineConfig config, Parts parts, Ended ended, runtime::Routing routing, std::optional<TunLink> tun,
               runtime::UdpSocket udp, ClientConfig client)
    : config_(std::move(config)),
      parts_(parts),
      ended_(std::move(ended)),
      routing_(std::move(routing)),
      tun_(std::move(tun)),
      udp_(std::move(udp)),
      client_(std::move(client), parts.pool, parts.random),
      links_(parts.loop, link_events()),
      upstream_(parts.loop, client_.forwarder()) {
  if (tun_) parts_.loop.add(tun_->device().fd(), EPOLLIN | EPOLLET, [this](std::uint32_t) { tun_readable_ = true; });
  parts_.loop.add(udp_.fd(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) udp_.flush();
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) udp_readable_ = true;
  });
  parts_.loop.add_participant(*this);
  monitor_.emplace(parts_.loop, [this] { next_look_ = Instant{}; });  // in the next turn, that is at once
}

Engine::~Engine() {
  stop();
  parts_.loop.remove_participant(*this);
  parts_.loop.remove(udp_.fd());
  if (tun_) parts_.loop.remove(tun_->device().fd());
}

void Engine::stop() {
  if (std::exchange(is_stopped_, true)) return;
  monitor_.reset();
  if (mapping_) mapping_->close();
  if (control_) control_->stop();
  const Instant now = runtime::monotonic_now();
  client_.close(now);
  parts_.streams.write_ready(now);
  write_tun(now);
  write_udp(now);
  save_names(now);
  const auto restored = parts_.dns.release();
  if (!restored) parts_.log.error("DNS could not be put back: " + restored.error());
}

ClientStatus Engine::status() {
  const Instant now = runtime::monotonic_now();
  ClientStatus status = client_.status(now);
  if (status.state == ClientState::Online && dns_awaited_until_ && now < *dns_awaited_until_) {
    status.state = ClientState::Connecting;
    status.reason = "the host's DNS is being set up for the names of resources";
  }
  add_mapping(status);
  status.dns.domains = client_.is_loaded() ? client_.routing_domains().domains.size() : 0;
  if (!tun_) return status;
  const HostFacts facts = host_facts();
  status.notes = client_.route_notes(facts);
  const auto& network = client_.network();
  HostStatus& host = status.host.emplace();
  host.tun = config_.tun_name;
  host.resolver = network.resolver(IpFamily::V4).to_string();
  host.range_v4 = network.v4.to_string();
  host.range_v6 = network.v6.to_string();
  const RoutePlan plan = plan_routes(client_.route_request(facts));
  host.routes = plan.routes.size();
  for (const IpPrefix& route : tun_->missing(routing_, plan)) host.missing_routes.push_back(route.to_string());
  return status;
}

void Engine::set_server_addresses(std::vector<std::string> addresses) {
  control_->set_addresses(addresses);
  config_.sign_in.server.fixed_addresses = std::move(addresses);
  routes_dirty_ = true;
  control_->reconnect_now();
}

void Engine::set_proxy_addresses(std::vector<std::string> addresses) {
  routes_dirty_ = routes_dirty_ || addresses != config_.proxy_addresses;
  config_.proxy_addresses = std::move(addresses);
}

Explanation Engine::explain(const Destination& destination) const {
  return client_.explain(runtime::monotonic_now(), destination, host_facts());
}

FlowList Engine::flows(std::size_t living_max) const {
  return client_.flows(runtime::monotonic_now(), living_max);
}

void Engine::end(EngineEnded::Kind kind, std::string reason, std::vector<IpPrefix> avoid) {
  if (std::exchange(has_ended_, true)) return;
  // In a task: whoever is told destroys this object.
  EngineEnded event{kind, std::move(reason), std::move(avoid)};
  (void)parts_.loop.post([ended = ended_, event = std::move(event)] { ended(event); });
}

// --- control channel -------------------------------------------------------------------------------------------------

void Engine::start_control() {
  runtime::ControlConfig control;
  control.server = config_.sign_in.server;
  control.trust = config_.sign_in.trust;
  control.role = wire::AGENT_ROLE_CLIENT;
  control.key = config_.key;
  control.expected_network = config_.sign_in.network;
  control.software = config_.software;
  control.hostname = host_name();
  control_ = std::make_unique<runtime::ControlClient>(std::move(control), parts_.loop,
                                                      [this](runtime::ControlEvent event) { handle_control(event); });
  control_->start();
}

void Engine::handle_control(runtime::ControlEvent event) {
  const Instant now = parts_.loop.now();
  if (std::holds_alternative<runtime::ControlUp>(event)) {
    last_failure_.clear();
    client_.handle_control_up(now);
    parts_.log.info("The control channel is up");
  } else if (const auto* down = std::get_if<runtime::ControlDown>(&event)) {
    handle_control_down(*down);
  } else {
    client_.handle_control_message(now, std::get<wire::ControllerMessage>(event));
    control_->set_known_version(client_.known_version());
  }
}

void Engine::handle_control_down(const runtime::ControlDown& down) {
  // The first failure of a kind is news, its repetitions are not.
  if (down.reason != last_failure_) parts_.log.warn("The control channel is down: " + down.reason);
  last_failure_ = down.reason;
  client_.handle_control_down(parts_.loop.now(), down.reason);
  if (!down.final) return;
  const bool is_sign_in = down.failure == runtime::ControlFailure::Denied && down.code == 401;
  end(is_sign_in ? EngineEnded::Kind::SignInEnded : EngineEnded::Kind::Refused, down.reason);
}

// --- data ------------------------------------------------------------------------------------------------------------

void Engine::read_tun(Instant now) {
  for (int i = 0; tun_ && tun_readable_ && i < kTunPacketsPerTurn; ++i) {
    // A block that somebody still holds (payload on its way) is left to him, and the next packet gets another one.
    if (!tun_block_ || !tun_block_.is_unshared()) {
      tun_block_ = Buffer();
      tun_block_ = parts_.pool.acquire(BlockClass::Large);
    }
    if (!tun_block_) return;
    std::array<std::uint8_t, runtime::TunDevice::kVnetSize> vnet{};
    const auto size = tun_->device().read(vnet, tun_block_.bytes());
    if (!size) {
      tun_readable_ = false;
      return;
    }
    client_.handle_tun_packet(now, vnet, tun_block_.slice(0, *size));
  }
}

void Engine::read_udp(Instant now) {
  for (int i = 0; udp_readable_ && i < kTrainsPerTurn; ++i) {
    const auto received = udp_.receive(receive_buffer_.bytes());
    if (!received) {
      udp_readable_ = false;
      return;
    }
    if (is_link_address(received->from)) continue;  // forged: links are not of the network
    client_.handle_train(now, received->from, receive_buffer_.bytes().first(received->size), received->stride,
                         received->ecn);
  }
}

void Engine::write_tun(Instant now) {
  std::array<ByteView, runtime::TunDevice::kPiecesMax> pieces;
  while (client_.poll_tun(now, packet_)) {
    std::size_t count = 0;
    pieces[count++] = packet_.vnet;
    if (packet_.headers_size > 0) pieces[count++] = ByteView(packet_.headers).first(packet_.headers_size);
    for (std::size_t i = 0; i < packet_.payload_slices; ++i) pieces[count++] = packet_.payload[i].view();
    if (tun_) tun_->device().write(std::span(pieces).first(count));
    for (std::size_t i = 0; i < packet_.payload_slices; ++i) packet_.payload[i] = Slice();
  }
}

void Engine::write_udp(Instant now) {
  while (!udp_.is_blocked() && !links_.is_blocked(now)) {
    const auto train = client_.poll_transmit(now, transmit_buffer_.bytes());
    if (!train) return;
    if (is_link_address(train->path.remote)) {
      links_.send(now, train->path.remote, train->bytes, train->stride);
    } else {
      udp_.send(train->path.remote, train->bytes, train->stride, train->ecn);
    }
  }
}

/// What programs say and read over local streams; each answer of the core may give the sockets more to do.
void Engine::serve_streams(Instant now) {
  LocalStreams& streams = parts_.streams;
  streams.handle_timeout(now);
  streams.read_ready(now);
  while (const auto wanted = streams.poll_wanted()) {
    client_.open_flow(now, wanted->flow, wanted->destination, streams);
  }
  for (int round = 0; round < kStreamRoundsPerTurn; ++round) {
    bool has_news = false;
    while (const auto event = streams.poll_event()) {
      client_.handle_application_event(now, *event);
      has_news = true;
    }
    if (has_news) client_.settle(now);
    streams.write_ready(now);
    if (!streams.has_events()) return;
  }
}

void Engine::read_associations(Instant now) {
  while (auto datagram = parts_.associations.poll_outgoing()) {
    client_.handle_local_datagram(now, datagram->program, datagram->to, std::move(datagram->payload));
  }
  while (const auto program = parts_.associations.poll_ended()) client_.end_program(now, *program);
}

void Engine::write_associations(Instant now) {
  while (const auto datagrams = client_.poll_local_datagrams()) parts_.associations.deliver(now, *datagrams);
}

runtime::AgentLinks::Events Engine::link_events() {
  return {.opened = [this](const SocketAddress& link) { client_.handle_link_open(parts_.loop.now(), link); },
          .closed =
              [this](const SocketAddress& link, const std::string& reason) {
                parts_.log.warn("The relay is not reached over TLS", {{"reason", reason}});
                client_.handle_link_closed(parts_.loop.now(), link, reason);
              },
          .train = [this](const SocketAddress& link, MutableBytes bytes,
                          std::size_t stride) { client_.handle_train(parts_.loop.now(), link, bytes, stride, 0); }};
}

/// Opens and closes the link over TLS as the core wants it.
void Engine::follow_link() {
  std::vector<runtime::AgentLinks::Wish> wishes;
  if (const auto wanted = client_.wanted_link()) {
    wishes.push_back(runtime::AgentLinks::make_wish(*wanted, config_.sign_in.server, config_.sign_in.trust));
  }
  links_.want(wishes);
}

void Engine::end_turn(Instant now) {
  if (is_stopped_) return;
  read_udp(now);
  read_tun(now);
  read_associations(now);
  if (const auto due = client_.next_timeout(); due && *due <= now) client_.handle_timeout(now);
  client_.settle(now);
  upstream_.settle(now);
  client_.settle(now);
  serve_streams(now);
  write_associations(now);
  write_tun(now);
  follow_link();
  write_udp(now);
  handle_outputs(now);
  if (now >= next_look_) look_at_host(now);
  follow_mapping();
  if (client_.addresses().generation() != saved_generation_ && !next_save_) next_save_ = now + kSaveDelay;
  if (next_save_ && now >= *next_save_) save_names(now);
  const runtime::LinkCounters& tls = links_.counters();
  memory_.observe(now,
                  udp_.counters().bytes_sent + udp_.counters().bytes_received + tls.bytes_sent + tls.bytes_received);
  if (std::exchange(routes_dirty_, false)) {
    apply_dns();
    apply_routes();
  }
}

std::optional<Instant> Engine::next_timeout() const {
  if (is_stopped_) return std::nullopt;
  if (udp_readable_) return Instant{};
  if (tun_ && tun_readable_) return tun_block_ ? Instant{} : parts_.loop.now() + kNoBlockPause;
  Instant next = next_look_;
  auto core = client_.next_timeout();
  // While a link takes nothing there is no use in waking up to send; it says itself when it does.
  if (core && links_.is_blocked(parts_.loop.now())) core = std::max(*core, parts_.loop.now() + kLinkPause);
  for (const auto due : {core, memory_.next_timeout(), next_save_, parts_.streams.next_timeout()})
    next = std::min(next, due.value_or(next));
  return next;
}

void Engine::handle_outputs(Instant now) {
  while (const auto output = client_.poll_output()) {
    if (const auto* send = std::get_if<SendToController>(&*output)) {
      control_->send(send->message);
    } else if (std::holds_alternative<RoutesChanged>(*output)) {
      routes_dirty_ = true;
    } else if (std::holds_alternative<NeedFullUpdate>(*output)) {
      end(EngineEnded::Kind::Restart, "the controller's update did not fit what is held here");
    } else if (std::holds_alternative<ReconnectControl>(*output)) {
      control_->reconnect_now();
    } else if (const auto* note = std::get_if<Note>(&*output)) {
      parts_.log.log(note->is_warning ? runtime::LogLevel::Warn : runtime::LogLevel::Info, note->text);
    }
  }
  const ClientState state = client_.state(now);
  if (state == std::exchange(reported_, state)) return;
  parts_.log.info("The client is " + std::string(to_string(state)));
}

// --- host ------------------------------------------------------------------------------------------------------------

void Engine::look_at_addresses() {
  std::vector<path::Interface> interfaces;
  for (const runtime::HostAddress& own : runtime::interface_addresses()) {
    if (own.interface != config_.tun_name) interfaces.push_back({own.address, own.prefix_length});
  }
  client_.set_host_addresses(std::move(interfaces), udp_.local_address().port);
  if (mapping_) mapping_->follow(udp_.local_address().port);
}

/// A router that sees us elsewhere than before may have started again, and has forgotten the port that it gave.
void Engine::follow_mapping() {
  const auto reflexive = client_.reflexive_address();
  if (!reflexive || reflexive == reflexive_) return;
  if (std::exchange(reflexive_, reflexive) && mapping_) mapping_->refresh();
}

void Engine::handle_mapping_changed() {
  const auto outside = mapping_->outside();
  client_.set_mapped_port(outside);
  const mapping::PortMapper& mapper = mapping_->mapper();
  if (outside) {
    parts_.log.info("A port of the router leads here",
                    {{"outside", outside->to_string()}, {"method", to_string(mapper.method())}});
  } else if (mapper.trouble() != mapping::Trouble::None) {
    parts_.log.debug("No port of the router leads here", {{"reason", sentence(mapper.trouble())}});
  }
}

void Engine::add_mapping(ClientStatus& status) const {
  if (!mapping_) return;
  const mapping::PortMapper& mapper = mapping_->mapper();
  const auto outside = mapper.outside();
  status.port_mapping = PortMappingStatus{outside ? outside->to_string() : "", std::string(to_string(mapper.method())),
                                          std::string(sentence(mapper.trouble()))};
  for (std::size_t i = 0; i < mapper.drops().size(); ++i) {
    const auto name = "mapping_" + std::string(to_string(static_cast<mapping::MappingDrop>(i)));
    if (mapper.drops()[i] > 0) status.drops[name] = mapper.drops()[i];
  }
}

void Engine::look_at_host(Instant now) {
  next_look_ = now + kLookInterval;
  look_at_addresses();
  const auto view = observe_host(routing_, tun_ ? tun_->device().index() : 0);
  if (!view || *view == host_) return;
  host_ = *view;
  parts_.log.info("The host's network has changed");
  client_.handle_network_change(now);
  if (mapping_) mapping_->refresh();
  control_->reconnect_now();
  routes_dirty_ = true;
}

void Engine::save_names(Instant now) {
  next_save_.reset();
  saved_generation_ = client_.addresses().generation();
  parts_.store.save_names(now, runtime::wall_now(), {client_.addresses().network(), client_.addresses().names()});
}

HostFacts Engine::host_facts() const {
  if (!tun_) return {};  // nothing is routed, so nothing has to be kept out
  HostFacts facts{host_.present, {}};
  for (const IpAddress& gateway : host_.gateways) facts.protected_addresses.push_back({gateway, Protection::Gateway});
  for (const std::string& text : config_.sign_in.server.fixed_addresses) {
    if (const auto address = IpAddress::parse(text))
      facts.protected_addresses.push_back({*address, Protection::Server});
  }
  const auto& server = config_.sign_in.server;
  const auto* proxy = server.proxies ? server.proxies->proxy_for(server.host) : nullptr;
  if (const auto address = proxy != nullptr ? IpAddress::parse(proxy->host) : std::nullopt) {
    facts.protected_addresses.push_back({*address, Protection::Server});
  }
  for (const std::string& text : config_.proxy_addresses) {
    if (const auto known = IpAddress::parse(text)) facts.protected_addresses.push_back({*known, Protection::Server});
  }
  for (const IpAddress& name_server : dns_report_.upstream) {
    facts.protected_addresses.push_back({name_server, Protection::DnsServer});
  }
  return facts;
}

void Engine::apply_routes() {
  if (!tun_) return;
  const auto& network = client_.network();
  const RouteRequest request = client_.route_request(host_facts());
  const std::vector<IpPrefix>& wanted = request.wanted;
  std::vector<IpPrefix> taken(wanted.begin() + 2, wanted.end());  // Resources; the first two are the ranges themselves
  taken.insert(taken.end(), host_.present.begin(), host_.present.end());
  for (const IpPrefix& prefix : taken) {
    const bool collides = network.v4.overlaps(prefix) || network.v6.overlaps(prefix);
    if (!collides || prefix.length() == 0 || config_.keeps_range) continue;
    return end(EngineEnded::Kind::Restart, "the range of virtual addresses is in use: " + prefix.to_string(), taken);
  }
  tun_->apply(routing_, plan_routes(request), parts_.log);
}

void Engine::apply_dns() {
  if (!client_.is_loaded() || !tun_) return;
  auto routing = client_.routing_domains();
  if (routing.left_out != std::exchange(domains_left_out_, routing.left_out) && routing.left_out > 0) {
    parts_.log.warn("There are more names of resources than the host's resolver takes: some are not found",
                    {{"left_out", routing.left_out}});
  }
  if (!is_dns_wanted_) dns_awaited_until_ = parts_.loop.now() + kDnsAwaited;
  is_dns_wanted_ = true;
  parts_.dns.want(
      {tun_->device().index(), config_.tun_name, client_.network().resolver(IpFamily::V4), std::move(routing.domains)});
}

void Engine::handle_dns(DnsReport report) {
  if (report.state != DnsState::Off || !report.reason.empty()) dns_awaited_until_.reset();
  dns_report_ = std::move(report);
  std::vector<SocketAddress> servers;
  for (const IpAddress& server : dns_report_.upstream) servers.push_back({server, 53});
  if (servers == client_.forwarder().servers()) return;
  client_.forwarder().set_servers(std::move(servers));
  routes_dirty_ = true;  // they must not be routed away
}

}  // namespace postern::client
