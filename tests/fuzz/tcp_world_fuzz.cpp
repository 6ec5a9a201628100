// Whole transfers between the TCP endpoint and the scripted kernel of its tests: the input chooses windows, segment
// sizes, scales, first numbers, amounts, losses, doubles, delays and stalls.
//
// Holds: every byte of both directions arrives, in order and unchanged, and both ends close; without losses nothing is
// ever aborted; the kernel sees no promise broken (windows never shrink, nothing beyond them, no old acknowledgment).
#include "fuzz.hpp"
#include "gtest_checks.hpp"
#include "tcp/scripted_kernel_test_util.hpp"

namespace {

using namespace postern;
using namespace postern::tcp;
using namespace std::chrono_literals;

struct Scenario {
  EndpointConfig config;
  FlowTuple tuple;
  test::KernelKnobs kernel;
  test::WorldKnobs world;
};

Scenario read(fuzz::Choices choices) {
  Scenario it;
  const std::uint8_t how = choices.u8();
  it.tuple = (how & 1) != 0 ? test::tuple_v6() : test::tuple_v4();
  it.config.mtu = static_cast<std::uint16_t>(1280 + choices.u16() % 8000);
  it.config.receive_window = 4096 + choices.u32() % (1U << 20);
  it.config.send_buffer_max = 1024 + choices.u32() % (1U << 20);
  it.kernel.initial = choices.u32();
  it.kernel.receive_buffer = 2048 + choices.u32() % (1U << 20);
  it.kernel.scale = static_cast<std::uint8_t>(choices.u8() % 15);
  it.kernel.mss = static_cast<std::uint16_t>(64 + choices.u16() % 9000);
  it.kernel.train_max = 200U + choices.u16() % 60'000U;
  it.world.seed = choices.u32();
  if ((how & 2) != 0) it.world.lost = choices.u8() % 100;
  if ((how & 4) != 0) it.world.doubled = choices.u8();
  if ((how & 8) != 0) it.world.jitter = std::chrono::microseconds(choices.u16());
  if ((how & 16) != 0) it.world.stall = std::chrono::milliseconds(1 + choices.u16() % 2000);
  it.world.upload = choices.u32() % 12'000;
  it.world.download = choices.u32() % 12'000;
  return it;
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const auto scenario = [](std::uint8_t how, std::uint32_t window) {
    return Script()
        .u8(how)
        .u16(220)
        .u32(window)
        .u32(65536)
        .u32(0xffff'ff00)
        .u32(window)
        .u8(7)
        .u16(1396)
        .u16(60000)
        .u32(1)
        .u8(20)
        .u8(10)
        .u16(300)
        .u16(100)
        .u32(20'000)
        .u32(20'000)
        .bytes();
  };
  return {scenario(0, 65536), scenario(1, 4096), scenario(6, 65536), scenario(31, 20'000), scenario(16, 9000)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  postern::fuzz::expectations_abort();
  const Scenario scenario = read(postern::fuzz::Choices({data, size}));
  test::World world(scenario.config, scenario.tuple, scenario.kernel, scenario.world);
  const bool done = world.run(4h);
  const bool lossless = scenario.world.lost == 0;
  // After a loss an end may have given up: then it said so.
  FUZZ_CHECK(done);
  if (lossless && scenario.world.jitter == 0ns) FUZZ_CHECK(!world.aborted && !world.kernel.is_reset());
  if (!world.aborted && !world.kernel.is_reset()) {
    FUZZ_CHECK(world.received == scenario.world.upload && world.acknowledged == scenario.world.download);
    FUZZ_CHECK(world.kernel.read() == scenario.world.download);
  }
  return 0;
}
