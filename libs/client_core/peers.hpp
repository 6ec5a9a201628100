// The connector instances that this client has, or wants, a session with: choice, connecting, Hello, leases, liveness.
//
// A peer goes Down → Handshaking → Greeting → Ready. It must be Ready three seconds after connecting began; otherwise
// the attempt is given up, waiting flows go to the next instance, and this one is left alone for a growing while.
//
// Liveness (DESIGN §5.3) is the client's: a PING each second while something that was written has had no answer, one
// every 15 s with quiet flows, none without flows. Three seconds without an answer make a peer suspect: new flows go
// elsewhere, old ones wait: for as long as a session outlives silence, because only the controller can know that an
// instance has ended. One that it no longer lists gets no new session; one that it calls ended and that is silent too
// is closed.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/block.hpp"
#include "client_core/directory.hpp"
#include "schema/session.pb.h"
#include "session/endpoint.hpp"
#include "wire/framing.hpp"

namespace postern::client {

struct PeersConfig {
  Digest device{};       ///< digest of our own key: seeds the choice of instances
  std::string software;  ///< for Hello
  Duration ready_deadline = std::chrono::seconds(3);
  Duration silence_max = std::chrono::milliseconds(2500);
  /// Of an instance that has ended, as the controller says: a cut control channel looks the same to it.
  Duration gone_silence = std::chrono::seconds(5);
  /// The same while unsettled: a client that has just come back needs a moment until it hears anybody.
  Duration gone_silence_unsettled = std::chrono::seconds(12);
  /// So long the successor of a network's last instance is waited for: a process that is restarted or updated.
  Duration successor_time = std::chrono::seconds(6);
  /// So long a suspect peer that a flow waits for is asked as often as any other.
  Duration wanted_time = std::chrono::seconds(6);
  Duration busy_ping = std::chrono::seconds(1);
  Duration quiet_ping = std::chrono::seconds(15);
  Duration retry_min = std::chrono::milliseconds(500);
  Duration retry_max = std::chrono::seconds(8);
};

// --- events --------------------------------------------------------------------------------------------------------

/// Flows can be opened.
struct PeerReady {
  model::InstanceId instance;
  bool is_new = true;  ///< a session; else one that was suspect answers again
};
/// The session could not be made, or has ended: its streams are gone.
struct PeerLost {
  model::InstanceId instance;
  std::string reason;
};
/// Nothing was heard for silence_max although it should have answered.
struct PeerSuspect {
  model::InstanceId instance;
};
/// The connector has taken all access of this device away.
struct PeerRevoked {
  model::InstanceId instance;
};
/// The connector says where it may be reached directly.
struct PeerCandidates {
  session::SessionId session;
  wire::Candidates candidates;
};
using PeerEvent = std::variant<PeerReady, PeerLost, PeerSuspect, PeerRevoked, PeerCandidates>;

enum class PeerStage : std::uint8_t { Down, Handshaking, Greeting, Ready };

/// What the controller says of an instance.
enum class Listing : std::uint8_t {
  Listed,
  Absent,  ///< it does not hear it; the instance may come back
  Ended,
};

struct Peer {
  Instance instance;
  PeerStage stage = PeerStage::Down;
  std::optional<session::SessionId> session;
  Instant since;        ///< when this stage, or the attempt, began
  Instant retry_after;  ///< Down: no attempt before
  Duration backoff{};
  std::string failure;  ///< why the last attempt failed, one phrase for people
  bool suspect = false;
  bool leaving = false;        ///< it said that it stops soon, and refuses new flows
  bool lease_changed = false;  ///< while Greeting: since the Hello was sent
  Listing listing = Listing::Listed;
  Duration gone_silence{};   ///< when ended: how long it may be silent
  Instant silent_from;       ///< when ended: silence before that says nothing
  std::uint32_t flows = 0;     ///< open or waiting, counted by the owner
  Instant heard;
  Instant written;                          ///< last time something that wants an answer was
  std::optional<Instant> unanswered_since;  ///< the earliest of these that has had no answer, as far as is known
  Instant pinged;
  Instant wanted{};  ///< when a flow last asked for it although it was suspect
  wire::LengthPrefixedReader control{wire::kSessionMessageMax};
};

/// "connecting", "ready", "draining", "leaving", "suspect", "down".
[[nodiscard]] std::string_view state_word(const Peer& peer);

enum class PeerDrop : std::uint8_t { MalformedMessage, UnknownMessage, HelloRefused, kCount };

class Peers {
 public:
  Peers(PeersConfig config, const Directory& directory, session::Endpoint& sessions, BlockPool& pool);

  /// The path of all sessions; nothing while no relay is bound. Moves living sessions too.
  void set_relay(Instant now, const std::optional<SocketAddress>& relay);

  /// How well an instance can take a new flow, best first.
  enum class Fitness : std::uint8_t { Good, Draining, Suspect, Unfit };
  struct Candidate {
    model::InstanceId instance;
    Fitness fitness = Fitness::Good;
  };
  /// Every instance of the network that is not in `tried`, in the order in which a new flow is offered to them.
  [[nodiscard]] std::vector<Candidate> rank(Instant now, model::RemoteNetworkId network,
                                            std::span<const model::InstanceId> tried) const;
  /// What choose() would give, without connecting.
  [[nodiscard]] std::optional<model::InstanceId> would_choose(Instant now, model::RemoteNetworkId network) const;
  /// The instance for a new flow, connecting to it if need be; nothing when none is left to try.
  [[nodiscard]] std::optional<model::InstanceId> choose(Instant now, model::RemoteNetworkId network,
                                                        std::span<const model::InstanceId> tried);
  /// Whether choose() would give another one that can be used at once or connected to.
  [[nodiscard]] bool has_other(Instant now, model::RemoteNetworkId network, model::InstanceId than,
                               std::span<const model::InstanceId> tried) const;
  /// True for some seconds after the network's last usable instance has left: another one may be starting.
  [[nodiscard]] bool awaits_successor(Instant now, model::RemoteNetworkId network) const;
  /// It refused a flow because it stops soon.
  void note_leaving(Instant now, model::InstanceId id);
  [[nodiscard]] bool has_relay() const { return relay_.has_value(); }
  [[nodiscard]] const Peer* find(model::InstanceId id) const;
  [[nodiscard]] const Peer* find(session::SessionId id) const;
  void count_flow(model::InstanceId id, int difference);
  /// Something that wants an answer was written to the session.
  void note_written(Instant now, model::InstanceId id);

  /// The relay's hint that it has no binding for this route: asks the peer at once.
  void handle_unbound(Instant now, const RouteId& route);
  /// `unsettled`: the controller or the network has just come back, and what it does not list may be on its way.
  void handle_changes(Instant now, const DirectoryChanges& changes, bool unsettled);
  /// Events of sessions and their control streams; false for events of other streams.
  bool handle_event(Instant now, const session::Event& event);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const { return next_tick_; }
  [[nodiscard]] std::optional<PeerEvent> poll_event();
  /// Nothing happens when the session has ended.
  void send_candidates(Instant now, session::SessionId session, const wire::Candidates& candidates);
  /// The network may work again: no instance waits for its next attempt any more.
  void forget_failures();
  void close_all(Instant now);

  [[nodiscard]] const std::map<model::InstanceId, Peer>& all() const { return peers_; }
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(PeerDrop::kCount)>& drops() const {
    return drops_;
  }

 private:
  [[nodiscard]] Fitness fitness(Instant now, model::InstanceId id) const;
  /// Suspect and of no use to anybody: a new session is better.
  [[nodiscard]] static bool is_dead_weight(const Peer* peer, Fitness fitness);
  /// Whether a flow for it needs a new session first.
  [[nodiscard]] static bool needs_session(const Peer* peer, Fitness fitness);
  [[nodiscard]] std::vector<model::InstanceId> candidates(model::RemoteNetworkId network) const;
  bool connect(Instant now, Peer& peer);
  void fail(Instant now, Peer& peer, std::string reason);
  void forget_if_useless(model::InstanceId id);

  /// It is not listed any more.
  void note_unlisted(Instant now, model::InstanceId id, model::RemoteNetworkId network, Listing listing);
  void note_listed(Instant now, model::InstanceId id);
  void ask(Instant now, Peer& peer);

  void handle_established(Instant now, Peer& peer);
  void handle_closed(Instant now, Peer& peer, const session::Closed& closed);
  void handle_control(Instant now, Peer& peer);
  void handle_message(Instant now, Peer& peer, const wire::SessionMessage& message);
  void handle_hello_reply(Instant now, Peer& peer, const wire::HelloReply& reply);
  void send(Instant now, Peer& peer, const wire::SessionMessage& message);
  void send_lease(Instant now, Peer& peer, const Lease& lease);

  [[nodiscard]] Duration quiet_ping(const Peer& peer) const;
  void ask_suspect(Instant now, Peer& peer);
  [[nodiscard]] bool is_wanted(Instant now, const Peer& peer) const;
  void check_liveness(Instant now, Peer& peer);
  [[nodiscard]] std::optional<Instant> deadline_of(const Peer& peer) const;
  void schedule();
  [[nodiscard]] Peer* find_session(session::SessionId id);
  void count(PeerDrop reason) { ++drops_[static_cast<std::size_t>(reason)]; }

  PeersConfig config_;
  const Directory& directory_;
  session::Endpoint& sessions_;
  BlockPool& pool_;
  std::optional<SocketAddress> relay_;
  std::map<model::InstanceId, Peer> peers_;
  std::map<session::SessionId, model::InstanceId> by_session_;
  std::map<model::RemoteNetworkId, Instant> left_;  ///< when its last instance that was seen leaving did so
  std::deque<PeerEvent> events_;
  std::optional<Instant> next_tick_;
  bool has_suspects_ = false;
  std::array<std::uint64_t, static_cast<std::size_t>(PeerDrop::kCount)> drops_{};
};

}  // namespace postern::client
