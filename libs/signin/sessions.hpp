// People who are signed in at the pages of the server: a cookie with 256 random bits, of which the digest is kept.
//
// In memory only: a restart of the server ends them. They end after 15 minutes without a request, after an hour in any
// case, and when the account's password or factors change elsewhere.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "model/ids.hpp"

namespace postern::signin {

struct Session {
  model::UserId user;
  Instant started{};
  Instant used{};
  Bytes offered_secret{};  ///< of an authenticator app that is being enrolled
};

class Sessions {
 public:
  static constexpr std::size_t kSessionsMax = 10'000;
  static constexpr std::size_t kPerUserMax = 16;
  static constexpr std::chrono::minutes kIdle{15};
  static constexpr std::chrono::hours kLife{1};
  /// What changes how a person signs in wants a sign-in that is not older.
  static constexpr std::chrono::minutes kFresh{10};

  explicit Sessions(RandomSource& random) : random_(random) {}

  /// Gives the cookie's value, always a new one. At a bound the one that was used the longest ago ends.
  [[nodiscard]] std::string start(model::UserId user, Instant now);
  /// Nothing when it has ended or never was; otherwise it counts as used.
  [[nodiscard]] Session* use(std::string_view token, Instant now);
  void end(std::string_view token);
  /// Of this user, all but the one of `token`.
  void end_all(model::UserId user, std::string_view token = {});
  [[nodiscard]] static bool is_fresh(const Session& session, Instant now) { return now - session.started < kFresh; }
  [[nodiscard]] std::size_t size() const { return sessions_.size(); }

 private:
  void make_room(model::UserId user, Instant now);

  RandomSource& random_;
  std::map<Digest, Session> sessions_;
};

}  // namespace postern::signin
