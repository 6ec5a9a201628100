#include "runtime/http/http_server.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "runtime/http/http_fixture.hpp"
#include "runtime/http/https_request.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr auto kPatience = 20s;

class HttpServerTest : public ::testing::Test {
 protected:
  void serve(HttpServerConfig config = {}, const std::string& uri = "postern:controller") {
    server_ = std::make_unique<TestServer>(ca_, config, uri);
    server_->http().route("GET", "/hello", [](const HttpRequest& request, const HttpServer::Responder& answer) {
      answer({.status = 200, .body = "hello " + std::string(request.query())});
    });
    server_->http().route("POST", "/echo", [this](const HttpRequest& request, const HttpServer::Responder& answer) {
      // From another thread, as password checks answer.
      workers_.emplace_back([answer, body = request.body] { answer({.status = 200, .body = body}); });
    });
    server_->http().route("GET", "/never", [](const HttpRequest&, const HttpServer::Responder&) {});
    server_->start();
  }
  auto get(std::string_view target, std::string_view method = "GET", std::string_view body = {}) {
    return https_exchange(server_->address(), {.root_pin = ca_.pin()},
                          {.method = method, .target = target, .body = body}, kPatience);
  }
  HttpServerCounters counters() {
    return server_->ask([this] { return server_->http().counters(); });
  }

  TestCa ca_;
  std::vector<std::jthread> workers_;
  std::unique_ptr<TestServer> server_;
};

TEST_F(HttpServerTest, AnswersRoutesAndRefusesWhatItDoesNotKnow) {
  serve();
  EXPECT_EQ(get("/hello?you")->body, "hello you");
  EXPECT_EQ(get("/echo", "POST", "some text")->body, "some text");
  EXPECT_EQ(get("/nowhere")->status, 404);
  const auto refused = get("/hello", "DELETE");
  EXPECT_EQ(refused->status, 405);
  EXPECT_EQ(find_header(refused->headers, "allow"), "GET");
  EXPECT_EQ(find_header(get("/hello")->headers, "X-Content-Type-Options"), "nosniff");
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  serve();
  const std::string answer = talk(*server_, ca_, "HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 6\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  serve();
  const std::string request = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n";
  const std::string last = "GET /hello?end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  const std::string answer = talk(*server_, ca_, request + "a" + request + "b" + last);
  const auto first = answer.find("\r\n\r\na"), second = answer.find("\r\n\r\nb"), third = answer.find("hello end");
  EXPECT_TRUE(first < second && second < third && third != std::string::npos) << answer;
}

TEST_F(HttpServerTest, RefusesWhatIsTooLargeOrNotHttp) {
  serve();
  EXPECT_THAT(talk(*server_, ca_, "GET / HTTP/1.1\r\nX: " + std::string(17000, 'a') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(talk(*server_, ca_, "POST /echo HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(talk(*server_, ca_, "\x16\x03\x01garbage\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_EQ(get("/hello")->status, 200);
  EXPECT_EQ(counters().malformed, 3U);
}

TEST_F(HttpServerTest, ClosesAConnectionWhoseRequestNeverEnds) {
  serve({.request_max = 50ms});
  EXPECT_EQ(talk(*server_, ca_, "GET /hello HTTP/1.1\r\nHost: x"), "");
  EXPECT_EQ(counters().timed_out, 1U);
}

TEST_F(HttpServerTest, ClosesAConnectionWhoseAnswerNeverComes) {
  serve({.answer_max = 50ms});
  EXPECT_EQ(talk(*server_, ca_, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n"), "");
}

/// A TCP connection that says nothing; true when the server has closed it.
bool is_closed_by_server(const TestServer& server) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.address().port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return false;
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char byte = 0;
  const ssize_t size = ::recv(socket.get(), &byte, 1, 0);
  return size == 0 || (size < 0 && errno != EAGAIN);
}

TEST_F(HttpServerTest, ClosesAConnectionWithoutATlsHandshake) {
  HttpServerConfig config;
  config.tls.handshake_max = 50ms;
  serve(config);
  EXPECT_TRUE(is_closed_by_server(*server_));
}

TEST_F(HttpServerTest, LetsTheOldestHandshakeGoAtTheBound) {
  HttpServerConfig config;
  config.tls.handshakes_max = 1;
  serve(config);
  auto first = std::async(std::launch::async, [this] { return is_closed_by_server(*server_); });
  while (server_->ask([this] { return server_->http().tls_counters().accepted; }) < 1) std::this_thread::yield();
  EXPECT_EQ(get("/hello")->status, 200);
  EXPECT_TRUE(first.get());
}

TEST_F(HttpServerTest, IsTrustedOnlyWithThePromisedRootAndRole) {
  serve();
  const auto ask = [this](const ServerTrust& trust) {
    const auto answer = https_exchange(server_->address(), trust, {.target = "/hello"}, kPatience);
    return answer                                                  ? std::string("trusted")
           : answer.error().kind == ConnectError::Kind::NotTrusted ? "not trusted"
                                                                   : "unreachable";
  };
  EXPECT_EQ(ask({.root_pin = ca_.pin()}), "trusted");
  EXPECT_EQ(ask({.root_pin = Digest{}}), "not trusted");
  EXPECT_EQ(ask({.root_pin = ca_.leaf.public_key().digest()}), "not trusted");  // a leaf is no root
  EXPECT_EQ(ask({}), "not trusted");                                            // no public authority knows it
}

TEST_F(HttpServerTest, IsNotTrustedWithALeafOfAnotherRole) {
  serve({}, "postern:relay");
  const auto answer = get("/hello");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ConnectError::Kind::NotTrusted);
}

TEST_F(HttpServerTest, IsNotTrustedWhenAnotherRootSignedTheLeafAndThePinnedRootIsOnlyShown) {
  // Everybody can see the pinned root's certificate; only its key can make a leaf.
  TestCa other;
  SeededRandom random(99);
  other.root = identity::PrivateKey::generate(random);
  const std::string pinned_pem = ca_.root_pem;
  other.root_pem = identity::make_root_certificate(other.root, "test", test_time());
  HttpServerConfig config;
  config.tls.listen = {IpAddress::v4(127, 0, 0, 1), 0};
  config.tls.certificate_pem = other.chain("postern:controller") + pinned_pem;
  config.tls.private_key_pem = other.leaf.to_pem();
  IoLoop loop;
  HttpServer server(loop, config);
  ASSERT_TRUE(server.start());
  std::thread thread([&] { loop.run(); });
  const auto answer =
      https_exchange({.host = "127.0.0.1", .port = server.port()}, {.root_pin = ca_.pin()}, {}, kPatience);
  loop.post([&] { loop.stop(); });
  thread.join();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ConnectError::Kind::NotTrusted);
}

TEST_F(HttpServerTest, PresentsANewCertificateToNewConnections) {
  serve();
  SeededRandom random(1234);
  TestCa next;
  next.root = identity::PrivateKey::generate(random);
  next.root_pem = identity::make_root_certificate(next.root, "next", test_time());
  const std::string chain = next.chain("postern:controller");
  EXPECT_FALSE(server_->ask([&] { return server_->http().replace_certificate("nonsense", "nonsense"); }));
  EXPECT_EQ(get("/hello")->status, 200);
  EXPECT_TRUE(server_->ask([&] { return server_->http().replace_certificate(chain, next.leaf.to_pem()); }));
  EXPECT_FALSE(get("/hello"));
  EXPECT_TRUE(https_exchange(server_->address(), {.root_pin = next.pin()}, {.target = "/hello"}, kPatience));
}

TEST_F(HttpServerTest, SaysThatItsPortIsTaken) {
  serve();
  IoLoop loop;
  HttpServerConfig config;
  config.tls.listen = {IpAddress::v4(127, 0, 0, 1), server_->address().port};
  config.tls.certificate_pem = ca_.chain("postern:controller");
  config.tls.private_key_pem = ca_.leaf.to_pem();
  HttpServer second(loop, config);
  const auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().kind, ListenError::Kind::AddressInUse);
  EXPECT_THAT(started.error().message, HasSubstr(std::to_string(server_->address().port)));
}

TEST(HttpsRequest, SaysThatNobodyIsThere) {
  const auto answer = https_exchange({.host = "127.0.0.1", .port = 1}, {.root_pin = Digest{}}, {}, kPatience);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ConnectError::Kind::Unreachable);
  EXPECT_THAT(answer.error().message, HasSubstr("127.0.0.1 port 1/tcp"));
}

}  // namespace
}  // namespace postern::runtime
