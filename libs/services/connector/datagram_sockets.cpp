#include "services/connector/datagram_sockets.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "services/connector/target_sockets.hpp"

namespace postern::connector {
namespace {

using runtime::ConnectedSocket;

/// A turn's share; then packets get their turn.
constexpr unsigned kReadsPerTurn = 64;
constexpr unsigned kReadsPerFlow = 8;
/// Below it a copy is cheaper than keeping a block for so few bytes.
constexpr std::size_t kCopyMax = 4096;

Refusal refusal_for(model::Protocol protocol, int error_code) {
  if (protocol == model::Protocol::Icmp && (error_code == EACCES || error_code == EPERM)) {
    return {wire::REFUSAL_PING_NOT_PERMITTED,
            "the connector's host does not let it send echo requests: widen net.ipv4.ping_group_range there"};
  }
  return {refusal_of(error_code), std::generic_category().message(error_code)};
}

}  // namespace

DatagramSockets::DatagramSockets(runtime::EventLoop& loop, Flows& flows, BlockPool& pool)
    : loop_(loop), flows_(flows), pool_(pool) {}

DatagramSockets::~DatagramSockets() {
  for (auto& [flow, socket] : sockets_) loop_.remove(socket.socket.fd());
}

void DatagramSockets::open(Instant now, const OpenDatagrams& request) {
  const bool is_ping = request.protocol == model::Protocol::Icmp;
  int error_code = EADDRNOTAVAIL;
  for (const SocketAddress& address : request.addresses) {
    auto socket = ConnectedSocket::open(is_ping ? ConnectedSocket::Kind::Ping : ConnectedSocket::Kind::Udp, address);
    if (!socket) {
      error_code = socket.error();
      continue;
    }
    if (is_ping) ping_forbidden_ = false;
    loop_.add(socket->fd(), EPOLLIN | EPOLLET,
              [this, flow = request.flow](std::uint32_t events) { handle_event(flow, events); });
    sockets_.emplace(request.flow, Socket{std::move(*socket)});
    return flows_.handle_connected(now, request.flow, address, {});
  }
  Refusal refusal = refusal_for(request.protocol, error_code);
  if (refusal.reason == wire::REFUSAL_PING_NOT_PERMITTED) ping_forbidden_ = true;
  flows_.handle_connect_failed(now, request.flow, refusal.reason, std::move(refusal.detail));
}

void DatagramSockets::send(const SendDatagrams& request) {
  const auto found = sockets_.find(request.flow);
  if (found == sockets_.end()) return;
  const std::size_t lost = found->second.socket.send(request.bytes.view(), request.stride);
  const std::size_t count = std::max<std::size_t>(1, (request.bytes.size() + request.stride - 1) / request.stride);
  counters_.not_sent += lost;
  counters_.sent += count - lost;
}

bool DatagramSockets::close(FlowId flow) {
  const auto found = sockets_.find(flow);
  if (found == sockets_.end()) return false;
  loop_.remove(found->second.socket.fd());
  sockets_.erase(found);
  return true;
}

void DatagramSockets::handle_event(FlowId flow, std::uint32_t events) {
  const auto found = sockets_.find(flow);
  if (found == sockets_.end()) return;
  if ((events & EPOLLERR) != 0) pass_errors(loop_.now(), flow, found->second);
  found->second.readable = true;
  make_ready(flow, found->second);
}

void DatagramSockets::pass_errors(Instant now, FlowId flow, Socket& from) {
  while (const auto error_code = from.socket.poll_error()) {
    if (*error_code != 0) flows_.handle_target_failure(now, flow, refusal_of(*error_code));
  }
}

void DatagramSockets::make_ready(FlowId flow, Socket& socket) {
  if (std::exchange(socket.in_ring, true)) return;
  ring_.push_back(flow);
}

void DatagramSockets::read_ready(Instant now) {
  for (unsigned reads = 0; !ring_.empty() && reads < kReadsPerTurn;) {
    const FlowId flow = ring_.front();
    ring_.pop_front();
    const auto found = sockets_.find(flow);
    if (found == sockets_.end()) continue;
    found->second.in_ring = false;
    bool is_more = true;
    for (unsigned i = 0; is_more && i < kReadsPerFlow; ++i, ++reads) is_more = read_once(now, flow, found->second);
    if (is_more) make_ready(flow, found->second);
  }
  if (ring_.empty()) block_ = Buffer();
}

bool DatagramSockets::read_once(Instant now, FlowId flow, Socket& from) {
  if (!block_ || !block_.is_unshared()) block_ = pool_.acquire(BlockClass::Large);
  if (!block_) return false;  // no memory: what comes next wakes us again
  const auto received = from.socket.receive(block_.bytes());
  if (!received) return false;
  auto bytes = take(ByteView(block_.bytes()).subspan(received->offset, received->size), received->offset);
  if (!bytes) return true;
  counters_.received += std::max<std::size_t>(1, (received->size + received->stride - 1) / received->stride);
  flows_.handle_target_datagrams(now, flow, std::move(*bytes), received->stride);
  return true;
}

std::optional<Slice> DatagramSockets::take(ByteView bytes, std::size_t offset) {
  if (bytes.empty()) return Slice();
  if (bytes.size() >= kCopyMax) return block_.slice(offset, bytes.size());
  Slice copy = pool_.copy(bytes);
  if (copy.empty()) return std::nullopt;
  return copy;
}

std::optional<Instant> DatagramSockets::next_timeout() const {
  if (ring_.empty()) return std::nullopt;
  return Instant{};
}

}  // namespace postern::connector
