// What every fuzz target has: its entry, its seeds, a check that aborts, and choices drawn from the input.
//
// A target is NAME_fuzz.cpp with LLVMFuzzerTestOneInput() and postern::fuzz::seeds(). Under clang (preset `fuzz`)
// libFuzzer drives it; under g++ (preset `asan`) replay_main.cpp runs the seeds and everything in corpus/NAME.
// A target is a function of its input alone: no clock, no randomness of its own, nothing kept between two inputs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/bytes.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace postern::fuzz {

/// Real messages, made by the code that makes them in the programs: where fuzzing starts.
[[nodiscard]] std::vector<Bytes> seeds();

[[noreturn]] inline void fail(const char* what, const char* file, int line) {
  std::fprintf(stderr, "fuzz: %s:%d: does not hold: %s\n", file, line, what);
  std::abort();
}

/// Reads choices from the front of the input; past its end everything is zero.
class Choices {
 public:
  explicit Choices(ByteView bytes) : bytes_(bytes) {}

  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::uint8_t u8() {
    const ByteView one = take(1);
    return one.empty() ? std::uint8_t{0} : one[0];
  }
  std::uint16_t u16() { return static_cast<std::uint16_t>((u8() << 8) | u8()); }
  std::uint32_t u32() { return (std::uint32_t{u16()} << 16) | u16(); }
  std::uint64_t u64() { return (std::uint64_t{u32()} << 32) | u32(); }
  /// 0 to bound - 1, of at most 65536.
  std::size_t below(std::size_t bound) { return (bound <= 256 ? u8() : u16()) % bound; }
  bool flag() { return (u8() & 1) != 0; }
  /// Up to `size` bytes.
  ByteView take(std::size_t size) {
    const ByteView front = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(front.size());
    return front;
  }
  /// Two bytes of length, then so many bytes.
  ByteView block() { return take(u16()); }
  ByteView rest() { return take(bytes_.size()); }

 private:
  ByteView bytes_;
};

/// The other direction, for seeds.
class Script {
 public:
  Script& u8(std::uint8_t value) {
    bytes_.push_back(value);
    return *this;
  }
  Script& u16(std::uint16_t value) {
    return u8(static_cast<std::uint8_t>(value >> 8)).u8(static_cast<std::uint8_t>(value));
  }
  Script& u32(std::uint32_t value) {
    return u16(static_cast<std::uint16_t>(value >> 16)).u16(static_cast<std::uint16_t>(value));
  }
  Script& raw(ByteView bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Script& raw(std::string_view text) { return raw(as_bytes(text)); }
  Script& block(ByteView bytes) { return u16(static_cast<std::uint16_t>(bytes.size())).raw(bytes); }
  Script& block(std::string_view text) { return block(as_bytes(text)); }
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

[[nodiscard]] inline Bytes text_seed(std::string_view text) {
  return to_bytes(as_bytes(text));
}

}  // namespace postern::fuzz

/// Stays in every build, and says where: an input that breaks an invariant is a crash.
#define FUZZ_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::postern::fuzz::fail(#condition, __FILE__, __LINE__))
