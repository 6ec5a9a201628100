// The same seed gives the same datagrams, byte for byte: a failure that was seen once can be seen again.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

/// GnuTLS writes times into what it signs only through this.
std::time_t fixed_time(std::time_t* to) {
  constexpr std::time_t kNow = 1'700'000'000;
  if (to != nullptr) *to = kNow;
  return kNow;
}

/// FNV-1a over every datagram of both directions, in order, with its length.
class Transcript {
 public:
  void add(ByteView datagram) {
    mix(static_cast<std::uint8_t>(datagram.size()));
    mix(static_cast<std::uint8_t>(datagram.size() >> 8));
    for (const std::uint8_t byte : datagram) mix(byte);
  }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

 private:
  void mix(std::uint8_t byte) { hash_ = (hash_ ^ byte) * 0x100000001b3U; }
  std::uint64_t hash_ = 0xcbf29ce484222325U;
};

std::uint64_t run(std::uint64_t seed) {
  PairOptions options;
  options.seed = seed;
  options.link.loss_per_mille = 50;
  options.link.duplicate_per_mille = 20;
  options.link.jitter = 8ms;
  Pair pair(options);
  Transcript transcript;
  pair.up.tap = pair.down.tap = [&transcript](ByteView datagram) { transcript.add(datagram); };
  test::echo(pair.connector);
  test::Sink sink;
  sink.attach(pair.client);
  pair.establish();
  Bytes bytes(60'000);
  SeededRandom(seed).fill(bytes);
  for (int i = 0; i < 4; ++i) {
    const StreamId stream = *pair.client.endpoint.open_stream(pair.session);
    (void)pair.client.endpoint.write(pair.session, stream, pair.client.pool.copy(bytes));
    (void)pair.client.endpoint.finish(pair.session, stream);
  }
  if (!pair.run_until([&] { return pair.client.count<StreamClosed>() == 4; }, 120s)) return 0;
  pair.client.endpoint.close(pair.now, pair.session, 1, "done");
  pair.run_for(1s);
  return transcript.hash();
}

/// The generator inside GnuTLS goes on from run to run, so each run gets a process that forks from the same state.
std::uint64_t run_in_fork(std::uint64_t seed) {
  int ends[2] = {-1, -1};
  if (pipe(ends) != 0) return 0;
  const pid_t child = fork();
  if (child == 0) {
    const std::uint64_t hash = run(seed);
    const ssize_t written = write(ends[1], &hash, sizeof hash);
    _exit(written == sizeof hash ? 0 : 1);
  }
  close(ends[1]);
  std::uint64_t hash = 0;
  if (read(ends[0], &hash, sizeof hash) != sizeof hash) hash = 0;
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return hash;
}

TEST(Replay, OfALossyRunIsIdenticalByteForByte) {
  gnutls_global_set_time_function(fixed_time);
  const std::uint64_t first = run_in_fork(11);
  EXPECT_NE(first, 0U);
  EXPECT_EQ(run_in_fork(11), first);
  EXPECT_EQ(run_in_fork(11), first);
  const std::uint64_t other = run_in_fork(12);
  EXPECT_NE(other, 0U);
  EXPECT_NE(other, first);
}

}  // namespace
}  // namespace postern::session
