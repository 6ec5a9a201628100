// Keeps one route bound at one relay: over UDP where that is answered, over a TLS link where it is not (PROTOCOL.md
// §3.6).
//
//     UDP ──not answered for 1 s──▶ link wanted ──open──▶ Bind over the link ──success──▶ link
//      ▲                                                                                   │
//      └──success── Bind over UDP ◀──two probes answered── probes at growing pauses ◀──────┘
//
// A relay has one source for a route, so only one transport is bound at a time. The binding stays where it is until the
// other one is proven; then it moves in one step, and what was still under way on the old one is lost, as packets are.
// UDP is better wherever it works: no packet waits there for the one before.
//
// The owner opens and closes the link as wanted_link() says, and sends what has the link's address (base/link_address)
// into it.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "wire/bind.hpp"

namespace postern::wire {

/// A link that shall be open, for whoever opens links.
struct WantedLink {
  SocketAddress link;         ///< its name, base/link_address
  std::uint64_t attempt = 0;  ///< another number: it shall be opened anew
  std::string relay{};
  std::vector<SocketAddress> addresses{};
  std::optional<Digest> key_digest{};  ///< nothing: it is the server's, reached and trusted as the control channel is
};

class RelayBinding {
 public:
  /// So long an unanswered Bind over UDP waits for company.
  static constexpr Duration kRaceAfter = std::chrono::seconds(1);
  /// Nothing has come for this long although something was sent: is the relay still there? A link has TCP below it,
  /// which may be busy repairing.
  static constexpr Duration kSilenceUdp = std::chrono::seconds(2);
  static constexpr Duration kSilenceLink = std::chrono::seconds(4);
  /// The same while flows are open, whether something was sent or not: a side that only answers notices nothing else.
  static constexpr Duration kSilenceBusy = std::chrono::seconds(6);
  /// While bound over a link: pauses between looks at UDP, doubling.
  static constexpr Duration kProbeFirst = std::chrono::seconds(5);
  static constexpr Duration kProbeLongest = std::chrono::minutes(5);
  /// A look at UDP; two must be answered.
  static constexpr Duration kProbeAnswerMax = std::chrono::seconds(1);
  /// For binding over UDP once it was found to work.
  static constexpr Duration kMoveMax = std::chrono::seconds(3);
  /// UDP that fails sooner than this after it was taken is not trusted more quickly the next time.
  static constexpr Duration kTrusted = std::chrono::minutes(1);
  /// So long a link stays open after UDP was taken again.
  static constexpr Duration kLinger = std::chrono::seconds(30);
  static constexpr Duration kLinkRetryFirst = std::chrono::milliseconds(500);
  static constexpr Duration kLinkRetryLongest = std::chrono::seconds(30);
  /// A QUIC Initial must pass: so large is a look at UDP.
  static constexpr std::size_t kProbeSize = 1200;
  /// Addresses that one look asks.
  static constexpr std::size_t kProbesMax = 4;

  struct Outgoing {
    SocketAddress to;
    ByteView datagram;
  };

  /// `config.relay` is an address for UDP, `link` the name of the link to the same relay, if it has one. `random`
  /// outlives the binding.
  RelayBinding(BindClientConfig config, std::optional<SocketAddress> link, RandomSource& random, Instant now);

  /// True when the datagram was STUN of this machine, also a wrong or late one.
  bool handle_datagram(Instant now, const SocketAddress& from, ByteView datagram);
  /// Valid until the next call of any member.
  [[nodiscard]] std::optional<Outgoing> poll_transmit();
  /// BindingProven also when the binding has moved: relay() is another one then.
  [[nodiscard]] std::optional<BindEvent> poll_event();
  [[nodiscard]] Instant next_timeout() const;
  void handle_timeout(Instant now);

  /// Datagrams of sessions, to and from relay().
  void note_sent(Instant now);
  void note_received(Instant now) {
    unanswered_since_.reset();
    heard_ = now;
  }
  /// Whether flows are open over relay().
  void set_busy(bool busy) { busy_ = busy; }

  void rebind_now(Instant now, RebindReason reason);
  void set_ticket(Instant now, const BindTicket& ticket);
  /// Another address for UDP. A binding over the link stays.
  void set_relay(Instant now, const SocketAddress& relay);
  /// All addresses for UDP: where it is looked for.
  void set_addresses(std::vector<SocketAddress> addresses) { addresses_ = std::move(addresses); }
  void set_wall_offset(Duration offset);

  /// Without relay and key: the owner of the binding knows them.
  [[nodiscard]] std::optional<WantedLink> wanted_link() const;
  void handle_link_open(Instant now);
  /// It could not be opened, or has ended. The reason is one phrase for people.
  void handle_link_closed(Instant now, std::string reason);

  [[nodiscard]] bool is_bound(Instant now) const { return main_->is_bound(now); }
  /// Where packets go: an address, or the name of the link.
  [[nodiscard]] const SocketAddress& relay() const { return main_->relay(); }
  [[nodiscard]] const SocketAddress& udp_address() const { return udp_; }
  /// How the relay sees our UDP socket; nothing while that is not what is bound.
  [[nodiscard]] std::optional<SocketAddress> mapped_address() const {
    return main_is_link_ ? std::nullopt : main_->mapped_address();
  }
  /// Whether packets of the relay may come from there.
  [[nodiscard]] bool is_relay(const SocketAddress& from) const;
  [[nodiscard]] bool is_over_link() const { return main_is_link_; }
  [[nodiscard]] std::optional<Duration> round_trip() const { return main_->round_trip(); }
  [[nodiscard]] std::uint64_t last_sequence() const;
  /// Why the link did not open the last time; empty when it did, or was not tried.
  [[nodiscard]] const std::string& link_failure() const { return link_failure_; }

 private:
  enum class LinkState : std::uint8_t { Closed, Opening, Open };

  [[nodiscard]] BindClientConfig config_for(const SocketAddress& relay) const;
  void start_over_udp(Instant now);
  void try_other(Instant now, const SocketAddress& relay);
  void collect(Instant now);
  void take_other(Instant now);
  void drop_other(Instant now);
  void want_link(Instant now);
  [[nodiscard]] std::optional<Instant> link_due() const;
  void reset_link(Instant now);
  [[nodiscard]] std::optional<Instant> silence_due() const;
  void watch_silence(Instant now);
  void watch_link(Instant now);
  void watch_probe(Instant now);
  void probe(Instant now);
  void probe_failed(Instant now);
  bool handle_probe_answer(Instant now, const SocketAddress& from, ByteView datagram);
  void forget_pauses(Instant now);
  void push(const BindEvent& event);

  RandomSource& random_;
  std::optional<BindClient> main_;   ///< always there: has the binding, or asks for it
  std::optional<BindClient> other_;  ///< the other transport, while the binding moves
  bool main_is_link_ = false;
  SocketAddress udp_;
  std::vector<SocketAddress> addresses_;
  std::deque<BindEvent> events_;
  std::optional<Instant> unanswered_since_;
  Instant heard_;
  bool busy_ = false;

  std::optional<SocketAddress> link_;
  LinkState link_state_ = LinkState::Closed;
  std::uint64_t attempt_ = 0;
  std::string link_failure_;
  Duration link_pause_{};
  Instant link_retry_at_;
  std::optional<Instant> race_at_;        ///< UDP has not answered: when the link joins in
  std::optional<Instant> link_close_at_;  ///< UDP is bound: until when the link stays
  std::optional<Instant> udp_since_;      ///< when UDP was taken after a link

  std::optional<Instant> move_deadline_;  ///< for other_ over UDP
  Duration probe_pause_ = kProbeFirst;
  Instant probe_at_;      ///< the next look
  bool probing_ = false;  ///< one waits for its answer until probe_at_
  unsigned answers_ = 0;  ///< in a row
  TransactionId probe_transaction_{};
  Bytes probe_;
  std::vector<SocketAddress> probe_targets_;  ///< that the present look is still to be sent to
};

}  // namespace postern::wire
