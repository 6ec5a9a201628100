// The small machines that sessions are made of, each alone.
#include <gtest/gtest.h>

#include <cstdint>

#include "session/pacer.hpp"
#include "session/pair_test_util.hpp"
#include "session/ring.hpp"
#include "session/scheduler.hpp"
#include "session/stream.hpp"
#include "session/timer_queue.hpp"
#include "session/train_writer.hpp"
#include "session/window.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;

// --- Ring ----------------------------------------------------------------------------------------------------------

TEST(Ring, IsAFifoOverItsEnd) {
  Ring<int> ring;
  int pushed = 0;
  int popped = 0;
  SeededRandom random(3);
  for (int i = 0; i < 10'000; ++i) {
    if (random.below(2) == 0 || ring.empty()) {
      ring.push_back(pushed++);
    } else {
      ASSERT_EQ(ring.pop_front(), popped++);
    }
    ASSERT_EQ(ring.size(), static_cast<std::size_t>(pushed - popped));
  }
}

// --- SendQueue -----------------------------------------------------------------------------------------------------

std::string gathered(const SendQueue& queue, std::size_t wanted) {
  std::array<ngtcp2_vec, 16> vectors;
  const auto result = queue.gather(vectors, wanted);
  std::string text;
  for (std::size_t i = 0; i < result.count; ++i) text += as_text({vectors[i].base, vectors[i].len});
  return text;
}

TEST(SendQueue, HandsBytesOutOnceAndFreesThemWhenAcknowledged) {
  BlockPool pool(1U << 20);
  SeededRandom random(5);
  SendQueue queue;
  std::string written;
  std::string sent;
  std::size_t acknowledged = 0;
  for (int i = 0; i < 20'000; ++i) {
    switch (random.below(3)) {
      case 0: {
        const std::string piece(1 + random.below(300), static_cast<char>('a' + i % 26));
        queue.push(pool.copy(as_bytes(piece)));
        written += piece;
        break;
      }
      case 1: {
        const std::string part = gathered(queue, 1 + random.below(500));
        const std::size_t taken = random.below(part.size() + 1);
        queue.advance(taken);
        sent += part.substr(0, taken);
        break;
      }
      default: {
        const std::size_t bytes = random.below(sent.size() - acknowledged + 1);
        queue.acknowledge(bytes);
        acknowledged += bytes;
      }
    }
    ASSERT_EQ(queue.unsent(), written.size() - sent.size());
  }
  EXPECT_EQ(sent, written.substr(0, sent.size()));
  queue.advance(queue.unsent());
  queue.acknowledge(written.size() - acknowledged);
  queue = SendQueue();
  EXPECT_LE(pool.bytes_in_use(), BlockPool::kSmallSize);
}

TEST(SendQueue, KeepsWhatWasSentWhenTheRestIsDropped) {
  BlockPool pool(1U << 20);
  SendQueue queue;
  queue.push(pool.copy(as_bytes("0123456789")));
  const Slice other = pool.copy(as_bytes("gap"));
  queue.push(pool.copy(as_bytes("abcdef")));
  queue.advance(4);
  queue.drop_unsent();
  EXPECT_EQ(queue.unsent(), 0U);
  EXPECT_EQ(gathered(queue, 100), "");
  queue.acknowledge(4);
  queue.push(pool.copy(as_bytes("new")));
  EXPECT_EQ(gathered(queue, 100), "new");
}

// --- ReceiveQueue --------------------------------------------------------------------------------------------------

TEST(ReceiveQueue, JoinsABurstIntoPiecesOf64KiBFromAPageStart) {
  BlockPool pool(16U << 20);
  ReceiveQueue queue;
  const Bytes packet(1400, 1);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(queue.append(pool, packet));
  EXPECT_EQ(queue.unread(), 280'000U);
  std::size_t pieces = 0;
  std::size_t bytes = 0;
  for (Slice slice = queue.read(); !slice.empty(); slice = queue.read()) {
    ++pieces;
    bytes += slice.size();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slice.data()) % 4096, 0U);
  }
  EXPECT_EQ(bytes, 280'000U);
  EXPECT_LE(pieces, 7U);
}

TEST(ReceiveQueue, HoldsFewBytesInLittleMemory) {
  BlockPool pool(16U << 20);
  std::vector<ReceiveQueue> queues(1000);
  for (ReceiveQueue& queue : queues) ASSERT_TRUE(queue.append(pool, as_bytes("hello")));
  EXPECT_LE(pool.bytes_in_use(), 16U << 10);
}

TEST(ReceiveQueue, SaysWhenThePoolIsUsedUp) {
  BlockPool pool(8 * 1024);
  ReceiveQueue queue;
  EXPECT_TRUE(queue.append(pool, Bytes(8 * 1024, 1)));
  EXPECT_FALSE(queue.append(pool, Bytes(1, 1)));
  queue.clear();
  EXPECT_TRUE(queue.append(pool, Bytes(1, 1)));
}

// --- Scheduler -----------------------------------------------------------------------------------------------------

class SchedulerTest : public testing::Test {
 protected:
  void fill(Stream& stream, std::int64_t id, std::size_t bytes) {
    stream.id = StreamId(id);
    for (; bytes > 0; bytes -= std::min<std::size_t>(bytes, 60'000)) {
      stream.send.push(pool_.copy(Bytes(std::min<std::size_t>(bytes, 60'000), 1)));
    }
    scheduler_.activate(stream);
  }
  /// Writes one packet's worth from whoever is in turn, and says who it was.
  std::int64_t write(std::size_t packet = 1400) {
    Stream* stream = scheduler_.front();
    if (stream == nullptr) return -1;
    const std::size_t bytes = std::min(packet, stream->send.unsent());
    stream->send.advance(bytes);
    scheduler_.charge(*stream, bytes);
    return stream->id.value;
  }
  BlockPool pool_{16U << 20};
  Scheduler scheduler_;
};

TEST_F(SchedulerTest, WritesControlFirstThenSparseFlowsThenBulk) {
  Stream bulk;
  fill(bulk, 4, 200'000);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(write(), 4);
  Stream small;
  fill(small, 8, 3000);
  Stream control;
  fill(control, 0, 2000);
  EXPECT_EQ(write(), 0);
  EXPECT_EQ(write(), 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(write(), 8);
  EXPECT_EQ(write(), 4);
}

TEST_F(SchedulerTest, AnOldFlowThatPausedGoesBeforeBulkOnesUntilItHasSentATurn) {
  Stream shell;
  fill(shell, 8, 100'000);
  while (write() >= 0) continue;
  Stream bulk;
  fill(bulk, 4, 200'000);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(write(), 4);
  fill(shell, 8, 60'000);
  for (std::uint64_t sent = 0; sent < Scheduler::kTurn; sent += 1400) EXPECT_EQ(write(), 8);
  EXPECT_EQ(write(), 4) << "now it is a bulk flow like others";
}

TEST_F(SchedulerTest, GivesBulkFlowsEqualTurns) {
  std::array<Stream, 3> flows;
  for (std::size_t i = 0; i < flows.size(); ++i) fill(flows[i], static_cast<std::int64_t>(4 + 4 * i), 800'000);
  std::map<std::int64_t, int> packets;
  for (int i = 0; i < 600; ++i) ++packets[write()];
  for (const auto& [id, count] : packets) EXPECT_NEAR(count, 200, 26) << id;
}

TEST_F(SchedulerTest, ForgetsRemovedAndEmptyStreams) {
  Stream one;
  Stream two;
  fill(one, 4, 1000);
  fill(two, 8, 1000);
  scheduler_.remove(one);
  EXPECT_EQ(write(), 8);
  EXPECT_EQ(write(), -1);
  scheduler_.activate(two);
  EXPECT_EQ(write(), -1);
}

// --- TrainWriter ---------------------------------------------------------------------------------------------------

class TrainWriterTest : public testing::Test {
 protected:
  Bytes buffer_ = Bytes(70'000);
};

TEST_F(TrainWriterTest, TakesUpTo65000BytesOfEqualPackets) {
  TrainWriter train(buffer_, 1U << 20, 1452);
  while (!train.room().empty()) train.add(1452);
  EXPECT_EQ(train.stride(), 1452U);
  EXPECT_EQ(train.size(), 44 * 1452U);
}

TEST_F(TrainWriterTest, HasAtMost64Packets) {
  Bytes large(200'000);
  TrainWriter train(large, 1U << 20, 1200);
  std::size_t packets = 0;
  for (; !train.room().empty(); ++packets) train.add(1200);
  EXPECT_LE(packets, 64U);
  EXPECT_LE(train.size(), 65'000U);
}

TEST_F(TrainWriterTest, EndsWithAShorterPacket) {
  TrainWriter train(buffer_, 1U << 20, 1452);
  train.add(1452);
  EXPECT_EQ(train.room().size(), 1452U);
  train.add(700);
  EXPECT_TRUE(train.room().empty());
  EXPECT_EQ(train.size(), 2152U);
}

TEST_F(TrainWriterTest, SendsAProbeThatIsLongerThanThePathAlone) {
  TrainWriter train(buffer_, 1U << 20, 1200);
  EXPECT_GE(train.room().size(), 1452U);
  train.add(1452);
  EXPECT_TRUE(train.room().empty());
}

TEST_F(TrainWriterTest, LeavesLaterPacketsNoRoomForAProbe) {
  TrainWriter train(buffer_, 1U << 20, 1200);
  train.add(1200);
  EXPECT_EQ(train.room().size(), 1200U);
}

TEST_F(TrainWriterTest, StopsAtWhatThePacerAllows) {
  TrainWriter train(buffer_, 14'520, 1452);
  while (!train.room().empty()) train.add(1452);
  EXPECT_EQ(train.size(), 14'520U);
}

TEST(Trains, HoldPacketsOfOneSizeAndAtMost64OfThem) {
  test::Pair pair;
  std::size_t trains = 0;
  std::size_t full = 0;
  pair.up.train_tap = [&](const Transmit& transmit) {
    ++trains;
    full += transmit.bytes.size() > 30'000 ? 1U : 0U;
    EXPECT_LE(transmit.bytes.size(), 65'000U);
    EXPECT_LE((transmit.bytes.size() + transmit.stride - 1) / transmit.stride, 64U);
    EXPECT_LE(transmit.stride, 1452U);
  };
  test::Sink sink;
  sink.attach(pair.connector);
  pair.establish();
  const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(pair.client.endpoint.write(pair.session, stream, pair.client.pool.copy(Bytes(60'000, 1))).has_value());
  }
  ASSERT_TRUE(pair.run_until([&] { return sink.received[stream].size() == 6'000'000; }));
  EXPECT_GT(full, trains / 4);
}

// --- TimerQueue ----------------------------------------------------------------------------------------------------

TEST(TimerQueue, GivesEntriesBackInOrderHoweverTheyAreMoved) {
  SeededRandom random(17);
  std::vector<TimerEntry> entries(200);
  std::vector<std::optional<Instant>> due(entries.size());
  TimerQueue queue;
  for (int i = 0; i < 5000; ++i) {
    const std::size_t at = random.below(entries.size());
    if (random.below(4) == 0) {
      queue.cancel(entries[at]);
      due[at].reset();
    } else {
      due[at] = Instant{Duration{static_cast<Duration::rep>(random.below(1000))}};
      queue.arm(entries[at], *due[at]);
    }
    std::optional<Instant> first;
    for (const auto& time : due) first = !time ? first : std::min(first.value_or(*time), *time);
    ASSERT_EQ(queue.next(), first);
  }
  Instant last{};
  while (TimerEntry* entry = queue.pop_due(Instant::max())) {
    const Instant time = *due[static_cast<std::size_t>(entry - entries.data())];
    ASSERT_GE(time, last);
    last = time;
  }
  EXPECT_FALSE(queue.next().has_value());
}

// --- Pacer ---------------------------------------------------------------------------------------------------------

TEST(Pacer, SpreadsAWindowOverItsRoundTrip) {
  Pacer pacer;
  pacer.update(100'000, 50'000, 100ms);
  Instant now{1s};
  std::size_t sent = 0;
  for (const Instant end = now + 1s; now < end;) {
    if (pacer.verdict(now) == Pacer::Verdict::Send) {
      sent += pacer.train_max();
      pacer.handle_sent(now, pacer.train_max());
    } else {
      now = pacer.paused_until();
    }
  }
  // 1.25 windows per round trip, ten round trips.
  EXPECT_NEAR(static_cast<double>(sent), 1'250'000.0, 60'000.0);
}

TEST(Pacer, NeverPausesOnAFastLocalPath) {
  Pacer pacer;
  pacer.update(2'000'000, 1'000'000, 500us);
  Instant now{1s};
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(pacer.verdict(now), Pacer::Verdict::Send);
    pacer.handle_sent(now, 64'000);
    now += 60us;
  }
}

// --- windows -------------------------------------------------------------------------------------------------------

TEST(ReceiveWindow, DoublesOnlyForAPeerThatFillsItQuickly) {
  const Instant start{1s};
  ReceiveWindow quick(1000, start);
  quick.handle_arrival(start + 10ms, 1000, 10ms);
  EXPECT_EQ(quick.grow(10'000, 10'000), 1000U);
  EXPECT_EQ(quick.grow(10'000, 10'000), 0U);
  ReceiveWindow slow(1000, start);
  slow.handle_arrival(start + 100ms, 1000, 10ms);
  EXPECT_EQ(slow.grow(10'000, 10'000), 0U);
}

TEST(ReceiveWindow, GrowsNoFurtherThanItsBoundAndTheBudget) {
  const Instant start{1s};
  ReceiveWindow window(1000, start);
  window.handle_arrival(start, 1000, 10ms);
  EXPECT_EQ(window.grow(1500, 10'000), 500U);
  window.handle_arrival(start, 1500, 10ms);
  EXPECT_EQ(window.grow(10'000, 100), 100U);
  EXPECT_EQ(window.size(), 1600U);
}

}  // namespace
}  // namespace postern::session
