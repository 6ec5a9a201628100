#include "signin/sign_ins.hpp"

#include <algorithm>

#include "identity/keys.hpp"

namespace postern::signin {
namespace {

Digest key_of(std::string_view ticket) {
  return identity::sha256(as_bytes(ticket));
}

}  // namespace

std::optional<std::string> SignIns::password_proven(const Person& person, std::string_view remote,
                                                    std::string_view purpose, bool has_second, Instant now) {
  limits_.succeeded(person.account, remote);
  if (!has_second) return std::nullopt;
  make_room(now);
  std::string ticket = to_base64url(random_.make<Digest>());
  pending_[key_of(ticket)] = {person, std::string(purpose), now};
  return ticket;
}

const Pending* SignIns::find(std::string_view ticket, std::string_view purpose, Instant now) const {
  const auto found = pending_.find(key_of(ticket));
  if (found == pending_.end()) return nullptr;
  const Pending& pending = found->second;
  return pending.purpose == purpose && now - pending.started < kPendingLife ? &pending : nullptr;
}

std::optional<Duration> SignIns::try_second(std::string_view account, std::string_view remote, Instant now) {
  if (const auto wait = second_hour_.try_take(account, now)) return wait;
  const auto wait = second_.try_take(account, remote, now);
  if (wait) second_hour_.give_back(account);
  return wait;
}

void SignIns::second_refused(std::string_view ticket) {
  const auto found = pending_.find(key_of(ticket));
  if (found != pending_.end() && ++found->second.refused >= kRefusedMax) pending_.erase(found);
}

void SignIns::second_proven(std::string_view ticket, std::string_view remote) {
  const auto found = pending_.find(key_of(ticket));
  if (found == pending_.end()) return;
  second_.succeeded(found->second.person.account, remote);
  second_hour_.give_back(found->second.person.account);
  pending_.erase(found);
}

void SignIns::make_room(Instant now) {
  if (pending_.size() < kPendingMax) return;
  std::erase_if(pending_, [&](const auto& each) { return now - each.second.started >= kPendingLife; });
  if (pending_.size() < kPendingMax) return;
  pending_.erase(std::ranges::min_element(pending_, {}, [](const auto& each) { return each.second.started; }));
}

}  // namespace postern::signin
