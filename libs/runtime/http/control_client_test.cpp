#include "runtime/http/control_client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "runtime/http/http_fixture.hpp"
#include "runtime/http/websocket.hpp"

namespace postern::runtime {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

Bytes encode(const auto& message) {
  Bytes bytes(message.ByteSizeLong());
  message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

wire::ControllerMessage challenge(const std::string& network) {
  wire::ControllerMessage message;
  message.mutable_challenge()->set_nonce(std::string(32, 'n'));
  message.mutable_challenge()->set_network(network);
  return message;
}

wire::ControllerMessage welcome() {
  wire::ControllerMessage message;
  message.mutable_welcome()->set_network("home");
  message.mutable_welcome()->set_route_id("7 bytes");
  return message;
}

/// A control channel on loopback whose other side each test writes itself.
class ControlClientTest : public ::testing::Test {
 protected:
  using Script = std::function<void(WebSocket&, const wire::AgentMessage&)>;

  ControlClientTest() : server_(ca_) {
    server_.http().upgrade("/control/v1", [this](std::shared_ptr<ByteStream> stream, const HttpRequest& request) {
      ++connections_;
      auto number = sockets_.size();
      sockets_.push_back(
          WebSocket::accept(server_.loop(), std::move(stream), request, limits_,
                            {.opened = [this, number] { opened_(*sockets_[number]); },
                             .message =
                                 [this, number](ByteView bytes) {
                                   wire::AgentMessage message;
                                   ASSERT_TRUE(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
                                   script_(*sockets_[number], message);
                                 },
                             .closed = [this](const std::string& reason) { reasons_.push_back(reason); }}));
    });
  }
  ~ControlClientTest() override {
    if (client_) client_->stop();
    server_.stop();
  }

  void start(const std::string& network = "home", std::optional<Digest> pin = std::nullopt) {
    server_.start();
    ControlConfig config{.server = server_.address(),
                         .trust = {.root_pin = pin.value_or(ca_.pin())},
                         .role = wire::AGENT_ROLE_CONNECTOR,
                         .key = key_,
                         .expected_network = network,
                         .refresh_token = "ptr1_x",
                         .software = "test",
                         .hostname = "host",
                         .labels = {{"a", "b"}}};
    client_ = std::make_unique<ControlClient>(std::move(config), loop_,
                                              [this](ControlEvent event) { events_.push_back(std::move(event)); });
    client_->start();
  }

  /// The next event; the owner's loop runs until it is there.
  template <typename Event>
  Event next() {
    for (int turn = 0; turn < 2000 && events_.empty(); ++turn) loop_.run_turn(20ms);
    if (events_.empty()) throw std::runtime_error("no event came");
    ControlEvent event = std::move(events_.front());
    events_.pop_front();
    if (const auto* down = std::get_if<ControlDown>(&event); down != nullptr && !std::is_same_v<Event, ControlDown>) {
      throw std::runtime_error("down instead: " + down->reason);
    }
    return std::get<Event>(std::move(event));
  }

  /// Takes the next event when it is ControlUp.
  bool event_is_up() {
    for (int turn = 0; turn < 2000 && events_.empty(); ++turn) loop_.run_turn(20ms);
    if (events_.empty() || !std::holds_alternative<ControlUp>(events_.front())) return false;
    events_.pop_front();
    return true;
  }

  TestCa ca_;
  TestServer server_;  // its loop outlives the sockets on it
  identity::PrivateKey key_ = identity::PrivateKey::generate(ca_.random);
  WebSocketLimits limits_;
  std::function<void(WebSocket&)> opened_ = [](WebSocket& socket) { socket.send(encode(challenge("home"))); };
  Script script_ = [](WebSocket& socket, const wire::AgentMessage& message) {
    if (message.has_authenticate()) socket.send(encode(welcome()));
  };
  std::vector<std::shared_ptr<WebSocket>> sockets_;
  std::vector<std::string> reasons_;
  std::atomic<int> connections_ = 0;
  EventLoop loop_;
  std::deque<ControlEvent> events_;
  std::unique_ptr<ControlClient> client_;
};

TEST_F(ControlClientTest, ProvesItsKeyAndComesUp) {
  const auto shown = std::make_shared<std::promise<wire::Authenticate>>();
  script_ = [shown](WebSocket& socket, const wire::AgentMessage& message) {
    shown->set_value(message.authenticate());
    socket.send(encode(welcome()));
  };
  start();
  next<ControlUp>();
  EXPECT_TRUE(next<wire::ControllerMessage>().has_welcome());
  const wire::Authenticate who = shown->get_future().get();
  const auto key = identity::PublicKey::from_spki(as_bytes(who.public_key()));
  ASSERT_TRUE(key);
  const Bytes input = identity::control_signature_input(as_bytes(std::string(32, 'n')), "home", "connector");
  EXPECT_TRUE(key->verify(input, as_bytes(who.signature())));
  EXPECT_EQ(who.refresh_token(), "ptr1_x");
  EXPECT_EQ(who.labels().at("a"), "b");
}

TEST_F(ControlClientTest, SendsMessagesOnceItIsUp) {
  std::promise<std::uint64_t> heard;
  script_ = [&](WebSocket& socket, const wire::AgentMessage& message) {
    if (message.has_authenticate()) socket.send(encode(welcome()));
    if (message.has_heartbeat()) heard.set_value(message.heartbeat().sent_at());
  };
  start();
  next<ControlUp>();
  wire::AgentMessage heartbeat;
  heartbeat.mutable_heartbeat()->set_sent_at(42);
  client_->send(heartbeat);
  EXPECT_EQ(heard.get_future().get(), 42U);
}

TEST_F(ControlClientTest, EndsForGoodAtAnotherNetwork) {
  start("office");
  const auto down = next<ControlDown>();
  EXPECT_EQ(down.failure, ControlFailure::WrongNetwork);
  EXPECT_TRUE(down.final);
  EXPECT_THAT(down.reason, HasSubstr("office"));
}

TEST_F(ControlClientTest, EndsForGoodWhenItsTokensWereRevoked) {
  script_ = [](WebSocket& socket, const wire::AgentMessage&) {
    wire::ControllerMessage message;
    message.mutable_denied()->set_code(410);
    message.mutable_denied()->set_reason("tokens revoked");
    socket.send(encode(message));
    socket.close();
  };
  start();
  const auto down = next<ControlDown>();
  EXPECT_EQ(down.failure, ControlFailure::Denied);
  EXPECT_EQ(down.code, 410U);
  EXPECT_TRUE(down.final);
}

TEST_F(ControlClientTest, TellsAServerThatIsNotThePromisedOne) {
  start("home", Digest{});
  const auto down = next<ControlDown>();
  EXPECT_EQ(down.failure, ControlFailure::PinMismatch);
  EXPECT_FALSE(down.final);
  EXPECT_EQ(connections_, 0);
}

TEST_F(ControlClientTest, ComesBackByItselfWithTheVersionAndRouteItHolds) {
  std::atomic<bool> first = true;
  std::promise<wire::Authenticate> second;
  script_ = [&](WebSocket& socket, const wire::AgentMessage& message) {
    if (message.has_authenticate() && !first) second.set_value(message.authenticate());
    first = false;
    socket.send(encode(welcome()));
  };
  start();
  next<ControlUp>();
  next<wire::ControllerMessage>();
  client_->set_known_version(17);
  server_.ask([this] {
    sockets_.front()->close();
    return true;
  });
  EXPECT_EQ(next<ControlDown>().failure, ControlFailure::Closed);
  next<ControlUp>();
  const auto who = second.get_future().get();
  EXPECT_EQ(who.known_version(), 17U);
  EXPECT_EQ(who.route_id(), "7 bytes");
}

TEST_F(ControlClientTest, DropsTheConnectionAtAMessageThatCannotBeRead) {
  script_ = [](WebSocket& socket, const wire::AgentMessage&) { socket.send(Bytes(100, 0xff)); };
  start();
  const auto down = next<ControlDown>();
  EXPECT_EQ(down.failure, ControlFailure::Closed);
  EXPECT_THAT(down.reason, HasSubstr("cannot be read"));
}

TEST_F(ControlClientTest, IsCutOffWhenItsMessageIsTooLarge) {
  limits_.message_max = 1024;
  start();
  next<ControlUp>();
  next<wire::ControllerMessage>();
  wire::AgentMessage message;
  message.mutable_flow_record()->set_target(std::string(4096, 'x'));
  client_->send(message);
  EXPECT_EQ(next<ControlDown>().failure, ControlFailure::Closed);
}

TEST_F(ControlClientTest, IsCutOffWhenItReadsTooSlowly) {
  limits_.queued_bytes_max = 64 * 1024;
  std::atomic<int> sent = 0;
  script_ = [&sent](WebSocket& socket, const wire::AgentMessage&) {
    socket.send(encode(welcome()));
    // All at once: nothing of it can leave before the queue is full.
    for (sent = 0; sent < 100 && socket.send(Bytes(4096, 0x2a)); ++sent) continue;
  };
  start();
  // The first message may have left before the queue was full.
  if (event_is_up()) next<wire::ControllerMessage>();
  EXPECT_EQ(next<ControlDown>().failure, ControlFailure::Closed);
  client_->stop();
  server_.stop();
  EXPECT_LT(sent, 20);
}

TEST_F(ControlClientTest, StopsWhileItWaitsForAServerThatIsNotThere) {
  ControlConfig config{.server = {.host = "127.0.0.1", .port = 1}, .trust = {.root_pin = Digest{}}, .key = key_};
  ControlClient client(std::move(config), loop_, [this](ControlEvent event) { events_.push_back(std::move(event)); });
  client.start();
  EXPECT_EQ(next<ControlDown>().failure, ControlFailure::Unreachable);
  client.stop();
}

}  // namespace
}  // namespace postern::runtime
