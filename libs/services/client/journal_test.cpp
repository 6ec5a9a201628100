#include "services/client/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "services/client/resolv_conf.hpp"
#include "services/client/watchdog.hpp"

namespace postern::client {
namespace {

/// This test program is its own watchdog: the real one is posternd, started with the same arguments.
__attribute__((constructor)) void act_as_watchdog(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == kWatchdogVerb) ::_exit(run_watchdog(argv[2], argv[3]));
}

class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "postern-journal-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    std::filesystem::create_directory(root_ / "state");
    std::filesystem::create_directory(root_ / "etc");
  }
  ~JournalTest() override { std::filesystem::remove_all(root_); }

  [[nodiscard]] std::string state() const { return (root_ / "state").string(); }
  [[nodiscard]] std::string conf() const { return (root_ / "etc/resolv.conf").string(); }
  [[nodiscard]] std::string text() const { return text_of(conf()); }
  [[nodiscard]] static std::string text_of(const std::string& path) {
    std::stringstream all;
    all << std::ifstream(path).rdbuf();
    return all.str();
  }
  static void write(const std::string& path, const std::string& content) { std::ofstream(path) << content; }
  [[nodiscard]] static std::string ours() {
    return render_resolv_conf(*IpAddress::parse("100.96.0.2"), ResolvConf::parse(kBefore));
  }

  static constexpr const char* kBefore = "nameserver 192.168.77.1\nsearch home.lan\noptions edns0\n";
  std::filesystem::path root_;
};

TEST(ResolvConf, KeepsTheSearchListAndOptionsAndPutsOnlyOurServerIn) {
  const auto before = ResolvConf::parse(
      "# x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n"
      "domain a.b\nsearch c.d e.f\noptions ndots:2 edns0\n");
  EXPECT_THAT(before.servers, testing::ElementsAre(*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")));
  const std::string text = render_resolv_conf(*IpAddress::parse("100.96.0.2"), before);
  EXPECT_TRUE(is_ours(text));
  EXPECT_THAT(text, testing::EndsWith("nameserver 100.96.0.2\nsearch c.d e.f\noptions ndots:2 edns0\n"));
}

TEST_F(JournalTest, ARegularFileComesBackWithContentAndMode) {
  write(conf(), kBefore);
  ::chmod(conf().c_str(), 0640);
  Journal journal(state());
  const auto saved = journal.install("a", conf(), ours());
  ASSERT_TRUE(saved) << saved.error();
  EXPECT_EQ(saved->content, kBefore);
  EXPECT_EQ(text(), ours());
  EXPECT_EQ(journal.play_back("a"), PlayBack::Restored);
  EXPECT_EQ(text(), kBefore);
  EXPECT_EQ(std::filesystem::status(conf()).permissions(), std::filesystem::perms(0640));
  EXPECT_EQ(journal.play_back("a"), PlayBack::Nothing);
}

TEST_F(JournalTest, ASymbolicLinkComesBackAsALinkAndItsTargetIsNeverTouched) {
  const std::string target = (root_ / "stub-resolv.conf").string();
  write(target, kBefore);
  std::filesystem::create_symlink("../stub-resolv.conf", conf());
  Journal journal(state());
  ASSERT_TRUE(journal.install("a", conf(), ours()));
  EXPECT_EQ(text(), ours());
  EXPECT_EQ(text_of(target), kBefore);
  EXPECT_EQ(journal.play_back(std::nullopt), PlayBack::Restored);
  EXPECT_EQ(std::filesystem::read_symlink(conf()), "../stub-resolv.conf");
}

TEST_F(JournalTest, AFileThatWasNotThereIsRemovedAgain) {
  Journal journal(state());
  ASSERT_TRUE(journal.install("a", conf(), ours()));
  EXPECT_EQ(journal.play_back("a"), PlayBack::Restored);
  EXPECT_FALSE(std::filesystem::exists(conf()));
}

TEST_F(JournalTest, WhatSomebodyElseWroteSinceIsLeftAlone) {
  write(conf(), kBefore);
  Journal journal(state());
  ASSERT_TRUE(journal.install("a", conf(), ours()));
  write(conf(), "nameserver 192.0.2.99\n");
  EXPECT_EQ(journal.play_back("a"), PlayBack::LeftAlone);
  EXPECT_EQ(text(), "nameserver 192.0.2.99\n");
}

TEST_F(JournalTest, InstallingTwiceKeepsTheOriginal) {
  write(conf(), kBefore);
  Journal journal(state());
  ASSERT_TRUE(journal.install("a", conf(), ours()));
  const auto again = journal.install("b", conf(), ours());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->content, kBefore);
  EXPECT_EQ(journal.play_back("a"), PlayBack::OtherOwner);
  EXPECT_EQ(journal.play_back("b"), PlayBack::Restored);
  EXPECT_EQ(text(), kBefore);
}

TEST_F(JournalTest, AFileThatWasBeingWrittenInPlaceIsPutBackWhateverIsInIt) {
  write(conf(), "half of someth");
  const std::string original = to_base64url(as_bytes(kBefore));
  write(state() + "/journal.json",
        R"({"version":2,"owner":"a","method":"file","in_place":true,"kind":"regular","path":")" + conf() +
            R"(","mode":420,"content":")" + original + "\"}");
  EXPECT_EQ(Journal(state()).play_back(std::nullopt), PlayBack::Restored);
  EXPECT_EQ(text(), kBefore);
}

TEST_F(JournalTest, AFolderThatCannotBeWrittenMeansWritingInPlaceAndNothingIsLeftOfALongerFile) {
  write(conf(), std::string(kBefore) + "# " + std::string(500, 'x') + "\n");
  const std::string before = text();
  std::filesystem::create_directory(conf() + ".postern");  // no file can be made beside it
  Journal journal(state());
  ASSERT_TRUE(journal.install("a", conf(), ours()));
  EXPECT_EQ(text(), ours());
  EXPECT_EQ(journal.play_back("a"), PlayBack::Restored);
  EXPECT_EQ(text(), before);
}

TEST_F(JournalTest, AJournalOfTheFirstVersionIsPlayedBack) {
  write(conf(), ours());
  write(state() + "/journal.json", R"({"version":1,"owner":"a","kind":"regular","path":")" + conf() +
                                       R"(","mode":420,"content":")" + to_base64url(as_bytes(kBefore)) + "\"}");
  EXPECT_EQ(Journal(state()).play_back(std::nullopt), PlayBack::Restored);
  EXPECT_EQ(text(), kBefore);
}

TEST_F(JournalTest, AJournalOfALaterVersionIsLeftAlone) {
  write(conf(), ours());
  write(state() + "/journal.json", R"({"version":3,"owner":"a"})");
  EXPECT_FALSE(Journal(state()).play_back(std::nullopt));
  EXPECT_EQ(text(), ours());
}

TEST_F(JournalTest, ADamagedJournalIsReportedAndNothingIsChanged) {
  write(conf(), kBefore);
  write(state() + "/journal.json", "{\"version\":1,\"path\":");
  EXPECT_FALSE(Journal(state()).play_back(std::nullopt));
  EXPECT_EQ(text(), kBefore);
}

/// Starts a child that installs our file under a watchdog and then waits to be killed.
pid_t start_daemon(const std::string& state, const std::string& conf, const std::string& text) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto watchdog = Watchdog::start({"/proc/self/exe", state, "daemon-1"});
    if (!watchdog || !Journal(state).install("daemon-1", conf, text)) ::_exit(1);
    if (::write(ready[1], "r", 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  ::close(ready[1]);
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  return child;
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST_F(JournalTest, TheWatchdogPutsTheFileBackWhenTheDaemonIsKilled) {
  write(conf(), kBefore);
  const pid_t daemon = start_daemon(state(), conf(), ours());
  ASSERT_EQ(text(), ours());
  ASSERT_EQ(::kill(daemon, SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return text() == kBefore; }));
  ::waitpid(daemon, nullptr, 0);
}

TEST_F(JournalTest, AnOldWatchdogDoesNotUndoWhatANewDaemonDid) {
  write(conf(), kBefore);
  const pid_t daemon = start_daemon(state(), conf(), ours());
  ASSERT_TRUE(Journal(state()).install("daemon-2", conf(), ours()));
  auto watchdog = Watchdog::start({"/proc/self/exe", state(), "daemon-1"});
  ASSERT_TRUE(watchdog);
  watchdog->finish();
  EXPECT_EQ(text(), ours());
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
}

TEST_F(JournalTest, ACleanStopLeavesNothingForTheWatchdog) {
  write(conf(), kBefore);
  auto watchdog = Watchdog::start({"/proc/self/exe", state(), "d"});
  ASSERT_TRUE(watchdog);
  ASSERT_TRUE(Journal(state()).install("d", conf(), ours()));
  EXPECT_EQ(Journal(state()).play_back("d"), PlayBack::Restored);
  write(conf(), "nameserver 192.0.2.5\n");
  watchdog->finish();
  EXPECT_EQ(text(), "nameserver 192.0.2.5\n");
}

}  // namespace
}  // namespace postern::client
