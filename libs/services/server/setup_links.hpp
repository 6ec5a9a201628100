// One-time links with which a person sets a first password: 24 hours, single use. The server keeps a digest only.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "model/ids.hpp"

namespace postern::server {

inline constexpr std::chrono::hours kSetupLinkLife{24};
inline constexpr std::string_view kSetupRecordPrefix = "setup-link:";

struct NewSetupLink {
  std::string target{};       ///< "/setup?token=…", behind the server's URL
  std::string record_name{};  ///< of the SecretRecord, one for each user: a new link replaces the old one
  Bytes record{};             ///< its plain bytes
};
[[nodiscard]] NewSetupLink make_setup_link(model::UserId user, WallTime now, RandomSource& random);

/// The links that were not used yet.
class SetupLinks {
 public:
  /// Bytes of a SecretRecord whose name begins with kSetupRecordPrefix; damaged ones are passed over.
  void add(ByteView record);
  /// The user of a link that is still good.
  [[nodiscard]] std::optional<model::UserId> find(std::string_view token, WallTime now) const;
  void remove(model::UserId user) { links_.erase(user); }
  [[nodiscard]] static std::string record_name(model::UserId user);

 private:
  struct Link {
    Digest token{};
    WallTime expires_at{};
  };
  std::map<model::UserId, Link> links_;
};

}  // namespace postern::server
