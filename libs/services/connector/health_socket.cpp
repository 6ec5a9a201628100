#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "runtime/os/files.hpp"
#include "runtime/udp/socket_address.hpp"
#include "services/connector/health.hpp"

namespace postern::connector {
namespace {

constexpr timeval kPatience{5, 0};

std::optional<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

/// A connected blocking socket, or an empty one with errno.
runtime::Descriptor connect_to(int family, const sockaddr* address, socklen_t size) {
  runtime::Descriptor fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fd;
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  if (connect(fd.get(), address, size) != 0) return {};
  return fd;
}

runtime::Descriptor connect_to(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return {};
  return connect_to(AF_UNIX, reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
}

std::string read_to_end(int fd) {
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t got = recv(fd, part.data(), part.size(), 0); got > 0 && text.size() < 16 * part.size();
       got = recv(fd, part.data(), part.size(), 0)) {
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

Health from_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text == "OK") return {true, ""};
  return {false, text.empty() ? "the connector did not answer" : text};
}

std::optional<Health> ask_http(const SocketAddress& at) {
  const runtime::KernelAddress address = runtime::to_kernel(at);
  const runtime::Descriptor fd = connect_to(address.storage.ss_family, address.get(), address.size);
  if (!fd) return std::nullopt;
  constexpr std::string_view kRequest = "GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  if (send(fd.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) < 0) return std::nullopt;
  const std::string answer = read_to_end(fd.get());
  const std::size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos) return std::nullopt;
  return from_line(answer.substr(body + 4));
}

}  // namespace

HealthSocket::HealthSocket(runtime::EventLoop& loop, std::function<Health()> health)
    : loop_(loop), health_(std::move(health)) {}

HealthSocket::~HealthSocket() {
  if (!listener_) return;
  loop_.remove(listener_.get());
  unlink(path_.c_str());
}

std::optional<std::string> HealthSocket::listen(const std::string& path) {
  const auto failed = [&](int code) { return "cannot use " + path + ": " + std::generic_category().message(code); };
  const auto address = unix_address(path);
  if (!address) return failed(ENAMETOOLONG);
  if (const auto slash = path.rfind('/'); slash != std::string::npos && slash > 0) {
    if (const auto made = runtime::make_directories(path.substr(0, slash), 0755); !made) return made.error().text;
  }
  if (connect_to(path)) return path + " belongs to another running connector";
  struct stat status {};
  if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path.c_str());
  runtime::Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) return failed(errno);
  chmod(path.c_str(), 0666);  // it tells a word and takes none
  if (::listen(fd.get(), 16) != 0) return failed(errno);
  listener_ = std::move(fd);
  path_ = path;
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_all(); });
  return std::nullopt;
}

void HealthSocket::accept_all() {
  for (;;) {
    const runtime::Descriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    const Health health = health_();
    const std::string line = (health.ok ? "OK" : health.reason) + "\n";
    [[maybe_unused]] const ssize_t sent = send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL);
  }
}

Health ask_health(const std::string& socket_path, std::uint16_t http_port) {
  if (const runtime::Descriptor fd = connect_to(socket_path)) return from_line(read_to_end(fd.get()));
  if (http_port != 0) {
    for (const char* host : {"127.0.0.1", "::1"}) {
      if (auto health = ask_http({*IpAddress::parse(host), http_port})) return *health;
    }
  }
  return {false, "no connector is running: nobody answers at " + socket_path +
                     (http_port != 0 ? " or at port " + std::to_string(http_port) : "")};
}

}  // namespace postern::connector
