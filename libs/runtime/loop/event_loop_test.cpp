#include "runtime/loop/event_loop.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/signals.hpp"

namespace postern::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Pair {
  Pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()));
    near = Descriptor(fds[0]);
    far = Descriptor(fds[1]);
  }
  void poke() const { EXPECT_EQ(1, write(far.get(), "x", 1)); }
  Descriptor near, far;
};

struct Counter final : TurnParticipant {
  void end_turn(Instant now) override {
    ++turns;
    if (deadline && now >= *deadline) {
      fired = true;
      deadline.reset();
    }
  }
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return deadline; }
  int turns = 0;
  bool fired = false;
  std::optional<Instant> deadline;
};

template <typename Condition>
void run_until(EventLoop& loop, Condition condition) {
  const Instant end = monotonic_now() + seconds(10);
  while (!condition() && monotonic_now() < end) loop.run_turn(milliseconds(100));
  EXPECT_TRUE(condition());
}

TEST(EventLoop, CallsTheHandlerOfAReadyDescriptorAndThenEndsTheTurn) {
  EventLoop loop;
  Pair pair;
  Counter counter;
  loop.add_participant(counter);
  int calls = 0;
  loop.add(pair.near.get(), EPOLLIN | EPOLLET, [&](std::uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    EXPECT_EQ(0, counter.turns);
    ++calls;
  });
  pair.poke();
  loop.run_turn(seconds(10));
  EXPECT_EQ(1, calls);
  EXPECT_EQ(1, counter.turns);
}

TEST(EventLoop, WakesUpAtTheEarliestDeadlineOfItsParticipants) {
  EventLoop loop;
  Counter soon;
  Counter late;
  loop.add_participant(soon);
  loop.add_participant(late);
  const Instant start = monotonic_now();
  soon.deadline = start + milliseconds(20);
  late.deadline = start + seconds(30);
  run_until(loop, [&] { return soon.fired; });
  EXPECT_GE(monotonic_now() - start, milliseconds(20));
  EXPECT_FALSE(late.fired);
}

TEST(EventLoop, ADeadlineInThePastDoesNotSleep) {
  EventLoop loop;
  Counter counter;
  counter.deadline = loop.now() - seconds(1);
  loop.add_participant(counter);
  loop.run_turn(seconds(60));
  EXPECT_TRUE(counter.fired);
}

TEST(EventLoop, AnEventOfADescriptorRemovedInTheSameTurnReachesNobody) {
  EventLoop loop;
  Pair one;
  Pair two;
  int calls = 0;
  loop.add(one.near.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    loop.remove(one.near.get());
    loop.remove(two.near.get());
  });
  loop.add(two.near.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    loop.remove(one.near.get());
    loop.remove(two.near.get());
  });
  one.poke();
  two.poke();
  loop.run_turn(seconds(10));
  loop.run_turn(milliseconds(0));
  EXPECT_EQ(1, calls);
}

TEST(EventLoop, AHandlerMayReplaceItself) {
  EventLoop loop;
  Pair pair;
  int second = 0;
  loop.add(pair.near.get(), EPOLLIN, [&](std::uint32_t) {
    loop.remove(pair.near.get());
    loop.add(pair.near.get(), EPOLLIN, [&](std::uint32_t) { ++second; });
  });
  pair.poke();
  loop.run_turn(seconds(10));
  loop.run_turn(seconds(10));
  EXPECT_EQ(1, second);
}

TEST(EventLoop, RunsTasksPostedByAnotherThreadInOrder) {
  EventLoop loop;
  std::string seen;
  std::thread poster([&] {
    for (const char letter : std::string("abc")) EXPECT_TRUE(loop.post([&seen, letter] { seen += letter; }));
    EXPECT_TRUE(loop.post([&] { loop.stop(); }));
  });
  loop.run();
  poster.join();
  EXPECT_EQ("abc", seen);
}

TEST(EventLoop, RefusesTasksWhenTheMailboxIsFullOrTheLoopHasStopped) {
  EventLoop loop;
  int ran = 0;
  for (int i = 0; i < 4096; ++i) EXPECT_TRUE(loop.post([&] { ++ran; }));
  EXPECT_FALSE(loop.post([] {}));
  loop.run_turn(seconds(1));
  EXPECT_EQ(4096, ran);
  EXPECT_TRUE(loop.post([] {}));
  loop.stop();
  EXPECT_FALSE(loop.post([] {}));
  EXPECT_FALSE(loop.run_turn(seconds(60)));
}

TEST(EventLoop, AParticipantMayLeaveDuringItsOwnTurn) {
  struct Leaver final : TurnParticipant {
    explicit Leaver(EventLoop& l) : loop(l) {}
    void end_turn(Instant) override {
      ++turns;
      loop.remove_participant(*this);
    }
    [[nodiscard]] std::optional<Instant> next_timeout() const override { return std::nullopt; }
    EventLoop& loop;
    int turns = 0;
  };
  EventLoop loop;
  Leaver leaver(loop);
  Counter stays;
  loop.add_participant(leaver);
  loop.add_participant(stays);
  loop.run_turn(milliseconds(0));
  loop.run_turn(milliseconds(0));
  EXPECT_EQ(1, leaver.turns);
  EXPECT_EQ(2, stays.turns);
}

TEST(EventLoop, SpinningStillMeetsDeadlinesAndDescriptors) {
  EventLoop loop;
  loop.set_spin(std::chrono::microseconds(50));
  Pair pair;
  int calls = 0;
  loop.add(pair.near.get(), EPOLLIN | EPOLLET, [&](std::uint32_t) { ++calls; });
  pair.poke();
  run_until(loop, [&] { return calls == 1; });
  pair.poke();
  run_until(loop, [&] { return calls == 2; });
  Counter counter;
  counter.deadline = monotonic_now() + milliseconds(1);
  loop.add_participant(counter);
  run_until(loop, [&] { return counter.fired; });
}

TEST(SignalWatcher, ASignalArrivesAsAnEventOfTheLoop) {
  EventLoop loop;
  int got = 0;
  SignalWatcher watcher(loop, {SIGUSR1}, [&](int number) { got = number; });
  kill(getpid(), SIGUSR1);
  run_until(loop, [&] { return got == SIGUSR1; });
}

}  // namespace
}  // namespace postern::runtime
