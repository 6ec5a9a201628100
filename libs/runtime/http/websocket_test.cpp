#include "runtime/http/websocket.hpp"

#include <gtest/gtest.h>

#include <future>

#include "runtime/http/http_fixture.hpp"

namespace postern::runtime {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kUpgrade =
    "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
constexpr std::string_view kAccepted = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";  // RFC 6455 §1.3

/// One connection; the other side is written byte by byte.
class AcceptedSocket : public ::testing::Test {
 protected:
  AcceptedSocket() {
    limits_.silence_max = 1s;
    server_.http().upgrade("/socket", [this](std::shared_ptr<ByteStream> stream, const HttpRequest& request) {
      socket_ = WebSocket::accept(server_.loop(), std::move(stream), request, limits_,
                                  {.closed = [this](const auto&) { was_cut_.set_value(socket_->was_cut()); }});
    });
    server_.start();
  }
  ~AcceptedSocket() override { server_.stop(); }

  bool was_cut() {
    auto answer = was_cut_.get_future();
    if (answer.wait_for(20s) != std::future_status::ready) throw std::runtime_error("the socket was not closed");
    return answer.get();
  }

  TestCa ca_;
  WebSocketLimits limits_;
  TestServer server_{ca_};
  std::shared_ptr<WebSocket> socket_;
  std::promise<bool> was_cut_;
};

TEST_F(AcceptedSocket, IsCutWhenTheStreamEndsWithoutAGoodbye) {
  talk(server_, ca_, std::string(kUpgrade), std::string(kAccepted));
  EXPECT_TRUE(was_cut());
}

TEST_F(AcceptedSocket, IsNotCutByAGoodbye) {
  const std::string goodbye("\x88\x80mask", 6);
  talk(server_, ca_, std::string(kUpgrade), std::string(kAccepted), goodbye);
  EXPECT_FALSE(was_cut());
}

TEST_F(AcceptedSocket, IsNotCutBySilence) {
  talk(server_, ca_, std::string(kUpgrade));
  EXPECT_FALSE(was_cut());
}

}  // namespace
}  // namespace postern::runtime
