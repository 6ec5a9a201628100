#include "client_core/dns_front.hpp"

#include <algorithm>

namespace postern::client {

void DnsFront::handle_datagram(Instant now, const SocketAddress& from, const SocketAddress& to, ByteView message) {
  ask(now, UdpAsker{from, to}, message);
}

void DnsFront::ask(Instant now, const Asker& asker, ByteView message) {
  const bool is_tcp = std::holds_alternative<tcp::FlowId>(asker);
  const auto transport = is_tcp ? wire::DnsTransport::Tcp : wire::DnsTransport::Udp;
  auto resolution = resolver_.resolve(now, message, transport);
  if (auto* ready = std::get_if<resolver::Answer>(&resolution)) return answer(now, asker, std::move(ready->message));
  if (auto* forward = std::get_if<resolver::Forward>(&resolution)) {
    return forwarder_.submit(now, remember(asker), std::move(forward->query), message, transport);
  }
  auto* question = std::get_if<resolver::AskConnector>(&resolution);
  if (question == nullptr) return;
  if (waiting_.size() >= kRecordQuestionsMax) {
    return answer(now, asker, wire::build_dns_answer(question->query, {wire::DnsRcode::ServFail, {}, 0}, transport));
  }
  const resolver::AskerId id = remember(asker);
  questions_.push_back({id.value, std::move(question->name), question->query.type});
  waiting_.emplace(id, std::pair(std::move(question->query), transport));
}

resolver::AskerId DnsFront::remember(const Asker& asker) {
  const resolver::AskerId id(++asker_numbers_);
  askers_.emplace(id, asker);
  if (const auto* flow = std::get_if<tcp::FlowId>(&asker)) ++connections_[*flow].waiting;
  return id;
}

std::optional<DnsFront::RecordQuestion> DnsFront::poll_question() {
  if (questions_.empty()) return std::nullopt;
  RecordQuestion question = std::move(questions_.front());
  questions_.pop_front();
  return question;
}

void DnsFront::handle_records(Instant now, std::uint64_t id, const Records& records) {
  const auto asked = waiting_.extract(resolver::AskerId(id));
  if (asked.empty()) return;
  const auto& [query, transport] = asked.mapped();
  deliver(now, asked.key(),
          records ? wire::build_dns_records(query, *records, transport)
                  : wire::build_dns_answer(query, {wire::DnsRcode::ServFail, {}, 0}, transport));
}

void DnsFront::answer(Instant now, const Asker& asker, Bytes message) {
  if (const auto* udp = std::get_if<UdpAsker>(&asker)) {
    datagrams_.push_back({udp->resolver, udp->client, std::move(message)});
  } else {
    answer_stream(now, std::get<tcp::FlowId>(asker), message);
  }
}

void DnsFront::deliver(Instant now, resolver::AskerId id, Bytes message) {
  const auto found = askers_.extract(id);
  if (found.empty()) return;
  const Asker& asker = found.mapped();
  const auto* flow = std::get_if<tcp::FlowId>(&asker);
  if (flow != nullptr) {
    const auto connection = connections_.find(*flow);
    if (connection == connections_.end()) return;
    --connection->second.waiting;
    connection->second.active = now;
  }
  answer(now, asker, std::move(message));
  if (flow != nullptr) read_questions(now, *flow);
}

void DnsFront::settle(Instant now) {
  while (auto reply = forwarder_.poll_reply()) deliver(now, reply->asker, std::move(reply->message));
}

std::optional<DnsDatagram> DnsFront::poll_datagram() {
  if (datagrams_.empty()) return std::nullopt;
  DnsDatagram datagram = std::move(datagrams_.front());
  datagrams_.pop_front();
  return datagram;
}

// --- TCP (RFC 7766) ------------------------------------------------------------------------------------------------

void DnsFront::handle_incoming(Instant now, tcp::FlowId flow) {
  if (connections_.size() >= kConnectionsMax) return tcp_.refuse(now, flow, tcp::Refusal::Reset);
  connections_[flow].active = now;
  tcp_.accept(now, flow);
}

std::optional<Instant> DnsFront::end_of(const Connection& connection) {
  return connection.waiting > 0 ? std::nullopt : std::optional(connection.active + kIdle);
}

void DnsFront::handle_timeout(Instant now) {
  forwarder_.handle_timeout(now);
  std::erase_if(connections_, [&](const auto& entry) {
    const auto end = end_of(entry.second);
    if (!end || now < *end) return false;
    tcp_.abort(now, entry.first);
    return true;
  });
}

std::optional<Instant> DnsFront::next_timeout() const {
  std::optional<Instant> next = forwarder_.next_timeout();
  for (const auto& [flow, connection] : connections_) {
    if (const auto end = end_of(connection)) next = std::min(next.value_or(*end), *end);
  }
  return next;
}

bool DnsFront::handle_event(Instant now, const tcp::Event& event) {
  const tcp::FlowId flow = std::visit([](const auto& e) { return e.flow; }, event);
  const auto found = connections_.find(flow);
  if (found == connections_.end()) return false;
  if (const auto* data = std::get_if<tcp::Data>(&event)) {
    Connection& connection = found->second;
    connection.active = now;
    connection.received.insert(connection.received.end(), data->bytes.view().begin(), data->bytes.view().end());
    connection.withheld += data->bytes.size();
    read_questions(now, flow);
  } else if (std::holds_alternative<tcp::PeerFinished>(event)) {
    found->second.finished = true;
    read_questions(now, flow);
  } else if (std::holds_alternative<tcp::Aborted>(event) || std::holds_alternative<tcp::FlowClosed>(event)) {
    connections_.erase(found);
  }
  return true;
}

void DnsFront::read_questions(Instant now, tcp::FlowId flow) {
  constexpr std::size_t kLengthSize = 2;
  while (true) {
    const auto found = connections_.find(flow);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    const std::size_t held = connection.received.size();
    const std::size_t size = held < kLengthSize ? 0 : load_u16(connection.received.data());
    const bool is_whole = held >= kLengthSize && held >= kLengthSize + size;
    if (!is_whole || connection.waiting >= kQuestionsMax) {
      // The window stays closed only while questions wait; a part of one needs the rest.
      if (!is_whole) tcp_.grant(flow, std::exchange(connection.withheld, 0));
      if (!is_whole && connection.finished && connection.waiting == 0) tcp_.finish(now, flow);
      return;
    }
    const auto begin = connection.received.begin() + static_cast<std::ptrdiff_t>(kLengthSize);
    const Bytes message(begin, begin + static_cast<std::ptrdiff_t>(size));
    connection.received.erase(connection.received.begin(), begin + static_cast<std::ptrdiff_t>(size));
    ask(now, flow, message);
  }
}

void DnsFront::answer_stream(Instant now, tcp::FlowId flow, const Bytes& message) {
  Bytes framed(2 + message.size());
  store_u16(framed.data(), static_cast<std::uint16_t>(message.size()));
  std::ranges::copy(message, framed.begin() + 2);
  tcp_.send(now, flow, blocks_.copy(framed));
}

}  // namespace postern::client
