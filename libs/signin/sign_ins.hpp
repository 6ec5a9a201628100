// The sign-in of a person as a machine: what has been proven, what is still wanted, what may be tried how often.
//
// Every page where a person signs in uses this one: the account's page, `/device`, and what asks for a proof in
// between. A password comes first; where a second factor is enrolled, the person gets a ticket (256 random bits) that
// stands for the proven password until the second factor is proven as well, for this purpose only.
//
// ```
//               password right,              second factor
//               second factor enrolled       right
//   nothing ──────────────────────▶ Pending ──────────────▶ signed in
//      │                               │                        ▲
//      │                               └─ 5 wrong, or 5 min ─▶ gone
//      └── password right, none enrolled · a passkey with user verification
// ```
//
// Attempts are counted for each account and each address; right ones are given back. Wrong second factors are counted
// over an hour too: six digits are few, and whoever guesses them has the password already.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "model/ids.hpp"
#include "signin/sign_in_limits.hpp"

namespace postern::signin {

struct Person {
  model::UserId user;
  std::string account{};  ///< the e-mail address, as attempts are counted
};

struct Pending {
  Person person{};
  std::string purpose{};
  Instant started{};
  unsigned refused = 0;
};

class SignIns {
 public:
  /// At the bound the oldest is forgotten, and that person starts again.
  static constexpr std::size_t kPendingMax = 10'000;
  static constexpr std::chrono::minutes kPendingLife{5};
  static constexpr unsigned kRefusedMax = 5;
  static constexpr std::size_t kSecondPerHour = 20;

  explicit SignIns(RandomSource& random) : random_(random) {}

  /// Counts an attempt with a password, or says how long to wait.
  [[nodiscard]] std::optional<Duration> try_password(std::string_view account, std::string_view remote, Instant now) {
    return limits_.try_take(account, remote, now);
  }
  /// The password was right: nothing when that is enough, otherwise the ticket for the second factor.
  [[nodiscard]] std::optional<std::string> password_proven(const Person& person, std::string_view remote,
                                                           std::string_view purpose, bool has_second, Instant now);

  /// Of somebody who is signed in already and types it again: the attempt is given back.
  void password_right(std::string_view account, std::string_view remote) { limits_.succeeded(account, remote); }

  /// The sign-in of a ticket that is still good, and for this purpose.
  [[nodiscard]] const Pending* find(std::string_view ticket, std::string_view purpose, Instant now) const;
  /// Counts an attempt with a second factor, or says how long to wait.
  [[nodiscard]] std::optional<Duration> try_second(std::string_view account, std::string_view remote, Instant now);
  /// The ticket is gone after the fifth.
  void second_refused(std::string_view ticket);
  /// The ticket is used up.
  void second_proven(std::string_view ticket, std::string_view remote);

  [[nodiscard]] std::size_t pending() const { return pending_.size(); }

 private:
  void make_room(Instant now);

  RandomSource& random_;
  SignInLimits limits_;
  SignInLimits second_;
  RateLimit second_hour_{kSecondPerHour, std::chrono::hours(1), 50'000};
  std::map<Digest, Pending> pending_;  // by the digest of the ticket
};

}  // namespace postern::signin
