// The relay without IO (PROTOCOL.md §3): answers STUN, and forwards QUIC packets by the route id in their destination
// connection id, from bound sources to bound routes of the same network, client to connector and back.
//
// Trains stay trains: a received GRO train goes out as one or few sub-ranges of the same buffer, nothing is copied.
// Work for a train is one look-up of the sender and one of each run's receiver. Nothing is kept for a session; nothing
// that an unauthenticated datagram does takes memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/route_id.hpp"
#include "base/time.hpp"
#include "identity/tokens.hpp"
#include "relay_core/bind_nonce.hpp"
#include "relay_core/binding_table.hpp"
#include "relay_core/rate_gate.hpp"
#include "relay_core/relay_output.hpp"
#include "relay_core/revoked_routes.hpp"
#include "wire/stun.hpp"

namespace postern::relay_core {

struct RelayConfig {
  std::string name;                    ///< AAD of tickets
  identity::SealKey token_key{};       ///< shared with the controller
  std::size_t bindings_max = 100'000;  ///< further Binds get 486
};

class Relay {
 public:
  /// Nonce key, hash seed and epoch are drawn from `random`, which is not kept.
  Relay(RelayConfig config, RandomSource& random);

  /// `bytes` came from one source in one receive: datagrams of `stride` bytes, the last one maybe shorter (0: one
  /// datagram). Source addresses are as XOR-MAPPED-ADDRESS shall say them: v4-mapped ones already turned into IPv4.
  void handle_train(Instant now, WallTime wall, const SocketAddress& from, ByteView bytes, std::size_t stride,
                    RelayOutput& out);

  /// When to call handle_timeout(); nothing while there is nothing to expire.
  [[nodiscard]] std::optional<Instant> next_timeout() const { return sweep_at_; }
  /// Sweeps a bounded part of the bindings.
  void handle_timeout(Instant now, WallTime wall);

  /// Unbinds a route at once and refuses its tickets until the longest of them has ended.
  void revoke(const RouteId& route, WallTime wall);
  [[nodiscard]] bool is_bound(const RouteId& route, Instant now);
  /// Whether somebody proved a ticket from there.
  [[nodiscard]] bool is_bound_source(const SocketAddress& source, Instant now);
  /// Nobody is there any more (a link has ended): unbinds at once.
  void close_source(const SocketAddress& source);

  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  [[nodiscard]] std::size_t binding_count() const { return table_.size(); }
  [[nodiscard]] const RelayStats& stats() const { return stats_; }

 private:
  struct Arrival {
    Instant now;
    WallTime wall;
    const SocketAddress& from;
    RelayOutput& out;
  };
  /// Consecutive packets of a train for the same receiver; a null receiver means they are dropped.
  struct Run {
    Binding* receiver = nullptr;
    std::size_t start = 0;
    std::size_t end = 0;
  };
  struct Forwarding;

  void handle_stun(const Arrival& arrival, ByteView datagram);
  void handle_plain_binding(const Arrival& arrival, const wire::StunView& request);
  void handle_bind(const Arrival& arrival, const wire::StunView& request);
  void handle_bind_with_ticket(const Arrival& arrival, const wire::StunView& request,
                               const identity::RelayTicket& ticket);
  void accept(const Arrival& arrival, const wire::StunView& request, const identity::RelayTicket& ticket,
              std::uint64_t sequence);
  void answer_success(const Arrival& arrival, const wire::StunView& request, const identity::RelayTicket& ticket);
  void answer_nonce(const Arrival& arrival, const wire::StunView& request, BindOutcome outcome);
  void answer_refusal(const Arrival& arrival, const wire::StunView& request, BindOutcome outcome,
                      const identity::RelayTicket* ticket);
  void send_answer(const Arrival& arrival, ByteView answer);

  [[nodiscard]] Binding* receiver_of(const Arrival& arrival, Forwarding& forwarding, ByteView packet);
  [[nodiscard]] Binding* find_receiver(const Arrival& arrival, Forwarding& forwarding, RouteKey route);
  void flush(const Arrival& arrival, Forwarding& forwarding, ByteView bytes, std::size_t stride);
  void send_unbound_hint(const Arrival& arrival, const Binding& sender, RouteKey route);

  RelayConfig config_;
  BindNonce nonce_;
  std::uint64_t epoch_;
  BindingTable table_;
  RevokedRoutes revoked_;
  SharedGates plain_gates_;
  SharedGates hint_gates_;
  std::optional<Instant> sweep_at_;
  RelayStats stats_;
};

}  // namespace postern::relay_core
