#include "client_core/proxy_handshake.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::client {
namespace {

using Step = ProxyHandshake::Step;
using testing::HasSubstr;
using testing::StartsWith;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

Step feed(ProxyHandshake& handshake, std::string_view text) {
  return handshake.feed(as_bytes(text));
}

const SocketAddress kBound{IpAddress::v4(127, 0, 0, 1), 1080};
const Destination kThere{*model::DnsName::parse("db.home.lan"), 5432};

TEST(ProxyHandshake, TakesASocksNameAsANameAndKeepsWhatFollowsForTheStream) {
  ProxyHandshake handshake(nullptr);
  EXPECT_EQ(feed(handshake, bytes({5, 2, 0, 2})), Step::More);
  EXPECT_EQ(handshake.take_output(), bytes({5, 0}));
  EXPECT_EQ(feed(handshake, bytes({5, 1, 0, 3, 11}) + "DB.Home.Lan" + bytes({0x15, 0x38}) + "hello"), Step::Ready);
  EXPECT_EQ(handshake.destination(), kThere);
  EXPECT_EQ(handshake.command(), ProxyCommand::Connect);
  EXPECT_EQ(handshake.take_stream(), "hello");
  EXPECT_EQ(handshake.opened(kBound), bytes({5, 0, 0, 1, 127, 0, 0, 1, 4, 56}));
}

TEST(ProxyHandshake, TakesSocksByteByByteAndAllAtOnce) {
  const std::string said = bytes({5, 1, 0, 5, 1, 0, 1, 192, 168, 1, 7, 0, 80});
  ProxyHandshake slow(nullptr);
  for (std::size_t i = 0; i + 1 < said.size(); ++i) EXPECT_EQ(feed(slow, said.substr(i, 1)), Step::More);
  EXPECT_EQ(feed(slow, said.substr(said.size() - 1)), Step::Ready);
  ProxyHandshake fast(nullptr);
  EXPECT_EQ(feed(fast, said), Step::Ready);
  EXPECT_EQ(fast.destination().text(), "192.168.1.7:80");
  EXPECT_EQ(slow.destination(), fast.destination());
}

TEST(ProxyHandshake, TakesASocksIpv6Address) {
  ProxyHandshake handshake(nullptr);
  const std::string address = bytes({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7});
  EXPECT_EQ(feed(handshake, bytes({5, 1, 0, 5, 1, 0, 4}) + address + bytes({1, 0xbb})), Step::Ready);
  EXPECT_EQ(handshake.destination().text(), "[2001:db8::7]:443");
}

TEST(ProxyHandshake, RefusesSocksCommandsAndAddressesThatItDoesNotKnow) {
  ProxyHandshake bind(nullptr);
  EXPECT_EQ(feed(bind, bytes({5, 1, 0, 5, 2, 0, 1, 10, 0, 0, 1, 0, 80})), Step::Failed);
  EXPECT_EQ(bind.take_output().substr(2, 2), bytes({5, 7}));
  ProxyHandshake odd(nullptr);
  EXPECT_EQ(feed(odd, bytes({5, 1, 0, 5, 1, 0, 2, 10, 0, 0, 1, 0, 80})), Step::Failed);
  EXPECT_EQ(odd.take_output().substr(2, 2), bytes({5, 8}));
  ProxyHandshake nobody(nullptr);
  EXPECT_EQ(feed(nobody, bytes({5, 1, 0, 5, 1, 0, 3, 3}) + "a b" + bytes({0, 80})), Step::Failed);
  EXPECT_EQ(nobody.take_output().substr(2, 2), bytes({5, 4}));
}

TEST(ProxyHandshake, WantsThePasswordWhereThereIsOne) {
  const ProxyLogin login{"ann", "secret"};
  ProxyHandshake without(&login);
  EXPECT_EQ(feed(without, bytes({5, 1, 0})), Step::Failed);
  EXPECT_EQ(without.take_output(), bytes({5, 0xFF}));
  ProxyHandshake wrong(&login);
  EXPECT_EQ(feed(wrong, bytes({5, 1, 2, 1, 3}) + "ann" + bytes({6}) + "sicret"), Step::Failed);
  EXPECT_EQ(wrong.take_output(), bytes({5, 2, 1, 1}));
  ProxyHandshake longer(&login);
  EXPECT_EQ(feed(longer, bytes({5, 1, 2, 1, 3}) + "ann" + bytes({12}) + "secretsecret"), Step::Failed);
  ProxyHandshake right(&login);
  EXPECT_EQ(feed(right, bytes({5, 1, 2, 1, 3}) + "ann" + bytes({6}) + "secret"), Step::More);
  EXPECT_EQ(right.take_output(), bytes({5, 2, 1, 0}));
  EXPECT_EQ(feed(right, bytes({5, 1, 0, 1, 10, 0, 0, 1, 0, 80})), Step::Ready);
}

TEST(ProxyHandshake, TakesHttpConnect) {
  ProxyHandshake handshake(nullptr);
  EXPECT_EQ(feed(handshake, "CONNECT db.home.lan:5432 HTTP/1.1\r\nHost: db.home.lan:5432\r\n\r\nhello"), Step::Ready);
  EXPECT_EQ(handshake.destination(), kThere);
  EXPECT_EQ(handshake.take_stream(), "hello");
  EXPECT_THAT(handshake.opened(kBound), StartsWith("HTTP/1.1 200 "));
}

TEST(ProxyHandshake, RewritesARequestWithAUrlForItsServer) {
  ProxyHandshake handshake(nullptr);
  EXPECT_EQ(
      feed(handshake,
           "POST http://web.home.lan:8080/a?b HTTP/1.1\r\nHost: web.home.lan:8080\r\nProxy-Connection: "
           "keep-alive\r\nProxy-Authorization: Basic eA==\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"),
      Step::Ready);
  EXPECT_EQ(handshake.destination().text(), "web.home.lan:8080");
  EXPECT_EQ(handshake.take_stream(),
            "POST /a?b HTTP/1.1\r\nHost: web.home.lan:8080\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
  EXPECT_EQ(handshake.opened(kBound), "");
  ProxyHandshake bare(nullptr);
  EXPECT_EQ(feed(bare, "GET http://web.home.lan HTTP/1.1\r\n\r\n"), Step::Ready);
  EXPECT_EQ(bare.destination().text(), "web.home.lan:80");
  EXPECT_EQ(bare.take_stream(), "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
}

TEST(ProxyHandshake, RefusesHttpThatIsNotForAProxy) {
  for (const std::string_view said :
       {"GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n", "GET\r\n\r\n", "CONNECT web.home.lan HTTP/1.1\r\n\r\n",
        "CONNECT a b:80 HTTP/1.1\r\n\r\n", "GET ftp://a/ HTTP/1.1\r\n\r\n", "GET http:///x HTTP/1.1\r\n\r\n"}) {
    ProxyHandshake handshake(nullptr);
    EXPECT_EQ(feed(handshake, said), Step::Failed) << said;
    EXPECT_THAT(handshake.take_output(), StartsWith("HTTP/1.1 400 ")) << said;
  }
}

TEST(ProxyHandshake, WantsThePasswordOverHttpToo) {
  const ProxyLogin login{"ann", "secret"};
  const std::string head = "CONNECT db.home.lan:5432 HTTP/1.1\r\n";
  ProxyHandshake without(&login);
  EXPECT_EQ(feed(without, head + "\r\n"), Step::Failed);
  EXPECT_THAT(without.take_output(), HasSubstr("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic"));
  ProxyHandshake wrong(&login);
  EXPECT_EQ(feed(wrong, head + "Proxy-Authorization: Basic YW5uOnNpY3JldA==\r\n\r\n"), Step::Failed);
  ProxyHandshake right(&login);
  EXPECT_EQ(feed(right, head + "proxy-authorization: basic YW5uOnNlY3JldA==\r\n\r\n"), Step::Ready);
}

TEST(ProxyHandshake, RefusesWhatIsNeitherSocks5NorHttpAndHeadsWithoutEnd) {
  ProxyHandshake socks4(nullptr);
  EXPECT_EQ(feed(socks4, bytes({4, 1})), Step::Failed);
  ProxyHandshake tls(nullptr);
  EXPECT_EQ(feed(tls, bytes({0x16, 3, 1})), Step::Failed);
  ProxyHandshake endless(nullptr);
  EXPECT_EQ(feed(endless, "GET http://a/ HTTP/1.1\r\n" + std::string(ProxyHandshake::kHeadMax, 'x')), Step::Failed);
  EXPECT_THAT(endless.take_output(), StartsWith("HTTP/1.1 431 "));
}

TEST(ProxyHandshake, TellsTheTruthAboutEveryRefusal) {
  const auto code = [](FlowRefusal reason, tcp::Refusal answer = tcp::Refusal::HostUnreachable) {
    return socks_reply({reason, answer});
  };
  EXPECT_EQ(code(FlowRefusal::NoResource), 2);
  EXPECT_EQ(code(FlowRefusal::PortNotAllowed), 2);
  EXPECT_EQ(code(FlowRefusal::RefusedByConnector), 2);
  EXPECT_EQ(code(FlowRefusal::NoRelay), 3);
  EXPECT_EQ(code(FlowRefusal::TargetUnreachable, tcp::Refusal::NetworkUnreachable), 3);
  EXPECT_EQ(code(FlowRefusal::TargetUnreachable), 4);
  EXPECT_EQ(code(FlowRefusal::RefusedByTarget), 5);
  EXPECT_EQ(code(FlowRefusal::TargetSilent), 6);
  EXPECT_EQ(code(FlowRefusal::TooManyFlows), 1);
  EXPECT_EQ(http_status({FlowRefusal::NoResource, {}}), "403 Forbidden");
  EXPECT_EQ(http_status({FlowRefusal::RefusedByTarget, {}}), "502 Bad Gateway");
  EXPECT_EQ(http_status({FlowRefusal::TargetSilent, {}}), "504 Gateway Timeout");
  for (std::size_t i = 0; i < static_cast<std::size_t>(FlowRefusal::kCount); ++i) {
    const FlowDenial denial{static_cast<FlowRefusal>(i), tcp::Refusal::Reset};
    EXPECT_THAT(describe(denial, kThere), HasSubstr("db.home.lan:5432"));
    EXPECT_EQ(describe(denial, kThere).find('\n'), std::string::npos);
  }
}

TEST(ProxyHandshake, DecodesBase64) {
  EXPECT_EQ(decode_base64("YW5uOnNlY3JldA=="), "ann:secret");
  EXPECT_EQ(decode_base64("YWI="), "ab");
  EXPECT_EQ(decode_base64("YWJj"), "abc");
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_FALSE(decode_base64("YW=u"));
  EXPECT_FALSE(decode_base64("YWJ"));
  EXPECT_FALSE(decode_base64("=AAA"));
}

}  // namespace
}  // namespace postern::client
