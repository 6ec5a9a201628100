// The data plane of a turn: packets in, events and requests, packets out.
#include "base/link_address.hpp"
#include "runtime/udp/interface_addresses.hpp"
#include "services/connector/connector_service.hpp"

namespace postern::connector {
namespace {

/// A turn's share, so that targets and control are served under a flood: 32 trains are up to 2 MiB.
constexpr int kTrainsPerTurn = 32;

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

// PROTOCOL.md §1.1
ConnectorService::DatagramKind ConnectorService::kind_of(std::uint8_t first) {
  if (first <= 3) return DatagramKind::Stun;
  if ((first >= 64 && first <= 127) || first >= 192) return DatagramKind::Quic;
  return DatagramKind::Other;
}

void ConnectorService::receive_packets(Instant now) {
  packets_waiting_ = true;
  for (int i = 0; i < kTrainsPerTurn; ++i) {
    const auto received = udp_->receive(receive_buffer_.bytes());
    if (!received) {
      packets_waiting_ = false;
      return;
    }
    if (is_link_address(received->from)) {
      ++dropped_datagrams_;  // forged: links are not of the network
      continue;
    }
    handle_train(now, {received->from, receive_buffer_.bytes().first(received->size), received->stride, received->ecn});
  }
}

// The kernel joins datagrams of one sender whatever they are: an answer of the relay may ride at the end of a train.
void ConnectorService::handle_train(Instant now, const Train& train) {
  for (std::size_t at = 0; at < train.bytes.size();) {
    const DatagramKind kind = kind_of(train.bytes[at]);
    std::size_t end = at + train.stride;
    while (end < train.bytes.size() && kind_of(train.bytes[end]) == kind) end += train.stride;
    end = std::min(end, train.bytes.size());
    handle_run(now, kind, {train.from, train.bytes.subspan(at, end - at), train.stride, train.ecn});
    at = end;
  }
}

void ConnectorService::handle_run(Instant now, DatagramKind kind, const Train& run) {
  const bool is_relay = relays_.is_relay(run.from);
  if (is_relay) relays_.note_received(now, run.from);
  if (kind == DatagramKind::Quic && endpoint_ && (is_relay || !is_link_address(run.from))) {
    const std::uint32_t label = is_relay ? session::kRelayLabel : session::kDirectLabel;
    return endpoint_->handle_train(now, {{label, run.from}, run.bytes, run.stride, run.ecn});
  }
  for (std::size_t at = 0; at < run.bytes.size(); at += run.stride) {
    const ByteView datagram = run.bytes.subspan(at, std::min(run.stride, run.bytes.size() - at));
    const bool taken = kind == DatagramKind::Stun && (is_relay ? relays_.handle_datagram(now, run.from, datagram)
                                                               : core_.handle_check(now, run.from, datagram));
    if (!taken) ++dropped_datagrams_;
  }
}

void ConnectorService::send(Instant now, const SocketAddress& to, ByteView bytes, std::size_t stride,
                            std::uint8_t ecn) {
  if (is_link_address(to)) return links_.send(now, to, bytes, stride);
  (void)udp_->send(to, bytes, stride, ecn);
}

runtime::AgentLinks::Events ConnectorService::link_events() {
  return {.opened = [this](const SocketAddress& link) { relays_.handle_link_open(loop_.now(), link); },
          .closed =
              [this](const SocketAddress& link, const std::string& reason) {
                log_.warn("A relay is not reached over TLS", {{"reason", reason}});
                relays_.handle_link_closed(loop_.now(), link, reason);
              },
          .train =
              [this](const SocketAddress& link, MutableBytes bytes, std::size_t stride) {
                handle_train(loop_.now(), {link, bytes, stride, 0});
              }};
}

void ConnectorService::follow_links() {
  std::vector<runtime::AgentLinks::Wish> wishes;
  for (const wire::WantedLink& wanted : relays_.wanted_links()) {
    wishes.push_back(runtime::AgentLinks::make_wish(wanted, settings_.server, settings_.trust));
  }
  links_.want(wishes);
}

void ConnectorService::pump(Instant now) {
  for (bool busy = true; busy;) {
    busy = false;
    while (endpoint_) {
      const auto event = endpoint_->poll_event();
      if (!event) break;
      core_.handle_event(now, *event);
      busy = true;
    }
    while (const auto request = core_.flows().poll_request()) {
      handle_request(now, *request);
      busy = true;
    }
  }
}

void ConnectorService::handle_request(Instant now, const Request& request) {
  std::visit(Overloaded{
                 [&](const ResolveName& r) { resolve(r); },
                 [&](const AskNameServer& r) { resolve(r); },
                 [&](const ConnectTcp& r) { targets_.connect(now, r); },
                 [&](const OpenDatagrams& r) { datagrams_.open(now, r); },
                 [&](const SendDatagrams& r) { datagrams_.send(r); },
                 [&](const WriteTarget& r) { targets_.write(now, r.flow); },
                 [&](const ResumeTarget& r) { targets_.resume(r.flow); },
                 [&](const FinishTarget& r) { targets_.finish(r.flow); },
                 [&](const CloseTarget& r) {
                   if (!datagrams_.close(r.flow)) targets_.close(r.flow);
                 },
                 [&](const AbortTarget& r) {
                   if (!datagrams_.close(r.flow)) targets_.abort(r.flow);
                 },
             },
             request);
}

void ConnectorService::resolve(const ResolveName& request) {
  resolver_.resolve(request.name.text(), [this, flow = request.flow](auto result) {
    if (result) return core_.flows().handle_resolved(loop_.now(), flow, std::move(*result));
    const bool unknown = result.error() == runtime::DnsFailure::NameNotFound;
    core_.flows().handle_resolved(
        loop_.now(), flow, std::unexpected(unknown ? ResolveFailure::NameNotFound : ResolveFailure::LookupFailed));
  });
}

void ConnectorService::resolve(const AskNameServer& request) {
  resolver_.query(request.name.text(), static_cast<std::uint16_t>(request.type),
                  [this, flow = request.flow](auto message) {
                    if (message) return core_.flows().handle_answer(loop_.now(), flow, std::move(*message));
                    core_.flows().handle_answer(loop_.now(), flow, std::unexpected(ResolveFailure::LookupFailed));
                  });
}

void ConnectorService::look_at_host(Instant now) {
  path::LocalView local;
  local.port = udp_ ? udp_->local_address().port : std::uint16_t{0};
  for (const runtime::HostAddress& own : runtime::interface_addresses()) {
    local.interfaces.push_back({own.address, own.prefix_length});
  }
  local.reflexive = relays_.mapped(now);
  if (mapping_) {
    mapping_->follow(local.port);
    if (const auto outside = mapping_->outside()) local.mapped.push_back(*outside);
    // A router that sees us elsewhere than before may have started again, and has forgotten the port that it gave.
    if (local.reflexive != local_.reflexive || local.interfaces != local_.interfaces) mapping_->refresh();
  }
  if (local == local_) return;
  std::swap(local_, local);
  local.mapped = local_.mapped;
  if (endpoint_ && local != local_) endpoint_->distrust_direct_paths(now);  // another port mapped changes no path
  core_.set_local(now, local_);
}

void ConnectorService::handle_mapping_changed() {
  const mapping::PortMapper& mapper = mapping_->mapper();
  const auto outside = mapper.outside();
  if (outside) {
    log_.info("A port of the router leads here",
              {{"outside", outside->to_string()}, {"method", to_string(mapper.method())}});
  } else if (mapper.trouble() != mapping::Trouble::None) {
    log_.warn("No port of the router leads here", {{"reason", sentence(mapper.trouble())}});
  }
  look_at_host(loop_.now());
}

void ConnectorService::transmit(Instant now) {
  while (const auto check = core_.poll_check(now)) {
    (void)udp_->send(check->to, check->datagram, check->datagram.size(), 0);
  }
  packets_to_send_ = false;
  if (!endpoint_) return;
  for (int i = 0; i < kTrainsPerTurn * 2; ++i) {
    if (udp_->is_blocked() && !udp_->flush()) return;
    if (links_.is_blocked(now)) break;
    const auto train = endpoint_->poll_transmit(now, send_buffer_.bytes());
    if (!train) return;
    relays_.note_sent(now, train->path.remote);
    send(now, train->path.remote, train->bytes, train->stride, train->ecn);
  }
  packets_to_send_ = true;
}

}  // namespace postern::connector
