#include "runtime/os/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

namespace postern::runtime {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kKeptNumber = STDERR_FILENO + 1;

/// (runtime/loop has a Descriptor, but is of the same layer.)
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  [[nodiscard]] int get() const { return fd_; }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

struct Pipe {
  Fd read;
  Fd write;

  [[nodiscard]] bool open() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
    read.reset(ends[0]);
    write.reset(ends[1]);
    return true;
  }
};

std::string failure(const std::string& program, int error) {
  return program + " could not be run: " + std::strerror(error);
}

int spawn(const std::vector<std::string>& argv, const Pipe& input, const Pipe& output, int kept, pid_t& pid) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::array<char*, 2> environment = {path.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output.write.get(), STDERR_FILENO);
  if (kept >= 0) ::posix_spawn_file_actions_adddup2(&actions, kept, kKeptNumber);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kept >= 0 ? kKeptNumber + 1 : kKeptNumber);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const int error = ::posix_spawn(&pid, arguments[0], &actions, &attributes, arguments.data(), environment.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

/// What read(2) says; the bytes that fit are kept.
ssize_t read_part(int fd, const ProgramLimits& limits, std::string& output) {
  std::array<char, 4096> part{};
  const ssize_t got = ::read(fd, part.data(), part.size());
  if (got <= 0) return got;
  const std::size_t room = limits.output_bytes - std::min(limits.output_bytes, output.size());
  output.append(part.data(), std::min(static_cast<std::size_t>(got), room));
  return got;
}

/// Until the program itself has ended: a service that it started may keep the output open. False when the time is over.
bool read_to_the_end(int fd, int pidfd, const ProgramLimits& limits, std::string& output) {
  const Clock::time_point deadline = Clock::now() + limits.time;
  bool is_open = true;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    std::array<pollfd, 2> waits = {pollfd{pidfd, POLLIN, 0}, pollfd{is_open ? fd : -1, POLLIN, 0}};
    const int ready = left <= 0 ? 0 : ::poll(waits.data(), waits.size(), static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    if (waits[1].revents != 0) is_open = read_part(fd, limits, output) != 0;
    if (waits[0].revents == 0) continue;
    while (read_part(fd, limits, output) > 0) {
    }
    return true;
  }
}

}  // namespace

std::expected<ProgramResult, std::string> run_program(const std::vector<std::string>& argv, const std::string& input,
                                                      ProgramLimits limits, int kept) {
  const std::string& program = argv.front();
  Pipe in;
  Pipe out;
  if (!in.open() || !out.open()) return std::unexpected(failure(program, errno));
  // What fits into an empty pipe at once needs no thread to write it.
  if (input.size() > PIPE_BUF) return std::unexpected(failure(program, E2BIG));
  if (!input.empty() && ::write(in.write.get(), input.data(), input.size()) < 0) {
    return std::unexpected(failure(program, errno));
  }
  in.write.reset();
  pid_t pid = -1;
  if (const int error = spawn(argv, in, out, kept, pid); error != 0) return std::unexpected(failure(program, error));
  out.write.reset();
  ProgramResult result;
  ::fcntl(out.read.get(), F_SETFL, O_NONBLOCK);
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const bool in_time = read_to_the_end(out.read.get(), pidfd.get(), limits, result.output);
  if (!in_time) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    return std::unexpected(program + " did not end within " + std::to_string(limits.time.count()) + " ms");
  }
  result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace postern::runtime
