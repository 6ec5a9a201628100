// Direct paths of the client's sessions: rounds of checks, migration, and the way back to the relay (DESIGN §5.3,
// PROTOCOL.md §4.6).
//
// A session starts on the relay. Once its Hello was accepted, both ends tell each other their candidates and check
// them; the best proven remote becomes the session's path. Only this side migrates.
//
//     Relayed ──proven remote──▶ Moving ──PathChanged──▶ Direct
//        ▲                          │ PathFailed            │ silent although asked
//        └──────────────────────────┴───────────────────────┘
//
// While relayed, rounds are repeated with growing pauses, only while flows are open; a change of this host's network
// or of the connector's starts one at once. On a direct path silence after traffic is looked into with a probe; if that
// has no answer either, the session goes back to the relay and what was in flight is sent again there. A direct path
// that nothing used for long is left before the next flow, because a NAT may have forgotten it.
//
// Where no relay is bound there is nowhere to go back to: a silent path is kept and looked at again and again. A
// session that is on the relay when that is lost cannot hear new candidates: it checks those that it knows.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "path/candidate_message.hpp"
#include "path/checker.hpp"
#include "path/choice.hpp"
#include "session/endpoint.hpp"

namespace postern::client {

struct DirectPathsConfig {
  bool is_enabled = true;
  /// After the first proven remote: a better one may follow, and the connector has to prove us as well.
  Duration gather_time = std::chrono::milliseconds(60);
  Duration round_pause_min = std::chrono::seconds(5);
  Duration round_pause_max = std::chrono::minutes(10);
  /// The longest while there is no relay either: nothing of the session arrives then.
  Duration lone_pause_max = std::chrono::seconds(15);
  /// A connector that says nothing for so long does not know candidates.
  Duration answer_max = std::chrono::seconds(3);
  /// Silence on a direct path that is looked into, at least; three round trips where that is more.
  Duration silence = std::chrono::milliseconds(300);
  /// So many probes in a row may get through while nothing of the session does, before the path is begun afresh with
  /// small packets (its MTU has fallen; ngtcp2 1.11 does not notice).
  unsigned futile_probes_max = 3;
  /// A NAT may have forgotten a path that was unused for so long (RFC 4787 §4.3 wants 120 s; Linux keeps 30 s).
  Duration mapping_life = std::chrono::seconds(20);
  /// A path that lasted for less than this was none: the next attempt waits, longer each time.
  Duration good_life = std::chrono::seconds(10);
  Duration hold_min = std::chrono::seconds(5);
};

/// For status: which way a session goes, and why not another.
struct PathReport {
  bool is_direct = false;
  path::RelayReason reason = path::RelayReason::NotReady;
  std::optional<Duration> round_trip;  ///< of the direct path, by the last check
};

class DirectPaths {
 public:
  /// `sessions` and `random` outlive it.
  DirectPaths(DirectPathsConfig config, session::Endpoint& sessions, RandomSource& random, wire::HmacSha256 hmac)
      : config_(config), sessions_(sessions), random_(random), hmac_(hmac) {}

  // --- this host -------------------------------------------------------------------------------------------------
  void set_local(Instant now, const path::LocalView& local);
  /// What leads into our own tunnel.
  void set_excluded(std::vector<IpPrefix> excluded) { excluded_ = std::move(excluded); }
  /// The relay that sessions go back to; nothing while none is bound.
  void set_relay(Instant now, const std::optional<SocketAddress>& relay);

  // --- sessions --------------------------------------------------------------------------------------------------
  /// The connector has accepted Hello.
  void handle_ready(Instant now, session::SessionId session);
  /// Sessions that do not live any more are forgotten.
  void retain(const std::function<bool(session::SessionId)>& lives);
  void handle_candidates(Instant now, session::SessionId session, const wire::Candidates& message);
  /// PathChanged and PathFailed; true when it was one.
  bool handle_event(Instant now, const session::Event& event);
  /// Flows that the session carries now.
  void note_flows(Instant now, session::SessionId session, std::uint32_t flows);

  // --- packets and time ------------------------------------------------------------------------------------------
  /// STUN from an address that is not the relay; true when it was for a session.
  bool handle_message(Instant now, const SocketAddress& from, const wire::StunView& message);
  [[nodiscard]] std::optional<path::CheckTransmit> poll_transmit(Instant now);
  /// Candidates for a session's control stream.
  [[nodiscard]] std::optional<std::pair<session::SessionId, wire::Candidates>> poll_message();
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  [[nodiscard]] PathReport report(session::SessionId session) const;
  [[nodiscard]] std::uint64_t checks_sent() const;

 private:
  enum class Stage : std::uint8_t { Relayed, Moving, Direct };
  struct Way {
    explicit Way(path::Checker made) : checker(std::move(made)) {}

    path::Checker checker;
    Stage stage = Stage::Relayed;
    path::RelayReason reason = path::RelayReason::AwaitingPeer;
    std::vector<path::Candidate> peer;
    std::vector<path::ProvenRemote> proven;
    std::uint32_t flows = 0;

    std::uint32_t round = 0;            ///< number of the last one
    bool is_awaiting = false;           ///< the connector's candidates for it
    bool maps_per_destination = false;  ///< the connector's NAT does
    Instant round_began;
    Instant called;    ///< the connector last asked for a round
    Duration pause{};  ///< until the next round
    std::optional<Instant> next_round;
    std::optional<Instant> decide_at;

    std::optional<path::ProvenRemote> path;    ///< Moving and Direct
    std::optional<SocketAddress> last_remote;  ///< where it was direct the last time
    std::optional<path::RelayReason> stuck;    ///< why it would be left if there were a relay
    Instant path_since;
    Instant verified;  ///< the last time that the peer is known to have been reached directly
    Instant probed;
    std::optional<Instant> begun_afresh;  ///< when the path was begun a second time
    unsigned futile = 0;   ///< probes that were answered while nothing of the session was, although it waited
    Instant heard_before;  ///< when the session had been heard at the last of them
    unsigned failures = 0;
    Instant held_until;
  };

  void begin_round(Instant now, session::SessionId session, Way& way);
  void begin_soon(Instant now, Way& way);
  void start_checks(Instant now, session::SessionId session, Way& way);
  void settle_checks(Instant now, session::SessionId session, Way& way);
  void handle_proven(Instant now, session::SessionId session, Way& way, const path::RemoteProven& proven);
  void handle_round_end(Instant now, Way& way);
  void decide(Instant now, session::SessionId session, Way& way);
  void leave(Instant now, session::SessionId session, Way& way, path::RelayReason reason);
  void watch(Instant now, session::SessionId session, Way& way);
  void count_futile(session::SessionId session, Way& way) const;
  [[nodiscard]] bool is_gone_around(session::SessionId session, const Way& way) const;
  void begin_afresh(Instant now, session::SessionId session, Way& way);
  [[nodiscard]] std::optional<Instant> silence_due(session::SessionId session, const Way& way) const;
  [[nodiscard]] bool is_over_tcp() const;

  DirectPathsConfig config_;
  session::Endpoint& sessions_;
  RandomSource& random_;
  wire::HmacSha256 hmac_;
  path::LocalView local_;
  std::vector<IpPrefix> excluded_;
  std::optional<SocketAddress> relay_;
  std::map<session::SessionId, Way> ways_;
  std::deque<std::pair<session::SessionId, wire::Candidates>> messages_;
};

}  // namespace postern::client
