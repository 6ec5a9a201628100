// The one relay that this client is bound at: which of the controller's relays and of its addresses, tickets, epochs.
//
// Connectors are bound at every relay, so any one will do. A relay that gives no binding at any of its addresses is
// left for the next one; sessions move with the client (PROTOCOL.md §3.5).
//
// A controller that has just started does not know its relays yet. So one that works is kept for a minute although a
// Welcome does not name it; only RelayDown ends it at once.
//
// An address that gives no binding within five seconds is left for the next one, so that a host without IPv6 (or with a
// broken one) finds the relay by its other address.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client_core/status.hpp"
#include "schema/control.pb.h"
#include "wire/relay_binding.hpp"

namespace postern::client {

class RelayLink {
 public:
  /// So long a relay that has several addresses may be silent at one before the next is tried: in the first round,
  /// where probably one kind of address does not work here at all, and in later ones.
  static constexpr Duration kAddressTimeFirst = std::chrono::seconds(1);
  static constexpr Duration kAddressTime = std::chrono::seconds(5);
  /// So long a bound relay is kept that a Welcome did not name: in this time it has found its controller again.
  static constexpr Duration kUnlistedTime = std::chrono::seconds(60);

  /// So long a link that is being opened keeps the next relay waiting.
  static constexpr Duration kLinkTime = std::chrono::seconds(3);

  /// `random` outlives the link.
  RelayLink(wire::HmacSha256 hmac, RandomSource& random) : hmac_(hmac), random_(random) {}

  /// From Welcome: tickets for this connection of the control channel.
  void handle_relays(Instant now, Duration wall_offset, const std::vector<wire::RelayInfo>& relays);
  /// RelayUp: a renewed ticket, a relay that has started again, or a new relay.
  void handle_relay_up(Instant now, Duration wall_offset, const wire::RelayInfo& relay);
  /// RelayDown: it is no longer one of this Network.
  void handle_relay_down(Instant now, const std::string& name);
  /// The host's addresses have changed.
  void handle_network_change(Instant now);
  /// Somebody behind the relay does not answer: unless the relay itself answers soon, its next address is tried.
  void handle_silent_peer(Instant now);
  void clear();

  [[nodiscard]] bool handle_datagram(Instant now, const SocketAddress& from, ByteView datagram);
  [[nodiscard]] std::optional<wire::RelayBinding::Outgoing> poll_transmit();
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  /// Datagrams of sessions, to and from address().
  void note_sent(Instant now) {
    if (bind_) bind_->note_sent(now);
  }
  void note_received(Instant now, const SocketAddress& from) {
    if (bind_ && from == bind_->relay()) bind_->note_received(now);
  }

  /// The link over TLS to the relay, while one shall be open (PROTOCOL.md §3.6).
  [[nodiscard]] std::optional<wire::WantedLink> wanted_link() const;
  void handle_link_open(Instant now, const SocketAddress& link);
  void handle_link_closed(Instant now, const SocketAddress& link, const std::string& reason);

  struct Changes {
    bool proven = false;
    bool lost = false;
    bool refused = false;
    std::vector<RouteId> unbound_peers;
  };
  [[nodiscard]] Changes poll_changes(Instant now);

  [[nodiscard]] bool is_bound(Instant now) const { return bind_ && bind_->is_bound(now); }
  /// Where packets go, maybe a link; nothing without a relay.
  [[nodiscard]] std::optional<SocketAddress> address() const;
  /// Where packets may come from: also the way that was left a moment ago.
  [[nodiscard]] bool is_relay(const SocketAddress& from) const { return bind_ && bind_->is_relay(from); }
  /// The relay's address for people; the binding may go over a link instead.
  [[nodiscard]] std::optional<SocketAddress> udp_address() const;
  [[nodiscard]] bool is_over_link() const { return bind_ && bind_->is_over_link(); }
  /// Why the link could not be opened, one phrase; empty when it was not tried or is open.
  [[nodiscard]] std::string link_failure() const { return bind_ ? bind_->link_failure() : ""; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Nothing without a relay.
  [[nodiscard]] std::optional<RelayStatus> status(Instant now) const;
  [[nodiscard]] std::optional<Duration> round_trip() const;
  /// How the relay sees us.
  [[nodiscard]] std::optional<SocketAddress> mapped_address() const {
    return bind_ ? bind_->mapped_address() : std::nullopt;
  }
  /// Every address that the controller named: never routed into the TUN.
  [[nodiscard]] const std::vector<SocketAddress>& addresses() const { return named_; }

 private:
  void know(const wire::RelayInfo& relay);
  void know_all(Instant now, const std::vector<wire::RelayInfo>& relays);
  void list_addresses();
  void adopt(Instant now, const wire::RelayInfo& relay);
  void try_next(Instant now);

  wire::HmacSha256 hmac_;
  RandomSource& random_;
  Duration wall_offset_{};
  std::vector<wire::RelayInfo> relays_;    ///< usable ones, in the controller's order
  std::vector<SocketAddress> named_;       ///< all addresses of all of them
  std::optional<Instant> unlisted_until_;  ///< set when the last Welcome did not name the relay in use
  std::string name_;
  std::uint64_t epoch_ = 0;
  std::string access_token_;
  std::vector<SocketAddress> addresses_;
  std::size_t at_ = 0;
  std::size_t turns_ = 0;  ///< addresses given up since the last binding
  /// While there is no binding: when the next address gets its turn.
  std::optional<Instant> address_deadline_;
  Instant adopted_;  ///< when this relay got its turn
  bool has_tls_ = false;
  std::optional<Digest> key_digest_;
  std::uint64_t links_ = 0;  ///< names given to links: each relay has one of its own
  std::optional<wire::RelayBinding> bind_;
};

}  // namespace postern::client
