#include "signin/sessions.hpp"

#include <algorithm>

#include "identity/keys.hpp"

namespace postern::signin {
namespace {

Digest key_of(std::string_view token) {
  return identity::sha256(as_bytes(token));
}

bool has_ended(const Session& session, Instant now) {
  return now - session.used >= Sessions::kIdle || now - session.started >= Sessions::kLife;
}

}  // namespace

std::string Sessions::start(model::UserId user, Instant now) {
  make_room(user, now);
  std::string token = to_base64url(random_.make<Digest>());
  sessions_[key_of(token)] = {.user = user, .started = now, .used = now};
  return token;
}

Session* Sessions::use(std::string_view token, Instant now) {
  const auto found = sessions_.find(key_of(token));
  if (found == sessions_.end()) return nullptr;
  if (has_ended(found->second, now)) {
    sessions_.erase(found);
    return nullptr;
  }
  found->second.used = now;
  return &found->second;
}

void Sessions::end(std::string_view token) {
  sessions_.erase(key_of(token));
}

void Sessions::end_all(model::UserId user, std::string_view token) {
  const Digest kept = key_of(token);
  std::erase_if(sessions_, [&](const auto& each) { return each.second.user == user && each.first != kept; });
}

void Sessions::make_room(model::UserId user, Instant now) {
  const auto used = [](const auto& each) { return each.second.used; };
  if (sessions_.size() >= kSessionsMax) {
    std::erase_if(sessions_, [&](const auto& each) { return has_ended(each.second, now); });
    if (sessions_.size() >= kSessionsMax) sessions_.erase(std::ranges::min_element(sessions_, {}, used));
  }
  auto oldest = sessions_.end();
  std::size_t own = 0;
  for (auto each = sessions_.begin(); each != sessions_.end(); ++each) {
    if (each->second.user != user) continue;
    ++own;
    if (oldest == sessions_.end() || used(*each) < used(*oldest)) oldest = each;
  }
  if (own >= kPerUserMax) sessions_.erase(oldest);
}

}  // namespace postern::signin
