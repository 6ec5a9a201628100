// The connector's side of direct paths (PROTOCOL.md §4.6): answers its clients' candidates with its own, checks theirs,
// and says from which remotes packets of a session are taken. Where a session goes is its client's choice.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "connector_core/session_port.hpp"
#include "path/candidate_message.hpp"
#include "path/checker.hpp"

namespace postern::connector {

class DirectPaths {
 public:
  /// Rounds of checks that one session may ask for at once; a further one each kRoundRefill.
  static constexpr unsigned kRoundsBurst = 6;
  static constexpr Duration kRoundRefill = std::chrono::seconds(20);
  /// Remotes of one session that packets are taken from; a new round forgets the oldest but the one in use.
  static constexpr std::size_t kProvenMax = 8;
  static constexpr std::size_t kMessagesMax = 1024;

  /// All outlive it.
  DirectPaths(SessionPort& port, RandomSource& random, wire::HmacSha256 hmac)
      : port_(port), random_(random), hmac_(hmac) {}

  /// What clients are told from now on; where it has changed, those that have asked before are told at once.
  void set_local(const path::LocalView& local);
  [[nodiscard]] const path::LocalView& local() const { return local_; }

  void handle_candidates(Instant now, session::SessionId session, const wire::Candidates& message);
  void handle_closed(session::SessionId session);
  /// STUN from an address that is no relay's; true when it was for a session.
  bool handle_message(Instant now, const SocketAddress& from, const wire::StunView& message);
  [[nodiscard]] std::optional<path::CheckTransmit> poll_transmit(Instant now);
  /// For a session's control stream.
  [[nodiscard]] std::optional<std::pair<session::SessionId, wire::Candidates>> poll_message();
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  /// Rounds that clients asked for beyond their bound.
  [[nodiscard]] std::uint64_t rounds_refused() const { return rounds_refused_; }

 private:
  struct Way {
    explicit Way(path::Checker made) : checker(std::move(made)) {}
    path::Checker checker;
    std::deque<SocketAddress> proven;
    unsigned rounds = kRoundsBurst;
    Instant refilled;
  };

  [[nodiscard]] Way* open(Instant now, session::SessionId session);
  [[nodiscard]] bool may_begin(Instant now, Way& way) const;
  void settle(session::SessionId session, Way& way);
  void allow(session::SessionId session, Way& way, const SocketAddress& remote);
  void tell(session::SessionId session, std::uint32_t round);

  SessionPort& port_;
  RandomSource& random_;
  wire::HmacSha256 hmac_;
  path::LocalView local_;
  std::map<session::SessionId, Way> ways_;
  std::map<path::SessionTag, session::SessionId> by_tag_;
  std::deque<std::pair<session::SessionId, wire::Candidates>> messages_;
  std::uint64_t rounds_refused_ = 0;
};

}  // namespace postern::connector
