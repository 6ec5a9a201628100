// Whole connections between an endpoint and a scripted kernel, over wires that lose, double and reorder.
#include <gtest/gtest.h>

#include "tcp/scripted_kernel_test_util.hpp"

namespace postern::tcp {
namespace {

using namespace test;

constexpr std::uint64_t kMiB = 1U << 20;

struct Weather {
  const char* name;
  FlowTuple tuple;
  KernelKnobs kernel;
  WorldKnobs wire;
  std::uint32_t receive_window = 2U << 20;
};

void PrintTo(const Weather& weather, std::ostream* out) {
  *out << weather.name;
}

class Transfers : public testing::TestWithParam<Weather> {};

TEST_P(Transfers, EveryByteArrivesOnceAndInOrderBothWays) {
  EndpointConfig config;
  config.receive_window = GetParam().receive_window;
  World world(config, GetParam().tuple, GetParam().kernel, GetParam().wire);
  EXPECT_TRUE(world.run(10h));
  EXPECT_FALSE(world.aborted);
  EXPECT_FALSE(world.kernel.is_reset());
  EXPECT_EQ(world.received, GetParam().wire.upload);
  EXPECT_EQ(world.acknowledged, GetParam().wire.download);
  EXPECT_EQ(world.kernel.read(), GetParam().wire.download);
}

KernelKnobs kernel_with(std::uint32_t initial, std::uint32_t receive_buffer, std::uint8_t scale, std::uint16_t mss) {
  KernelKnobs knobs;
  knobs.initial = initial;
  knobs.receive_buffer = receive_buffer;
  knobs.scale = scale;
  knobs.mss = mss;
  return knobs;
}

INSTANTIATE_TEST_SUITE_P(Weathers, Transfers,
                         testing::Values(Weather{"clear", tuple_v4(), {}, {1, 0, 0, 0ns, 10 * kMiB, 10 * kMiB, 0ns}},
                                         Weather{"clear_v6", tuple_v6(), {}, {2, 0, 0, 0ns, 10 * kMiB, 10 * kMiB, 0ns}},
                                         Weather{"loss", tuple_v4(), {}, {3, 20, 0, 0ns, 10 * kMiB, 10 * kMiB, 0ns}},
                                         Weather{"loss_v6", tuple_v6(), {}, {4, 20, 0, 0ns, 10 * kMiB, 10 * kMiB, 0ns}},
                                         Weather{"heavy_loss", tuple_v4(), {}, {5, 200, 0, 0ns, kMiB, kMiB, 0ns}},
                                         Weather{"doubles", tuple_v4(), {}, {6, 0, 200, 0ns, 4 * kMiB, 4 * kMiB, 0ns}},
                                         Weather{"reordering", tuple_v4(), {}, {7, 0, 0, 100us, kMiB, kMiB, 0ns}},
                                         Weather{"everything", tuple_v4(), {}, {8, 30, 30, 50us, kMiB, kMiB, 0ns}},
                                         Weather{"sequence_numbers_wrap",
                                                 tuple_v4(),
                                                 kernel_with(0xfff00000U, kMiB, 5, 1460),
                                                 {9, 10, 10, 0ns, 4 * kMiB, 4 * kMiB, 0ns}},
                                         Weather{"stalls",
                                                 tuple_v4(),
                                                 kernel_with(5, 100'000, 2, 1460),
                                                 {10, 0, 0, 0ns, 4 * kMiB, 4 * kMiB, 700ms},
                                                 200'000},
                                         Weather{"stalls_with_loss",
                                                 tuple_v4(),
                                                 kernel_with(5, 100'000, 2, 1460),
                                                 {11, 30, 0, 0ns, 2 * kMiB, 2 * kMiB, 700ms},
                                                 200'000},
                                         Weather{"tiny_windows",
                                                 tuple_v4(),
                                                 kernel_with(5, 5'000, 0, 536),
                                                 {12, 5, 0, 0ns, kMiB / 4, kMiB / 4, 0ns},
                                                 3'000},
                                         Weather{"only_down", tuple_v4(), {}, {13, 10, 0, 0ns, 0, 4 * kMiB, 0ns}},
                                         Weather{"only_up", tuple_v4(), {}, {14, 10, 0, 0ns, 4 * kMiB, 0, 0ns}},
                                         Weather{"nothing", tuple_v4(), {}, {15, 100, 0, 0ns, 0, 0, 0ns}}),
                         [](const testing::TestParamInfo<Weather>& weather) {
                           return std::string(weather.param.name);
                         });

TEST(ScriptedKernel, EndsWellWithEverySeed) {
  for (std::uint64_t seed = 100; seed < 160; ++seed) {
    SeededRandom random(seed);
    const Duration jitter{static_cast<std::int64_t>(random.below(60'000))};
    WorldKnobs wire{seed, random.below(150), random.below(100), jitter, random.below(200'000), random.below(200'000),
                    0ns};
    KernelKnobs kernel;
    kernel.initial = static_cast<std::uint32_t>(random.next());
    kernel.mss = static_cast<std::uint16_t>(100 + random.below(2000));
    kernel.receive_buffer = static_cast<std::uint32_t>(2000 + random.below(300'000));
    EndpointConfig config;
    config.receive_window = static_cast<std::uint32_t>(1000 + random.below(1'000'000));
    config.isn_key[0] = static_cast<std::uint8_t>(seed);
    World world(config, seed % 2 == 0 ? tuple_v4() : tuple_v6(), kernel, wire);
    ASSERT_TRUE(world.run(10h)) << seed;
    ASSERT_FALSE(world.aborted) << seed;
    ASSERT_EQ(world.received, wire.upload) << seed;
    ASSERT_EQ(world.kernel.read(), wire.download) << seed;
    ASSERT_LT(world.pool.bytes_in_use(), 2 * BlockPool::kLargeSize) << seed;
  }
}

TEST(ScriptedKernel, TheSameSeedGivesTheSameRun) {
  const auto trace = [](std::uint64_t seed) {
    World world({}, tuple_v4(), {}, {seed, 50, 50, 50us, kMiB, kMiB, 0ns});
    EXPECT_TRUE(world.run(10h));
    return world.trace;
  };
  EXPECT_EQ(trace(21), trace(21));
  EXPECT_NE(trace(21), trace(22));
}

}  // namespace
}  // namespace postern::tcp
