// The sessions of a connector and what their control streams say (PROTOCOL.md §4.3): Hello, leases, revocation.
//
//   AwaitingHello ──valid Hello──▶ Accepted ──revoked, closed──▶ (gone)
//        │ 5 s, CloseCode::NoHello        ▲ a new Lease replaces the old one, flows are checked again
//        └──lease refused──▶ Refusing ──200 ms, so that HelloReply arrives──▶ (gone), CloseCode::LeaseRefused
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "connector_core/access.hpp"
#include "connector_core/network_clock.hpp"
#include "connector_core/session_port.hpp"
#include "schema/session.pb.h"
#include "wire/framing.hpp"

namespace postern::connector {

/// Who this connector is, from Welcome.
struct Identity {
  std::string network;  ///< slug: issuer of the leases
  std::string network_name;
  model::ConnectorId connector;
  std::string connector_name;
  model::RemoteNetworkId remote_network;
  std::string remote_network_name;
  model::InstanceId instance;
};

struct SessionCounters {
  std::uint64_t accepted = 0;
  std::uint64_t leases_refused = 0;
  std::uint64_t without_hello = 0;
  std::uint64_t protocol_errors = 0;
  std::uint64_t superseded = 0;
};

/// What a person may want to read in the log.
struct SessionNotice {
  enum class Kind : std::uint8_t { Accepted, LeaseRefused, Closed };
  Kind kind = Kind::Accepted;
  session::SessionId session;
  LeasePointer lease;
  std::string detail;
};

class Sessions {
 public:
  Sessions(SessionPort& port, BlockPool& pool, const PolicyStore& policy, const NetworkClock& clock,
           std::string software);

  void set_identity(const Identity& identity) { identity_ = identity; }

  void handle_established(Instant now, const session::Established& event);
  /// Reads the control stream. True when the session's lease was replaced: its flows must be checked again.
  bool handle_control(Instant now, session::SessionId session);
  void handle_closed(session::SessionId session, const std::string& detail);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const { return deadline_; }

  /// Empty before an accepted Hello.
  [[nodiscard]] LeasePointer lease_of(session::SessionId session) const;
  [[nodiscard]] bool knows(session::SessionId session) const { return sessions_.contains(session); }
  [[nodiscard]] std::vector<session::SessionId> all() const;
  /// Sessions whose lease is void as a whole: the owner ends them.
  [[nodiscard]] std::vector<session::SessionId> revoked() const;

  void send_revoked(Instant now, session::SessionId session, const std::set<model::ResourceId>& resources);
  void send_drain(Instant now);
  void close(Instant now, session::SessionId session, CloseCode code, std::string_view reason);

  [[nodiscard]] std::optional<SessionNotice> poll_notice();
  /// Where a client may be reached directly.
  [[nodiscard]] std::optional<std::pair<session::SessionId, wire::Candidates>> poll_candidates();
  void send_candidates(Instant now, session::SessionId session, const wire::Candidates& candidates);
  [[nodiscard]] std::size_t size() const { return sessions_.size(); }
  [[nodiscard]] const SessionCounters& counters() const { return counters_; }

 private:
  enum class Stage : std::uint8_t { AwaitingHello, Accepted, Refusing };
  struct Session {
    Digest peer{};
    Stage stage = Stage::AwaitingHello;
    Instant stage_ends;
    wire::LengthPrefixedReader reader{wire::kSessionMessageMax};
    LeasePointer lease;
    std::optional<Instant> silent_until;  ///< superseded: must be heard after this to live on
    Instant leases_from;                  ///< rate limit of signatures to verify
    unsigned leases_seen = 0;
  };
  enum class Outcome : std::uint8_t { Fine, LeaseReplaced, ProtocolError };

  Outcome handle_message(Instant now, session::SessionId id, Session& session, ByteView bytes);
  Outcome handle_hello(Instant now, session::SessionId id, Session& session, const wire::Hello& hello);
  Outcome handle_lease(Instant now, session::SessionId id, Session& session, const std::string& token);
  [[nodiscard]] std::expected<LeasePointer, std::string> verify(Instant now, const Session& session,
                                                                const std::string& token) const;
  [[nodiscard]] bool may_verify(Instant now, Session& session) const;
  /// Finds the next deadline; called when one changed, so that asking for it costs nothing.
  void plan();
  void question_older(Instant now, session::SessionId newest, const Digest& peer);
  void send(Instant now, session::SessionId id, const wire::SessionMessage& message);
  void notice(SessionNotice::Kind kind, session::SessionId id, LeasePointer lease, std::string detail);

  SessionPort& port_;
  BlockPool& pool_;
  const PolicyStore& policy_;
  const NetworkClock& clock_;
  std::string software_;
  Identity identity_;
  std::map<session::SessionId, Session> sessions_;
  std::optional<Instant> deadline_;
  std::vector<SessionNotice> notices_;
  std::deque<std::pair<session::SessionId, wire::Candidates>> candidates_;
  SessionCounters counters_;
};

}  // namespace postern::connector
