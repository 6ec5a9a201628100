#include "relay_core/relay.hpp"

#include "wire/quic_header.hpp"

namespace postern::relay_core {

namespace {

constexpr GateRate kLongHeaderRate = per_second(20);
constexpr GateRate kHintRate = per_second(1);
constexpr std::size_t kGates = 4096;
constexpr Duration kSweepPeriod = std::chrono::seconds(1);
/// 100 000 bindings are gone through in 25 s; expired ones are refused before they are swept.
constexpr std::size_t kSweepSlots = 4096;
/// A peer with a rate may send two full trains at once, or a quarter of a second of its rate.
constexpr std::uint64_t kByteBurst = 128 * 1024;
constexpr Duration kByteBurstTime = std::chrono::milliseconds(250);

constexpr Duration time_of_bytes(std::uint64_t bytes, std::uint64_t rate) {
  // Divided first into whole seconds, so that no product overflows.
  const auto seconds = static_cast<std::int64_t>(bytes / rate);
  const auto rest = static_cast<double>(bytes % rate) / static_cast<double>(rate);
  return std::chrono::seconds(seconds) + Duration(static_cast<std::int64_t>(rest * 1e9));
}

GateRate byte_rate(std::uint64_t bytes, std::uint64_t rate) {
  return {time_of_bytes(bytes, rate), std::max(kByteBurstTime, time_of_bytes(kByteBurst, rate))};
}

std::size_t packet_count(std::size_t bytes, std::size_t stride) {
  return (bytes + stride - 1) / stride;
}

RelayDrop drop_reason(wire::QuicHeaderError error) {
  switch (error) {
    case wire::QuicHeaderError::NotQuic:
      return RelayDrop::UnknownFirstByte;
    case wire::QuicHeaderError::TooShort:
      return RelayDrop::QuicTooShort;
    case wire::QuicHeaderError::WrongVersion:
      return RelayDrop::QuicWrongVersion;
    case wire::QuicHeaderError::WrongIdLength:
      return RelayDrop::QuicWrongIdLength;
  }
  return RelayDrop::UnknownFirstByte;
}

}  // namespace

/// The state of one train: its sender, and the last route that was looked up.
struct Relay::Forwarding {
  Binding* sender = nullptr;
  bool sender_known = false;
  Run run;
  std::optional<RouteKey> route;
  Binding* receiver = nullptr;
  RelayDrop reason{};
};

Relay::Relay(RelayConfig config, RandomSource& random)
    : config_(std::move(config)),
      nonce_(random),
      epoch_(random.u64()),
      table_(config_.bindings_max, random.u64()),
      revoked_(config_.bindings_max),
      plain_gates_(kGates),
      hint_gates_(kGates) {}

void Relay::handle_train(Instant now, WallTime wall, const SocketAddress& from, ByteView bytes, std::size_t stride,
                         RelayOutput& out) {
  const Arrival arrival{now, wall, from, out};
  if (stride == 0 || stride > bytes.size()) stride = std::max<std::size_t>(bytes.size(), 1);
  Forwarding forwarding;
  for (std::size_t at = 0; at < bytes.size(); at += stride) {
    const ByteView packet = bytes.subspan(at, std::min(stride, bytes.size() - at));
    Binding* receiver = nullptr;
    if (wire::classify_datagram(packet) == wire::DatagramClass::Stun) {
      // Answering may move bindings: what was looked up before is looked up again.
      flush(arrival, forwarding, bytes, stride);
      forwarding = {};
      handle_stun(arrival, packet);
    } else {
      receiver = receiver_of(arrival, forwarding, packet);
    }
    if (receiver != forwarding.run.receiver) {
      flush(arrival, forwarding, bytes, stride);
      forwarding.run = {receiver, at, at};
    }
    forwarding.run.end = at + packet.size();
  }
  flush(arrival, forwarding, bytes, stride);
}

Binding* Relay::receiver_of(const Arrival& arrival, Forwarding& forwarding, ByteView packet) {
  const auto header = wire::parse_quic_header(packet);
  if (!header) {
    stats_.count(drop_reason(header.error()));
    return nullptr;
  }
  if (!forwarding.sender_known) {
    forwarding.sender = table_.find_live_source(arrival.from, arrival.now);
    forwarding.sender_known = true;
  }
  if (forwarding.sender == nullptr) {
    stats_.count(RelayDrop::SourceNotBound);
    return nullptr;
  }
  if (header->is_long && !forwarding.sender->long_gate.admit(arrival.now, kLongHeaderRate)) {
    stats_.count(RelayDrop::LongHeaderLimited);
    return nullptr;
  }
  const RouteKey route = route_key(header->destination.bytes.data() + 1);
  if (forwarding.route != route) {
    forwarding.route = route;
    forwarding.receiver = find_receiver(arrival, forwarding, route);
  }
  if (forwarding.receiver == nullptr) stats_.count(forwarding.reason);
  return forwarding.receiver;
}

Binding* Relay::find_receiver(const Arrival& arrival, Forwarding& forwarding, RouteKey route) {
  Binding* receiver = table_.find_live_route(route, arrival.now);
  if (receiver == nullptr) {
    forwarding.reason = RelayDrop::RouteNotBound;
    send_unbound_hint(arrival, *forwarding.sender, route);
    return nullptr;
  }
  if (receiver->network != forwarding.sender->network) {
    forwarding.reason = RelayDrop::OtherNetwork;
    return nullptr;
  }
  if (receiver->role == forwarding.sender->role) {
    forwarding.reason = RelayDrop::SameRole;
    return nullptr;
  }
  return receiver;
}

void Relay::flush(const Arrival& arrival, Forwarding& forwarding, ByteView bytes, std::size_t stride) {
  const Run run = std::exchange(forwarding.run, {});
  if (run.receiver == nullptr) return;
  const std::size_t size = run.end - run.start;
  const std::uint64_t rate = forwarding.sender->rate_bytes_per_s;
  if (rate != 0 && !forwarding.sender->bytes_gate.admit(arrival.now, byte_rate(size, rate))) {
    stats_.count(RelayDrop::ByteRateLimited, packet_count(size, stride));
    return;
  }
  stats_.forwarded_packets += packet_count(size, stride);
  stats_.forwarded_bytes += size;
  ++stats_.forwarded_trains;
  arrival.out.forward(run.receiver->source, bytes.subspan(run.start, size), std::min(stride, size));
}

void Relay::send_unbound_hint(const Arrival& arrival, const Binding& sender, RouteKey route) {
  const std::uint64_t pair = mix(table_.hash(sender.route) ^ mix(route));
  if (!hint_gates_.admit(pair, arrival.now, kHintRate)) return;
  // An indication answers nothing: its transaction id only has to be there, the pair's hash does.
  wire::TransactionId transaction{};
  std::memcpy(transaction.data(), &pair, sizeof pair);
  RouteId id;
  std::memcpy(id.bytes.data(), &route, id.bytes.size());
  wire::StunBuilder builder(arrival.out.answer_space(), wire::StunType::BindIndication, transaction);
  builder.add_route(id);
  const ByteView hint = builder.finish();
  if (!hint.empty()) ++stats_.unbound_hints;
  send_answer(arrival, hint);
}

void Relay::handle_timeout(Instant now, WallTime wall) {
  if (!sweep_at_ || now < *sweep_at_) return;
  table_.sweep(now, kSweepSlots);
  revoked_.sweep(wall, kSweepSlots);
  sweep_at_.reset();
  if (table_.size() > 0 || revoked_.size() > 0) sweep_at_ = now + kSweepPeriod;
}

void Relay::revoke(const RouteId& route, WallTime wall) {
  revoked_.add(route_key(route), wall);
  if (Binding* binding = table_.find_route(route_key(route))) table_.remove(*binding);
}

bool Relay::is_bound(const RouteId& route, Instant now) {
  return table_.find_live_route(route_key(route), now) != nullptr;
}

bool Relay::is_bound_source(const SocketAddress& source, Instant now) {
  return table_.find_live_source(source, now) != nullptr;
}

void Relay::close_source(const SocketAddress& source) {
  if (Binding* binding = table_.find_source(source)) table_.remove(*binding);
}

}  // namespace postern::relay_core
