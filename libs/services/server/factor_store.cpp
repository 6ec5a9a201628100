#include "services/server/factor_store.hpp"

#include <charconv>
#include <nlohmann/json.hpp>

#include "runtime/loop/event_loop.hpp"
#include "runtime/store/master_key.hpp"

namespace postern::server {
namespace {

/// The user of a secret's name; nothing when it is of another kind.
std::optional<model::UserId> user_of(std::string_view name) {
  constexpr std::string_view kPrefix = "factors:";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t id = 0;
  const char* end = name.data() + name.size();
  const auto read = std::from_chars(name.data() + kPrefix.size(), end, id);
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return model::UserId(id);
}

}  // namespace

void FactorStore::load(std::span<const controller::Record> records, runtime::Logger& log) {
  for (const controller::Record& record : records) {
    const auto* secret = std::get_if<controller::SecretRecord>(&record);
    const auto user = secret == nullptr ? std::nullopt : user_of(secret->name);
    if (!user) continue;
    const auto plain = runtime::open_secret(master_, host_.network(), *secret);
    auto factors = plain ? signin::decode_factors(as_text(*plain)) : std::nullopt;
    if (factors) {
      remember(*user, std::move(*factors));
    } else {
      unreadable_.insert(*user);
      log.error("The second factors of a user cannot be read; reset them with postern-server admin user reset-mfa",
                {{"user", user->value}});
    }
  }
}

const signin::Factors& FactorStore::of(model::UserId user) const {
  static const signin::Factors kNone;
  const auto found = factors_.find(user);
  return found == factors_.end() ? kNone : found->second;
}

bool FactorStore::has_second(model::UserId user) const {
  return unreadable_.contains(user) || of(user).has_second();
}

std::optional<model::UserId> FactorStore::owner_of(ByteView credential) const {
  const auto found = owners_.find(to_bytes(credential));
  return found == owners_.end() ? std::nullopt : std::optional(found->second);
}

std::expected<void, ServerError> FactorStore::put(model::UserId user, signin::Factors factors,
                                                  const std::optional<FactorChange>& change) {
  controller::ChangeSet changes;
  changes.changes.emplace_back(controller::Upsert{runtime::seal_secret(
      master_, host_.network(), controller::factors_secret(user), as_bytes(encode(factors)), random_)});
  if (change) {
    changes.audit.push_back({runtime::wall_now(), change->actor, change->origin, change->action,
                             "user:" + std::to_string(user.value), factors_text(of(user)), factors_text(factors)});
  }
  if (auto committed = host_.commit(changes); !committed) return committed;
  remember(user, std::move(factors));
  return {};
}

std::expected<void, ServerError> FactorStore::reset(model::UserId user, const FactorChange& change) {
  controller::ChangeSet changes;
  changes.changes.emplace_back(controller::Remove{controller::SecretRecord{controller::factors_secret(user), {}}});
  changes.audit.push_back({runtime::wall_now(), change.actor, change.origin, change.action,
                           "user:" + std::to_string(user.value), factors_text(of(user)), factors_text({})});
  if (auto committed = host_.commit(changes); !committed) return committed;
  forget(user);
  return {};
}

void FactorStore::remember(model::UserId user, signin::Factors factors) {
  forget(user);
  for (const signin::Passkey& passkey : factors.passkeys) owners_[passkey.id] = user;
  factors_[user] = std::move(factors);
}

void FactorStore::forget(model::UserId user) {
  for (const signin::Passkey& passkey : of(user).passkeys) owners_.erase(passkey.id);
  factors_.erase(user);
  unreadable_.erase(user);
}

std::string factors_text(const signin::Factors& factors) {
  nlohmann::json passkeys = nlohmann::json::array();
  for (const signin::Passkey& passkey : factors.passkeys) passkeys.push_back(passkey.name);
  return nlohmann::json{{"app", factors.totp.has_value()},
                        {"recovery_codes", factors.recovery_codes.size()},
                        {"passkeys", std::move(passkeys)}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace postern::server
