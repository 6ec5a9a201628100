#include "sim/client_node.hpp"

#include "sim/controller_node.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using tcp::test::KernelSegment;
using tcp::test::Seen;

constexpr std::size_t kPoolMax = 64U << 20;
constexpr std::uint16_t kPort = 41'000;
constexpr std::uint16_t kFirstLocalPort = 20'000;
constexpr unsigned kQuestionsMax = 4;
/// Packets answer packets within one turn; more rounds than this are no conversation any more.
constexpr int kRoundsMax = 200;

const SocketAddress kResolver{IpAddress::v4(100, 96, 0, 2), 53};
const IpAddress kLocal = IpAddress::v4(100, 96, 0, 1);

}  // namespace

/// What ends with the process.
struct ClientNode::Process {
  Process(client::ClientConfig config, Fabric& fabric) : core(std::move(config), pool, fabric.random) {}
  BlockPool pool{kPoolMax};
  client::Client core;
};

ClientNode::ClientNode(Fabric& fabric, ControllerNode& server, LanId lan) : Node(fabric), server_(server) {
  host_ = fabric_.network.add_host(
      lan, kPort,
      [this](const SocketAddress& from, MutableBytes bytes, std::size_t stride) { receive(from, bytes, stride); });
}

ClientNode::~ClientNode() {
  stop();
}

void ClientNode::start() {
  ++processes_;
  signed_out_ = false;
  client::ClientConfig config;
  config.credentials = {key_.to_pkcs8(), identity::self_signed_certificate(key_, server_.wall())};
  config.device = key_.public_key().digest();
  config.software = "postern-sim";
  config.server_host = "postern.example.org";
  config.network = {*IpPrefix::parse("100.96.0.0/12"), *IpPrefix::parse("fd00:1::/64")};
  process_ = std::make_unique<Process>(std::move(config), fabric_);
  start_control();
  wake();
}

void ClientNode::start_control() {
  control_ =
      std::make_shared<ControlAgent>(fabric_, server_, host_, AgentIdentity{wire::AGENT_ROLE_CLIENT, key_, ""},
                                     AgentEvents{[this] { process_->core.handle_control_up(fabric_.time.now()); },
                                                 [this](const Down& down) { handle_down(down); },
                                                 [this](const wire::ControllerMessage& message) {
                                                   process_->core.handle_control_message(fabric_.time.now(), message);
                                                   control_->set_known_version(process_->core.known_version());
                                                   wake();
                                                 }});
  control_->start();
}

void ClientNode::stop() {
  if (control_) control_->stop();
  control_ = nullptr;
  process_ = nullptr;
}

void ClientNode::handle_down(const Down& down) {
  process_->core.handle_control_down(fabric_.time.now(), down.reason);
  signed_out_ = signed_out_ || down.final;  // the process ends with the next turn
  wake();
}

void ClientNode::sleep() {
  asleep_ = true;
  fabric_.network.set_host_up(host_, false);
}

void ClientNode::wake_up() {
  asleep_ = false;
  fabric_.network.set_host_up(host_, true);
  wake();
}

void ClientNode::handle_network_change() {
  if (!process_ || asleep_) return;
  process_->core.handle_network_change(fabric_.time.now());
  control_->reconnect_now();
  wake();
}

void ClientNode::receive(const SocketAddress& from, MutableBytes bytes, std::size_t stride) {
  if (!process_ || asleep_) return;
  process_->core.handle_train(fabric_.time.now(), from, bytes, stride, 0);
  wake();
}

// --- turn
// --------------------------------------------------------------------------------------------------------------

void ClientNode::turn(Instant now) {
  if (asleep_) return;
  if (signed_out_) stop();
  if (!process_) return;
  if (const auto due = process_->core.next_timeout(); due && *due <= now) process_->core.handle_timeout(now);
  for (int round = 0; exchange(now); ++round) {
    if (round == kRoundsMax) throw Violation("a client and its applications do not come to rest");
  }
  handle_outputs();
}

/// True when something was said.
bool ClientNode::exchange(Instant now) {
  bool any = false;
  for (auto& [number, app] : apps_) run_app(now, app);
  process_->core.settle(now);
  tcp::Packet packet;
  while (process_->core.poll_tun(now, packet)) {
    any = true;
    handle_packet(now, tcp::test::inspect(packet));
  }
  while (const auto train = process_->core.poll_transmit(now, fabric_.buffer)) {
    fabric_.network.send(host_, train->path.remote, train->bytes, train->stride);
  }
  return any;
}

void ClientNode::handle_outputs() {
  while (const auto output = process_->core.poll_output()) {
    if (const auto* send = std::get_if<client::SendToController>(&*output)) control_->send(send->message);
    if (std::holds_alternative<client::ReconnectControl>(*output)) control_->reconnect_now();
    if (!std::holds_alternative<client::NeedFullUpdate>(*output)) continue;
    ++gaps_;
    stop();
    return start();
  }
}

std::optional<Instant> ClientNode::next_timeout() const {
  if (!process_ || asleep_) return std::nullopt;
  auto next = process_->core.next_timeout();
  const auto consider = [&next](Instant at) { next = std::min(next.value_or(at), at); };
  for (const auto& [number, app] : apps_) {
    if (app.stage == App::Stage::Resolving) consider(app.next_question);
    if (app.kernel && !app.kernel->is_done() && !app.kernel->is_quiet()) consider(app.kernel->timer());
  }
  return next;
}

client::ClientStatus ClientNode::status() const {
  return process_ ? process_->core.status(fabric_.time.now()) : client::ClientStatus{};
}

std::size_t ClientNode::pool_in_use() const {
  return process_ ? process_->pool.bytes_in_use() : 0;
}

// --- applications
// --------------------------------------------------------------------------------------------------------

std::uint16_t ClientNode::local_port(const App& app) {
  return static_cast<std::uint16_t>(kFirstLocalPort + app.number % 40'000);
}

App& ClientNode::connect(const std::string& host, std::uint16_t port, std::uint64_t upload, std::uint64_t produced) {
  App& app = apps_[next_app_];
  app.number = next_app_++;
  app.host = host;
  app.port = port;
  app.upload = upload;
  app.produced = produced;
  app.next_question = fabric_.time.now();
  by_port_[local_port(app)] = app.number;
  if (const auto address = IpAddress::parse(host)) begin(app, *address);
  wake();
  return app;
}

App* ClientNode::find(std::uint64_t number) {
  const auto found = apps_.find(number);
  return found == apps_.end() ? nullptr : &found->second;
}

void ClientNode::produce(App& app, std::uint64_t bytes) {
  app.produced += bytes;
  if (app.kernel) app.kernel->produce(app.produced);
  wake();
}

void ClientNode::give_up(std::uint64_t number) {
  App* app = find(number);
  if (app == nullptr) return;
  if (app->is_connected() && !app->kernel->is_done()) {
    give_tun(fabric_.time.now(), *app->tuple, app->kernel->abort());
  }
  by_port_.erase(local_port(*app));
  apps_.erase(number);
  wake();
}

void ClientNode::begin(App& app, const IpAddress& to) {
  app.stage = App::Stage::Connecting;
  app.tuple = tcp::FlowTuple{{kLocal, local_port(app)}, {to, app.port}};
  app.kernel = std::make_unique<tcp::test::ScriptedKernel>(
      *app.tuple, tcp::test::KernelKnobs{.initial = static_cast<std::uint32_t>(fabric_.random.next())}, fabric_.random);
  app.kernel->write(app.upload);
  app.kernel->produce(app.produced);
}

void ClientNode::run_app(Instant now, App& app) {
  if (app.stage == App::Stage::Resolving && now >= app.next_question) ask(now, app);
  if (!app.kernel) return;
  for (const KernelSegment& segment : app.kernel->poll(now)) give_tun(now, *app.tuple, segment);
}

void ClientNode::ask(Instant now, App& app) {
  if (++app.questions > kQuestionsMax) {
    app.stage = App::Stage::Failed;
    app.failure = "no answer to its name";
    return;
  }
  app.next_question = now + 1s;
  const auto question = *wire::build_dns_question(static_cast<std::uint16_t>(app.number), app.host, wire::DnsType::A);
  Bytes packet(question.size() + 100);
  packet.resize(wire::build_udp(packet, {kLocal, local_port(app)}, kResolver, question));
  process_->core.handle_tun_packet(now, std::array<std::uint8_t, 10>{}, tcp::test::in_block(process_->pool, packet));
}

void ClientNode::give_tun(Instant now, const tcp::FlowTuple& tuple, const KernelSegment& segment) {
  if (!process_) return;
  const auto packet = tcp::test::make_packet(tuple, segment);
  process_->core.handle_tun_packet(now, packet.vnet, tcp::test::in_block(process_->pool, packet.bytes));
}

void ClientNode::handle_packet(Instant now, const Seen& seen) {
  if (seen.protocol == 17) return handle_answer(seen);
  if (seen.protocol != 6) return handle_unreachable(seen);
  handle_segment(now, seen);
}

void ClientNode::handle_answer(const Seen& seen) {
  const auto udp = wire::UdpView::parse(wire::IpView::parse(seen.packet)->payload);
  const auto found = by_port_.find(udp->destination_port);
  if (found == by_port_.end()) return;
  App& app = apps_.at(found->second);
  if (app.stage != App::Stage::Resolving) return;
  const auto message = wire::parse_dns_message(udp->payload);
  const auto addresses = message ? wire::addresses_of(*message) : std::vector<IpAddress>{};
  if (!addresses.empty()) return begin(app, addresses.front());
  app.stage = App::Stage::Failed;
  app.failure = "no such name";
}

/// An ICMP error quotes the packet that it is about: the application's port stands right behind that IP header.
void ClientNode::handle_unreachable(const Seen& seen) {
  const auto ip = wire::IpView::parse(seen.packet);
  constexpr std::size_t kPortAt = 8 + 20;
  if (ip->payload.size() < kPortAt + 2) return;
  const auto found = by_port_.find(load_u16(ip->payload.data() + kPortAt));
  if (found == by_port_.end()) return;
  App& app = apps_.at(found->second);
  if (app.stage != App::Stage::Connecting) return;
  app.stage = App::Stage::Failed;
  app.failure = "unreachable";
  app.kernel = nullptr;
}

void ClientNode::handle_segment(Instant now, const Seen& seen) {
  const auto tcp = wire::TcpView::parse(wire::IpView::parse(seen.packet)->payload);
  const auto found = by_port_.find(tcp->destination_port);
  App* app = found == by_port_.end() ? nullptr : find(found->second);
  const bool is_known =
      app != nullptr && app->kernel && app->tuple->remote == SocketAddress{seen.source, tcp->source_port};
  if (!is_known || app->kernel->is_reset()) return answer_stray(now, seen);
  app->kernel->handle(seen, now);
  if (app->kernel->is_reset()) {
    app->failure = app->is_connected() ? "reset" : "refused";
    app->stage = App::Stage::Failed;
  } else if ((seen.flags & tcp::test::kSyn) != 0) {
    app->stage = App::Stage::Connected;
  }
}

/// A segment for no socket is answered with RST (RFC 9293 §3.10.7.1).
void ClientNode::answer_stray(Instant now, const Seen& seen) {
  if ((seen.flags & tcp::test::kRst) != 0) return;
  const auto tcp = wire::TcpView::parse(wire::IpView::parse(seen.packet)->payload);
  const tcp::FlowTuple tuple{{seen.destination, tcp->destination_port}, {seen.source, tcp->source_port}};
  give_tun(now, tuple, {tcp::test::kRst, seen.acknowledgment, 0, 0, {}});
}

}  // namespace postern::sim
