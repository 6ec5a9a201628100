// `postern nc`: a thread for each direction with blocking reads and writes, because standard input and output may be
// anything and may be shared with other programs, so that their flags are left alone.
#include <fcntl.h>
#include <signal.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "runtime/loop/descriptor.hpp"
#include "services/client/cli_proxy.hpp"
#include "services/client/daemon_line.hpp"

namespace postern::client {

namespace {

using config::ExitCode;

constexpr std::size_t kPiece = 64 * 1024;

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t put = ::write(fd, data, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    data += put;
    size -= static_cast<std::size_t>(put);
  }
  return true;
}

/// Copies until `from` ends; false when `to` takes no more.
bool copy(int from, int to) {
  std::vector<char> piece(kPiece);
  while (true) {
    const ssize_t got = ::read(from, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    if (!write_all(to, piece.data(), static_cast<std::size_t>(got))) return false;
  }
}

/// Both directions until both have ended, or the daemon has closed the stream altogether. False when nobody takes our
/// output any more.
bool carry(int stream) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  const runtime::Descriptor done(ends[0]);
  std::thread([stream, signal = ends[1]] {
    if (copy(STDIN_FILENO, stream)) ::shutdown(stream, SHUT_WR);
    ::close(signal);
  }).detach();  // it may wait for a person who has nothing more to say: the process ends without it
  if (!copy(stream, STDOUT_FILENO)) return false;
  ::close(STDOUT_FILENO);
  std::array<pollfd, 2> waits{{{done.get(), POLLIN, 0}, {stream, 0, 0}}};
  while (::poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
  }
  return true;
}

/// What the daemon said about the end: empty when it was an ordinary one.
std::string read_verdict(int verdict) {
  std::string text;
  std::array<char, 512> piece;
  while (text.size() < 4096) {
    const ssize_t got = ::recv(verdict, piece.data(), piece.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace

int run_nc(const CliWorld& world, const config::Settings& settings) {
  auto daemon = DaemonLine::open(settings.text("socket"));
  if (!daemon) return fail(world, daemon.error());
  Request request;
  request.type = RequestType::Open;
  const std::string& host = settings.arguments()[0];
  request.destination = (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + settings.arguments()[1];
  daemon->send(request);
  for (int i = 0; i < 2; ++i) {
    const auto answer = daemon->next();
    if (!answer) return fail(world, answer.error());
  }
  const DaemonLine::Stream stream = daemon->take_stream();
  if (!stream.verdict) return fail(world, {ExitCode::Failure, "posternd is of another version: start it again"});
  if (!write_all(STDOUT_FILENO, stream.early.data(), stream.early.size())) return config::to_status(ExitCode::Failure);
  ::signal(SIGPIPE, SIG_IGN);  // a stream that was broken off is told below
  if (!carry(stream.fd.get())) return config::to_status(ExitCode::Failure);
  // A stream of which only our half has ended is not over for the daemon: say so, then hear how it ended.
  ::shutdown(stream.fd.get(), SHUT_RDWR);
  const std::string verdict = read_verdict(stream.verdict.get());
  if (verdict.empty()) return config::to_status(ExitCode::Ok);
  return fail(world, {ExitCode::Failure, verdict});
}

}  // namespace postern::client
