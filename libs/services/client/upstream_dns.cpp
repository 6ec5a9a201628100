#include "services/client/upstream_dns.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <vector>

#include "runtime/udp/socket_address.hpp"

namespace postern::client {

UpstreamDns::~UpstreamDns() {
  while (!exchanges_.empty()) close(exchanges_.begin()->first);
}

void UpstreamDns::settle(Instant now) {
  // A try that cannot even be sent makes the forwarder queue the next one, so this ends with the queue.
  while (true) {
    while (const auto done = forwarder_.poll_done()) close(*done);
    const auto query = forwarder_.poll_query();
    if (!query) return;
    if (!start(*query)) forwarder_.handle_failure(now, query->ticket);
  }
}

bool UpstreamDns::start(const resolver::UpstreamQuery& query) {
  const bool is_tcp = query.transport == wire::DnsTransport::Tcp;
  const runtime::KernelAddress address = runtime::to_kernel(query.server);
  Exchange exchange;
  exchange.transport = query.transport;
  exchange.socket = runtime::Descriptor(
      ::socket(address.storage.ss_family, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int fd = exchange.socket.get();
  if (fd < 0) return false;
  if (::connect(fd, address.get(), address.size) != 0 && errno != EINPROGRESS) return false;
  if (is_tcp) {
    exchange.outgoing.resize(2);
    store_u16(exchange.outgoing.data(), static_cast<std::uint16_t>(query.message.size()));
    exchange.outgoing.insert(exchange.outgoing.end(), query.message.begin(), query.message.end());
  } else if (::send(fd, query.message.data(), query.message.size(), MSG_NOSIGNAL) < 0) {
    return false;
  }
  const resolver::Ticket ticket = query.ticket;
  loop_.add(fd, is_tcp ? EPOLLIN | EPOLLOUT : EPOLLIN,
            [this, ticket](std::uint32_t events) { handle_ready(ticket, events); });
  exchanges_.emplace(ticket, std::move(exchange));
  return true;
}

void UpstreamDns::handle_ready(resolver::Ticket ticket, std::uint32_t events) {
  const auto found = exchanges_.find(ticket);
  if (found == exchanges_.end()) return;
  Exchange& exchange = found->second;
  if (exchange.transport == wire::DnsTransport::Udp) return handle_datagrams(ticket, exchange);
  if ((events & EPOLLOUT) != 0 && !exchange.outgoing.empty()) {
    const ssize_t sent =
        ::send(exchange.socket.get(), exchange.outgoing.data(), exchange.outgoing.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return forwarder_.handle_failure(loop_.now(), ticket);
    if (sent > 0) exchange.outgoing.erase(exchange.outgoing.begin(), exchange.outgoing.begin() + sent);
    if (exchange.outgoing.empty()) loop_.modify(exchange.socket.get(), EPOLLIN);
  }
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) handle_stream(ticket, exchange);
}

void UpstreamDns::handle_datagrams(resolver::Ticket ticket, Exchange& exchange) {
  std::array<std::uint8_t, 65'536> buffer;
  const ssize_t size = ::recv(exchange.socket.get(), buffer.data(), buffer.size(), 0);
  if (size >= 0) return forwarder_.handle_answer(ticket, ByteView(buffer).first(static_cast<std::size_t>(size)));
  if (errno != EAGAIN && errno != EINTR) forwarder_.handle_failure(loop_.now(), ticket);  // its port is closed
}

void UpstreamDns::handle_stream(resolver::Ticket ticket, Exchange& exchange) {
  std::array<std::uint8_t, 16'384> buffer;
  const ssize_t size = ::recv(exchange.socket.get(), buffer.data(), buffer.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return forwarder_.handle_failure(loop_.now(), ticket);
  exchange.incoming.insert(exchange.incoming.end(), buffer.begin(), buffer.begin() + size);
  if (exchange.incoming.size() < 2) return;
  const std::size_t wanted = 2U + load_u16(exchange.incoming.data());
  if (exchange.incoming.size() < wanted) return;
  const Bytes message(exchange.incoming.begin() + 2, exchange.incoming.begin() + static_cast<std::ptrdiff_t>(wanted));
  exchange.incoming.clear();
  forwarder_.handle_answer(ticket, message);
}

void UpstreamDns::close(resolver::Ticket ticket) {
  const auto found = exchanges_.find(ticket);
  if (found == exchanges_.end()) return;
  loop_.remove(found->second.socket.get());
  exchanges_.erase(found);
}

}  // namespace postern::client
