// Tests only: a whole client in virtual time. Real: Client with its TCP endpoint and sessions, and the connectors'
// session endpoints. Scripted: the kernel with its applications, the relay's Bind, the connectors' decisions.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/link_address.hpp"
#include "client_core/client.hpp"
#include "identity/keys.hpp"
#include "schema/session.pb.h"
#include "session/pair_test_util.hpp"
#include "tcp/scripted_kernel_test_util.hpp"
#include "wire/quic_header.hpp"

namespace postern::client::test {

using namespace std::chrono_literals;
using tcp::test::content;
using tcp::test::Seen;

inline const SocketAddress kRelay{IpAddress::v4(198, 51, 100, 1), 443};
inline const SocketAddress kRelay6{*IpAddress::parse("2001:db8::1"), 443};
inline const SocketAddress kOther{IpAddress::v4(198, 51, 100, 9), 443};
inline constexpr const char* kMacKey = "0123456789abcdef0123456789abcdef";

inline RouteId route_of(std::uint8_t number) {
  return RouteId{{number, 2, 3, 4, 5, 6, 7}};
}

/// One flow as the connector sees it.
struct ConnectorFlow {
  wire::OpenTcp open;
  wire::FlowHead head;
  std::vector<Bytes> datagrams;  ///< that the application sent
  bool has_head = false;
  bool is_answered = false;
  std::uint64_t received = 0;  ///< bytes of content(…, 1)
  std::uint64_t to_send = 0;   ///< bytes of content(…, 2)
  std::uint64_t sent = 0;
  bool finishes = true;  ///< FIN after to_send
  bool ended = false;    ///< the application's FIN has come
  bool was_reset = false;
  bool finished = false;
  wire::LengthPrefixedReader reader{wire::kFlowMessageMax};
};

/// A connector instance: real sessions, scripted decisions.
class ConnectorSide {
 public:
  ConnectorSide(std::uint8_t number, BlockPool& pool, RandomSource& random)
      : credentials(session::test::make_credentials()),
        route(route_of(number)),
        endpoint(session::test::Pair::config(session::Role::Connector, credentials, route, {},
                                             session::PacketCipher::Fastest),
                 pool, random, &knocks_),
        pool_(pool) {}

  session::Credentials credentials;
  RouteId route;
  bool is_dead = false;  ///< its packets vanish both ways
  bool accepts_hello = true;
  bool answers = true;  ///< gives a FlowReply at all
  bool reads = true;
  std::uint64_t download = 0;  ///< of each new flow
  bool finishes = true;
  std::optional<wire::RefusalReason> refusal;
  bool echoes = true;  ///< sends datagrams back
  Bytes dns_message;   ///< what questions are answered with
  std::vector<wire::SessionMessage> messages;
  std::map<std::pair<std::uint64_t, std::int64_t>, ConnectorFlow> flows;
  std::optional<session::SessionId> session;

 private:
  session::test::TestKnocks knocks_;

 public:
  session::Endpoint endpoint;

  void settle(Instant now) {
    while (const auto event = endpoint.poll_event()) {
      if (const auto* established = std::get_if<session::Established>(&*event)) session = established->session;
      if (const auto* readable = std::get_if<session::StreamReadable>(&*event)) handle_readable(now, *readable);
      if (const auto* datagrams = std::get_if<session::DatagramsReadable>(&*event)) read_datagrams(now, *datagrams);
      if (const auto* reset = std::get_if<session::StreamReset>(&*event)) {
        flows[{reset->session.value, reset->stream.value}].was_reset = true;
      }
    }
    for (auto& [key, flow] : flows) pump(session::SessionId(key.first), session::StreamId(key.second), flow);
  }
  /// On the stream of a UDP or ICMP flow.
  void tell_failure(session::StreamId stream, wire::RefusalReason reason) {
    wire::FlowReply reply;
    reply.mutable_failed()->set_reason(reason);
    write(*session, stream, reply);
  }
  void say(const wire::SessionMessage& message) { write(*session, session::kControlStream, message); }
  [[nodiscard]] const ConnectorFlow* last_flow() const {
    const ConnectorFlow* last = nullptr;
    for (const auto& [key, flow] : flows) {
      if (flow.has_head) last = &flow;
    }
    return last;
  }

 private:
  void write(session::SessionId id, session::StreamId stream, const google::protobuf::MessageLite& message) {
    (void)endpoint.write(id, stream, pool_.copy(wire::frame_message(as_bytes(message.SerializeAsString()))));
  }
  void read_datagrams(Instant now, const session::DatagramsReadable& event) {
    while (const auto train = endpoint.read_datagrams(event.session)) {
      const ByteView bytes = train->bytes.view();
      auto& flow = flows[{event.session.value, train->flow.value}];
      for (std::size_t at = 0; at < std::max<std::size_t>(bytes.size(), 1); at += train->stride) {
        flow.datagrams.push_back(to_bytes(bytes.subspan(at, std::min(train->stride, bytes.size() - at))));
      }
      if (!echoes || refusal) continue;
      (void)endpoint.send_datagrams(now, event.session, train->flow, train->bytes, train->stride);
    }
  }
  void handle_readable(Instant, const session::StreamReadable& event) {
    if (event.stream == session::kControlStream) return read_control(event.session);
    pump(event.session, event.stream, flows[{event.session.value, event.stream.value}]);
  }
  void read_control(session::SessionId id) {
    while (true) {
      const Slice slice = endpoint.read(id, session::kControlStream);
      if (slice.empty()) return;
      endpoint.consume(id, session::kControlStream, slice.size());
      ByteView bytes = slice.view();
      while (!bytes.empty()) {
        bytes = bytes.subspan(*control_.feed(bytes));
        if (!control_.has_message()) continue;
        wire::SessionMessage message;
        ASSERT_TRUE(message.ParseFromString(std::string(as_text(control_.message()))));
        control_.next();
        if (message.has_hello()) answer_hello(id);
        messages.push_back(std::move(message));
      }
    }
  }
  void answer_hello(session::SessionId id) {
    wire::SessionMessage reply;
    reply.mutable_hello_reply()->set_accepted(accepts_hello);
    if (!accepts_hello) reply.mutable_hello_reply()->set_reason("not today");
    write(id, session::kControlStream, reply);
  }
  void pump(session::SessionId id, session::StreamId stream, ConnectorFlow& flow) {
    if (flow.was_reset || !reads) return;
    while (true) {
      Slice slice = endpoint.read(id, stream);
      if (slice.empty()) break;
      endpoint.consume(id, stream, slice.size());
      if (!flow.has_head) read_head(flow, slice);
      for (const std::uint8_t byte : slice.view()) ASSERT_EQ(byte, content(flow.received++, 1));
    }
    if (endpoint.at_end(id, stream)) flow.ended = true;
    if (flow.has_head && !flow.is_answered && answers) answer_head(id, stream, flow);
    while (flow.is_answered && flow.sent < flow.to_send && endpoint.writable(id, stream) > 0) {
      Bytes bytes(std::min<std::uint64_t>(flow.to_send - flow.sent, 30'000));
      for (std::uint8_t& byte : bytes) byte = content(flow.sent++, 2);
      (void)endpoint.write(id, stream, pool_.copy(bytes));
    }
    if (flow.is_answered && flow.sent == flow.to_send && flow.finishes && !std::exchange(flow.finished, true)) {
      (void)endpoint.finish(id, stream);
    }
  }
  static void read_head(ConnectorFlow& flow, Slice& slice) {
    slice.remove_prefix(*flow.reader.feed(slice.view()));
    if (!flow.reader.has_message()) return;
    wire::FlowHead head;
    ASSERT_TRUE(head.ParseFromString(std::string(as_text(flow.reader.message()))));
    flow.open = head.open_tcp();
    flow.head = head;
    flow.has_head = true;
  }
  void answer_head(session::SessionId id, session::StreamId stream, ConnectorFlow& flow) {
    flow.is_answered = true;
    wire::FlowReply reply;
    if (refusal) {
      reply.mutable_refused()->set_reason(*refusal);
      flow.finishes = true;
    } else {
      reply.mutable_opened()->set_connect_us(100);
      flow.to_send = flow.head.has_resolve() ? 0 : download;
      flow.finishes = finishes;
    }
    write(id, stream, reply);
    if (flow.head.has_resolve() && !refusal && !dns_message.empty())
      (void)endpoint.write(id, stream, pool_.copy(dns_message));
  }

  BlockPool& pool_;
  wire::LengthPrefixedReader control_{wire::kSessionMessageMax};
};

/// A socket of an application on the client's host.
struct App {
  tcp::FlowTuple tuple;
  tcp::test::ScriptedKernel kernel;
  bool connected = false;
  std::vector<Seen> unreachable;  ///< ICMP errors that quote its SYN
};

class World {
 public:
  explicit World(std::uint64_t seed = 1) : random(seed) {
    const auto credentials = session::test::make_credentials();
    device = *session::credentials_digest(credentials);
    ClientConfig config;
    config.credentials = credentials;
    config.device = device;
    config.software = "test";
    config.server_host = "postern.example.org";
    config.network = {*IpPrefix::parse("100.96.0.0/12"), *IpPrefix::parse("fd00:1::/64")};
    client = std::make_unique<Client>(std::move(config), pool, random);
  }

  // --- the controller -----------------------------------------------------------------------------------------------
  ConnectorSide& add_connector() {
    connectors.push_back(
        std::make_unique<ConnectorSide>(static_cast<std::uint8_t>(connectors.size() + 100), pool, random));
    return *connectors.back();
  }
  [[nodiscard]] wire::ControllerMessage welcome(std::uint8_t route = 1, const std::string& relay_name = "relay-1",
                                                const SocketAddress& relay_address = kRelay) const {
    wire::ControllerMessage message;
    auto* welcome = message.mutable_welcome();
    welcome->set_network("home");
    welcome->set_network_name("Home");
    welcome->set_account("user@example.org");
    welcome->set_agent_name("laptop");
    welcome->set_server_time_ms(1'700'000'000'000);
    welcome->set_route_id(std::string(as_text(route_of(route).bytes)));
    auto* relay = welcome->add_relays();
    relay->set_name(relay_name);
    relay->add_addresses(relay_address.to_string());
    relay->set_epoch(1);
    relay->set_access_token("ticket");
    relay->set_mac_key(kMacKey);
    relay->set_tls(relay_has_tls);
    return message;
  }
  static void add_resource(wire::ClientUpdate& update, std::uint64_t id, const std::string& address,
                           std::uint32_t port) {
    auto* resource = update.add_resources();
    resource->set_id(id);
    resource->set_name("r" + std::to_string(id));
    resource->set_remote_network_id(7);
    resource->set_address(address);
    resource->mutable_tcp()->set_policy(wire::PORT_POLICY_RESTRICTED);
    auto* range = resource->mutable_tcp()->add_ports();
    range->set_first(port);
    range->set_last(port);
  }
  [[nodiscard]] wire::ControllerMessage full_update(const std::string& lease = "lease-1") const {
    wire::ControllerMessage message;
    auto& update = *message.mutable_client_update();
    update.set_full(true);
    update.set_version(1);
    add_resource(update, 1, "nginx.home.lan", 80);
    add_resource(update, 2, "192.168.1.0/24", 80);
    auto* entry = update.add_leases();
    entry->set_remote_network_id(7);
    entry->set_remote_network_name("home");
    entry->set_lease(lease);
    entry->set_expires_at_ms(1'700'000'000'000 + 3'600'000);
    for (std::size_t i = 0; i < connectors.size(); ++i) {
      auto* instance = update.add_instances();
      instance->set_instance_id(i + 1);
      instance->set_connector_id(5);
      instance->set_connector_name("attic");
      instance->set_remote_network_id(7);
      instance->set_route_id(std::string(as_text(connectors[i]->route.bytes)));
      instance->set_certificate_digest(std::string(as_text(*session::credentials_digest(connectors[i]->credentials))));
      instance->set_knock(std::string(as_text(session::test::make_knock(device))));
      instance->add_relays("relay-1");
    }
    return message;
  }
  void control(const wire::ControllerMessage& message) { client->handle_control_message(now, message); }
  /// Signed in, relay bound, resources known.
  void bring_up() {
    client->handle_control_up(now);
    control(welcome());
    control(full_update());
    ASSERT_TRUE(run_until([&] { return client->state(now) == ClientState::Online; }, 5s));
  }

  // --- applications -------------------------------------------------------------------------------------------------
  /// Sends `upload` bytes and then FIN; without a number it says nothing and stays open.
  App& connect(const IpAddress& to, std::uint16_t port, std::optional<std::uint64_t> upload = 0) {
    const IpAddress local = IpAddress::parse(to.is_v4() ? "100.96.0.1" : "fd00:1::1").value();
    const tcp::FlowTuple tuple{{local, static_cast<std::uint16_t>(40'000 + apps.size())}, {to, port}};
    auto app = std::make_unique<App>(App{tuple, {tuple, {}, random}, false, {}});
    if (upload) app->kernel.write(*upload);
    apps.push_back(std::move(app));
    return *apps.back();
  }
  IpAddress resolve(const std::string& name, wire::DnsType type = wire::DnsType::A) {
    const auto answer = ask_dns(*wire::build_dns_question(9, name, type));
    const auto message = wire::parse_dns_message(answer);
    const auto found = message ? wire::addresses_of(*message) : std::vector<IpAddress>{};
    return found.empty() ? IpAddress() : found.front();
  }
  Bytes ask_dns(ByteView question) {
    const SocketAddress from{IpAddress::v4(100, 96, 0, 1), 5353};
    send_udp(from, {IpAddress::v4(100, 96, 0, 2), 53}, question);
    last_udp.clear();
    (void)run_until([&] { return !last_udp.empty(); }, 100ms);
    return last_udp;
  }
  void send_udp(const SocketAddress& from, const SocketAddress& to, ByteView payload) {
    Bytes packet(payload.size() + 100);
    packet.resize(wire::build_udp(packet, from, to, payload));
    client->handle_tun_packet(now, std::array<std::uint8_t, 10>{}, tcp::test::in_block(pool, packet));
  }

  // --- time ---------------------------------------------------------------------------------------------------------
  bool run_until(const std::function<bool()>& condition, Duration limit) {
    const Instant end = now + limit;
    while (true) {
      turn();
      if (condition()) return true;
      if (now >= end || testing::Test::HasFatalFailure()) return false;
      now = std::min(end, std::max(now + 1us, next_time()));
    }
  }
  void run_for(Duration time) {
    (void)run_until([] { return false; }, time);
  }

  SeededRandom random;
  BlockPool pool{512U << 20};
  Digest device{};
  std::vector<std::unique_ptr<ConnectorSide>> connectors;
  std::unique_ptr<Client> client;
  std::vector<std::unique_ptr<App>> apps;
  Instant now{1h};
  Duration delay = 5ms;
  bool relay_answers = true;
  bool relay_has_tls = false;               ///< links to it open at once, and pass whatever happens to UDP
  std::optional<SocketAddress> dead_relay;  ///< nothing passes at this address of the relay
  Bytes last_udp;
  std::vector<Seen> icmp;
  std::vector<Bytes> udp;  ///< whole packets for applications
  std::vector<wire::AgentMessage> to_controller;
  int full_updates_wanted = 0;
  int reconnects_wanted = 0;

 private:
  struct Datagram {
    ConnectorSide* to = nullptr;  ///< null: the client
    Bytes bytes;
  };

  void turn() {
    deliver();
    if (const auto due = client->next_timeout(); due && *due <= now) client->handle_timeout(now);
    for (const auto& app : apps) {
      for (const auto& segment : app->kernel.poll(now)) {
        const auto packet = tcp::test::make_packet(app->tuple, segment);
        client->handle_tun_packet(now, packet.vnet, tcp::test::in_block(pool, packet.bytes));
      }
    }
    follow_link();
    client->settle(now);
    tcp::Packet packet;
    while (client->poll_tun(now, packet)) handle_packet(tcp::test::inspect(packet));
    packet = {};
    while (const auto train = client->poll_transmit(now, buffer_)) send_up(*train);
    while (const auto output = client->poll_output()) {
      if (const auto* send = std::get_if<SendToController>(&*output)) to_controller.push_back(send->message);
      if (std::holds_alternative<NeedFullUpdate>(*output)) ++full_updates_wanted;
      if (std::holds_alternative<ReconnectControl>(*output)) ++reconnects_wanted;
    }
    for (const auto& connector : connectors) {
      if (const auto due = connector->endpoint.next_timeout(); due && *due <= now)
        connector->endpoint.handle_timeout(now);
      connector->settle(now);
      while (const auto train = connector->endpoint.poll_transmit(now, buffer_)) send_down(*connector, *train);
    }
  }
  void follow_link() {
    const auto wanted = client->wanted_link();
    if (!wanted || wanted->attempt == link_attempt_) return;
    link_attempt_ = wanted->attempt;
    client->handle_link_open(now, wanted->link);
  }
  void handle_packet(const Seen& seen) {
    if (seen.protocol == 17) {
      udp.push_back(seen.packet);
      last_udp = to_bytes(wire::UdpView::parse(wire::IpView::parse(seen.packet)->payload)->payload);
      return;
    }
    if (seen.protocol != 6) {
      icmp.push_back(seen);
      return;
    }
    const auto ip = wire::IpView::parse(seen.packet);
    const auto tcp = wire::TcpView::parse(ip->payload);
    for (const auto& app : apps) {
      if (app->tuple.local != SocketAddress{ip->destination, tcp->destination_port}) continue;
      if ((seen.flags & wire::tcp_flag::kSyn) != 0) app->connected = true;
      app->kernel.handle(seen, now);
    }
  }
  void send_up(const session::Transmit& train) {
    EXPECT_TRUE(train.path.remote == kRelay || train.path.remote == kRelay6 || is_link_address(train.path.remote));
    if (train.path.remote == dead_relay) return;
    relay_address_ = train.path.remote;
    for (std::size_t at = 0; at < train.bytes.size(); at += train.stride) {
      const ByteView datagram = train.bytes.subspan(at, std::min(train.stride, train.bytes.size() - at));
      if (wire::classify_datagram(datagram) == wire::DatagramClass::Stun) {
        answer_bind(datagram);
        continue;
      }
      const auto header = wire::parse_quic_header(datagram);
      ASSERT_TRUE(header);
      for (const auto& connector : connectors) {
        if (connector->route == header->destination.route() && !connector->is_dead && relay_answers) {
          wire_.emplace(now + delay, Datagram{connector.get(), to_bytes(datagram)});
        }
      }
    }
  }
  void send_down(const ConnectorSide& from, const session::Transmit& train) {
    if (relay_address_ == dead_relay) return;
    for (std::size_t at = 0; at < train.bytes.size() && !from.is_dead && relay_answers; at += train.stride) {
      const ByteView datagram = train.bytes.subspan(at, std::min(train.stride, train.bytes.size() - at));
      wire_.emplace(now + delay, Datagram{nullptr, to_bytes(datagram)});
    }
  }
  void answer_bind(ByteView request) {
    const auto stun = wire::StunView::parse(request);
    ASSERT_TRUE(stun);
    if (!relay_answers) return;
    Bytes buffer(512);
    if (!stun->find(wire::StunAttribute::Nonce)) {
      wire::StunBuilder builder(buffer, wire::StunType::BindError, stun->transaction());
      builder.add_error(401, "nonce");
      builder.add(wire::StunAttribute::Nonce, Bytes(wire::kBindNonceSize, 7));
      wire_.emplace(now + delay, Datagram{nullptr, to_bytes(builder.finish())});
      return;
    }
    EXPECT_TRUE(stun->has_integrity(as_bytes(kMacKey), &identity::hmac_sha256));
    wire::StunBuilder builder(buffer, wire::StunType::BindSuccess, stun->transaction());
    builder.add_mapped_address({IpAddress::v4(203, 0, 113, 20), 4711});
    builder.add_u32(wire::StunAttribute::Lifetime, 600);
    wire_.emplace(
        now + delay,
        Datagram{nullptr, to_bytes(builder.finish_with_integrity(as_bytes(kMacKey), &identity::hmac_sha256))});
  }
  void deliver() {
    for (; !wire_.empty() && wire_.begin()->first <= now; wire_.erase(wire_.begin())) {
      Datagram& datagram = wire_.begin()->second;
      if (datagram.to == nullptr) {
        client->handle_train(now, relay_address_, datagram.bytes, datagram.bytes.size(), 0);
      } else {
        datagram.to->endpoint.handle_train(now, {{0, kOther}, datagram.bytes, datagram.bytes.size(), 0});
      }
    }
  }
  [[nodiscard]] Instant next_time() const {
    Instant next = now + 250ms;
    const auto consider = [&](const std::optional<Instant>& at) {
      if (at) next = std::min(next, *at);
    };
    consider(client->next_timeout());
    if (!wire_.empty()) consider(wire_.begin()->first);
    for (const auto& connector : connectors) consider(connector->endpoint.next_timeout());
    for (const auto& app : apps) {
      if (!app->kernel.is_done()) consider(std::max(app->kernel.timer(), now + 1ms));
    }
    return next;
  }

  std::multimap<Instant, Datagram> wire_;
  std::uint64_t link_attempt_ = 0;
  SocketAddress relay_address_ = kRelay;  ///< where the client talked to last
  alignas(4096) std::array<std::uint8_t, BlockPool::kLargeSize> buffer_{};
};

class ClientTest : public testing::Test {
 protected:
  /// A world with one connector, online.
  void bring_up(int connectors = 1) {
    for (int i = 0; i < connectors; ++i) world.add_connector();
    world.bring_up();
  }
  ConnectorSide& connector(std::size_t i = 0) { return *world.connectors[i]; }
  App& open(std::uint64_t upload = 0) {
    App& app = world.connect(world.resolve("nginx.home.lan"), 80, upload);
    EXPECT_TRUE(world.run_until([&] { return app.connected; }, 5s));
    return app;
  }
  ClientState state() { return world.client->state(world.now); }
  std::uint64_t drops(const std::string& name) {
    const auto all = world.client->status(world.now).drops;
    const auto found = all.find(name);
    return found == all.end() ? 0 : found->second;
  }
  void reset_by_application(App& app) {
    const auto reset = tcp::test::make_packet(app.tuple, app.kernel.abort());
    world.client->handle_tun_packet(world.now, reset.vnet, tcp::test::in_block(world.pool, reset.bytes));
  }
  void reset_by_target(const std::pair<std::uint64_t, std::int64_t>& flow) {
    connector().endpoint.reset_when_delivered(world.now, session::SessionId(flow.first), session::StreamId(flow.second),
                                              0x10);
  }
  /// Long enough after everything came up that what is missing is missing.
  void settle() { world.run_for(Client::kSettleTime + 1s); }
  /// No instance is listed any more; those that were may come back, or have ended.
  void list_nobody(Listing listing = Listing::Ended) {
    auto update = world.full_update();
    wire::ClientUpdate& content = *update.mutable_client_update();
    if (listing == Listing::Absent) {
      for (const auto& instance : content.instances()) content.add_absent_instances(instance.instance_id());
    }
    content.clear_instances();
    world.control(update);
  }
  void remove_resource(std::uint64_t id) {
    wire::ControllerMessage message;
    message.mutable_client_update()->set_from_version(1);
    message.mutable_client_update()->set_version(2);
    message.mutable_client_update()->add_removed_resources(id);
    world.control(message);
  }

  World world;
};

}  // namespace postern::client::test
