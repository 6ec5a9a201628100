// A real QUIC client, the connector core and real sockets on loopback, in one process; only the UDP path is memory.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <deque>
#include <thread>

#include "connector_core/connector.hpp"
#include "connector_core/endpoint_port.hpp"
#include "runtime/os/random.hpp"
#include "runtime/udp/socket_address.hpp"
#include "services/connector/target_sockets.hpp"
#include "wire/framing.hpp"

namespace postern::connector {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A TCP listener on loopback.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto at = runtime::to_kernel({IpAddress::v4(127, 0, 0, 1), 0});
    EXPECT_EQ(0, bind(fd_.get(), at.get(), at.size));
    EXPECT_EQ(0, listen(fd_.get(), 16));
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    port = runtime::from_kernel(storage)->port;
  }
  [[nodiscard]] runtime::Descriptor accept_one() const {
    return runtime::Descriptor(accept(fd_.get(), nullptr, nullptr));
  }
  void close() { fd_.reset(); }
  std::uint16_t port = 0;

 private:
  runtime::Descriptor fd_;
};

class EndToEnd : public testing::Test {
 protected:
  EndToEnd() {
    core_.handle_network_time(loop_.now(), runtime::wall_now());
    wire::Welcome welcome;
    welcome.set_network("home");
    welcome.set_agent_id(90);
    welcome.set_connector_id(5);
    welcome.set_remote_network_id(3);
    core_.handle_welcome(welcome);
    wire::ConnectorUpdate update;
    update.set_full(true);
    update.set_version(1);
    auto* resource = update.add_resources();
    resource->set_id(1);
    resource->set_address("127.0.0.1");
    resource->mutable_tcp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
    resource->mutable_udp()->set_policy(wire::PORT_POLICY_DENY_ALL);
    auto* key = update.add_keys();
    key->set_kid(identity::key_id(network_key_.public_key()));
    key->set_public_key(std::string(as_text(network_key_.public_key().spki())));
    update.set_knock_key(std::string(32, 'k'));
    EXPECT_EQ(UpdateOutcome::Applied, core_.handle_update(loop_.now(), update));
    connector_ = make_endpoint(session::Role::Connector, connector_key_, connector_route_);
    client_ = make_endpoint(session::Role::Client, device_key_, client_route_);
    port_.attach(connector_.get());
    connect();
  }

  std::unique_ptr<session::Endpoint> make_endpoint(session::Role role, const identity::PrivateKey& key,
                                                   const RouteId& route) {
    session::EndpointConfig config;
    config.role = role;
    config.credentials = {key.to_pkcs8(), identity::self_signed_certificate(key, runtime::wall_now())};
    config.route = route;
    return std::make_unique<session::Endpoint>(std::move(config), pool_, random_, &core_.knocks());
  }

  [[nodiscard]] std::int64_t unix_now() const { return to_unix_seconds(runtime::wall_now()); }

  void connect() {
    const identity::Knock knock{device_key_.public_key().digest(), 90, unix_now() + 60};
    const auto session = client_->connect(loop_.now(), {{0, relay_},
                                                        connector_route_,
                                                        connector_key_.public_key().digest(),
                                                        identity::make_knock(knock, Bytes(32, 'k'))});
    ASSERT_TRUE(session);
    session_ = *session;
    run_until([&] { return established_; });
    identity::Lease lease;
    lease.issuer = "home";
    lease.remote_network_id = 3;
    lease.user_id = 7;
    lease.device_id = 70;
    lease.device_key = device_key_.public_key().digest();
    lease.issued_at = unix_now();
    lease.expires_at = unix_now() + 600;
    lease.resources = {{1, lease.expires_at}};
    lease.policy_version = 1;
    wire::SessionMessage hello;
    hello.mutable_hello()->set_protocol_version(1);
    hello.mutable_hello()->set_lease(identity::sign_lease(lease, network_key_));
    const auto control = client_->open_stream(session_);
    ASSERT_TRUE(control);
    EXPECT_EQ(session::kControlStream, *control);
    write(*control, wire::frame_message(as_bytes(hello.SerializeAsString())));
    run_until([&] { return core_.sessions().counters().accepted == 1; });
  }

  void write(session::StreamId stream, ByteView bytes) {
    while (!bytes.empty()) {
      const std::size_t part = std::min<std::size_t>(bytes.size(), 4000);
      ASSERT_TRUE(client_->write(session_, stream, pool_.copy(bytes.first(part))));
      bytes = bytes.subspan(part);
    }
  }

  session::StreamId open_flow(std::uint16_t port) {
    wire::FlowHead head;
    head.mutable_open_tcp()->set_resource_id(1);
    head.mutable_open_tcp()->set_ip(std::string("\x7f\0\0\1", 4));
    head.mutable_open_tcp()->set_port(port);
    const auto stream = client_->open_stream(session_);
    EXPECT_TRUE(stream);
    write(*stream, wire::frame_message(as_bytes(head.SerializeAsString())));
    return *stream;
  }

  /// What the connector sent on a stream; read() takes it from the endpoint.
  struct Seen {
    Bytes bytes;
    bool ended = false;
    bool reset = false;
  };

  void handle_client_events() {
    while (const auto event = client_->poll_event()) {
      if (std::holds_alternative<session::Established>(*event)) established_ = true;
      if (const auto* reset = std::get_if<session::StreamReset>(&*event)) seen_[reset->stream].reset = true;
      const auto* readable = std::get_if<session::StreamReadable>(&*event);
      if (readable == nullptr || paused_) continue;
      drain(readable->stream);
    }
  }
  void drain(session::StreamId stream) {
    Seen& seen = seen_[stream];
    for (Slice slice = client_->read(session_, stream); !slice.empty(); slice = client_->read(session_, stream)) {
      seen.bytes.insert(seen.bytes.end(), slice.view().begin(), slice.view().end());
      client_->consume(session_, stream, slice.size());
    }
    seen.ended = client_->at_end(session_, stream);
  }

  void exchange(session::Endpoint& from, session::Endpoint& to, const SocketAddress& sender) {
    while (const auto train = from.poll_transmit(loop_.now(), buffer_.bytes())) {
      to.handle_train(loop_.now(), {{0, sender}, buffer_.bytes().first(train->bytes.size()), train->stride, 0});
    }
  }

  void handle(const Request& request) {
    const Instant now = loop_.now();
    if (const auto* r = std::get_if<ConnectTcp>(&request)) targets_.connect(now, *r);
    if (const auto* r = std::get_if<WriteTarget>(&request)) targets_.write(now, r->flow);
    if (const auto* r = std::get_if<ResumeTarget>(&request)) targets_.resume(r->flow);
    if (const auto* r = std::get_if<FinishTarget>(&request)) targets_.finish(r->flow);
    if (const auto* r = std::get_if<CloseTarget>(&request)) targets_.close(r->flow);
    if (const auto* r = std::get_if<AbortTarget>(&request)) targets_.abort(r->flow);
  }

  void turn() {
    loop_.run_turn(milliseconds(1));
    const Instant now = loop_.now();
    for (session::Endpoint* endpoint : {client_.get(), connector_.get()}) {
      if (const auto due = endpoint->next_timeout(); due && *due <= now) endpoint->handle_timeout(now);
    }
    targets_.handle_timeout(now);
    for (int i = 0; i < 2; ++i) {
      while (const auto event = connector_->poll_event()) core_.handle_event(now, *event);
      while (const auto request = core_.flows().poll_request()) handle(*request);
      targets_.read_ready(now);
    }
    exchange(*client_, *connector_, client_address_);
    exchange(*connector_, *client_, relay_);
    handle_client_events();
  }

  template <typename Condition>
  void run_until(Condition condition, seconds patience = seconds(20)) {
    const Instant end = runtime::monotonic_now() + patience;
    while (!condition() && runtime::monotonic_now() < end) turn();
    ASSERT_TRUE(condition());
  }

  std::optional<wire::FlowReply> reply(session::StreamId stream) {
    wire::LengthPrefixedReader reader(wire::kFlowMessageMax);
    if (!reader.feed(seen_[stream].bytes) || !reader.has_message()) return std::nullopt;
    wire::FlowReply message;
    EXPECT_TRUE(message.ParseFromArray(reader.message().data(), static_cast<int>(reader.message().size())));
    return message;
  }
  ByteView payload(session::StreamId stream) {
    wire::LengthPrefixedReader reader(wire::kFlowMessageMax);
    const ByteView bytes = seen_[stream].bytes;
    return bytes.subspan(reader.feed(bytes).value_or(bytes.size()));
  }

  const RouteId connector_route_{{1, 1, 1, 1, 1, 1, 1}};
  const RouteId client_route_{{2, 2, 2, 2, 2, 2, 2}};
  const SocketAddress relay_ = *SocketAddress::parse("192.0.2.1:443");
  const SocketAddress client_address_ = *SocketAddress::parse("192.0.2.1:443");
  runtime::EventLoop loop_;
  runtime::KernelRandom random_;
  identity::PrivateKey network_key_ = identity::PrivateKey::generate(random_);
  identity::PrivateKey device_key_ = identity::PrivateKey::generate(random_);
  identity::PrivateKey connector_key_ = identity::PrivateKey::generate(random_);
  BlockPool pool_{256U << 20};
  Buffer buffer_ = pool_.acquire(BlockClass::Large);
  EndpointPort port_;
  Connector core_{{.software = "test", .flows = {}}, port_, pool_};
  std::unique_ptr<session::Endpoint> connector_;
  std::unique_ptr<session::Endpoint> client_;
  TargetSockets targets_{loop_, core_.flows(), pool_};
  session::SessionId session_;
  bool established_ = false;
  bool paused_ = false;
  std::map<session::StreamId, Seen> seen_;
};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>((i * 2654435761U) >> 13);
  return bytes;
}

TEST_F(EndToEnd, MegabytesComeBackFromAnEchoAsTheyWentAndBothEndsClose) {
  Listener listener;
  std::thread echo([&] {
    const runtime::Descriptor fd = listener.accept_one();
    std::array<char, 65536> part;
    for (ssize_t got = recv(fd.get(), part.data(), part.size(), 0); got > 0;
         got = recv(fd.get(), part.data(), part.size(), 0)) {
      EXPECT_EQ(got, send(fd.get(), part.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL));
    }
  });
  const auto stream = open_flow(listener.port);
  const Bytes sent = pattern(20 << 20);
  write(stream, sent);
  ASSERT_TRUE(client_->finish(session_, stream));
  run_until([&] { return seen_[stream].ended; }, seconds(60));
  echo.join();
  ASSERT_TRUE(reply(stream) && reply(stream)->has_opened());
  const ByteView got = payload(stream);
  EXPECT_TRUE(std::equal(sent.begin(), sent.end(), got.begin(), got.end()));
  run_until([&] { return core_.flows().size() == 0 && targets_.size() == 0; });
  EXPECT_EQ(sent.size(), core_.flows().counters().bytes_to_targets);
  EXPECT_EQ(sent.size(), core_.flows().counters().bytes_from_targets);
}

TEST_F(EndToEnd, AClosedPortIsARefusalAndNotSilence) {
  Listener listener;
  listener.close();
  const auto stream = open_flow(listener.port);
  run_until([&] { return seen_[stream].ended; });
  ASSERT_TRUE(reply(stream) && reply(stream)->has_refused());
  EXPECT_EQ(wire::REFUSAL_CONNECTION_REFUSED, reply(stream)->refused().reason());
  EXPECT_EQ(0U, targets_.size());
}

TEST_F(EndToEnd, AResetByTheTargetIsAReset) {
  Listener listener;
  const auto stream = open_flow(listener.port);
  run_until([&] { return reply(stream).has_value(); });
  {
    const runtime::Descriptor fd = listener.accept_one();
    const linger rst{1, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
  }
  run_until([&] { return seen_[stream].reset; });
  run_until([&] { return targets_.size() == 0; });
}

TEST_F(EndToEnd, ATargetThatBreaksTheConnectionBeforeWeLookHasNotRefusedIt) {
  Listener listener;
  const auto stream = open_flow(listener.port);
  run_until([&] { return targets_.size() == 1; });
  {
    const runtime::Descriptor fd = listener.accept_one();
    const linger rst{1, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
  }
  run_until([&] { return seen_[stream].reset || seen_[stream].ended; });
  EXPECT_TRUE(seen_[stream].reset);
  EXPECT_FALSE(reply(stream) && reply(stream)->has_refused());
  run_until([&] { return targets_.size() == 0; });
}

TEST_F(EndToEnd, AResetByTheClientIsAResetAtTheTarget) {
  Listener listener;
  const auto stream = open_flow(listener.port);
  run_until([&] { return reply(stream).has_value(); });
  const runtime::Descriptor fd = listener.accept_one();
  client_->reset(session_, stream, 0x10);
  run_until([&] { return targets_.size() == 0; });
  char byte = 0;
  EXPECT_EQ(-1, recv(fd.get(), &byte, 1, 0));
  EXPECT_EQ(ECONNRESET, errno);
}

TEST_F(EndToEnd, AClientThatDoesNotReadStopsTheTargetAndNotOtherFlows) {
  Listener slow;
  Listener quick;
  const auto stalled = open_flow(slow.port);
  run_until([&] { return reply(stalled).has_value(); });
  const runtime::Descriptor source = slow.accept_one();
  paused_ = true;
  const Bytes flood = pattern(64 << 20);
  std::size_t taken = 0;
  int idle = 0;
  while (idle < 200 && taken < flood.size()) {
    const ssize_t put = send(source.get(), flood.data() + taken, flood.size() - taken, MSG_DONTWAIT | MSG_NOSIGNAL);
    idle = put > 0 ? 0 : idle + 1;
    if (put > 0) taken += static_cast<std::size_t>(put);
    turn();
  }
  EXPECT_LT(taken, flood.size()) << "the target was never held back";
  const auto other = open_flow(quick.port);
  run_until([&] {
    drain(other);
    return reply(other).has_value();
  });
  paused_ = false;
  run_until(
      [&] {
        const ssize_t put = send(source.get(), flood.data() + taken, flood.size() - taken, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0) taken += static_cast<std::size_t>(put);
        drain(stalled);
        return payload(stalled).size() == flood.size();
      },
      seconds(60));
  const ByteView got = payload(stalled);
  EXPECT_TRUE(std::equal(flood.begin(), flood.end(), got.begin(), got.end()));
}

TEST_F(EndToEnd, ATargetThatDoesNotReadStopsTheClientAndLosesNothing) {
  Listener listener;
  const auto stream = open_flow(listener.port);
  const Bytes sent = pattern(24 << 20);
  write(stream, sent);
  ASSERT_TRUE(client_->finish(session_, stream));
  run_until([&] { return reply(stream).has_value(); });
  const runtime::Descriptor fd = listener.accept_one();
  for (int i = 0; i < 300; ++i) turn();
  EXPECT_LT(core_.flows().counters().bytes_to_targets, sent.size());
  Bytes got;
  std::array<std::uint8_t, 65536> part;
  bool ended = false;
  run_until(
      [&] {
        const ssize_t size = recv(fd.get(), part.data(), part.size(), MSG_DONTWAIT);
        if (size > 0) got.insert(got.end(), part.begin(), part.begin() + size);
        ended = size == 0;
        return ended;
      },
      seconds(60));
  EXPECT_EQ(sent, got);
}

TEST_F(EndToEnd, ThousandsOfShortFlowsLeaveNothingBehind) {
  Listener listener;
  std::thread server([&] {
    for (int i = 0; i < 1000; ++i) {
      const runtime::Descriptor fd = listener.accept_one();
      EXPECT_EQ(2, send(fd.get(), "ok", 2, MSG_NOSIGNAL));
    }
  });
  for (int batch = 0; batch < 10; ++batch) {
    std::vector<session::StreamId> streams;
    for (int i = 0; i < 100; ++i) {
      streams.push_back(open_flow(listener.port));
      ASSERT_TRUE(client_->finish(session_, streams.back()));
    }
    run_until([&] {
      return std::all_of(streams.begin(), streams.end(), [&](session::StreamId s) { return seen_[s].ended; });
    });
    for (const session::StreamId stream : streams) EXPECT_EQ("ok", as_text(payload(stream)));
  }
  server.join();
  run_until([&] { return core_.flows().size() == 0 && targets_.size() == 0; });
}

}  // namespace
}  // namespace postern::connector
