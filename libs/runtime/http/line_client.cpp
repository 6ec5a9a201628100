#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/http/line_server.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {
namespace {

LineError connect_error(const std::string& path, int number) {
  if (number == EACCES || number == EPERM) {
    return {LineError::Kind::NotPermitted,
            path + " may be used by its owner only; run the command as the user that the server runs as, or as root"};
  }
  if (number == ENOENT || number == ECONNREFUSED || number == ENOTDIR) {
    return {LineError::Kind::NotRunning, "nobody listens on " + path + "; is the server running?"};
  }
  return {LineError::Kind::Failed, "cannot connect to " + path + ": " + std::strerror(number)};
}

std::expected<Descriptor, LineError> connect_to(const std::string& path, Duration timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::unexpected(connect_error(path, ENAMETOOLONG));
  std::memcpy(address.sun_path, path.c_str(), path.size());
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timeval limit{.tv_sec = whole.count(), .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return std::unexpected(connect_error(path, errno));
  }
  return socket;
}

}  // namespace

std::expected<std::string, LineError> exchange_line(const std::string& path, std::string line, Duration timeout) {
  const auto failed = [&path](const char* what) {
    return std::unexpected(LineError{LineError::Kind::Failed, "the answer on " + path + what});
  };
  auto socket = connect_to(path, timeout);
  if (!socket) return std::unexpected(socket.error());
  line += '\n';
  for (std::size_t sent = 0; sent < line.size();) {
    const ssize_t size = ::send(socket->get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (size <= 0) return failed(" never came: the connection broke");
    sent += static_cast<std::size_t>(size);
  }
  std::string answer;
  std::array<char, 65536> buffer{};
  while (!answer.ends_with('\n')) {
    const ssize_t size = ::recv(socket->get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return failed(" did not come in time");
    if (size == 0) return failed(" is cut short");
    answer.append(buffer.data(), static_cast<std::size_t>(size));
  }
  answer.pop_back();
  return answer;
}

}  // namespace postern::runtime
