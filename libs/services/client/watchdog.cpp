#include "services/client/watchdog.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "config/exit_code.hpp"
#include "services/client/journal.hpp"

namespace postern::client {

namespace {

/// Between fork and exec only async-signal-safe calls.
[[noreturn]] void become(const char* const* arguments, int pipe_end) {
  ::setsid();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(pipe_end, STDIN_FILENO) == STDIN_FILENO) ::execv(arguments[0], const_cast<char* const*>(arguments));
  ::_exit(127);
}

}  // namespace

std::expected<Watchdog, std::string> Watchdog::start(const WatchdogSpec& spec) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::unexpected(std::string("pipe: ") + std::strerror(errno));
  runtime::Descriptor read_end(ends[0]);
  Watchdog watchdog;
  watchdog.pipe_ = runtime::Descriptor(ends[1]);
  const std::array<const char*, 5> arguments = {spec.program.c_str(), kWatchdogVerb, spec.state_directory.c_str(),
                                                spec.owner.c_str(), nullptr};
  watchdog.pid_ = ::fork();
  if (watchdog.pid_ < 0) return std::unexpected(std::string("fork: ") + std::strerror(errno));
  if (watchdog.pid_ == 0) become(arguments.data(), read_end.get());
  watchdog.pidfd_ = runtime::Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, watchdog.pid_, 0)));
  return watchdog;
}

void Watchdog::finish() {
  pipe_.reset();
  if (pid_ <= 0) return;
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

int run_watchdog(const std::string& state_directory, const std::string& owner) {
  // It ends with the daemon and not before: a signal to the whole group must not take the safety away.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
  ::prctl(PR_SET_NAME, "postern-guard");
  ::close_range(3, ~0U, 0);
  if (::chdir("/") != 0) return config::to_status(config::ExitCode::Failure);
  char byte = 0;
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n == 0 || (n < 0 && errno != EINTR)) break;
  }
  const auto done = Journal(state_directory).play_back(owner);
  if (done) return config::to_status(config::ExitCode::Ok);
  std::fprintf(stderr, "posternd: DNS could not be put back: %s\n", done.error().c_str());
  return config::to_status(config::ExitCode::Failure);
}

}  // namespace postern::client
