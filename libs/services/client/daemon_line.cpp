#include "services/client/daemon_line.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "services/client/json_fields.hpp"

namespace postern::client {

using config::ExitCode;
using nlohmann::json;

namespace {

/// An answer of the daemon is never longer.
constexpr std::size_t kAnswerMax = 16 * 1024 * 1024;

}  // namespace

std::expected<DaemonLine, Problem> DaemonLine::open(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return std::unexpected(Problem{ExitCode::Usage, "--socket is longer than 107 bytes"});
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  DaemonLine line;
  line.fd_ = runtime::Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(line.fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return line;
  if (errno == EACCES || errno == EPERM) {
    return std::unexpected(Problem{
        ExitCode::NotPermitted, "you may not use " + path + ": its folder must let you in (mode 0755), or use sudo"});
  }
  return std::unexpected(Problem{
      ExitCode::NotRunning, "posternd does not answer on " + path + ": start it with `sudo systemctl start posternd`"});
}

void DaemonLine::send(const Request& request) {
  const std::string text = build_request(request);
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t sent = ::send(fd_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) return;  // the next read says that it is gone
    done += static_cast<std::size_t>(sent);
  }
}

std::expected<json, Problem> DaemonLine::next() {
  std::size_t end = std::string::npos;
  while ((end = buffer_.find('\n')) == std::string::npos) {
    std::array<char, 65'536> piece;
    const ssize_t size = receive(piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0 || buffer_.size() > kAnswerMax) {
      return std::unexpected(Problem{ExitCode::NotRunning, "posternd ended the connection: see its log"});
    }
    buffer_.append(piece.data(), static_cast<std::size_t>(size));
  }
  json answer = json::parse(buffer_.substr(0, end), nullptr, false);
  buffer_.erase(0, end + 1);
  if (!answer.is_object()) return std::unexpected(Problem{ExitCode::Failure, "posternd's answer cannot be read"});
  if (flag_field(answer, "ok")) return answer;
  return std::unexpected(Problem{static_cast<ExitCode>(number_field(answer, "exit", 1)), text_field(answer, "error")});
}

ssize_t DaemonLine::receive(char* data, std::size_t size) {
  iovec part{data, size};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int given = -1;
    std::memcpy(&given, CMSG_DATA(header), sizeof given);
    given_ = runtime::Descriptor(given);
  }
  return got;
}

DaemonLine::Stream DaemonLine::take_stream() {
  return {std::move(fd_), std::move(given_), std::exchange(buffer_, {})};
}

std::expected<json, Problem> DaemonLine::ask(const std::string& path, const Request& request) {
  auto daemon = open(path);
  if (!daemon) return std::unexpected(daemon.error());
  daemon->send(request);
  return daemon->next();
}

}  // namespace postern::client
