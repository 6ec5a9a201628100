// session_bench sessions [N]: opens N sessions and prints what one costs in time and in heap, on both sides together.
// session_bench [GB] [streams] [fast|portable|mixed]: moves bytes from a client to a connector in memory and prints CPU
// seconds per GB for the sending side (writing, transmitting, reading acknowledgements) and for the receiving side
// (everything else).
//
// Trains are handed over in batches like socket reads; nothing is lost, and the clock is real so that congestion
// control sees the round trips it would see on a fast local path.
#include <gnutls/crypto.h>
#include <malloc.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <deque>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Instant real_now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return Instant{std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)};
}

class KernelRandom final : public RandomSource {
 public:
  void fill(MutableBytes bytes) override { gnutls_rnd(GNUTLS_RND_NONCE, bytes.data(), bytes.size()); }
};

/// Trains under way in one direction, in reused page-aligned blocks.
class Wire {
 public:
  explicit Wire(BlockPool& pool) : pool_(pool) {}

  /// Lets `from` send up to `trains_max` trains.
  std::size_t collect(Instant now, Endpoint& from, std::size_t trains_max) {
    std::size_t trains = 0;
    for (; trains < trains_max; ++trains) {
      Buffer buffer = free_.empty() ? pool_.acquire(BlockClass::Large) : take_free();
      const auto transmit = from.poll_transmit(now, buffer.bytes());
      if (!transmit) {
        free_.push_back(std::move(buffer));
        break;
      }
      packets_ += (transmit->bytes.size() + transmit->stride - 1) / transmit->stride;
      bytes_ += transmit->bytes.size();
      ++trains_;
      queue_.push_back({std::move(buffer), transmit->bytes.size(), transmit->stride});
    }
    return trains;
  }
  void deliver(Instant now, Endpoint& to) {
    while (!queue_.empty()) {
      Item item = std::move(queue_.front());
      queue_.pop_front();
      to.handle_train(now, {{}, item.buffer.bytes().first(item.size), item.stride, 0});
      free_.push_back(std::move(item.buffer));
    }
  }
  void report(const char* name) const {
    std::printf("  %s: %.1f packets of %.0f B per train\n", name,
                static_cast<double>(packets_) / static_cast<double>(std::max<std::size_t>(trains_, 1)),
                static_cast<double>(bytes_) / static_cast<double>(std::max<std::size_t>(packets_, 1)));
  }

 private:
  struct Item {
    Buffer buffer;
    std::size_t size = 0;
    std::size_t stride = 0;
  };
  Buffer take_free() {
    Buffer buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }
  BlockPool& pool_;
  std::deque<Item> queue_;
  std::vector<Buffer> free_;
  std::size_t packets_ = 0;
  std::size_t bytes_ = 0;
  std::size_t trains_ = 0;
};

class Pipe {
 public:
  explicit Pipe(std::string_view ciphers)
      : ciphers_(ciphers), client_(make(Role::Client)), connector_(make(Role::Connector)) {}

  void open_sessions(std::size_t count) {
    connect();
    const std::size_t heap = mallinfo2().uordblks;
    const double start = cpu_seconds();
    for (std::size_t i = 0; i < count; ++i) connect();
    const double spent = (cpu_seconds() - start) / static_cast<double>(count);
    std::printf("%zu sessions: %.3f ms CPU and %.1f KiB of heap per session, both sides together\n", count, spent * 1e3,
                static_cast<double>(mallinfo2().uordblks - heap) / 1024 / static_cast<double>(count));
  }

  void run(double gigabytes, std::size_t stream_count) {
    connect();
    std::vector<StreamId> streams;
    for (std::size_t i = 0; i <= stream_count; ++i) streams.push_back(*client_.open_stream(session_));
    streams.erase(streams.begin());  // the control stream stays quiet
    const auto total = static_cast<std::uint64_t>(gigabytes * 1e9);
    // A tenth of it first, to fill caches, windows and the path's packet size.
    move(streams, total / 10 + 1);
    send_cpu_ = receive_cpu_ = 0;
    const std::uint64_t before = received_;
    move(streams, total);
    const double moved = static_cast<double>(received_ - before) / 1e9;
    std::printf("%.2f GB over %zu streams: send %.3f s/GB, receive %.3f s/GB (%.1f / %.1f Gb/s per core)\n", moved,
                stream_count, send_cpu_ / moved, receive_cpu_ / moved, 8 * moved / send_cpu_, 8 * moved / receive_cpu_);
    const auto stats = client_.stats(session_);
    up_.report("data");
    down_.report("acks");
    std::printf("  rtt %.0f us, %llu packets lost\n", static_cast<double>(stats->smoothed_rtt.count()) / 1e3,
                static_cast<unsigned long long>(stats->packets_lost));
  }

 private:
  EndpointConfig make_config(Role role) {
    EndpointConfig config;
    config.role = role;
    config.credentials = role == Role::Client ? client_key_ : connector_key_;
    config.limits.sessions_per_device_max = config.limits.sessions_max;
    config.limits.handshakes_per_device_per_second_max = config.limits.sessions_max;
    config.route = role == Role::Client ? test::Pair::kClientRoute : test::Pair::kConnectorRoute;
    const bool portable = ciphers_ == "portable" || (ciphers_ == "mixed" && role == Role::Connector);
    config.packet_cipher = portable ? PacketCipher::Portable : PacketCipher::Fastest;
    return config;
  }
  Endpoint make(Role role) { return Endpoint(make_config(role), pool_, random_, &knocks_); }

  void connect() {
    session_ = *client_.connect(real_now(), {{0, {}}, test::Pair::kConnectorRoute, connector_digest_, knock_});
    for (bool ready = false; !ready;) {
      exchange();
      while (auto event = client_.poll_event()) ready |= std::holds_alternative<Established>(*event);
    }
    for (int i = 0; i < 10; ++i) exchange();
  }
  void exchange() {
    const Instant now = real_now();
    up_.collect(now, client_, 16);
    up_.deliver(now, connector_);
    read_all();
    down_.collect(now, connector_, 16);
    down_.deliver(now, client_);
    for (Endpoint* side : {&client_, &connector_}) {
      if (side->next_timeout() && *side->next_timeout() <= now) side->handle_timeout(now);
    }
  }
  void move(const std::vector<StreamId>& streams, std::uint64_t bytes) {
    const std::uint64_t end = received_ + bytes;
    while (received_ < end) {
      const double start = cpu_seconds();
      const Instant now = real_now();
      if (client_.next_timeout() && *client_.next_timeout() <= now) client_.handle_timeout(now);
      for (const StreamId stream : streams) {
        while (client_.writable(session_, stream) >= source_.size()) {
          (void)client_.write(session_, stream, source_);
        }
      }
      up_.collect(now, client_, 4);
      const double sent = cpu_seconds();
      if (connector_.next_timeout() && *connector_.next_timeout() <= now) connector_.handle_timeout(now);
      up_.deliver(now, connector_);
      read_all();
      down_.collect(now, connector_, 4);
      const double received = cpu_seconds();
      down_.deliver(now, client_);
      while (client_.poll_event()) {
      }
      send_cpu_ += (sent - start) + (cpu_seconds() - received);
      receive_cpu_ += received - sent;
    }
  }
  void read_all() {
    while (auto event = connector_.poll_event()) {
      const auto* readable = std::get_if<StreamReadable>(&*event);
      if (readable == nullptr) continue;
      const auto [session, stream] = *readable;
      for (Slice slice = connector_.read(session, stream); !slice.empty(); slice = connector_.read(session, stream)) {
        received_ += slice.size();
        connector_.consume(session, stream, slice.size());
      }
    }
  }

  const std::string ciphers_;
  const Credentials client_key_ = test::make_credentials();
  const Credentials connector_key_ = test::make_credentials();
  const Digest connector_digest_ = *credentials_digest(connector_key_);
  const Bytes knock_ = test::make_knock(*credentials_digest(client_key_));
  BlockPool pool_{512U << 20};
  KernelRandom random_;
  test::TestKnocks knocks_;
  Endpoint client_;
  Endpoint connector_;
  Wire up_{pool_};
  Wire down_{pool_};
  Buffer source_block_ = pool_.acquire(BlockClass::Large);
  Slice source_ = source_block_.slice(0, 64 * 1024);
  SessionId session_;
  std::uint64_t received_ = 0;
  double send_cpu_ = 0;
  double receive_cpu_ = 0;
};

}  // namespace
}  // namespace postern::session

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "sessions") {
    postern::session::Pipe("fast").open_sessions(argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 500);
    return 0;
  }
  const double gigabytes = argc > 1 ? std::atof(argv[1]) : 2.0;
  const std::size_t streams = argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 1;
  postern::session::Pipe pipe(argc > 3 ? argv[3] : "fast");
  pipe.run(gigabytes, streams);
  return 0;
}
