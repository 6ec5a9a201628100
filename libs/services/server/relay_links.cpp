#include "services/server/relay_links.hpp"

#include "base/link_address.hpp"

namespace postern::server {

RelayLinks::~RelayLinks() {
  close_all();
}

void RelayLinks::close_all() {
  for (auto link = links_.begin(); link != links_.end();) link = close(link);
}

void RelayLinks::accept(runtime::LinkSocket::Connection connection, const std::string& key) {
  const Instant now = loop_.now();
  make_room();
  if (links_.size() >= limits_.links_max) {
    ++stats_.refused_full;
    return runtime::LinkSocket::refuse(std::move(connection));
  }
  const SocketAddress address = link_address(next_number_++);
  ++stats_.accepted;
  auto socket = runtime::LinkSocket::accept(
      loop_, buffers_, std::move(connection), key,
      {.train = [this, address](MutableBytes bytes, std::size_t stride) { callbacks_.train(address, bytes, stride); },
       .closed = [this, address](const std::string&) { handle_closed(address); }});
  links_.emplace(address, Link{std::move(socket), now});
  unbound_.push_back(address);
  if (!sweep_at_) sweep_at_ = now + kSweepPeriod;
}

/// For one more that is not bound.
void RelayLinks::make_room() {
  while (unbound_.size() >= limits_.unbound_max) {
    const auto oldest = links_.find(unbound_.front());
    unbound_.pop_front();
    if (oldest == links_.end()) continue;
    oldest->second.bound = oldest->second.bound || callbacks_.is_bound(oldest->first);
    if (oldest->second.bound) continue;
    ++stats_.never_bound;
    close(oldest);
  }
}

RelayLinks::Table::iterator RelayLinks::close(Table::iterator link) {
  const runtime::LinkCounters& counters = link->second.socket->counters();
  stats_.bytes_received += counters.bytes_received;
  stats_.bytes_sent += counters.bytes_sent;
  stats_.dropped_datagrams += counters.dropped_datagrams;
  const SocketAddress address = link->first;
  const auto socket = std::move(link->second.socket);
  const auto next = links_.erase(link);
  socket->close();
  callbacks_.closed(address);
  return next;
}

void RelayLinks::handle_closed(const SocketAddress& address) {
  if (const auto link = links_.find(address); link != links_.end()) close(link);
}

void RelayLinks::send(Instant now, const SocketAddress& to, ByteView bytes, std::size_t stride) {
  if (const auto link = links_.find(to); link != links_.end()) return link->second.socket->send(now, bytes, stride);
  stats_.dropped_datagrams += (bytes.size() + stride - 1) / stride;
}

bool RelayLinks::is_over(Instant now, const SocketAddress& address, Link& link) {
  if (link.socket->is_closed()) return true;
  if (now - link.socket->heard() > limits_.silence_max) return true;
  if (callbacks_.is_bound(address)) {
    link.bound = true;
    link.bound_at = now;
    return false;
  }
  if (now - link.bound_at < (link.bound ? limits_.idle_max : limits_.unbound_time)) return false;
  if (!link.bound) ++stats_.never_bound;
  return true;
}

void RelayLinks::handle_timeout(Instant now) {
  if (!sweep_at_ || now < *sweep_at_) return;
  sweep_at_.reset();
  for (auto link = links_.begin(); link != links_.end();) {
    link = is_over(now, link->first, link->second) ? close(link) : std::next(link);
  }
  std::erase_if(unbound_, [this](const SocketAddress& address) {
    const auto link = links_.find(address);
    return link == links_.end() || link->second.bound;
  });
  if (links_.empty()) return buffers_.give_back();
  sweep_at_ = now + kSweepPeriod;
}

LinkStats RelayLinks::stats() const {
  LinkStats stats = stats_;
  stats.open = links_.size();
  for (const auto& [address, link] : links_) {
    if (!link.bound && !callbacks_.is_bound(address)) ++stats.unbound;
    stats.bytes_received += link.socket->counters().bytes_received;
    stats.bytes_sent += link.socket->counters().bytes_sent;
    stats.dropped_datagrams += link.socket->counters().dropped_datagrams;
  }
  return stats;
}

}  // namespace postern::server
