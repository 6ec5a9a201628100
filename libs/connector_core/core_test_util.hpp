// A script in the place of QUIC, and a controller in the place of the server, for tests of the connector core.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "connector_core/connector.hpp"
#include "identity/keys.hpp"

namespace postern::connector::testing {

/// Streams as two byte strings each: what the client sent, what the connector sent.
class ScriptedSessions : public SessionPort {
 public:
  struct Stream {
    std::deque<Slice> incoming;
    bool incoming_finished = false;
    Bytes written;
    std::vector<std::string> datagrams;  ///< what the connector sent
    bool finished = false;
    std::optional<std::uint64_t> reset;
    bool reset_waits = false;  ///< until what was written is delivered
    std::size_t consumed = 0;
    std::size_t read = 0;
    std::size_t writable = 512U << 10;
  };
  struct Close {
    std::uint64_t code = 0;
    std::string reason;
  };
  using Key = std::pair<session::SessionId, session::StreamId>;

  void close(Instant, session::SessionId session, std::uint64_t code, std::string_view reason) override {
    if (closed.contains(session)) return;
    closed[session] = {code, std::string(reason)};
    events.push_back(session::Closed{session, session::CloseReason::LocalClose, code, std::string(reason)});
  }
  void ping(Instant, session::SessionId session) override { ++pings[session]; }
  [[nodiscard]] std::optional<Instant> last_heard(session::SessionId session) const override {
    const auto found = heard.find(session);
    return found == heard.end() ? std::nullopt : std::optional(found->second);
  }
  [[nodiscard]] bool has_budget(session::SessionId) const override { return budget; }
  [[nodiscard]] std::size_t writable(session::SessionId session, session::StreamId stream) const override {
    const auto found = streams.find({session, stream});
    return found == streams.end() ? 0 : found->second.writable;
  }
  bool write(session::SessionId session, session::StreamId stream, Slice bytes) override {
    Stream& to = streams[{session, stream}];
    if (to.finished || to.reset || closed.contains(session)) return false;
    to.written.insert(to.written.end(), bytes.view().begin(), bytes.view().end());
    return true;
  }
  bool finish(session::SessionId session, session::StreamId stream) override {
    Stream& to = streams[{session, stream}];
    if (to.finished || to.reset) return false;
    return to.finished = true;
  }
  void reset_when_delivered(Instant, session::SessionId session, session::StreamId stream,
                            std::uint64_t code) override {
    streams[{session, stream}].reset_waits = true;
    reset(session, stream, code);
  }
  void reset(session::SessionId session, session::StreamId stream, std::uint64_t code) override {
    streams[{session, stream}].reset = code;
  }
  [[nodiscard]] Slice read(session::SessionId session, session::StreamId stream) override {
    Stream& from = streams[{session, stream}];
    if (from.incoming.empty()) return {};
    Slice slice = std::move(from.incoming.front());
    from.incoming.pop_front();
    from.read += slice.size();
    return slice;
  }
  [[nodiscard]] bool at_end(session::SessionId session, session::StreamId stream) const override {
    const auto found = streams.find({session, stream});
    return found != streams.end() && found->second.incoming_finished && found->second.incoming.empty();
  }
  void consume(session::SessionId session, session::StreamId stream, std::size_t bytes) override {
    Stream& from = streams[{session, stream}];
    from.consumed += bytes;
    // Credit for bytes that were never read would let a client overrun the window.
    if (from.consumed > from.read) ++overconsumed;
  }

  bool send_datagrams(Instant, session::SessionId session, session::StreamId flow, Slice bytes,
                      std::size_t stride) override {
    const ByteView view = bytes.view();
    if (view.empty()) streams[{session, flow}].datagrams.emplace_back();
    for (std::size_t at = 0; at < view.size(); at += stride) {
      streams[{session, flow}].datagrams.emplace_back(as_text(view.subspan(at, std::min(stride, view.size() - at))));
    }
    return true;
  }
  [[nodiscard]] std::optional<session::Path> path_of(session::SessionId session) const override {
    return closed.contains(session) ? std::nullopt : std::optional(path);
  }
  [[nodiscard]] std::optional<Duration> round_trip(session::SessionId session) const override {
    return closed.contains(session) ? std::nullopt : std::optional(rtt);
  }
  [[nodiscard]] session::StreamPressure pressure(session::SessionId, session::StreamId) const override {
    return stream_pressure;
  }
  [[nodiscard]] std::optional<session::DatagramTrain> read_datagrams(session::SessionId session) override {
    auto& from = arrived[session];
    if (from.empty()) return std::nullopt;
    session::DatagramTrain train = std::move(from.front());
    from.pop_front();
    return train;
  }

  std::map<Key, Stream> streams;
  std::map<session::SessionId, std::deque<session::DatagramTrain>> arrived;
  std::map<session::SessionId, Close> closed;
  std::map<session::SessionId, int> pings;
  std::map<session::SessionId, Instant> heard;
  std::deque<session::Event> events;
  session::Path path{session::kRelayLabel, {IpAddress::v4(203, 0, 113, 1), 443}};
  Duration rtt = std::chrono::milliseconds(20);
  session::StreamPressure stream_pressure;
  bool budget = true;
  int overconsumed = 0;
};

inline constexpr std::uint64_t kUser = 7;
inline constexpr std::uint64_t kDevice = 70;
inline constexpr std::uint64_t kRemoteNetwork = 3;
inline constexpr std::uint64_t kInstance = 90;

/// A connector that has been welcomed, with resources 1 "gitea.home" (tcp 3000, alias git.internal), 2 192.168.1.0/24,
/// 3 192.168.1.9, 4 *.lab, and virtual time.
class Bench {
 public:
  explicit Bench(FlowLimits limits = {}) : core({.software = "test", .flows = limits}, port, pool) {
    const WallTime start = from_unix_ms(1'700'000'000'000);
    core.handle_network_time(now, start);
    wire::Welcome welcome;
    welcome.set_network("home");
    welcome.set_network_name("Home");
    welcome.set_agent_id(kInstance);
    welcome.set_agent_name("attic");
    welcome.set_connector_id(5);
    welcome.set_remote_network_id(kRemoteNetwork);
    core.handle_welcome(welcome);
    wire::ConnectorUpdate update;
    update.set_full(true);
    update.set_version(10);
    *update.add_resources() = resource(1, "gitea.home", "3000");
    update.mutable_resources(0)->add_aliases("git.internal");
    *update.add_resources() = resource(2, "192.168.1.0/24");
    *update.add_resources() = resource(3, "192.168.1.9");
    *update.add_resources() = resource(4, "*.lab");
    auto* key = update.add_keys();
    key->set_kid(identity::key_id(network_key.public_key()));
    key->set_public_key(std::string(as_text(network_key.public_key().spki())));
    update.set_knock_key(std::string(32, 'k'));
    EXPECT_EQ(UpdateOutcome::Applied, core.handle_update(now, update));
  }

  static wire::Resource resource(std::uint64_t id, const std::string& address, const std::string& ports = "") {
    wire::Resource entry;
    entry.set_id(id);
    entry.set_name(address);
    entry.set_remote_network_id(kRemoteNetwork);
    entry.set_address(address);
    const bool all = ports.empty();
    entry.mutable_tcp()->set_policy(all ? wire::PORT_POLICY_ALLOW_ALL : wire::PORT_POLICY_RESTRICTED);
    if (!all) {
      entry.mutable_tcp()->add_ports()->set_first(static_cast<std::uint32_t>(std::stoi(ports)));
      entry.mutable_tcp()->mutable_ports(0)->set_last(static_cast<std::uint32_t>(std::stoi(ports)));
    }
    entry.mutable_udp()->set_policy(wire::PORT_POLICY_DENY_ALL);
    return entry;
  }

  [[nodiscard]] std::int64_t unix_now() const { return to_unix_seconds(core.network_time(now)); }

  [[nodiscard]] identity::Lease lease() const {
    identity::Lease lease;
    lease.issuer = "home";
    lease.remote_network_id = kRemoteNetwork;
    lease.user_id = kUser;
    lease.device_id = kDevice;
    lease.email = "ann@example.org";
    lease.device_key = device_key.public_key().digest();
    lease.issued_at = unix_now();
    lease.expires_at = unix_now() + 4 * 3600;
    for (std::uint64_t id = 1; id <= 4; ++id) lease.resources.push_back({id, lease.expires_at});
    lease.policy_version = 10;
    return lease;
  }

  session::SessionId establish() {
    const session::SessionId id(++sessions);
    port.heard[id] = now;
    event(session::Established{id, device_key.public_key().digest(), {}});
    return id;
  }

  void control(session::SessionId session, const wire::SessionMessage& message) {
    event(session::StreamOpened{session, session::kControlStream});
    send(session, session::kControlStream, wire::frame_message(as_bytes(message.SerializeAsString())));
  }

  void hello(session::SessionId session, const identity::Lease& with) {
    wire::SessionMessage message;
    message.mutable_hello()->set_protocol_version(1);
    message.mutable_hello()->set_lease(identity::sign_lease(with, network_key));
    control(session, message);
  }

  session::SessionId open_session() {
    const session::SessionId id = establish();
    hello(id, lease());
    return id;
  }

  void send(session::SessionId session, session::StreamId stream, ByteView bytes) {
    port.streams[{session, stream}].incoming.push_back(pool.copy(bytes));
    event(session::StreamReadable{session, stream});
  }
  void send(session::SessionId session, session::StreamId stream, std::string_view text) {
    send(session, stream, as_bytes(text));
  }
  void finish(session::SessionId session, session::StreamId stream) {
    port.streams[{session, stream}].incoming_finished = true;
    event(session::StreamReadable{session, stream});
  }

  static Bytes head(std::uint64_t resource, const std::string& target, std::uint32_t port_number) {
    wire::FlowHead message;
    wire::OpenTcp& open = *message.mutable_open_tcp();
    open.set_resource_id(resource);
    open.set_port(port_number);
    if (const auto address = IpAddress::parse(target)) {
      open.set_ip(std::string(as_text(address->bytes())));
    } else {
      open.set_host(target);
    }
    return wire::frame_message(as_bytes(message.SerializeAsString()));
  }

  /// Opens a flow on the next stream of the session.
  session::StreamId open_flow(session::SessionId session, std::uint64_t resource, const std::string& target,
                              std::uint32_t port_number) {
    const session::StreamId stream(next_stream += 4);
    event(session::StreamOpened{session, stream});
    send(session, stream, head(resource, target, port_number));
    return stream;
  }

  /// A flow to 192.168.1.20:80 that is open; its id.
  FlowId connect(session::SessionId session, session::StreamId* stream = nullptr) {
    const session::StreamId opened = open_flow(session, 2, "192.168.1.20", 80);
    if (stream != nullptr) *stream = opened;
    const auto request = take<ConnectTcp>();
    EXPECT_TRUE(request);
    core.flows().handle_connected(now, request->flow, request->addresses.front(), std::chrono::microseconds(250));
    return request->flow;
  }

  void event(const session::Event& event) {
    core.handle_event(now, event);
    while (!port.events.empty()) {
      const session::Event next = port.events.front();
      port.events.pop_front();
      core.handle_event(now, next);
    }
  }

  /// The next request, when it is a T.
  template <typename T>
  std::optional<T> take() {
    const auto request = core.flows().poll_request();
    if (!request || !std::holds_alternative<T>(*request)) return std::nullopt;
    return std::get<T>(*request);
  }
  [[nodiscard]] bool is_quiet() { return !core.flows().poll_request(); }

  /// Time passes; everything that is due happens.
  void advance(Duration by) {
    const Instant end = now + by;
    for (auto due = core.next_timeout(); due && *due <= end; due = core.next_timeout()) {
      now = std::max(now, *due);
      core.handle_timeout(now);
      event(session::StreamWritable{session::SessionId(0), session::StreamId(0)});  // drains the script's events
    }
    now = end;
  }

  /// The reply at the start of what the connector wrote; nothing when there is none.
  [[nodiscard]] std::optional<wire::FlowReply> reply(session::SessionId session, session::StreamId stream) {
    wire::LengthPrefixedReader reader(wire::kFlowMessageMax);
    const Bytes& written = port.streams[{session, stream}].written;
    if (!reader.feed(written) || !reader.has_message()) return std::nullopt;
    wire::FlowReply message;
    EXPECT_TRUE(message.ParseFromArray(reader.message().data(), static_cast<int>(reader.message().size())));
    return message;
  }
  [[nodiscard]] wire::RefusalReason refusal(session::SessionId session, session::StreamId stream) {
    const auto message = reply(session, stream);
    return message && message->has_refused() ? message->refused().reason() : wire::REFUSAL_UNSPECIFIED;
  }
  /// What the connector wrote after its reply.
  [[nodiscard]] std::string payload(session::SessionId session, session::StreamId stream) {
    wire::LengthPrefixedReader reader(wire::kFlowMessageMax);
    const Bytes& written = port.streams[{session, stream}].written;
    const auto taken = reader.feed(written);
    return std::string(as_text(written)).substr(taken.value_or(0));
  }
  [[nodiscard]] std::vector<wire::SessionMessage> control_messages(session::SessionId session) {
    std::vector<wire::SessionMessage> messages;
    wire::LengthPrefixedReader reader(wire::kSessionMessageMax);
    ByteView bytes = port.streams[{session, session::kControlStream}].written;
    while (!bytes.empty()) {
      bytes = bytes.subspan(reader.feed(bytes).value_or(bytes.size()));
      if (!reader.has_message()) continue;
      messages.emplace_back();
      EXPECT_TRUE(messages.back().ParseFromArray(reader.message().data(), static_cast<int>(reader.message().size())));
      reader.next();
    }
    return messages;
  }
  std::vector<FlowReport> reports() {
    std::vector<FlowReport> all;
    while (auto report = core.flows().poll_report()) all.push_back(std::move(*report));
    return all;
  }

  wire::ConnectorUpdate delta() {
    wire::ConnectorUpdate update;
    update.set_from_version(core.policy().version());
    update.set_version(core.policy().version() + 1);
    return update;
  }

  void apply(const wire::ConnectorUpdate& update) {
    EXPECT_EQ(UpdateOutcome::Applied, core.handle_update(now, update));
    event(session::StreamWritable{session::SessionId(0), session::StreamId(0)});
  }

  SeededRandom random{1};
  Instant now{std::chrono::hours(1)};
  identity::PrivateKey network_key = identity::PrivateKey::generate(random);
  identity::PrivateKey device_key = identity::PrivateKey::generate(random);
  BlockPool pool{64U << 20};
  ScriptedSessions port;
  Connector core;
  std::uint64_t sessions = 0;
  std::int64_t next_stream = 0;
};

}  // namespace postern::connector::testing
