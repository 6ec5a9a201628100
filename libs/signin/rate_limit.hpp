// So many attempts in so much time for each key (an account, an address).
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.hpp"

namespace postern::signin {

class RateLimit {
 public:
  /// Keeps at most `keys_max` keys; at the bound the one whose attempts are the oldest is forgotten.
  RateLimit(std::size_t attempts, Duration window, std::size_t keys_max)
      : attempts_(attempts), window_(window), keys_max_(keys_max) {}

  /// Counts an attempt; otherwise says how long to wait.
  [[nodiscard]] std::optional<Duration> try_take(std::string_view key, Instant now);
  /// The last attempt is not counted after all.
  void give_back(std::string_view key);
  [[nodiscard]] std::size_t keys() const { return keys_.size(); }

 private:
  void make_room(Instant now);

  std::size_t attempts_;
  Duration window_;
  std::size_t keys_max_;
  std::map<std::string, std::deque<Instant>, std::less<>> keys_;
};

/// "192.0.2.1:4711" as "192.0.2.1"; IPv6 as its /64, because one person has that many addresses.
[[nodiscard]] std::string address_key(std::string_view remote);

}  // namespace postern::signin
