// Virtual time of a simulation: one clock, and what is to happen at which moment.
//
// Things due at the same moment happen in the order in which they were asked for, so a run is a function of its
// choices.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "base/time.hpp"

namespace postern::sim {

class Timeline {
 public:
  using Action = std::function<void()>;

  [[nodiscard]] Instant now() const { return now_; }
  void at(Instant when, Action action) { actions_.emplace(std::max(when, now_), std::move(action)); }
  void after(Duration wait, Action action) { at(now_ + wait, std::move(action)); }

  [[nodiscard]] std::optional<Instant> next() const {
    return actions_.empty() ? std::nullopt : std::optional(actions_.begin()->first);
  }
  void set_now(Instant now) { now_ = std::max(now_, now); }
  void run_due() {
    while (!actions_.empty() && actions_.begin()->first <= now_) {
      const auto node = actions_.extract(actions_.begin());
      node.mapped()();
    }
  }

 private:
  Instant now_{std::chrono::hours(1)};
  std::multimap<Instant, Action> actions_;
};

/// Digest of everything that crossed a wire: two runs with equal digests did the same.
class Trace {
 public:
  void add(std::uint64_t value) { digest_ = (digest_ ^ value) * 1099511628211U; }
  [[nodiscard]] std::uint64_t digest() const { return digest_; }

 private:
  std::uint64_t digest_ = 14695981039346656037U;
};

}  // namespace postern::sim
