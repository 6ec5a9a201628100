#include "runtime/udp/network_monitor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>

namespace postern::runtime {
namespace {

TEST(NetworkMonitor, ABurstOfNewAddressesIsOneChange) {
  const Descriptor before(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!before || unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace of our own here";
  {
    EventLoop loop;
    int changes = 0;
    NetworkMonitor monitor(loop, [&] { ++changes; });
    const char* script = "ip link set lo up && for i in 1 2 3 4 5; do ip address add 192.0.2.$i/32 dev lo; done";
    ASSERT_EQ(0, std::system(script));
    const Instant end = monotonic_now() + std::chrono::seconds(10);
    while (changes == 0 && monotonic_now() < end) loop.run_turn(std::chrono::milliseconds(100));
    EXPECT_EQ(1, changes);
    loop.run_turn(std::chrono::milliseconds(500));
    loop.run_turn(std::chrono::milliseconds(500));
    EXPECT_EQ(1, changes);
  }
  EXPECT_EQ(0, setns(before.get(), CLONE_NEWNET));
}

}  // namespace
}  // namespace postern::runtime
