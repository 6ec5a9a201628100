// The simulated network: each byte of the input is a choice of what happens next to clients, connectors, relays, the
// controller and the network between them (tests/sim). After every event the world is compared with the reference
// model.
#include "fuzz.hpp"
#include "gtest_checks.hpp"
#include "sim/scenario.hpp"

std::vector<postern::Bytes> postern::fuzz::seeds() {
  std::vector<Bytes> seeds;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Bytes bytes(60);
    SeededRandom random(seed);
    random.fill(bytes);
    seeds.push_back(bytes);
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  postern::fuzz::expectations_abort();
  constexpr std::size_t kEventsMax = 20;
  const auto outcome = postern::sim::run_bytes({data, size}, kEventsMax);
  if (outcome.violation.empty()) return 0;
  for (const std::string& line : outcome.history) std::fprintf(stderr, "%s\n", line.c_str());
  std::fprintf(stderr, "fuzz: does not hold: %s\n", outcome.violation.c_str());
  std::abort();
}
