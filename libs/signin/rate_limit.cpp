#include "signin/rate_limit.hpp"

#include <algorithm>

#include "base/ip.hpp"

namespace postern::signin {

std::optional<Duration> RateLimit::try_take(std::string_view key, Instant now) {
  auto found = keys_.find(key);
  if (found == keys_.end()) {
    make_room(now);
    found = keys_.emplace(key, std::deque<Instant>()).first;
  }
  std::deque<Instant>& times = found->second;
  while (!times.empty() && now - times.front() >= window_) times.pop_front();
  if (times.size() >= attempts_) return window_ - (now - times.front());
  times.push_back(now);
  return std::nullopt;
}

void RateLimit::give_back(std::string_view key) {
  const auto found = keys_.find(key);
  if (found == keys_.end()) return;
  if (!found->second.empty()) found->second.pop_back();
  if (found->second.empty()) keys_.erase(found);
}

void RateLimit::make_room(Instant now) {
  if (keys_.size() < keys_max_) return;
  std::erase_if(keys_, [&](const auto& each) { return each.second.empty() || now - each.second.back() >= window_; });
  if (keys_.size() < keys_max_) return;
  keys_.erase(std::ranges::min_element(keys_, {}, [](const auto& each) { return each.second.back(); }));
}

std::string address_key(std::string_view remote) {
  const auto address = SocketAddress::parse(remote);
  if (!address) return std::string(remote);
  return address->ip.is_v4() ? address->ip.to_string() : IpPrefix::containing(address->ip, 64).to_string();
}

}  // namespace postern::signin
