#include "runtime/udp/port_mapping.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "runtime/udp/default_router.hpp"
#include "runtime/udp/socket_address.hpp"

namespace postern::runtime {
namespace {

/// Answers to searches are smaller.
constexpr std::size_t kDatagramMax = 2048;
/// Per turn: the rest waits, a flood does not keep packets from going.
constexpr int kDatagramsPerTurn = 16;
constexpr int kHops = 2;

}  // namespace

PortMapping::PortMapping(EventLoop& loop, RandomSource& random, std::function<void()> changed)
    : loop_(loop), changed_(std::move(changed)), mapper_(random) {
  loop_.add_participant(*this);
}

PortMapping::~PortMapping() {
  loop_.remove_participant(*this);
  drop_connection();
  drop_datagrams();
}

void PortMapping::follow(std::uint16_t port) {
  if (is_closing_) return;
  const auto router = default_router();
  const auto local = router ? local_address_towards(*router) : std::nullopt;
  if (!local || !local->is_v4() || port == 0) return mapper_.set_place(loop_.now(), std::nullopt);
  if (!datagrams_ || *local != local_) open_datagrams(*local);
  mapper_.set_place(loop_.now(), mapping::Place{*router, *local, port});
}

void PortMapping::open_datagrams(const IpAddress& local) {
  drop_datagrams();
  local_ = local;
  datagrams_ = Descriptor(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const KernelAddress from = to_kernel({local, 0});
  if (!datagrams_ || bind(datagrams_.get(), from.get(), from.size) != 0) return datagrams_.reset();
  const in_addr interface = reinterpret_cast<const sockaddr_in*>(&from.storage)->sin_addr;
  setsockopt(datagrams_.get(), IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface);
  setsockopt(datagrams_.get(), IPPROTO_IP, IP_MULTICAST_TTL, &kHops, sizeof kHops);
  loop_.add(datagrams_.get(), EPOLLIN, [this](std::uint32_t) { read_datagrams(loop_.now()); });
}

void PortMapping::drop_datagrams() {
  if (datagrams_ && !is_closing_) loop_.remove(datagrams_.get());
  datagrams_.reset();
}

void PortMapping::read_datagrams(Instant now) {
  std::array<std::uint8_t, kDatagramMax> buffer;
  for (int i = 0; i < kDatagramsPerTurn && datagrams_; ++i) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    const ssize_t got =
        recvfrom(datagrams_.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&storage), &size);
    if (got < 0) return;
    const auto from = from_kernel(storage);
    if (from) mapper_.handle_datagram(now, *from, ByteView(buffer).first(static_cast<std::size_t>(got)));
  }
}

void PortMapping::send_datagrams() {
  while (const auto next = mapper_.poll_datagram()) {
    const KernelAddress to = to_kernel(next->to);
    // One that is lost is sent again.
    if (datagrams_) {
      (void)sendto(datagrams_.get(), next->datagram.data(), next->datagram.size(), MSG_NOSIGNAL, to.get(), to.size);
    }
  }
}

// --- HTTP ------------------------------------------------------------------------------------------------------------

void PortMapping::drop_connection() {
  if (connection_ && !is_closing_) loop_.remove(connection_.get());
  connection_.reset();
}

void PortMapping::follow_exchange(Instant now) {
  const auto& wanted = mapper_.exchange();
  if (!wanted) return drop_connection();
  if (wanted->number == exchange_) return;
  drop_connection();
  exchange_ = wanted->number;
  written_ = 0;
  connection_ = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const KernelAddress to = to_kernel(wanted->to);
  if (!connection_ || (connect(connection_.get(), to.get(), to.size) != 0 && errno != EINPROGRESS)) {
    connection_.reset();
    return mapper_.handle_end(now);
  }
  if (is_closing_) return;
  loop_.add(connection_.get(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t) { serve_connection(loop_.now()); });
}

void PortMapping::serve_connection(Instant now) {
  write_request(now);
  read_reply(now);
}

void PortMapping::write_request(Instant now) {
  const auto& wanted = mapper_.exchange();
  if (!connection_ || !wanted || wanted->number != exchange_ || written_ >= wanted->request.size()) return;
  const ssize_t sent =
      ::send(connection_.get(), wanted->request.data() + written_, wanted->request.size() - written_, MSG_NOSIGNAL);
  if (sent > 0) written_ += static_cast<std::size_t>(sent);
  if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) mapper_.handle_end(now);
}

void PortMapping::read_reply(Instant now) {
  std::array<std::uint8_t, 16 << 10> buffer;
  while (connection_ && mapper_.exchange() && mapper_.exchange()->number == exchange_) {
    const ssize_t got = ::recv(connection_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
    if (got <= 0) return mapper_.handle_end(now);
    mapper_.handle_bytes(now, ByteView(buffer).first(static_cast<std::size_t>(got)));
  }
}

// --- turns -----------------------------------------------------------------------------------------------------------

void PortMapping::pump(Instant now) {
  if (const auto due = mapper_.next_timeout(); due && *due <= now) mapper_.handle_timeout(now);
  send_datagrams();
  follow_exchange(now);
}

void PortMapping::end_turn(Instant now) {
  if (is_closing_) return;
  pump(now);
  const auto outside = mapper_.outside();
  if (outside == told_ && mapper_.trouble() == told_trouble_) return;
  told_ = outside;
  told_trouble_ = mapper_.trouble();
  changed_();
}

void PortMapping::close() {
  if (is_closing_) return;
  if (connection_) loop_.remove(connection_.get());
  if (datagrams_) loop_.remove(datagrams_.get());
  is_closing_ = true;
  connection_.reset();
  Instant now = monotonic_now();
  const Instant end = now + kCloseMax;
  mapper_.release(now);
  for (; !mapper_.is_released() && now < end; now = monotonic_now()) {
    pump(now);
    const bool is_writing = mapper_.exchange() && written_ < mapper_.exchange()->request.size();
    std::array<pollfd, 2> waits{pollfd{datagrams_.get(), POLLIN, 0},
                                pollfd{connection_.get(), static_cast<short>(POLLIN | (is_writing ? POLLOUT : 0)), 0}};
    const Instant next = std::min(end, mapper_.next_timeout().value_or(end));
    const auto wait_ms = std::chrono::ceil<std::chrono::milliseconds>(std::max(next - now, Duration{}));
    (void)::poll(waits.data(), waits.size(), static_cast<int>(wait_ms.count()));
    read_datagrams(monotonic_now());
    serve_connection(monotonic_now());
  }
  connection_.reset();
  datagrams_.reset();
}

}  // namespace postern::runtime
