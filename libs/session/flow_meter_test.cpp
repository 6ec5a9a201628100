#include "session/flow_meter.hpp"

#include <gtest/gtest.h>

namespace postern::session {
namespace {

using namespace std::chrono_literals;

Duration of(const Stalls& stalls, StallCause cause) {
  return stalls[static_cast<std::size_t>(cause)];
}

TEST(FlowMeter, TellsHowLongOpeningAndTheFirstByteTook) {
  FlowMeter meter;
  meter.handle_started(Instant{10s});
  EXPECT_FALSE(meter.open_time());
  EXPECT_FALSE(meter.connect_time());
  meter.handle_opened(Instant{10s + 30ms}, IpAddress::v4(10, 0, 0, 5), 4ms);
  meter.handle_received(Instant{10s + 50ms}, 0, false);
  EXPECT_FALSE(meter.first_byte_time());
  meter.handle_received(Instant{10s + 80ms}, 100, false);
  meter.handle_received(Instant{10s + 90ms}, 100, false);
  EXPECT_EQ(meter.open_time(), 30ms);
  EXPECT_EQ(meter.connect_time(), 4ms);
  EXPECT_EQ(meter.first_byte_time(), 80ms);
  EXPECT_EQ(meter.bytes_down(), 200U);
}

TEST(FlowMeter, AddsStallsUpByCauseAndCountsTheOneThatGoesOn) {
  FlowMeter meter;
  meter.begin_upward_stall(Instant{1s}, StallCause::SlowServer);
  meter.begin_upward_stall(Instant{2s}, StallCause::Path);
  meter.end_upward_stall(Instant{4s});
  meter.end_upward_stall(Instant{9s});
  meter.begin_upward_stall(Instant{10s}, StallCause::Path);
  meter.handle_received(Instant{10s}, 1000, false);
  const Stalls stalls = meter.stalls(Instant{12s});
  EXPECT_EQ(of(stalls, StallCause::SlowServer), 3s) << "a stall keeps the cause it began with";
  EXPECT_EQ(of(stalls, StallCause::Path), 2s);
  EXPECT_EQ(of(stalls, StallCause::SlowReader), 2s);
  EXPECT_EQ(of(stalls, StallCause::OurWindow), 0s);
}

TEST(FlowMeter, CallsAReaderSlowOnlyWhenItPauses) {
  FlowMeter meter;
  for (int i = 0; i < 100; ++i) {
    meter.handle_received(Instant{i * 20ms}, 1000, false);
    meter.handle_taken(Instant{i * 20ms + 15ms}, 1000);
  }
  EXPECT_EQ(of(meter.stalls(Instant{60s}), StallCause::SlowReader), 0s) << "nothing lies before it";
  meter.handle_received(Instant{60s}, 1000, false);
  meter.handle_taken(Instant{61s}, 400);
  meter.handle_taken(Instant{61s + 50ms}, 100);
  EXPECT_EQ(of(meter.stalls(Instant{63s + 50ms}), StallCause::SlowReader), 3s);
}

TEST(FlowMeter, CountsTheTimeInWhichAWindowThatMayNotGrowWasFull) {
  FlowMeter meter;
  meter.handle_received(Instant{1s}, 1000, true);
  meter.handle_taken(Instant{1s}, 1000);
  meter.handle_received(Instant{2s}, 1000, false);
  EXPECT_EQ(of(meter.stalls(Instant{9s}), StallCause::OurWindow), 1s);
}

TEST(FlowMeter, AtTheConnectorWhoDoesNotTakeIsTheServer) {
  FlowMeter meter(StallCause::SlowServer);
  meter.handle_started(Instant{10s});
  meter.handle_received(Instant{10s}, 1000, false);
  meter.handle_taken(Instant{10s + 10ms}, 500);
  meter.handle_taken(Instant{12s}, 500);
  meter.begin_upward_stall(Instant{12s}, StallCause::SlowReader);
  meter.end_upward_stall(Instant{12s + 30ms});
  const Stalls stalls = meter.stalls(Instant{20s});
  EXPECT_EQ(of(stalls, StallCause::SlowServer), 1990ms);
  EXPECT_EQ(of(stalls, StallCause::SlowReader), 30ms) << "a window that was closed was closed, however shortly";
}

}  // namespace
}  // namespace postern::session
