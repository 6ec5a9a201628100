#include "resolver/forwarder.hpp"

#include <algorithm>

namespace postern::resolver {

void Forwarder::submit(Instant now, AskerId asker, wire::DnsQuery query, ByteView message,
                       wire::DnsTransport transport) {
  Pending pending{asker, std::move(query), to_bytes(message), transport, 0, 0, {}};
  if (pending_.size() >= limits_.outstanding_max) {
    count(ForwarderCount::TableFull);
    return give_up(pending);
  }
  if (servers_.empty()) {
    count(ForwarderCount::NoServer);
    return give_up(pending);
  }
  try_next(now, std::move(pending));
}

void Forwarder::try_next(Instant now, Pending pending) {
  if (pending.tries >= limits_.tries_max || servers_.empty()) return give_up(pending);
  const SocketAddress server = servers_[pending.tries % servers_.size()];
  ++pending.tries;
  pending.id = static_cast<std::uint16_t>(random_.u64());
  pending.deadline = now + limits_.try_time;
  store_u16(pending.message.data(), pending.id);
  const Ticket ticket(++tickets_);
  queries_.push_back({ticket, server, pending.message, pending.transport});
  pending_.emplace(ticket, std::move(pending));
}

void Forwarder::give_up(const Pending& pending) {
  const wire::DnsReply reply{wire::DnsRcode::ServFail, {}, 0, false};
  replies_.push_back({pending.asker, wire::build_dns_answer(pending.query, reply, pending.transport)});
}

void Forwarder::handle_answer(Ticket ticket, ByteView message) {
  const auto found = pending_.find(ticket);
  if (found == pending_.end()) return;
  const Pending& pending = found->second;
  const auto answer = wire::parse_dns_message(message);
  const bool fits = answer && answer->header.is_response && answer->header.id == pending.id &&
                    answer->name == pending.query.name && answer->type == pending.query.type;
  if (!fits) return count(ForwarderCount::ForeignAnswer);  // go on waiting: it may be a forgery
  UpstreamReply reply{pending.asker, to_bytes(message)};
  store_u16(reply.message.data(), pending.query.header.id);
  replies_.push_back(std::move(reply));
  pending_.erase(found);
  done_.push_back(ticket);
}

void Forwarder::handle_failure(Instant now, Ticket ticket) {
  const auto found = pending_.find(ticket);
  if (found == pending_.end()) return;
  Pending pending = std::move(found->second);
  pending_.erase(found);
  done_.push_back(ticket);
  try_next(now, std::move(pending));
}

void Forwarder::handle_timeout(Instant now) {
  while (!pending_.empty() && pending_.begin()->second.deadline <= now) {
    count(ForwarderCount::TimedOut);
    handle_failure(now, pending_.begin()->first);
  }
}

std::optional<Instant> Forwarder::next_timeout() const {
  if (pending_.empty()) return std::nullopt;
  return pending_.begin()->second.deadline;
}

namespace {

template <typename T>
std::optional<T> pop(std::deque<T>& queue) {
  if (queue.empty()) return std::nullopt;
  T value = std::move(queue.front());
  queue.pop_front();
  return value;
}

}  // namespace

std::optional<UpstreamQuery> Forwarder::poll_query() {
  return pop(queries_);
}
std::optional<UpstreamReply> Forwarder::poll_reply() {
  return pop(replies_);
}
std::optional<Ticket> Forwarder::poll_done() {
  return pop(done_);
}

}  // namespace postern::resolver
