#include "runtime/http/line_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

namespace postern::runtime {
namespace {

using namespace std::chrono_literals;

class LineServerTest : public ::testing::Test {
 protected:
  LineServerTest() : folder_(::testing::TempDir() + "lines" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~LineServerTest() override {
    loop_.post([this] {
      server_.stop();
      loop_.stop();
    });
    if (thread_.joinable()) thread_.join();
    std::filesystem::remove_all(folder_);
  }
  void start() {
    ASSERT_TRUE(server_.start());
    thread_ = std::thread([this] { loop_.run(); });
  }

  std::string folder_;
  std::string path_ = folder_ + "/socket";
  IoLoop loop_;
  LineServer server_{loop_, path_,
                     [](const std::string& line, const LineServer::Responder& answer) { answer(line + line); }};
  std::thread thread_;
};

TEST_F(LineServerTest, AnswersLinesOfItsOwnerOnly) {
  start();
  EXPECT_EQ(exchange_line(path_, "ab", 10s).value_or(""), "abab");
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const std::string large(1'000'000, 'x');
  EXPECT_EQ(exchange_line(path_, large, 10s).value_or("").size(), 2 * large.size());
}

TEST_F(LineServerTest, CutsOffALineThatNeverEnds) {
  start();
  EXPECT_FALSE(exchange_line(path_, std::string(kLineMax + 10'000, 'x'), 10s));
}

TEST_F(LineServerTest, TakesOverTheSocketOfADeadServerAndRefusesThatOfALivingOne) {
  start();
  IoLoop loop;
  LineServer second(loop, path_, {});
  const auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().kind, ListenError::Kind::AddressInUse);

  // A socket file that nobody listens on, as kill -9 leaves it.
  const std::string left = folder_ + "/left";
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::ranges::copy(left, address.sun_path);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  LineServer third(loop, left, {});
  EXPECT_TRUE(third.start());
}

TEST_F(LineServerTest, SaysThatNobodyListens) {
  const auto answer = exchange_line(folder_ + "/nobody", "x", 1s);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, LineError::Kind::NotRunning);
  start();
}

}  // namespace
}  // namespace postern::runtime
