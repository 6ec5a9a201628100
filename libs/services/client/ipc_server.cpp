#include "services/client/ipc_server.hpp"

#include <grp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "services/client/ipc_protocol.hpp"

namespace postern::client {

namespace {

std::expected<sockaddr_un, Problem> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return std::unexpected(
        Problem{config::ExitCode::Usage, "the socket path \"" + path + "\" is empty or longer than 107 bytes"});
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool is_answered(const sockaddr_un& address) {
  const runtime::Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

/// user(7) of the machine's group file; the daemon is its own user's.
constexpr const char* kGroup = "postern";

struct PeerCredentials {
  uid_t user = static_cast<uid_t>(-1);
  bool may_change = false;
};

bool is_member(int fd, gid_t primary, gid_t wanted) {
  if (primary == wanted) return true;
  std::vector<gid_t> groups(64);
  socklen_t size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  int done = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
  if (done != 0 && errno == ERANGE) {
    groups.resize(size / sizeof(gid_t));
    done = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
  }
  if (done != 0) return false;
  groups.resize(size / sizeof(gid_t));
  return std::ranges::find(groups, wanted) != groups.end();
}

PeerCredentials credentials_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return {};
  PeerCredentials result{peer.uid, peer.uid == 0 || peer.uid == ::geteuid()};
  if (result.may_change) return result;
  const group* members = ::getgrnam(kGroup);
  result.may_change = members != nullptr && is_member(fd, peer.gid, members->gr_gid);
  return result;
}

Problem failure(const std::string& what, const std::string& path) {
  const bool denied = errno == EACCES || errno == EPERM || errno == EROFS;
  return {denied ? config::ExitCode::NotPermitted : config::ExitCode::Failure,
          what + " " + path + " failed: " + std::strerror(errno)};
}

}  // namespace

IpcServer::~IpcServer() {
  while (!connections_.empty()) close(connections_.begin()->first);
  if (!listener_) return;
  loop_.remove(listener_.get());
  ::unlink(path_.c_str());
}

std::expected<void, Problem> IpcServer::listen(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return std::unexpected(address.error());
  if (is_answered(*address)) {
    return std::unexpected(
        Problem{config::ExitCode::AlreadyRunning,
                "another posternd answers on " + path + ": stop it, or give this one another --socket"});
  }
  runtime::Descriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  ::unlink(path.c_str());
  const mode_t before = ::umask(0111);
  const bool bound = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0;
  ::umask(before);
  if (!bound) return std::unexpected(failure("binding the socket", path));
  if (::listen(listener.get(), 16) != 0) return std::unexpected(failure("listening on", path));
  path_ = path;
  listener_ = std::move(listener);
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept(); });
  return {};
}

void IpcServer::accept() {
  while (true) {
    runtime::Descriptor fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    const PeerCredentials peer = credentials_of(fd.get());
    if (is_full_for(peer.user, peer.may_change)) {
      ++refused_;
      const std::string line = build_error(
          {config::ExitCode::Conflict, "posternd has too many connections on its socket: close some and try again"});
      (void)!::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    const IpcConnection id(++numbers_);
    loop_.add(fd.get(), EPOLLIN, [this, id](std::uint32_t events) { handle_ready(id, events); });
    Connection& connection = connections_[id];
    connection.fd = std::move(fd);
    connection.user = peer.user;
    connection.may_change = peer.may_change;
  }
}

bool IpcServer::is_full_for(uid_t user, bool may_change) const {
  if (connections_.size() >= kConnectionsMax) return true;
  if (may_change) return false;
  std::size_t strangers = 0;
  std::size_t own = 0;
  for (const auto& [id, connection] : connections_) {
    strangers += connection.may_change ? 0 : 1;
    own += connection.user == user ? 1 : 0;
  }
  return strangers >= kStrangersMax || own >= kPerStrangerMax;
}

std::expected<void, Problem> IpcServer::check_may_change(IpcConnection id) const {
  const auto found = connections_.find(id);
  if (found != connections_.end() && found->second.may_change) return {};
  return std::unexpected(Problem{config::ExitCode::NotPermitted,
                                 "only root and members of the group postern may do this: use sudo, or `sudo usermod "
                                 "-aG postern USER` and log in to this computer again"});
}

void IpcServer::handle_ready(IpcConnection id, std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush(id);
  if (!connections_.contains(id)) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !read_lines(id)) close(id);
}

/// False when the connection has to be closed.
bool IpcServer::read_lines(IpcConnection id) {
  std::array<char, 16'384> buffer;
  const ssize_t size = ::recv(connections_[id].fd.get(), buffer.data(), buffer.size(), 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) return false;
  connections_[id].incoming.append(buffer.data(), static_cast<std::size_t>(size));
  while (true) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return true;  // closed by the handler
    std::string& incoming = found->second.incoming;
    const std::size_t end = incoming.find('\n');
    if (end == std::string::npos) {
      if (incoming.size() <= kIpcLineMax) return true;
      ++refused_;
      return false;
    }
    const std::string line = incoming.substr(0, end);
    incoming.erase(0, end + 1);
    on_line_(id, line);
  }
}

void IpcServer::send(IpcConnection id, std::string_view line) {
  const auto found = connections_.find(id);
  if (found == connections_.end() || found->second.is_closing) return;
  if (found->second.outgoing.size() + line.size() > kUnreadMax) {
    // Not here: the caller may be in the middle of its lines.
    found->second.is_closing = true;
    ++refused_;
    if (!loop_.post([this, id] { close(id); })) return;
    return;
  }
  found->second.outgoing += line;
  flush(id);
}

std::optional<IpcServer::Detached> IpcServer::detach(IpcConnection id) {
  const auto found = connections_.find(id);
  if (found == connections_.end() || !found->second.outgoing.empty()) return std::nullopt;
  Connection& connection = found->second;
  loop_.remove(connection.fd.get());
  Detached given{std::move(connection.fd), std::move(connection.incoming), connection.user, connection.may_change};
  connections_.erase(found);
  return given;
}

void IpcServer::flush(IpcConnection id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  while (!connection.outgoing.empty()) {
    const ssize_t sent =
        ::send(connection.fd.get(), connection.outgoing.data(), connection.outgoing.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) break;  // full, or gone: reading tells which
    connection.outgoing.erase(0, static_cast<std::size_t>(sent));
  }
  loop_.modify(connection.fd.get(), connection.outgoing.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

void IpcServer::close(IpcConnection id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  loop_.remove(found->second.fd.get());
  connections_.erase(found);
  on_close_(id);
}

}  // namespace postern::client
