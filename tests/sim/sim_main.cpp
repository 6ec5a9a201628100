// Runs seeds of the simulation: one of them in full view, or many until one fails.
//
//     sim --seed N [--events K]          says each event; exit code 1 and the reason when something does not hold
//     sim --seeds A-B [--events K]       one line for each; stops at the first that fails
//     sim --input FILE [--events K]      the run that a fuzzer's bytes choose (there: 20 events)
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "sim/scenario.hpp"

namespace {

using postern::sim::Outcome;

struct Options {
  std::uint64_t first = 1;
  std::uint64_t last = 1;
  std::size_t events = 40;
  bool many = false;
  std::string input{};
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--input") {
      options.input = argv[i + 1];
      continue;
    }
    char* rest = nullptr;
    const std::uint64_t number = std::strtoull(argv[i + 1], &rest, 10);
    if (rest == argv[i + 1]) return false;
    if (name == "--seed" && *rest == 0) {
      options.first = options.last = number;
    } else if (name == "--events" && *rest == 0) {
      options.events = number;
    } else if (name == "--seeds" && *rest == '-') {
      options.first = number;
      options.last = std::strtoull(rest + 1, &rest, 10);
      options.many = true;
      if (*rest != 0) return false;
    } else {
      return false;
    }
  }
  return argc % 2 == 1;
}

void say(std::uint64_t seed, const Outcome& outcome) {
  const auto hours = std::chrono::duration<double, std::ratio<3600>>(outcome.virtual_time).count();
  std::printf(
      "seed %llu: %zu events, %.1f h, %llu probes (%llu open to interpretation), %llu long flows, %llu datagrams, "
      "digest %016llx\n",
      static_cast<unsigned long long>(seed), outcome.history.size(), hours,
      static_cast<unsigned long long>(outcome.probes), static_cast<unsigned long long>(outcome.unknowns),
      static_cast<unsigned long long>(outcome.long_flows), static_cast<unsigned long long>(outcome.datagrams),
      static_cast<unsigned long long>(outcome.digest));
  std::fflush(stdout);
}

int run_input(const Options& options) {
  std::ifstream file(options.input, std::ios::binary);
  const postern::Bytes bytes(std::istreambuf_iterator<char>(file), {});
  const Outcome outcome = postern::sim::run_bytes(bytes, options.events);
  for (const std::string& line : outcome.history) std::fprintf(stderr, "%s\n", line.c_str());
  if (outcome.violation.empty()) return 0;
  std::fprintf(stderr, "%s does not hold: %s\n", options.input.c_str(), outcome.violation.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  GTEST_FLAG_SET(throw_on_failure, true);
  testing::InitGoogleTest();
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "sim: usage: sim [--seed N | --seeds A-B | --input FILE] [--events K]\n");
    return 2;
  }
  if (!options.input.empty()) return run_input(options);
  for (std::uint64_t seed = options.first; seed <= options.last; ++seed) {
    const Outcome outcome = postern::sim::run_seed(seed, options.events, !options.many);
    if (outcome.violation.empty()) {
      say(seed, outcome);
      continue;
    }
    if (options.many) {
      for (const std::string& line : outcome.history) std::fprintf(stderr, "%s\n", line.c_str());
    }
    std::fprintf(stderr, "seed %llu does not hold: %s\n  `./dev sim --seed %llu --events %zu` shows it\n",
                 static_cast<unsigned long long>(seed), outcome.violation.c_str(),
                 static_cast<unsigned long long>(seed), options.events);
    return 1;
  }
  return 0;
}
