// A connector without IO: sessions, leases, flows and the controller's policy, joined (DESIGN §7, PROTOCOL.md §4).
//
// The owner feeds session events, controller messages and results of IO through handle_*, then drains poll_request(),
// poll_report() and poll_notice(), and calls handle_timeout() at next_timeout().
#pragma once

#include "connector_core/direct_paths.hpp"
#include "connector_core/flows.hpp"
#include "connector_core/knock_gate.hpp"
#include "connector_core/sessions.hpp"
#include "schema/control.pb.h"

namespace postern::connector {

struct ConnectorConfig {
  std::string software;  ///< "postern-connector/0.1.0 linux"
  FlowLimits flows;
};

class Connector final : private FlowAuthority {
 public:
  /// `port` and `pool` outlive it.
  Connector(ConnectorConfig config, SessionPort& port, BlockPool& pool);

  // --- from the controller -----------------------------------------------------------------------------------------
  void handle_network_time(Instant now, WallTime network_time) { clock_.set(now, network_time); }
  void handle_welcome(const wire::Welcome& welcome);
  /// Flows that the update no longer allows are closed before it returns.
  [[nodiscard]] UpdateOutcome handle_update(Instant now, const wire::ConnectorUpdate& update);

  // --- from the sessions -------------------------------------------------------------------------------------------
  void handle_event(Instant now, const session::Event& event);
  [[nodiscard]] const session::KnockVerifier& knocks() const { return knocks_; }

  /// Results of IO go straight to the flows; so do their requests and reports.
  [[nodiscard]] Flows& flows() { return flows_; }
  [[nodiscard]] const Flows& flows() const { return flows_; }
  [[nodiscard]] Sessions& sessions() { return sessions_; }
  [[nodiscard]] const Sessions& sessions() const { return sessions_; }
  [[nodiscard]] const PolicyStore& policy() const { return policy_; }
  [[nodiscard]] const Identity& identity() const { return identity_; }

  // --- direct paths (PROTOCOL.md §4.6) -------------------------------------------------------------------------------
  /// Without this, clients are told of no candidates. `random` outlives the connector.
  void enable_direct_paths(RandomSource& random);
  /// What clients are told of this host; nothing happens while direct paths are off.
  void set_local(Instant now, const path::LocalView& local);
  /// A datagram from an address that is no relay's; true when it was a check.
  bool handle_check(Instant now, const SocketAddress& from, ByteView datagram);
  [[nodiscard]] std::optional<path::CheckTransmit> poll_check(Instant now);
  [[nodiscard]] WallTime network_time(Instant now) const { return clock_.at(now); }

  /// New flows are refused with DRAINING and the clients are told; running ones go on.
  void drain(Instant now);
  /// Resets every flow and closes every session; new flows are refused until resume().
  void shut_down(Instant now);
  void resume() { flows_.set_draining(false); }
  /// A PING on every session: after the path has changed, so that both sides notice at once.
  void ping_all(Instant now);

  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

 private:
  [[nodiscard]] std::expected<Grant, Refusal> authorise(Instant now, session::SessionId session,
                                                        const Target& target) const override;
  [[nodiscard]] LeasePointer lease_of(session::SessionId session) const override { return sessions_.lease_of(session); }
  void reauthorise(Instant now, std::optional<session::SessionId> only);
  void plan_expiry(Instant now);
  void settle_paths(Instant now);

  SessionPort& port_;
  NetworkClock clock_;
  PolicyStore policy_;
  KnockGate knocks_{clock_};
  Identity identity_;
  Sessions sessions_;
  Flows flows_;
  std::optional<DirectPaths> direct_;
  std::optional<Instant> expiry_;  ///< when a lease or a grant ends by itself
};

}  // namespace postern::connector
