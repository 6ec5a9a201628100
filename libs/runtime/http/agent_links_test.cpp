#include "runtime/http/agent_links.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include "base/link_address.hpp"
#include "runtime/http/link_fixture.hpp"

namespace postern::runtime {
namespace {

using namespace std::chrono_literals;

/// A port of loopback, and who came to it.
class Port {
 public:
  explicit Port(EventLoop& loop) : loop_(loop), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), generic, size) != 0 || ::listen(listener_.get(), 16) != 0) std::abort();
    ::getsockname(listener_.get(), generic, &size);
    number_ = ntohs(address.sin_port);
    loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) {
      came.emplace_back(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    });
  }
  ~Port() { loop_.remove(listener_.get()); }
  [[nodiscard]] std::uint16_t number() const { return number_; }

  std::vector<Descriptor> came;

 private:
  EventLoop& loop_;
  Descriptor listener_;
  std::uint16_t number_ = 0;
};

std::string read_now(const Descriptor& from) {
  std::array<char, 4096> buffer{};
  const auto size = ::recv(from.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  return size > 0 ? std::string(buffer.data(), static_cast<std::size_t>(size)) : "";
}

void say(const Descriptor& to, std::string_view text) {
  ASSERT_EQ(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

struct AgentLinksTest : LinkFixture {
  AgentLinks links{
      loop,
      {.opened = [this](const SocketAddress& which) { opened.push_back(which); },
       .closed = [this](const SocketAddress& which, const std::string& reason) { closed.emplace_back(which, reason); },
       .train = [this](const SocketAddress&, MutableBytes bytes, std::size_t) { trains.push_back(to_bytes(bytes)); }},
      2s};
  Port port{loop};
  const SocketAddress link = link_address(1);
  std::vector<SocketAddress> opened;
  std::vector<std::pair<SocketAddress, std::string>> closed;
  std::vector<Bytes> trains;

  [[nodiscard]] AgentLinks::Wish wish(std::uint64_t attempt = 1, Proxies proxies = {}) const {
    return {link, attempt, {.host = "127.0.0.1", .port = port.number(), .proxies = std::move(proxies)}, trust};
  }
  [[nodiscard]] AgentLinks::Wish through_proxy(const std::string& who = "") const {
    return wish(1, *parse_proxies("http://" + who + "127.0.0.1:" + std::to_string(port.number()), ""));
  }
  /// Who answers at the port as the relay does, with an open link.
  std::unique_ptr<RawPeer> open_link() {
    links.want({wish()});
    EXPECT_TRUE(until([&] { return !port.came.empty(); }));
    return answer_as_relay(std::move(port.came.back()));
  }
  std::unique_ptr<RawPeer> answer_as_relay(Descriptor descriptor) {
    auto peer = std::make_unique<RawPeer>(std::move(descriptor), server_context, RawPeer::Role::Server);
    peers = {peer.get()};
    EXPECT_TRUE(until([&] { return peer->received.ends_with("\r\n\r\n"); }));
    const std::size_t at = peer->received.find("Sec-WebSocket-Key: ") + 19;
    const std::string key = peer->received.substr(at, peer->received.find("\r\n", at) - at);
    peer->received.clear();
    peer->say("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + websocket_accept_value(key) +
              "\r\nSec-WebSocket-Protocol: postern-relay-1\r\n\r\n");
    EXPECT_TRUE(until([&] { return !opened.empty(); }));
    return peer;
  }
  /// What the proxy's answer is called.
  std::string reason_of(std::string_view answer, const std::string& who = "") {
    links.want({through_proxy(who)});
    EXPECT_TRUE(until([&] { return !port.came.empty(); }));
    std::string asked;
    EXPECT_TRUE(until([&] { return (asked += read_now(port.came.back())).ends_with("\r\n\r\n"); }));
    last_asked = asked;
    say(port.came.back(), answer);
    EXPECT_TRUE(until([&] { return !closed.empty(); }));
    const std::string reason = closed.empty() ? "" : closed.back().second;
    closed.clear();
    port.came.clear();
    links.want({});
    return reason;
  }
  std::string last_asked;
};

TEST_F(AgentLinksTest, AWantedLinkIsOpenedAndCarriesTrainsUntilItIsWantedNoMore) {
  const auto relay = open_link();
  EXPECT_EQ(opened, std::vector{link});
  links.send(loop.now(), link, Bytes(60, 9), 20);
  relay->say(link_frame(wire::FrameKind::Binary, link_message(2, 40), false));
  ASSERT_TRUE(until([&] { return trains.size() == 1 && !read_frames(relay->received, true).empty(); }));
  EXPECT_EQ(read_frames(relay->received, true)[0].payload, link_message(3, 20, 9));
  links.want({wish()});
  turn_for(2ms);
  EXPECT_FALSE(relay->is_over()) << "wanted still";
  EXPECT_EQ(links.counters().bytes_sent, 60U);
  links.want({});
  ASSERT_TRUE(until([&] { return relay->is_over(); }));
  EXPECT_TRUE(closed.empty()) << "who closes it knows";
  EXPECT_EQ(links.counters().bytes_sent, 60U) << "what a closed link has done is not forgotten";
}

TEST_F(AgentLinksTest, AnotherAttemptIsAnotherConnection) {
  const auto relay = open_link();
  links.want({wish(2)});
  ASSERT_TRUE(until([&] { return relay->is_over() && port.came.size() == 2; }));
}

TEST_F(AgentLinksTest, TrainsForALinkThatIsNotOpenAreDroppedAndCounted) {
  links.send(loop.now(), link, Bytes(60, 9), 20);
  links.want({wish()});
  links.send(loop.now(), link, Bytes(60, 9), 20);
  EXPECT_EQ(links.counters().dropped_datagrams, 2U);
}

TEST_F(AgentLinksTest, ARelayThatEndsTheLinkIsToldOnce) {
  const auto relay = open_link();
  relay->vanish();
  ASSERT_TRUE(until([&] { return !closed.empty(); }));
  turn_for(5ms);
  ASSERT_EQ(closed.size(), 1U);
  EXPECT_EQ(closed[0], std::pair(link, std::string("the connection broke")));
}

TEST_F(AgentLinksTest, WhereNobodyListensThatIsSaid) {
  const std::uint16_t number = Port(loop).number();
  AgentLinks::Wish nobody = wish();
  nobody.server.port = number;
  links.want({nobody});
  ASSERT_TRUE(until([&] { return !closed.empty(); }));
  EXPECT_EQ(closed[0].second, "Connection refused");
}

TEST_F(AgentLinksTest, AServerThatTakesTheConnectionAndSaysNothingIsGivenUp) {
  const Instant began = monotonic_now();
  links.want({wish()});
  ASSERT_TRUE(until([&] { return !closed.empty(); }));
  EXPECT_EQ(closed[0].second, "it gave no answer in time");
  EXPECT_GE(monotonic_now() - began, 1900ms);
}

TEST_F(AgentLinksTest, AServerThatAnswersTheUpgradeByteByByteHasNoLongerThanAnother) {
  links.want({wish()});
  ASSERT_TRUE(until([&] { return !port.came.empty(); }));
  RawPeer slow(std::move(port.came.back()), server_context, RawPeer::Role::Server);
  peers = {&slow};
  Instant said;
  ASSERT_TRUE(until([&] {
    if (monotonic_now() - said > 50ms) {
      slow.say("H");
      said = monotonic_now();
    }
    return !closed.empty();
  }));
  EXPECT_EQ(closed[0].second, "it gave no answer in time");
  EXPECT_TRUE(opened.empty());
  peers.clear();
}

TEST_F(AgentLinksTest, WhileTheRelayTakesNothingSendersWaitButNotForLong) {
  const auto relay = open_link();
  relay->reads = false;
  EXPECT_FALSE(links.is_blocked(monotonic_now()));
  Instant now = monotonic_now();
  while (!links.is_blocked(now)) links.send(now, link, Bytes(60'000, 1), 1200);
  EXPECT_TRUE(links.is_blocked(now + AgentLinks::kPatience - 1ms));
  EXPECT_FALSE(links.is_blocked(now + AgentLinks::kPatience)) << "others on this loop shall not wait with it";
  for (int i = 0; i < 100; ++i) links.send(now, link, Bytes(60'000, 1), 1200);
  turn_for(2ms);
  EXPECT_GT(links.counters().dropped_datagrams, 0U);
}

// --- proxies ---------------------------------------------------------------------------------------------------------

TEST_F(AgentLinksTest, AProxyIsAskedForTheRelayAndThenCarriesTheLink) {
  links.want({through_proxy("name:pass%20word@")});
  ASSERT_TRUE(until([&] { return !port.came.empty(); }));
  std::string asked;
  ASSERT_TRUE(until([&] { return (asked += read_now(port.came.back())).ends_with("\r\n\r\n"); }));
  EXPECT_TRUE(asked.starts_with("CONNECT 127.0.0.1:" + std::to_string(port.number()) + " HTTP/1.1\r\n")) << asked;
  EXPECT_TRUE(asked.contains("\r\nProxy-Authorization: Basic bmFtZTpwYXNzIHdvcmQ=\r\n")) << asked;
  say(port.came.back(), "HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n");
  const auto relay = answer_as_relay(std::move(port.came.back()));
  relay->say(link_frame(wire::FrameKind::Binary, link_message(1, 40), false));
  EXPECT_TRUE(until([&] { return trains.size() == 1; }));
  EXPECT_TRUE(closed.empty());
}

TEST_F(AgentLinksTest, WhatAProxyAnswersIsSaidWithWhatToDoAndWithoutThePassword) {
  const std::string proxy = "the proxy 127.0.0.1:" + std::to_string(port.number());
  EXPECT_EQ(reason_of("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            proxy + " wants a name and a password: give them in its URL, http://NAME:PASSWORD@HOST:PORT");
  EXPECT_EQ(reason_of("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "u:secret@"),
            proxy + " does not take the name and password of its URL");
  EXPECT_EQ(reason_of("HTTP/1.1 502 Bad Gateway\r\n\r\n", "u:secret@"),
            proxy + " refuses to connect to 127.0.0.1:" + std::to_string(port.number()) + " (HTTP 502)");
  EXPECT_EQ(reason_of("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhello"),
            proxy + " refuses to connect to 127.0.0.1:" + std::to_string(port.number()) + " (HTTP 403)");
}

TEST_F(AgentLinksTest, WhatIsNoProxyIsCalledThat) {
  const std::string proxy = "the proxy 127.0.0.1:" + std::to_string(port.number());
  for (const std::string_view answer : {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 2xx\r\n\r\n", "HTTP/1.1\r\n\r\n",
                                        "\r\n\r\n", "HTTP/1.1 101 No\r\n\r\n"}) {
    EXPECT_EQ(reason_of(answer), proxy + " does not answer as a proxy does") << answer;
  }
  EXPECT_EQ(reason_of("HTTP/1.1 200 OK\r\n\r\nbytes that the server cannot have sent yet"),
            proxy + " does not answer as a proxy does");
  EXPECT_EQ(reason_of("HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'x')), proxy + " does not answer as a proxy does")
      << "a header without an end";
}

TEST_F(AgentLinksTest, AProxyThatHangsUpOrSaysNothingIsNamed) {
  const std::string proxy = "the proxy 127.0.0.1:" + std::to_string(port.number());
  links.want({through_proxy()});
  ASSERT_TRUE(until([&] { return !port.came.empty(); }));
  port.came.clear();
  ASSERT_TRUE(until([&] { return !closed.empty(); }));
  EXPECT_TRUE(closed[0].second.starts_with(proxy + ": ")) << closed[0].second;
  closed.clear();
  links.want({through_proxy()});
  ASSERT_TRUE(until([&] { return !closed.empty(); }));
  EXPECT_EQ(closed[0].second, "it gave no answer in time");
}

}  // namespace
}  // namespace postern::runtime
