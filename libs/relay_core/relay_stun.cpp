// The STUN half of the relay, in the order of PROTOCOL.md §3.2: size, nonce, ticket, MAC, sequence, bound.
#include "identity/keys.hpp"
#include "relay_core/relay.hpp"

namespace postern::relay_core {

namespace {

constexpr GateRate kPlainBindingRate = per_second(20);
constexpr std::int64_t kLifetimeMax_s = 600;
/// What a full table tries to free before it refuses.
constexpr std::size_t kSweepWhenFull = 1024;

/// LIFETIME: what the ticket has left, at most ten minutes. At least 1, since its times were checked.
std::uint32_t lifetime_s(const identity::RelayTicket& ticket, WallTime wall) {
  const std::int64_t left = ticket.not_before + ticket.lifetime_s - to_unix_seconds(wall);
  return static_cast<std::uint32_t>(std::min(left, kLifetimeMax_s));
}

std::uint16_t error_code(BindOutcome outcome) {
  switch (outcome) {
    case BindOutcome::NonceWanted:
      return 401;
    case BindOutcome::NonceStale:
      return 438;
    case BindOutcome::Full:
      return 486;
    default:
      return 403;
  }
}

std::string_view error_reason(BindOutcome outcome) {
  switch (outcome) {
    case BindOutcome::NonceWanted:
      return "Nonce wanted";
    case BindOutcome::NonceStale:
      return "Stale nonce";
    case BindOutcome::Full:
      return "Relay full";
    default:
      return "Refused";
  }
}

/// Of the /24 or /56 of an address.
std::uint64_t prefix_hash(const BindingTable& table, const IpAddress& address) {
  const std::size_t size = address.is_v4() ? 3 : 7;
  std::array<std::uint8_t, 7> prefix{};
  std::copy_n(address.bytes().begin(), size, prefix.begin());
  // The eighth byte of a route key is free for the family.
  return table.hash(route_key(prefix.data()) | std::uint64_t{size} << 56);
}

}  // namespace

void Relay::handle_stun(const Arrival& arrival, ByteView datagram) {
  const auto message = wire::StunView::parse(datagram);
  if (!message) return stats_.count(RelayDrop::StunMalformed);
  switch (message->type()) {
    case wire::StunType::BindingRequest:
      return handle_plain_binding(arrival, *message);
    case wire::StunType::BindRequest:
      return handle_bind(arrival, *message);
    default:
      return stats_.count(RelayDrop::StunUnwanted);
  }
}

void Relay::handle_plain_binding(const Arrival& arrival, const wire::StunView& request) {
  if (!plain_gates_.admit(prefix_hash(table_, arrival.from.ip), arrival.now, kPlainBindingRate)) {
    return stats_.count(RelayDrop::BindingRateLimited);
  }
  wire::StunBuilder builder(arrival.out.answer_space(), wire::StunType::BindingSuccess, request.transaction());
  builder.add_mapped_address(arrival.from);
  const ByteView answer = builder.finish();
  if (!answer.empty()) ++stats_.plain_bindings;
  send_answer(arrival, answer);
}

void Relay::handle_bind(const Arrival& arrival, const wire::StunView& request) {
  // Also with a NONCE: an answer to anything smaller could be larger than what it answers.
  if (request.size() < wire::kBindRequestSizeMin) return stats_.count(RelayDrop::BindTooSmall);
  const auto nonce = request.find(wire::StunAttribute::Nonce);
  if (!nonce) return answer_nonce(arrival, request, BindOutcome::NonceWanted);
  if (!nonce_.is_valid(*nonce, arrival.from, arrival.wall)) {
    return answer_nonce(arrival, request, BindOutcome::NonceStale);
  }
  const auto token = request.find(wire::StunAttribute::AccessToken);
  const auto ticket = identity::unseal_ticket(token.value_or(ByteView()), config_.token_key, config_.name);
  if (!ticket) return answer_refusal(arrival, request, BindOutcome::BadToken, nullptr);
  if (!identity::check_ticket_times(*ticket, arrival.wall)) {
    return answer_refusal(arrival, request, BindOutcome::TicketOutdated, &*ticket);
  }
  handle_bind_with_ticket(arrival, request, *ticket);
}

void Relay::handle_bind_with_ticket(const Arrival& arrival, const wire::StunView& request,
                                    const identity::RelayTicket& ticket) {
  if (!request.has_integrity(ticket.mac_key, identity::hmac_sha256)) return stats_.count(RelayDrop::BindBadMac);
  const auto sequence = request.find_u64(wire::StunAttribute::BindSeq);
  if (!sequence) return stats_.count(RelayDrop::BindIncomplete);
  const RouteKey route = route_key(ticket.route);
  if (revoked_.contains(route)) return answer_refusal(arrival, request, BindOutcome::Revoked, &ticket);
  if (const Binding* binding = table_.find_route(route); binding != nullptr && *sequence <= binding->last_sequence) {
    const bool repeated = *sequence == binding->last_sequence && binding->source == arrival.from &&
                          binding->last_transaction == request.transaction() && arrival.now < binding->expires;
    if (!repeated) return answer_refusal(arrival, request, BindOutcome::Replayed, &ticket);
    stats_.count(BindOutcome::Repeated);
    return answer_success(arrival, request, ticket);
  }
  accept(arrival, request, ticket, *sequence);
}

void Relay::accept(const Arrival& arrival, const wire::StunView& request, const identity::RelayTicket& ticket,
                   std::uint64_t sequence) {
  const RouteKey route = route_key(ticket.route);
  Binding* binding = table_.find_route(route);
  if (binding == nullptr) {
    if (table_.size() >= table_.bindings_max()) table_.sweep(arrival.now, kSweepWhenFull);
    binding = table_.add(route);
  }
  if (binding == nullptr) return answer_refusal(arrival, request, BindOutcome::Full, &ticket);
  table_.move(*binding, arrival.from);
  binding->network = ticket.network_id;
  binding->role = ticket.role;
  binding->rate_bytes_per_s = ticket.rate_bytes_per_s;
  binding->last_sequence = sequence;
  binding->last_transaction = request.transaction();
  binding->expires = arrival.now + std::chrono::seconds(lifetime_s(ticket, arrival.wall));
  if (!sweep_at_) sweep_at_ = arrival.now + std::chrono::seconds(1);
  stats_.count(BindOutcome::Accepted);
  answer_success(arrival, request, ticket);
}

void Relay::answer_success(const Arrival& arrival, const wire::StunView& request, const identity::RelayTicket& ticket) {
  wire::StunBuilder builder(arrival.out.answer_space(), wire::StunType::BindSuccess, request.transaction());
  builder.add_mapped_address(arrival.from);
  builder.add_u32(wire::StunAttribute::Lifetime, lifetime_s(ticket, arrival.wall));
  send_answer(arrival, builder.finish_with_integrity(ticket.mac_key, identity::hmac_sha256));
}

void Relay::answer_nonce(const Arrival& arrival, const wire::StunView& request, BindOutcome outcome) {
  stats_.count(outcome);
  wire::StunBuilder builder(arrival.out.answer_space(), wire::StunType::BindError, request.transaction());
  builder.add_error(error_code(outcome), error_reason(outcome));
  builder.add(wire::StunAttribute::Nonce, nonce_.make(arrival.from, arrival.wall));
  send_answer(arrival, builder.finish());
}

void Relay::answer_refusal(const Arrival& arrival, const wire::StunView& request, BindOutcome outcome,
                           const identity::RelayTicket* ticket) {
  stats_.count(outcome);
  wire::StunBuilder builder(arrival.out.answer_space(), wire::StunType::BindError, request.transaction());
  builder.add_error(error_code(outcome), error_reason(outcome));
  send_answer(arrival, ticket == nullptr ? builder.finish()
                                         : builder.finish_with_integrity(ticket->mac_key, identity::hmac_sha256));
}

void Relay::send_answer(const Arrival& arrival, ByteView answer) {
  if (answer.empty()) return stats_.count(RelayDrop::AnswerSpaceFull);
  arrival.out.answer(arrival.from, answer);
}

}  // namespace postern::relay_core
