// Who may do what over the socket: with real processes of other users, which only root can make.
#include "services/client/ipc_server.hpp"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <thread>

#include "services/client/ipc_protocol.hpp"

namespace postern::client {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr uid_t kStranger = 64'001;
constexpr uid_t kOther = 64'002;

/// Only system calls: it runs between fork() and _exit() of a program with threads.
int connect_to(const char* path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
}

class IpcServerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become other users";
    std::string pattern = (std::filesystem::temp_directory_path() / "postern-peer-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    std::filesystem::permissions(root_, std::filesystem::perms(0755));
    path_ = (root_ / "s.sock").string();
    server_.emplace(
        loop_, [this](IpcConnection from, std::string_view) { answer(from); }, [](IpcConnection) {});
    ASSERT_TRUE(server_->listen(path_));
    thread_ = std::thread([this] { loop_.run(); });
  }
  void TearDown() override {
    if (thread_.joinable()) {
      loop_.stop();
      thread_.join();
    }
    server_.reset();
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }
  void answer(IpcConnection from) {
    const auto allowed = server_->check_may_change(from);
    server_->send(from, allowed ? build_done("done") : build_error(allowed.error()));
  }
  /// Waits until the server has seen that everybody has gone.
  void await_nobody() {
    std::size_t open = 1;
    while (open != 0) {
      std::promise<std::size_t> count;
      ASSERT_TRUE(loop_.post([&] { count.set_value(server_->connections()); }));
      std::future<std::size_t> counted = count.get_future();
      ASSERT_EQ(counted.wait_for(std::chrono::seconds(10)), std::future_status::ready);
      open = counted.get();
    }
  }
  /// What a process of this user reads on the last of `connections` connections, after it has asked on it.
  std::string ask_as(uid_t user, std::vector<gid_t> groups, int connections = 1) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgroups(groups.size(), groups.data()) != 0 || ::setgid(user) != 0 || ::setuid(user) != 0) ::_exit(1);
      int fd = -1;
      for (int i = 0; i < connections; ++i) fd = connect_to(path_.c_str());
      std::array<char, 1000> text{};
      (void)!::send(fd, "?\n", 2, MSG_NOSIGNAL);
      const ssize_t size = ::recv(fd, text.data(), text.size(), 0);
      (void)!::write(pipe[1], text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
      ::_exit(0);
    }
    ::close(pipe[1]);
    std::string said;
    std::array<char, 1000> text{};
    for (ssize_t size = 0; (size = ::read(pipe[0], text.data(), text.size())) > 0;) {
      said.append(text.data(), static_cast<std::size_t>(size));
    }
    ::close(pipe[0]);
    ::waitpid(child, nullptr, 0);
    return said;
  }

  std::filesystem::path root_;
  std::string path_;
  runtime::EventLoop loop_;
  std::optional<IpcServer> server_;
  std::thread thread_;
};

TEST_F(IpcServerTest, RootMayChangeAndAStrangerIsToldWhatToDo) {
  EXPECT_THAT(ask_as(0, {}), HasSubstr("done"));
  const std::string refused = ask_as(kStranger, {});
  EXPECT_THAT(refused, HasSubstr("\"exit\":6"));
  EXPECT_THAT(refused, HasSubstr("usermod -aG postern"));
}

TEST_F(IpcServerTest, MembersOfTheGroupMayChange) {
  const group* members = ::getgrnam("postern");
  if (members == nullptr) GTEST_SKIP() << "this machine has no group postern; the lab has";
  EXPECT_THAT(ask_as(kStranger, {members->gr_gid}), HasSubstr("done"));
}

TEST_F(IpcServerTest, OneUserCannotTakeTheConnectionsOfOthers) {
  const int most = static_cast<int>(IpcServer::kPerStrangerMax);
  EXPECT_THAT(ask_as(kStranger, {}, most), HasSubstr("usermod"));
  EXPECT_THAT(ask_as(kStranger, {}, most + 1), HasSubstr("too many connections"));
  await_nobody();
  // Held open by processes that live until the pipe is closed.
  std::array<int, 2> until{};
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(until.data()) + ::pipe(ready.data()), 0);
  std::vector<pid_t> holders;
  for (uid_t user = 64'010; user < 64'010 + IpcServer::kStrangersMax / IpcServer::kPerStrangerMax; ++user) {
    holders.push_back(::fork());
    if (holders.back() != 0) continue;
    ::close(until[1]);
    if (::setuid(user) != 0) ::_exit(1);
    for (int i = 0; i < most; ++i) (void)connect_to(path_.c_str());
    char byte = 0;
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(until[0], &byte, 1);
    ::_exit(0);
  }
  std::array<char, 1> byte{};
  for (std::size_t i = 0; i < holders.size(); ++i) ASSERT_EQ(::read(ready[0], byte.data(), 1), 1);
  EXPECT_THAT(ask_as(kOther, {}), HasSubstr("too many connections"));
  EXPECT_THAT(ask_as(0, {}), HasSubstr("done")) << "root always has room beside strangers";
  for (const int fd : {until[0], until[1], ready[0], ready[1]}) ::close(fd);
  for (const pid_t holder : holders) ::waitpid(holder, nullptr, 0);
}

}  // namespace
}  // namespace postern::client
