#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/os/files.hpp"
#include "runtime/os/idle_memory.hpp"
#include "runtime/os/limits.hpp"
#include "runtime/os/log.hpp"
#include "runtime/os/notify.hpp"
#include "runtime/os/process.hpp"
#include "runtime/os/random.hpp"

namespace postern::runtime {
namespace {

class Files : public testing::Test {
 protected:
  Files() {
    std::string pattern = testing::TempDir() + "/postern-files-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~Files() override {
    unlink(path("file").c_str());
    rmdir(path("a/b").c_str());
    rmdir(path("a").c_str());
    rmdir(folder_.c_str());
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  [[nodiscard]] mode_t mode_of(const std::string& name) const {
    struct stat status {};
    EXPECT_EQ(0, stat(path(name).c_str(), &status));
    return status.st_mode & 07777;
  }
  std::string folder_;
};

TEST_F(Files, AnAtomicWriteReplacesTheFileAndLeavesNothingBeside) {
  ASSERT_TRUE(write_file_atomic(path("file"), as_bytes("old"), 0600));
  ASSERT_TRUE(write_file_atomic(path("file"), as_bytes("new"), 0640));
  EXPECT_EQ("new", read_text_file(path("file"), 100).value());
  EXPECT_EQ(0640U, mode_of("file"));
  unlink(path("file").c_str());
  EXPECT_EQ(0, rmdir(folder_.c_str())) << "a temporary file was left";
  mkdir(folder_.c_str(), 0700);
}

TEST_F(Files, ReadingStopsAtTheBound) {
  ASSERT_TRUE(write_file_atomic(path("file"), Bytes(1001), 0600));
  EXPECT_EQ(FileErrorKind::TooLarge, read_file(path("file"), 1000).error().kind);
  EXPECT_EQ(1001U, read_file(path("file"), 1001).value().size());
}

TEST_F(Files, AMissingFileSaysWhichOne) {
  const auto result = read_file(path("none"), 10);
  EXPECT_EQ(FileErrorKind::NotFound, result.error().kind);
  EXPECT_NE(std::string::npos, result.error().text.find(path("none")));
}

TEST_F(Files, ASecretThatOthersMayReadIsRefused) {
  ASSERT_TRUE(write_file_atomic(path("file"), as_bytes("key"), 0640));
  EXPECT_EQ(FileErrorKind::TooOpen, read_secret_file(path("file"), 10).error().kind);
  ASSERT_TRUE(write_file_atomic(path("file"), as_bytes("key"), 0600));
  EXPECT_TRUE(read_secret_file(path("file"), 10));
}

TEST_F(Files, ASecondInstanceIsToldWhoHoldsTheLock) {
  auto first = LockFile::acquire(path("file"));
  ASSERT_TRUE(first);
  const auto second = LockFile::acquire(path("file"));
  EXPECT_EQ(FileErrorKind::InUse, second.error().kind);
  EXPECT_NE(std::string::npos, second.error().text.find(std::to_string(getpid())));
  { const LockFile gone = std::move(*first); }
  EXPECT_TRUE(LockFile::acquire(path("file")));
}

TEST_F(Files, FoldersAreMadeWithTheirParents) {
  EXPECT_TRUE(make_directories(path("a/b"), 0750));
  EXPECT_TRUE(make_directories(path("a/b"), 0750));
  EXPECT_EQ(0750U, mode_of("a/b"));
  EXPECT_FALSE(make_directories("/proc/none/b", 0700));
}

TEST(Process, AProgramGetsItsInputAndGivesOutputAndStatus) {
  const auto done = run_program({"/bin/sh", "-c", "cat; echo to-error >&2; exit 7"}, "from-input ");
  ASSERT_TRUE(done) << done.error();
  EXPECT_EQ(7, done->status);
  EXPECT_EQ("from-input to-error\n", done->output);
}

TEST(Process, AProgramThatTakesTooLongIsKilledAndNamed) {
  const auto done = run_program({"/bin/sh", "-c", "sleep 100 & wait"}, "", {.time = std::chrono::milliseconds(50)});
  ASSERT_FALSE(done);
  EXPECT_EQ("/bin/sh did not end within 50 ms", done.error());
}

TEST(Process, AServiceThatItStartsDoesNotHoldTheCallerUp) {
  const auto done = run_program({"/bin/sh", "-c", "sleep 3 & echo started"}, "", {.time = std::chrono::seconds(2)});
  ASSERT_TRUE(done) << done.error();
  EXPECT_EQ("started\n", done->output);
}

TEST(Process, ADescriptorThatIsKeptIsNumberThreeInTheProgramAndTheOnlyOneBesideTheUsual) {
  const int kept = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(kept, 0);
  const std::string script = "readlink /proc/$$/fd/3; ls /proc/$$/fd | wc -l";
  const auto with = run_program({"/bin/sh", "-c", script}, "", {}, kept);
  const auto without = run_program({"/bin/sh", "-c", "test -e /proc/$$/fd/3"}, "");
  ::close(kept);
  ASSERT_TRUE(with && without);
  EXPECT_EQ("/dev/null\n4\n", with->output);
  EXPECT_EQ(1, without->status);
}

TEST(Process, OutputBeyondTheBoundIsForgotten) {
  const auto done = run_program({"/bin/sh", "-c", "yes | head -c 1000000"}, "", {.output_bytes = 1000});
  ASSERT_TRUE(done) << done.error();
  EXPECT_EQ(1000U, done->output.size());
}

TEST(Process, AProgramThatIsNotThereSaysSo) {
  EXPECT_EQ("/nowhere/x could not be run: No such file or directory", run_program({"/nowhere/x"}, "").error());
}

TEST(Log, ALineHasLevelComponentSentenceAndFields) {
  EXPECT_EQ("[INFO] [connector] State: Online", format_log_line(LogLevel::Info, "connector", "State: Online", {}));
  EXPECT_EQ(
      "[WARN] [connector] Port is taken port=9999 why=\"in use\" by=\"\"",
      format_log_line(LogLevel::Warn, "connector", "Port is taken", {{"port", 9999}, {"why", "in use"}, {"by", ""}}));
}

TEST(Log, APeerCannotForgeALine) {
  EXPECT_EQ("[ERROR] [x] a\\x0ab name=\"c\\x1b[2J d\"",
            format_log_line(LogLevel::Error, "x", "a\nb", {{"name", "c\x1b[2J d"}}));
}

TEST(Log, LevelsHaveTheNumbersOfTheProduct) {
  EXPECT_EQ(LogLevel::Error, parse_log_level("3"));
  EXPECT_EQ(LogLevel::Warn, parse_log_level("4"));
  EXPECT_EQ(LogLevel::Info, parse_log_level("5"));
  EXPECT_EQ(LogLevel::Info, parse_log_level("6"));
  EXPECT_EQ(LogLevel::Debug, parse_log_level("7"));
  EXPECT_EQ(LogLevel::Off, parse_log_level("-1"));
  EXPECT_EQ(LogLevel::Warn, parse_log_level("warning"));
  EXPECT_FALSE(parse_log_level("8"));
  EXPECT_FALSE(parse_log_level("loud"));
  EXPECT_FALSE(parse_log_level(""));
}

TEST(Log, LinesBelowTheLevelAreNotWritten) {
  testing::internal::CaptureStdout();
  {
    Logger logger("x", {LogLevel::Warn, TimestampFormat::None, LogStream::Stdout});
    logger.info("quiet");
    logger.warn("loud", {{"n", 1}});
    logger.raw_line("ANALYTICS {}");
  }
  EXPECT_EQ("[WARN] [x] loud n=1\nANALYTICS {}\n", testing::internal::GetCapturedStdout());
}

TEST(Log, AbsoluteTimestampsComeFirst) {
  testing::internal::CaptureStdout();
  {
    Logger logger("x", {LogLevel::Info, TimestampFormat::Absolute, LogStream::Stdout});
    logger.info("now");
  }
  const std::string line = testing::internal::GetCapturedStdout();
  EXPECT_EQ("Z [INFO] [x] now\n", line.substr(23));
  EXPECT_EQ('T', line[10]);
}

TEST(KernelRandom, NeverRepeatsItself) {
  KernelRandom random;
  std::vector<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.push_back(random.u64());
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen.end(), std::adjacent_find(seen.begin(), seen.end()));
  Bytes large(4096);
  random.fill(large);
  EXPECT_NE(Bytes(4096), large);
}

TEST(IdleMemory, GivesMemoryBackOnceAndOnlyAfterABurst) {
  BlockPool pool(64 << 20);
  IdleMemory memory(pool);
  Instant now{};
  EXPECT_FALSE(memory.next_timeout());
  EXPECT_FALSE(memory.observe(now, IdleMemory::kQuietBytes - 1));
  EXPECT_FALSE(memory.next_timeout()) << "hardly anything has moved";

  std::uint64_t moved = 10 << 20;
  EXPECT_FALSE(memory.observe(now, moved));
  now += IdleMemory::kQuietTime - std::chrono::milliseconds(1);
  moved += IdleMemory::kQuietBytes;
  EXPECT_FALSE(memory.observe(now, moved)) << "still busy";
  EXPECT_EQ(memory.next_timeout(), now + IdleMemory::kQuietTime);
  now += IdleMemory::kQuietTime;
  EXPECT_TRUE(memory.observe(now, moved + 100));
  EXPECT_FALSE(memory.next_timeout());
  EXPECT_FALSE(memory.observe(now + IdleMemory::kQuietTime, moved + 200));
}

TEST(Notify, TellsTheServiceManagerOnceAndNobodyWhereThereIsNone) {
  const std::string name = "@postern-notify-" + std::to_string(getpid());
  const int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path);
  address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  ASSERT_EQ(0, bind(manager, reinterpret_cast<const sockaddr*>(&address), size));
  char heard[64]{};
  for (const std::string& other : {std::string("relative"), std::string("/"), "@" + std::string(200, 'x')}) {
    setenv("NOTIFY_SOCKET", other.c_str(), 1);
    notify_ready();
  }
  unsetenv("NOTIFY_SOCKET");
  notify_ready();
  EXPECT_EQ(-1, recv(manager, heard, sizeof heard, 0));
  setenv("NOTIFY_SOCKET", name.c_str(), 1);
  notify_ready();
  unsetenv("NOTIFY_SOCKET");
  EXPECT_EQ(7, recv(manager, heard, sizeof heard, 0));
  EXPECT_STREQ("READY=1", heard);
  close(manager);
}

TEST(Limits, OpenFilesAreRaisedToTheHardLimit) {
  EXPECT_GE(raise_open_files_limit(), 1024U);
}

}  // namespace
}  // namespace postern::runtime
