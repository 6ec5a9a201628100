// Randomness as a value. Machines below layer 4 get a seed or a source; only runtime/os asks the kernel.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"

namespace postern {

/// Where secrets come from: runtime/os gives the kernel's, tests give a seeded one.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual void fill(MutableBytes bytes) = 0;

  template <typename T>
  [[nodiscard]] T make() {
    T value{};
    fill(MutableBytes(value));
    return value;
  }
  [[nodiscard]] std::uint64_t u64() {
    const auto bytes = make<std::array<std::uint8_t, 8>>();
    return ByteReader(bytes).u64();
  }
};

/// Fast and repeatable (splitmix64); never for secrets outside tests.
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}

  [[nodiscard]] std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  /// Uniform enough for tests and jitter: bias below 2^-32 for bounds below 2^32.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
  void fill(MutableBytes bytes) override {
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(next());
  }

 private:
  std::uint64_t state_;
};

}  // namespace postern
