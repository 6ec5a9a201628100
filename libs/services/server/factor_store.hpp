// The second factors of all users: in memory, and sealed in the store as one secret for each user.
//
// What was changed counts once it is committed: a code that was accepted is used up before its person is let in, also
// when the server is killed right then. A secret that does not open (somebody else has written it) leaves its user with
// factors that nothing proves, until an admin resets them.
#pragma once

#include <expected>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "controller_core/records.hpp"
#include "identity/tokens.hpp"
#include "runtime/os/log.hpp"
#include "services/server/controller_host.hpp"
#include "signin/factors.hpp"

namespace postern::server {

/// What is told to the audit log, beside the user.
struct FactorChange {
  std::string actor{};
  std::string origin{};
  std::string action{};  ///< "user.add_app"
};

class FactorStore {
 public:
  FactorStore(ControllerHost& host, const identity::SealKey& master, RandomSource& random)
      : host_(host), master_(master), random_(random) {}

  /// At the start; other records are passed over.
  void load(std::span<const controller::Record> records, runtime::Logger& log);

  [[nodiscard]] const signin::Factors& of(model::UserId user) const;
  /// A password alone does not sign this user in.
  [[nodiscard]] bool has_second(model::UserId user) const;
  /// Whose passkey that is.
  [[nodiscard]] std::optional<model::UserId> owner_of(ByteView credential) const;

  /// Without `change` nothing is audited: a code was used, a counter moved on.
  [[nodiscard]] std::expected<void, ServerError> put(model::UserId user, signin::Factors factors,
                                                     const std::optional<FactorChange>& change);
  /// All factors are gone.
  [[nodiscard]] std::expected<void, ServerError> reset(model::UserId user, const FactorChange& change);

 private:
  void remember(model::UserId user, signin::Factors factors);
  void forget(model::UserId user);

  ControllerHost& host_;
  identity::SealKey master_;
  RandomSource& random_;
  std::map<model::UserId, signin::Factors> factors_;
  std::map<Bytes, model::UserId> owners_;  // of passkeys, by credential id
  std::set<model::UserId> unreadable_;
};

/// Without secrets: {"app": true, "recovery_codes": 10, "passkeys": ["laptop"]}
[[nodiscard]] std::string factors_text(const signin::Factors& factors);

}  // namespace postern::server
