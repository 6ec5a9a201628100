// Checks of one session: finds out which remotes reach the peer and are reached by it (PROTOCOL.md §4.6).
//
// A round checks every remote of a list, each at most five times with growing pauses, 20 ms apart at least. Both ends
// run a round at the same time, so that each one's checks open its own NAT for the other's. A remote is proven when a
// check to it was answered. A request of the peer from an address that is in no list is as good as a candidate: that is
// how a NAT shows the port that it has given for us.
//
//     Target:  waiting ──5 checks, or answered──▶ done          Round:  running ──all done──▶ RoundEnded
//     probe():  4 checks of one remote, a fixed pause apart ──answered──▶ RemoteProven, else RemoteSilent
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/random.hpp"
#include "base/time.hpp"
#include "path/candidate.hpp"
#include "path/check_message.hpp"
#include "path/replay_window.hpp"

namespace postern::path {

/// A check was answered: packets of the session may come from there and go there.
struct RemoteProven {
  SocketAddress remote;
  Duration round_trip{};
};
/// probe() has had no answer.
struct RemoteSilent {
  SocketAddress remote;
};
/// Every remote of the round has answered or had its five checks.
struct RoundEnded {};
using CheckEvent = std::variant<RemoteProven, RemoteSilent, RoundEnded>;

struct CheckTransmit {
  SocketAddress to;
  Bytes datagram;
};

enum class CheckDrop : std::uint8_t {
  WrongMac,        ///< a request that the peer has not made, or for another session
  Replayed,        ///< a counter that was seen, or is older than the window
  Forbidden,       ///< from an address that may never be checked
  StrayAnswer,     ///< an answer to nothing that waits, from elsewhere, or not made by the peer
  TooManyRemotes,  ///< a request from the seventeenth address
  kCount
};

class Checker {
 public:
  static constexpr unsigned kChecksMax = 5;
  static constexpr unsigned kProbesMax = 4;
  static constexpr Duration kSpacing = std::chrono::milliseconds(20);
  /// After the first check of a remote; doubled after each further one.
  static constexpr Duration kFirstPause = std::chrono::milliseconds(60);
  static constexpr Duration kProbePause = std::chrono::milliseconds(150);
  /// After the last check.
  static constexpr Duration kLastPause = std::chrono::milliseconds(500);
  /// Answers that wait to be sent; further requests get none.
  static constexpr std::size_t kAnswersMax = 16;

  /// `random` outlives the checker.
  Checker(const CheckKeys& keys, wire::HmacSha256 hmac, RandomSource& random)
      : keys_(keys), hmac_(hmac), random_(random) {}

  [[nodiscard]] const SessionTag& tag() const { return keys_.tag; }
  /// Ends a round that is running. At most kCandidatesMax remotes are looked at.
  void start_round(Instant now, std::span<const SocketAddress> remotes);
  /// Is this one still there? A probe that runs already is not disturbed.
  void probe(Instant now, const SocketAddress& remote);
  [[nodiscard]] bool is_running() const { return is_running_; }

  /// True when the message was this session's: a request with its tag, or an answer that was waited for.
  bool handle_message(Instant now, const SocketAddress& from, const wire::StunView& message);
  [[nodiscard]] std::optional<CheckTransmit> poll_transmit(Instant now);
  [[nodiscard]] std::optional<CheckEvent> poll_event();
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(CheckDrop::kCount)>& drops() const {
    return drops_;
  }
  [[nodiscard]] std::uint64_t checks_sent() const { return sent_; }

 private:
  struct Target {
    SocketAddress remote;
    unsigned checks_max = kChecksMax;
    Duration pause = kFirstPause;
    bool is_probe = false;
    bool is_answered = false;
    bool has_ended = false;
    unsigned extra = 0;  ///< checks beyond the first five, each for a request of the peer from there
    Instant next;        ///< the next check, or the end
    struct Sent {
      wire::TransactionId transaction;
      Instant at;
    };
    std::vector<Sent> sent;
  };

  bool handle_request(Instant now, const SocketAddress& from, const wire::StunView& message);
  bool handle_answer(Instant now, const SocketAddress& from, const wire::StunView& message);
  void encourage(Instant now, const SocketAddress& from);
  [[nodiscard]] CheckTransmit check(Instant now, Target& target);
  void end_round_if_done();
  void count(CheckDrop reason) { ++drops_[static_cast<std::size_t>(reason)]; }

  CheckKeys keys_;
  wire::HmacSha256 hmac_;
  RandomSource& random_;
  ReplayWindow window_;
  std::uint64_t counter_ = 0;
  std::uint64_t sent_ = 0;
  bool is_running_ = false;
  std::vector<Target> targets_;
  std::deque<CheckTransmit> answers_;
  std::deque<CheckEvent> events_;
  Instant spaced_until_;
  std::array<std::uint64_t, static_cast<std::size_t>(CheckDrop::kCount)> drops_{};
};

}  // namespace postern::path
