#include "runtime/dns/file_watch.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace postern::runtime {
namespace {

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "postern-watch-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    write("file", "before");
    watch_.emplace(loop_, [this] { ++changes_; });
    watch_->add((root_ / "file").string());
  }
  ~FileWatchTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(root_ / name) << text; }
  bool is_told() {
    const int before = changes_;
    const Instant end = monotonic_now() + std::chrono::seconds(5);
    while (changes_ == before && monotonic_now() < end) loop_.run_turn(std::chrono::milliseconds(20));
    return changes_ > before;
  }

  std::filesystem::path root_;
  EventLoop loop_;
  int changes_ = 0;
  std::optional<FileWatch> watch_;
};

TEST_F(FileWatchTest, TellsWhenTheFileIsWritten) {
  write("file", "after");
  EXPECT_TRUE(is_told());
}

TEST_F(FileWatchTest, TellsWhenAnotherFileIsRenamedOntoItAndFollowsTheNewOne) {
  write("beside", "new");
  std::filesystem::rename(root_ / "beside", root_ / "file");
  ASSERT_TRUE(is_told());
  write("file", "newer");
  EXPECT_TRUE(is_told());
}

TEST_F(FileWatchTest, TellsWhenTheFileGoesAndComesBack) {
  std::filesystem::remove(root_ / "file");
  ASSERT_TRUE(is_told());
  write("file", "back");
  EXPECT_TRUE(is_told());
}

TEST_F(FileWatchTest, OtherFilesOfTheFolderAreNobodysBusiness) {
  write("other", "x");
  loop_.run_turn(std::chrono::milliseconds(50));
  EXPECT_EQ(changes_, 0);
  write("file", "after");  // the watch works
  EXPECT_TRUE(is_told());
}

}  // namespace
}  // namespace postern::runtime
