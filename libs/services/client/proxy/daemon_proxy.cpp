// The part of Daemon that local programs use: the proxy's port and the streams of `postern nc`.
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "runtime/os/limits.hpp"
#include "services/client/daemon.hpp"
#include "services/client/proxy/proxy_options.hpp"

namespace postern::client {

namespace {

using config::ExitCode;

/// Streams over the unix socket of one user who may not change the daemon.
constexpr std::size_t kStreamsPerStrangerMax = 256;

/// `postern nc` hears an answer of the daemon, then bytes.
class LineGreeting final : public StreamGreeting {
 public:
  explicit LineGreeting(Destination destination) : destination_(std::move(destination)) {}
  [[nodiscard]] std::string opened() const override { return build_done("open"); }
  [[nodiscard]] std::string refused(const FlowDenial& denial) const override {
    constexpr std::uint8_t kNotAllowed = 2;
    const bool is_not_allowed = socks_reply(denial) == kNotAllowed || denial.reason == FlowRefusal::NoInstance ||
                                denial.reason == FlowRefusal::NoRelay;
    return build_error({is_not_allowed ? ExitCode::NotReached : ExitCode::Failure, describe(denial, destination_)});
  }

 private:
  Destination destination_;
};

/// Sends a line together with a descriptor; false when the peer is gone.
bool send_with(int fd, const std::string& line, int given) {
  iovec part{const_cast<char*>(line.data()), line.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &given, sizeof given);
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(line.size());
}

}  // namespace

std::expected<void, Problem> Daemon::start_proxy() {
  if (!config_.proxy) return {};
  auto config = load_proxy_config(*config_.proxy, config_.proxy_password_file);
  if (!config) return std::unexpected(config.error());
  // With a TUN everybody on this machine reaches the resources anyway; without, only who has started this.
  if (config_.tun_name.empty()) config->owner = ::geteuid();
  runtime::raise_open_files_limit();
  auto proxy = ProxyServer::start(std::move(*config), loop_, streams_, associations_);
  if (!proxy) return std::unexpected(proxy.error());
  proxy_ = std::move(*proxy);
  log_.info("SOCKS5 and HTTP are spoken", {{"address", proxy_->address().to_string()}});
  return {};
}

void Daemon::handle_open(IpcConnection from, const Request& request) {
  auto destination = parse_destination(request.destination);
  if (!destination) return ipc_->send(from, build_error({ExitCode::Usage, destination.error()}));
  if (!destination->port) {
    return ipc_->send(from, build_error({ExitCode::Usage, request.destination + " has no port: name one"}));
  }
  if (!sign_in_) {
    return ipc_->send(from, build_error({ExitCode::SignInNeeded, connection_status().reason}));
  }
  const auto allowed = config_.tun_name.empty() ? ipc_->check_may_change(from) : std::expected<void, Problem>{};
  if (!allowed) return ipc_->send(from, build_error(allowed.error()));
  std::array<int, 2> ends{};
  if (streams_.size() >= LocalStreams::kStreamsMax ||
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return ipc_->send(from, build_error({ExitCode::Conflict, "too many streams are open: close some and try again"}));
  }
  runtime::Descriptor verdict(ends[0]);
  const runtime::Descriptor given(ends[1]);
  auto connection = ipc_->detach(from);
  if (!connection) return;
  LocalStreams::Opening opening{std::move(connection->fd), std::make_unique<LineGreeting>(*destination),
                                std::move(*destination)};
  if (!connection->may_change && streams_.count_of(connection->user) >= kStreamsPerStrangerMax) {
    return streams_.leave(loop_.now(), std::move(opening.fd),
                          build_error({ExitCode::Conflict, "you have 256 streams open: close some and try again"}));
  }
  if (!send_with(opening.fd.get(), build_opening(), given.get())) return;
  opening.early = std::move(connection->rest);
  opening.verdict = std::move(verdict);
  opening.user = connection->user;
  streams_.open(loop_.now(), std::move(opening));
}

}  // namespace postern::client
