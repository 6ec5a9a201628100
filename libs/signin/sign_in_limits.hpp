// Attempts to sign in: 5 per minute for each account, and 5 for each address (PROTOCOL.md §8). Those that succeed are
// given back, so that an office behind one address can start its day.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "signin/rate_limit.hpp"

namespace postern::signin {

class SignInLimits {
 public:
  /// Counts an attempt, or says how long to wait.
  [[nodiscard]] std::optional<Duration> try_take(std::string_view account, std::string_view remote, Instant now) {
    const std::string address = address_key(remote);
    if (const auto wait = addresses_.try_take(address, now)) return wait;
    const auto wait = accounts_.try_take(account, now);
    if (wait) addresses_.give_back(address);
    return wait;
  }
  void succeeded(std::string_view account, std::string_view remote) {
    accounts_.give_back(account);
    addresses_.give_back(address_key(remote));
  }

 private:
  static constexpr std::size_t kAttempts = 5;
  static constexpr std::chrono::minutes kWindow{1};
  static constexpr std::size_t kKeysMax = 50'000;
  RateLimit accounts_{kAttempts, kWindow, kKeysMax};
  RateLimit addresses_{kAttempts, kWindow, kKeysMax};
};

}  // namespace postern::signin
