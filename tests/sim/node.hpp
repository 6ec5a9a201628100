// What every program of the simulation has: turns, and when it wants the next one.
#pragma once

#include <array>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/block.hpp"
#include "sim/network.hpp"

namespace postern::sim {

/// Something that must not be: the run ends here.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What all programs share; outlives them.
struct Fabric {
  explicit Fabric(std::uint64_t seed) : random(seed), network(time, random, trace) {}
  Timeline time;
  Trace trace;
  SeededRandom random;
  Network network;
  /// One send buffer is enough, since only one program runs at a time.
  alignas(4096) std::array<std::uint8_t, BlockPool::kLargeSize> buffer{};
  std::uint64_t turns = 0;
};

class Node {
 public:
  explicit Node(Fabric& fabric) : fabric_(fabric) {}
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Something has come in.
  void wake() { due_ = fabric_.time.now(); }
  [[nodiscard]] std::optional<Instant> due() const { return due_; }
  void run() {
    ++fabric_.turns;
    due_.reset();
    turn(fabric_.time.now());
    // A deadline that lies behind is looked at once more after a moment, so that nothing can spin.
    if (const auto next = next_timeout()) due_ = std::max(*next, fabric_.time.now() + std::chrono::microseconds(50));
  }

 protected:
  virtual void turn(Instant now) = 0;
  [[nodiscard]] virtual std::optional<Instant> next_timeout() const = 0;

  Fabric& fabric_;

 private:
  std::optional<Instant> due_{Instant{}};
};

}  // namespace postern::sim
