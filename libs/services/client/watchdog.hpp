// The process that puts the system back when the daemon dies, also by SIGKILL.
//
// It is the daemon's own program started again with a hidden verb, in a session of its own, holding the read end of a
// pipe whose only write end the daemon has. The kernel closes that end when the daemon dies; the watchdog then plays
// the journal back and ends. The daemon starts another one when it disappears.
#pragma once

#include <sys/types.h>

#include <expected>
#include <string>
#include <vector>

#include "runtime/loop/descriptor.hpp"

namespace postern::client {

struct WatchdogSpec {
  std::string program;  ///< "/proc/self/exe"
  std::string state_directory;
  std::string owner;  ///< JournalEntry::owner
};

/// The daemon's end. Destroying it closes the pipe: the watchdog plays back what is left and ends.
class Watchdog {
 public:
  [[nodiscard]] static std::expected<Watchdog, std::string> start(const WatchdogSpec& spec);
  /// Readable (EPOLLIN) when the watchdog has ended.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Closes the pipe and waits for the end.
  void finish();

 private:
  runtime::Descriptor pipe_;
  runtime::Descriptor pidfd_;
  pid_t pid_ = -1;
};

/// Arguments after the program's name that make it a watchdog: `--watchdog STATE OWNER`; its pipe is standard input.
inline constexpr const char* kWatchdogVerb = "--watchdog";

/// The watchdog's main: returns the process's exit status.
int run_watchdog(const std::string& state_directory, const std::string& owner);

}  // namespace postern::client
