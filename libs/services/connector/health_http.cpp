#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "runtime/udp/socket_address.hpp"
#include "services/connector/health.hpp"

namespace postern::connector {
namespace {

constexpr Duration kPatience = std::chrono::seconds(5);

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

std::string render(const LocalPage& page, bool with_body) {
  std::string text = "HTTP/1.1 " + std::to_string(page.status) + " " + std::string(reason_phrase(page.status));
  text += "\r\nContent-Type: " + page.content_type;
  text += "\r\nContent-Length: " + std::to_string(page.body.size());
  text += "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
  return with_body ? text + page.body : text;
}

}  // namespace

std::string answer_http(std::string_view request, const LocalHttp::Handler& handler) {
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  const bool shaped = first != std::string_view::npos && last > first;
  const std::string_view version = shaped ? line.substr(last + 1) : "";
  const std::string_view target = shaped ? line.substr(first + 1, last - first - 1) : "";
  if ((version != "HTTP/1.1" && version != "HTTP/1.0") || !target.starts_with('/') || target.contains(' ')) {
    return render({400, "this is no HTTP/1 request\n"}, true);
  }
  const std::string_view method = line.substr(0, first);
  if (method != "GET" && method != "HEAD") return render({405, "only GET and HEAD\n"}, true);
  const auto page = handler(target.substr(0, target.find('?')));
  return render(page.value_or(LocalPage{404, "there is no such page\n"}), method == "GET");
}

LocalHttp::LocalHttp(runtime::EventLoop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {
  loop_.add_participant(*this);
}

LocalHttp::~LocalHttp() {
  loop_.remove_participant(*this);
  for (const auto& [fd, connection] : connections_) loop_.remove(fd);
  for (const runtime::Descriptor& listener : listeners_) loop_.remove(listener.get());
}

std::optional<std::string> LocalHttp::listen(const SocketAddress& address) {
  const auto failed = [&] {
    return "cannot listen on " + address.to_string() + ": " + std::generic_category().message(errno);
  };
  const int family = address.ip.is_v4() ? AF_INET : AF_INET6;
  runtime::Descriptor fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return failed();
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  const runtime::KernelAddress at = runtime::to_kernel(address);
  if (bind(fd.get(), at.get(), at.size) != 0 || ::listen(fd.get(), 16) != 0) return failed();
  const int listener = fd.get();
  listeners_.push_back(std::move(fd));
  loop_.add(listener, EPOLLIN, [this, listener](std::uint32_t) { accept_all(listener); });
  return std::nullopt;
}

std::vector<SocketAddress> LocalHttp::addresses() const {
  std::vector<SocketAddress> addresses;
  for (const runtime::Descriptor& listener : listeners_) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) continue;
    if (const auto address = runtime::from_kernel(storage)) addresses.push_back(*address);
  }
  return addresses;
}

void LocalHttp::accept_all(int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (connections_.size() >= kConnectionsMax) drop(order_.front());
    connections_[fd] = {runtime::Descriptor(fd), {}, loop_.now() + kPatience};
    order_.push_back(fd);
    loop_.add(fd, EPOLLIN | EPOLLRDHUP, [this, fd](std::uint32_t) { handle_readable(fd); });
  }
}

void LocalHttp::handle_readable(int fd) {
  Connection& connection = connections_.at(fd);
  std::array<char, kRequestMax> part;
  const ssize_t got = recv(fd, part.data(), part.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return drop(fd);
  connection.request.append(part.data(), static_cast<std::size_t>(got));
  const bool whole = connection.request.find("\r\n\r\n") != std::string::npos;
  if (!whole && connection.request.size() <= kRequestMax) return;
  const std::string answer = whole ? answer_http(connection.request, handler_) : render({400, "too long\n"}, true);
  // A few hundred bytes into an empty socket: the kernel takes them, or the peer does not get its answer.
  [[maybe_unused]] const ssize_t sent = send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
  drop(fd);
}

void LocalHttp::drop(int fd) {
  loop_.remove(fd);
  connections_.erase(fd);
  std::erase(order_, fd);
}

void LocalHttp::end_turn(Instant now) {
  while (!order_.empty() && connections_.at(order_.front()).ends <= now) drop(order_.front());
}

std::optional<Instant> LocalHttp::next_timeout() const {
  if (order_.empty()) return std::nullopt;
  return connections_.at(order_.front()).ends;
}

}  // namespace postern::connector
