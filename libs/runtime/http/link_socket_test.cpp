#include "runtime/http/link_fixture.hpp"

namespace postern::runtime {
namespace {

using namespace std::chrono_literals;
using wire::FrameKind;

struct RelayEnd : LinkFixture {
  void SetUp() override {
    auto both = accepted();
    peer = std::move(both.peer);
    peers = {peer.get()};
    link = LinkSocket::accept(
        loop, buffers, std::move(both.connection), "dGhlIHNhbXBsZSBub25jZQ==",
        {.train = [this](MutableBytes bytes, std::size_t stride) { trains.emplace_back(to_bytes(bytes), stride); },
         .closed =
             [this](const std::string& reason) {
               ++closed;
               why = reason;
             }});
    ASSERT_TRUE(until([&] { return peer->received.contains("\r\n\r\n"); }));
    answer = std::exchange(peer->received, {});
  }
  /// What comes of these bytes: the reason of the end.
  std::string end_of(ByteView bytes) {
    peer->say(bytes);
    EXPECT_TRUE(until([&] { return closed > 0; }));
    EXPECT_TRUE(until([&] { return peer->is_over(); }));
    return why;
  }

  std::unique_ptr<RawPeer> peer;
  std::shared_ptr<LinkSocket> link;
  std::string answer;
  std::vector<std::pair<Bytes, std::size_t>> trains;
  int closed = 0;
  std::string why;
};

TEST_F(RelayEnd, AnswersTheUpgradeAsTheStandardSays) {
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 101 "));
  EXPECT_TRUE(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")) << "RFC 6455 §1.3";
  EXPECT_TRUE(answer.contains("\r\nSec-WebSocket-Protocol: postern-relay-1\r\n"));
}

TEST_F(RelayEnd, TrainsArriveWhateverPiecesTheirBytesComeIn) {
  const Bytes frame = link_frame(FrameKind::Binary, link_message(3, 100));
  for (const std::uint8_t byte : frame) {
    peer->say(Bytes{byte});
    peer->pump();
    loop.run_turn(0ms);
  }
  Bytes many;
  for (int i = 0; i < 20; ++i) {
    const Bytes one = link_frame(FrameKind::Binary, link_message(40, 1452));
    many.insert(many.end(), one.begin(), one.end());
  }
  peer->say(many);
  ASSERT_TRUE(until([&] { return trains.size() == 21; }));
  EXPECT_EQ(trains[0], std::pair(Bytes(300, 0x41), std::size_t{100}));
  for (std::size_t i = 1; i < trains.size(); ++i)
    EXPECT_EQ(trains[i], std::pair(Bytes(58'080, 0x41), std::size_t{1452}));
  EXPECT_EQ(link->counters().bytes_received, 300U + 20U * 58'080U);
}

TEST_F(RelayEnd, ATrainThatIsTooLongForOneMessageIsSentAsSeveral) {
  link->send(loop.now(), Bytes(200 * 300, 7), 300);
  const auto sent = [&] { return read_frames(peer->received, false); };
  ASSERT_TRUE(until([&] { return sent().size() == 2; }));
  std::size_t datagrams = 0;
  for (ReadFrame& frame : sent()) {
    const auto train = wire::parse_link_message(frame.payload);
    ASSERT_TRUE(train);
    EXPECT_EQ(train->stride, 300U);
    datagrams += train->bytes.size() / 300;
  }
  EXPECT_EQ(datagrams, 200U);
}

TEST_F(RelayEnd, APingIsAnswered) {
  peer->say(link_frame(FrameKind::Ping, as_bytes("still there?")));
  ASSERT_TRUE(until([&] { return read_frames(peer->received, false).size() == 1; }));
  const auto pong = read_frames(peer->received, false).front();
  EXPECT_EQ(pong.kind, FrameKind::Pong);
  EXPECT_EQ(as_text(pong.payload), "still there?");
}

TEST_F(RelayEnd, AGoodbyeIsReturned) {
  EXPECT_EQ(end_of(link_frame(FrameKind::Close, Bytes{3, 0xE8})), "the peer said goodbye");
  const auto said = read_frames(peer->received, false);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_EQ(said.front().kind, FrameKind::Close);
  EXPECT_EQ(said.front().payload, (Bytes{3, 0xE8}));
}

struct BadFrame {
  const char* what;
  Bytes bytes;
};
struct RelayEndRefuses : RelayEnd, testing::WithParamInterface<BadFrame> {};

TEST_P(RelayEndRefuses, WhatIsNoMessageOfALinkAndEndsItOnce) {
  EXPECT_TRUE(end_of(GetParam().bytes).starts_with("the peer sent ")) << why;
  EXPECT_TRUE(trains.empty());
  EXPECT_TRUE(link->is_closed());
  link->send(loop.now(), Bytes(10, 1), 10);
  EXPECT_EQ(link->counters().dropped_datagrams, 1U);
  turn_for(5ms);
  EXPECT_EQ(closed, 1);
}

Bytes with_first_byte(Bytes frame, std::uint8_t first) {
  frame[0] = first;
  return frame;
}

INSTANTIATE_TEST_SUITE_P(
    Bad, RelayEndRefuses,
    testing::Values(BadFrame{"text", with_first_byte(link_frame(FrameKind::Binary, link_message(1, 4)), 0x81)},
                    BadFrame{"fragment", with_first_byte(link_frame(FrameKind::Binary, link_message(1, 4)), 0x02)},
                    BadFrame{"continuation", with_first_byte(link_frame(FrameKind::Binary, link_message(1, 4)), 0x80)},
                    BadFrame{"compressed", with_first_byte(link_frame(FrameKind::Binary, link_message(1, 4)), 0xC2)},
                    BadFrame{"unmasked", link_frame(FrameKind::Binary, link_message(1, 4), false)},
                    BadFrame{"empty", link_frame(FrameKind::Binary, {})},
                    BadFrame{"stride_of_zero", link_frame(FrameKind::Binary, Bytes{0, 0, 1, 2})},
                    BadFrame{"no_datagram", link_frame(FrameKind::Binary, Bytes{0, 4})},
                    BadFrame{"too_many_datagrams", link_frame(FrameKind::Binary, link_message(129, 1))},
                    BadFrame{"too_large", Bytes{0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0}},
                    BadFrame{"enormous", Bytes{0x82, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                    BadFrame{"ping_too_large", Bytes{0x89, 0xFE, 0, 126, 0, 0, 0, 0}}),
    [](const auto& bad) { return std::string(bad.param.what); });

TEST_F(RelayEnd, APeerThatGoesWithoutAWordIsNoticed) {
  peer->vanish();
  ASSERT_TRUE(until([&] { return closed == 1; }));
  EXPECT_EQ(why, "the connection broke");
}

TEST_F(RelayEnd, APeerThatHalfClosesIsOver) {
  peer->say(link_frame(FrameKind::Binary, link_message(1, 50)));
  peer->pump();
  peer->half_close();
  ASSERT_TRUE(until([&] { return closed == 1; }));
  EXPECT_EQ(trains.size(), 1U) << "what came before is not lost";
  EXPECT_EQ(why, "the connection broke");
}

TEST_F(RelayEnd, APeerThatDoesNotReadCostsABoundedQueueOfTheNewest) {
  peer->reads = false;
  const Bytes filler(60'000, 0);
  for (int i = 0; i < 200; ++i) {
    Bytes train = filler;
    train[0] = static_cast<std::uint8_t>(i);
    link->send(loop.now(), train, 1200);
    ASSERT_LE(link->queued_bytes(), LinkSocket::kQueueMax);
  }
  EXPECT_TRUE(link->is_blocked());
  EXPECT_GT(link->counters().dropped_datagrams, 0U);
  EXPECT_EQ(link->counters().dropped_datagrams % 50, 0U) << "whole trains";
  peer->reads = true;
  ASSERT_TRUE(until([&] { return !link->is_blocked(); }));
  turn_for(5ms);
  const auto frames = read_frames(peer->received, false);
  ASSERT_FALSE(frames.empty());
  EXPECT_EQ(frames.size() + link->counters().dropped_datagrams / 50, 200U) << "none is lost without being counted";
  EXPECT_EQ(frames.back().payload[2], 199) << "the newest is there";
}

TEST_F(RelayEnd, WhatHasWaitedTooLongIsNotSentAnyMore) {
  peer->reads = false;
  while (!link->is_blocked()) link->send(loop.now(), Bytes(60'000, 1), 1200);
  link->send(loop.now(), Bytes(1200, 2), 1200);
  turn_for(LinkSocket::kWaitMax + 20ms);
  peer->reads = true;
  ASSERT_TRUE(until([&] { return !link->is_blocked(); }));
  EXPECT_EQ(link->counters().dropped_datagrams, 1U);
  link->send(loop.now(), Bytes(1200, 3), 1200);
  ASSERT_TRUE(until([&] { return read_frames(peer->received, false).back().payload[2] == 3; }));
  for (const ReadFrame& frame : read_frames(peer->received, false)) EXPECT_NE(frame.payload[2], 2);
}

TEST_F(RelayEnd, AnswersToPingsThatNobodyReadsAreBounded) {
  peer->reads = false;
  const Bytes ping = link_frame(FrameKind::Ping, Bytes(125, 'p'));
  Bytes many;
  for (int i = 0; i < 100; ++i) many.insert(many.end(), ping.begin(), ping.end());
  std::size_t most = 0;
  for (int i = 0; i < 200; ++i) {
    peer->say(many);
    ASSERT_TRUE(until([&] { return peer->has_said_all(); }));
    most = std::max(most, link->queued_bytes());
  }
  EXPECT_GT(most, 0U) << "the kernel took them all: this test shows nothing";
  EXPECT_LE(most, LinkSocket::kQueueMax / 2 + 200);
  EXPECT_TRUE(link->is_open());
}

TEST_F(RelayEnd, RefusingOneSaysSoAndEndsIt) {
  auto another = accepted();
  peers.push_back(another.peer.get());
  LinkSocket::refuse(std::move(another.connection));
  ASSERT_TRUE(until([&] { return another.peer->is_over(); }));
  EXPECT_TRUE(another.peer->received.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
}

// --- the agent's end -------------------------------------------------------------------------------------------------

struct AgentEnd : LinkFixture {
  void connect(const ServerTrust& with) {
    auto [ours, theirs] = pipe();
    peer = std::make_unique<RawPeer>(std::move(theirs), server_context, RawPeer::Role::Server);
    peers = {peer.get()};
    link = LinkSocket::connect(loop, buffers, std::move(ours),
                               {{.host = "127.0.0.1", .port = 443}, with, *make_client_context(with)},
                               {.opened = [this] { ++opened; },
                                .train = [this](MutableBytes bytes, std::size_t) { trains.push_back(to_bytes(bytes)); },
                                .closed =
                                    [this](const std::string& reason) {
                                      ++closed;
                                      why = reason;
                                    }});
  }
  void await_request() {
    ASSERT_TRUE(until([&] { return peer->received.ends_with("\r\n\r\n"); }));
    request = std::exchange(peer->received, {});
  }
  [[nodiscard]] std::string good_answer() const {
    const std::size_t at = request.find("Sec-WebSocket-Key: ") + 19;
    const std::string key = request.substr(at, request.find("\r\n", at) - at);
    return "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept: " +
           websocket_accept_value(key) + "\r\nsec-websocket-protocol: postern-relay-1\r\n\r\n";
  }
  std::string end_of(std::string_view said) {
    peer->say(said);
    EXPECT_TRUE(until([&] { return closed > 0; }));
    EXPECT_EQ(opened, 0);
    return why;
  }

  std::unique_ptr<RawPeer> peer;
  std::shared_ptr<LinkSocket> link;
  std::string request;
  std::vector<Bytes> trains;
  int opened = 0;
  int closed = 0;
  std::string why;
};

TEST_F(AgentEnd, AsksForALinkAndMasksWhatItSends) {
  connect(trust);
  await_request();
  EXPECT_TRUE(request.starts_with("GET /relay/v1 HTTP/1.1\r\n"));
  EXPECT_TRUE(request.contains("\r\nHost: 127.0.0.1\r\n"));
  EXPECT_TRUE(request.contains("\r\nSec-WebSocket-Protocol: postern-relay-1\r\n"));
  // The first frame rides behind the answer.
  peer->say(good_answer());
  peer->say(link_frame(FrameKind::Binary, link_message(2, 30), false));
  ASSERT_TRUE(until([&] { return opened == 1 && trains.size() == 1; }));
  link->send(loop.now(), Bytes(90, 5), 30);
  ASSERT_TRUE(until([&] { return peer->received.size() >= 2 + 4 + 92; }));
  EXPECT_NE(static_cast<std::uint8_t>(peer->received[1]) & 0x80, 0) << "RFC 6455 §5.1";
  const auto sent = read_frames(peer->received, true);
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].payload, link_message(3, 30, 5));
  link->close();
  ASSERT_TRUE(until([&] { return peer->is_over(); }));
  EXPECT_EQ(read_frames(peer->received, true).back().kind, FrameKind::Close);
  EXPECT_EQ(closed, 0) << "who closes it knows";
}

TEST_F(AgentEnd, AnswersThatOpenNoLinkAreNamed) {
  const std::pair<const char*, const char*> answers[] = {
      {"HTTP/1.1 404 Not Found\r\n\r\n", "the server refuses it with HTTP status 404"},
      {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n\r\n", "the server refuses it with HTTP status 503"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "the server refuses it with HTTP status 200"},
      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the server does not speak HTTP"},
      {"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: postern-relay-1\r\n\r\n",
       "the server does not speak postern-relay-1"},
      {"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
       "Sec-WebSocket-Protocol: postern-relay-1\r\n\r\n",
       "the server does not speak postern-relay-1"},
  };
  for (const auto& [answer, reason] : answers) {
    closed = 0;
    connect(trust);
    await_request();
    EXPECT_EQ(end_of(answer), reason);
  }
}

TEST_F(AgentEnd, TheRightAnswerWithoutTheSubprotocolOpensNoLink) {
  connect(trust);
  await_request();
  const std::string answer = good_answer();
  EXPECT_EQ(end_of(answer.substr(0, answer.find("sec-websocket-protocol")) + "\r\n"),
            "the server does not speak postern-relay-1");
}

TEST_F(AgentEnd, AnAnswerWithoutAnEndIsNotReadForEver) {
  connect(trust);
  await_request();
  EXPECT_EQ(end_of("HTTP/1.1 101 Switching Protocols\r\nX: " + std::string(20'000, 'x')),
            "the answer to the upgrade is too long");
}

TEST_F(AgentEnd, ARelayThatMasksIsNone) {
  connect(trust);
  await_request();
  peer->say(good_answer());
  peer->say(link_frame(FrameKind::Binary, link_message(1, 4)));
  ASSERT_TRUE(until([&] { return closed == 1; }));
  EXPECT_EQ(opened, 1);
  EXPECT_TRUE(trains.empty());
}

TEST_F(AgentEnd, AnotherKeyThanThePromisedOneIsNotTrustedAndHearsNothing) {
  connect({.key_pin = ca.root.public_key().digest()});
  ASSERT_TRUE(until([&] { return closed == 1; }));
  EXPECT_EQ(why, "127.0.0.1 is not the relay that was promised: it has another key");
  EXPECT_EQ(peer->received, "");
}

TEST_F(AgentEnd, ThePromisedKeyIsEnoughWhoeverSignedIt) {
  connect({.key_pin = ca.leaf.public_key().digest()});
  await_request();
  peer->say(good_answer());
  EXPECT_TRUE(until([&] { return opened == 1; }));
}

TEST_F(AgentEnd, AServerThatGoesDuringTheHandshakeIsNoticed) {
  connect(trust);
  peers.clear();
  loop.run_turn(1ms);
  peer->vanish();
  ASSERT_TRUE(until([&] { return closed == 1; }));
  EXPECT_EQ(why, "the TLS handshake failed");
}

}  // namespace
}  // namespace postern::runtime
