// An agent's side of Bind (PROTOCOL.md §3.2, §3.4): keeps one route bound at one relay.
//
//     Asking ──401 nonce──▶ Binding ──success──▶ Bound ──20 s, rebind_now()──▶ Binding
//        ▲                   │  ▲                  │
//        └──no answer────────┘  └──438: new nonce──┘ (or 403/486: Resting, then Asking)
//
// A request that is sent again is the same to the bit, with doubling pauses; a new one has a new transaction id and a
// higher BIND-SEQ. Answers count only with the transaction id that waits (96 random bits); success counts only with
// a right MAC. Nothing is given up: without an answer it asks on, at the longest pause.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <variant>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/route_id.hpp"
#include "base/time.hpp"
#include "wire/stun.hpp"

namespace postern::wire {

/// What the controller hands out for one relay.
struct BindTicket {
  Bytes access_token;
  std::array<std::uint8_t, 32> mac_key{};
};

struct BindClientConfig {
  SocketAddress relay;
  BindTicket ticket;
  HmacSha256 hmac = nullptr;
  /// Network time = `now` since the start of its timeline + this.
  Duration wall_offset{};
  /// BIND-SEQ starts above it, whatever the clock says.
  std::uint64_t last_sequence = 0;
};

enum class RebindReason : std::uint8_t {
  RelayRestarted,   ///< RelayUp with another epoch: the binding and the nonce are gone
  ControlReturned,  ///< the control channel came back: the relay may have been restarted with it
  AddressChanged,   ///< a local address came or went
  PeerSilent,       ///< somebody behind the relay does not answer: is the relay itself still there?
};

/// Bound for the first time, or again after BindingLost.
struct BindingProven {
  SocketAddress mapped;
};
/// The relay sees another address than before.
struct MappedAddressChanged {
  SocketAddress mapped;
};
/// No answer for so long that the binding must be taken for gone.
struct BindingLost {};
/// 403: the ticket is not taken (fetch a new one); 486: the relay is full. It tries again by itself, slowly.
struct BindRefused {
  std::uint16_t code = 0;
};
/// A hint, not a proof: the relay has no binding for this peer.
struct PeerUnbound {
  RouteId route;
};
using BindEvent = std::variant<BindingProven, MappedAddressChanged, BindingLost, BindRefused, PeerUnbound>;

class BindClient {
 public:
  static constexpr Duration kRefresh = std::chrono::seconds(20);
  /// A success proves the binding for this long: the refresh that follows it has then gone unanswered for 10 s.
  static constexpr Duration kProof = std::chrono::seconds(30);
  /// The same for a request that was made because somebody behind the relay is silent.
  static constexpr Duration kDoubt = std::chrono::seconds(2);
  static constexpr std::size_t kEventsMax = 64;  ///< further hints are dropped; a state is always reported

  /// `random` outlives the client. The first request goes out with the first poll_transmit().
  BindClient(BindClientConfig config, RandomSource& random, Instant now);

  /// True when the datagram was STUN of this machine (also a wrong or late one), so that nobody else needs to look.
  bool handle_datagram(Instant now, const SocketAddress& from, ByteView datagram);
  /// The next datagram to relay(); valid until the next call of any member.
  [[nodiscard]] std::optional<ByteView> poll_transmit();
  [[nodiscard]] std::optional<BindEvent> poll_event();
  [[nodiscard]] Instant next_timeout() const;
  void handle_timeout(Instant now);

  void rebind_now(Instant now, RebindReason reason);
  /// A renewed ticket; binds again at once, the present binding stays until then.
  void set_ticket(Instant now, BindTicket ticket);
  void set_relay(Instant now, const SocketAddress& relay);
  void set_wall_offset(Duration offset) { config_.wall_offset = offset; }
  /// Somebody else has bound this route with `sequence`: the next request goes above it.
  void raise_sequence(std::uint64_t sequence) { last_sequence_ = std::max(last_sequence_, sequence); }

  [[nodiscard]] bool is_bound(Instant now) const { return proven_until_ && now < *proven_until_; }
  /// Bound, and nothing has made that doubtful since the last answer.
  [[nodiscard]] bool is_certain(Instant now) const { return is_bound(now) && !doubted_; }
  [[nodiscard]] const std::optional<SocketAddress>& mapped_address() const { return mapped_; }
  [[nodiscard]] const SocketAddress& relay() const { return config_.relay; }
  [[nodiscard]] std::uint64_t last_sequence() const { return last_sequence_; }
  [[nodiscard]] const BindClientConfig& config() const { return config_; }
  /// Round trip of the last request that was not sent twice.
  [[nodiscard]] std::optional<Duration> round_trip() const { return round_trip_; }

 private:
  enum class State : std::uint8_t { Asking, Binding, Bound, Resting };

  void ask(Instant now);
  void bind(Instant now);
  void start_request(Instant now, State state, ByteView request);
  void send_again(Instant now);
  void handle_error(Instant now, const StunView& answer);
  void handle_success(Instant now, const StunView& answer);
  void rest(Instant now);
  void lose();
  void push(BindEvent event);

  BindClientConfig config_;
  RandomSource& random_;
  State state_ = State::Asking;
  Bytes nonce_;
  Bytes request_;
  TransactionId transaction_{};
  bool transmit_ = false;
  unsigned sent_ = 0;        ///< how often the present request has gone out
  unsigned challenges_ = 0;  ///< 401 and 438 since the last success or pause
  unsigned refusals_ = 0;    ///< 403 and 486 since the last success
  std::uint64_t last_sequence_ = 0;
  Instant started_;
  Instant action_at_;  ///< when the present state does its next thing
  std::optional<Instant> proven_until_;
  bool doubted_ = false;
  std::optional<SocketAddress> mapped_;
  std::optional<Duration> round_trip_;
  std::deque<BindEvent> events_;
};

}  // namespace postern::wire
