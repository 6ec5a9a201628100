// Seeds of the simulation, and the same run twice.
#include <gtest/gtest.h>

#include "sim/scenario.hpp"

namespace postern::sim {
namespace {

std::string text_of(const Outcome& outcome) {
  std::string text = outcome.violation + "\n";
  for (const std::string& line : outcome.history) text += line + "\n";
  return text;
}

/// Which seeds: few enough for every build. `./dev sim --seeds 1-1000` runs more.
class Seeds : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Seeds, KeepTheWorldAsTheModelSaysAfterEveryEvent) {
  const Outcome outcome = run_seed(GetParam(), 25);
  EXPECT_EQ(outcome.violation, "") << "seed " << GetParam() << "\n" << text_of(outcome);
  EXPECT_GT(outcome.probes, 100U);
  EXPECT_LT(outcome.unknowns, outcome.probes / 2) << "a model that mostly does not know shows nothing";
}

INSTANTIATE_TEST_SUITE_P(Some, Seeds, testing::Range<std::uint64_t>(1, 13));

TEST(Simulation, IsTheSameToTheBitForTheSameSeed) {
  const Outcome first = run_seed(7, 12);
  const Outcome again = run_seed(7, 12);
  EXPECT_EQ(first.digest, again.digest);
  EXPECT_EQ(first.history, again.history);
  EXPECT_EQ(first.turns, again.turns);
  EXPECT_NE(first.digest, run_seed(8, 12).digest);
}

TEST(Simulation, NoticesAModelAndAWorldThatDiffer) {
  const Outcome more = run_with_lie(Lie::GrantsInModelOnly);
  EXPECT_NE(more.violation.find("cannot connect, but should"), std::string::npos) << text_of(more);
  const Outcome fewer = run_with_lie(Lie::RevokesInModelOnly);
  EXPECT_NE(fewer.violation, "") << text_of(fewer);
}

TEST(Simulation, ReadsItsChoicesFromBytesToo) {
  Bytes bytes(120);
  SeededRandom random(3);
  random.fill(bytes);
  const Outcome outcome = run_bytes(bytes, 20);
  EXPECT_EQ(outcome.violation, "") << text_of(outcome);
  EXPECT_GT(outcome.history.size(), 10U);
}

}  // namespace
}  // namespace postern::sim
