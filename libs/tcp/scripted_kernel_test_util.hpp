// Tests only: a small active-open TCP that plays the kernel, and a world of it, an endpoint and an owner, joined by two
// queues that lose, double and delay packets. Seeded, in virtual time, so every run is the same.
//
// The kernel here differs from the endpoint on purpose: it keeps what comes out of order, measures no round trip,
// sends small segments or trains at random, and checks every promise of the endpoint that it can see.
#pragma once

#include <deque>
#include <functional>
#include <map>

#include "base/random.hpp"
#include "tcp/packet_test_util.hpp"
#include "tcp/sequence.hpp"

namespace postern::tcp::test {

using namespace std::chrono_literals;

struct KernelKnobs {
  std::uint32_t initial = 77;
  std::uint32_t receive_buffer = 1U << 20;
  std::uint8_t scale = 5;
  std::uint16_t mss = 1460;
  /// Largest segment it hands over at once.
  std::size_t train_max = 60'000;
  Duration timeout = 250ms;
};

/// Byte at a position of a direction's stream.
inline std::uint8_t content(std::uint64_t position, std::uint8_t direction) {
  return static_cast<std::uint8_t>((position * 131) ^ (position >> 11) ^ (position >> 23) ^ direction);
}

class ScriptedKernel {
 public:
  static constexpr std::uint16_t kSynWindow = 64240;

  ScriptedKernel(FlowTuple tuple, KernelKnobs knobs, SeededRandom& random)
      : tuple_(tuple),
        knobs_(knobs),
        random_(random),
        initial_(knobs.initial),
        next_(initial_ + 1),
        acknowledged_(initial_ + 1),
        newest_(next_) {}

  /// Packets may overtake each other.
  bool reorders = false;

  // --- the application ---
  /// The stream consists of content(position, 1) up to `size`, then FIN.
  void write(std::uint64_t size) { to_write_ = size; }
  /// So much of it is there to be sent yet; by default all.
  void produce(std::uint64_t size) { produced_ = size; }
  /// How many bytes the application is willing to have read in all.
  void read_until(std::uint64_t size) { may_read_ = size; }
  [[nodiscard]] std::uint64_t read() const { return read_; }
  [[nodiscard]] bool is_ended() const { return fin_received_ && read_ == received_; }
  [[nodiscard]] bool is_fin_acknowledged() const { return fin_acknowledged_; }
  [[nodiscard]] bool is_reset() const { return reset_; }
  [[nodiscard]] bool is_done() const { return reset_ || (is_ended() && fin_acknowledged_); }

  // --- the wire ---
  void handle(const Seen& seen, Instant now) {
    if ((seen.flags & kRst) != 0) {
      reset_ = true;
      return;
    }
    if (!established_) return handle_syn_ack(seen, now);
    if ((seen.flags & kSyn) != 0) {  // once more; its window is not scaled
      acks_ = std::max(acks_, 1);
      return;
    }
    check_promises(seen);
    handle_ack(seen, now);
    handle_data(seen);
  }
  std::vector<KernelSegment> poll(Instant now) {
    std::vector<KernelSegment> out;
    if (reset_) return out;
    if (!established_) {
      if (now >= timer_) {
        out.push_back({kSyn, initial_.value(), 0, kSynWindow, {}, knobs_.mss, knobs_.scale, true, false});
        timer_ = now + 1s;
      }
      return out;
    }
    read_application();
    if (now >= timer_) handle_timer(now, out);
    while (auto segment = next_data(now)) out.push_back(*std::move(segment));
    for (; acks_ > 0; --acks_) out.push_back(make(kAck, newest_, {}));
    return out;
  }
  [[nodiscard]] Instant timer() const { return timer_; }
  /// Established, and nothing that it sent waits for an answer: timer() then has nothing to do.
  [[nodiscard]] bool is_quiet() const { return established_ && acknowledged_ == newest_ && !has_more(); }
  [[nodiscard]] std::uint64_t acknowledged() const {
    return established_ ? static_cast<std::uint64_t>(acknowledged_ - (initial_ + 1)) : 0;
  }
  /// The application has gone without closing.
  [[nodiscard]] KernelSegment abort() {
    reset_ = true;
    return {static_cast<std::uint8_t>(kRst | kAck), next_.value(), established_ ? receive_next().value() : 0, 0, {}};
  }

 private:
  void handle_syn_ack(const Seen& seen, Instant now) {
    ASSERT_EQ(seen.flags, kSyn | kAck);
    ASSERT_EQ(seen.acknowledgment, (initial_ + 1).value());
    established_ = true;
    peer_initial_ = Sequence(seen.sequence);
    peer_scale_ = seen.options.window_scale.value_or(0);
    window_ = seen.window;
    promised_ = peer_initial_ + 1 + kSynWindow;
    edge_ = Sequence(seen.acknowledgment) + window_;
    acks_ = 1;
    timer_ = now + knobs_.timeout;
  }
  void check_promises(const Seen& seen) {
    ASSERT_LE(Sequence(seen.acknowledgment), newest_) << "acknowledges what was not sent";
    const std::uint32_t window = std::uint32_t{seen.window} << peer_scale_;
    const Sequence edge = Sequence(seen.acknowledgment) + window;
    if (!reorders) {
      ASSERT_GE(Sequence(seen.acknowledgment) - acknowledged_, 0) << "acknowledgments go back";
      ASSERT_GE(edge - edge_, -(1 << peer_scale_)) << "the right edge moved back";
    }
    if (edge > edge_) edge_ = edge;
    if (!seen.payload.empty()) {
      const Sequence end = Sequence(seen.sequence) + static_cast<std::uint32_t>(seen.payload.size());
      ASSERT_LE(end - promised_, seen.payload.size() == 1 ? 1 : 0) << "sends beyond the window";
      ASSERT_LE(seen.gso_size == 0 ? seen.payload.size() : seen.gso_size, knobs_.mss);
    }
  }
  void handle_ack(const Seen& seen, Instant now) {
    const Sequence ack(seen.acknowledgment);
    const std::uint32_t window = std::uint32_t{seen.window} << peer_scale_;
    if (ack > acknowledged_) {
      acknowledged_ = ack;
      if (next_ < ack) next_ = ack;
      duplicates_ = 0;
      timer_ = now + knobs_.timeout;
      if (to_write_ && ack == stream_end() + 1) fin_acknowledged_ = true;
    } else if (ack == acknowledged_ && seen.payload.empty() && window == window_ && newest_ != acknowledged_) {
      if (++duplicates_ == 3) next_ = acknowledged_;
    }
    if (ack == acknowledged_) {
      if (window_ == 0 && window > 0) next_ = acknowledged_;
      window_ = window;
    }
  }
  void handle_data(const Seen& seen) {
    if (seen.payload.empty() && (seen.flags & kFin) == 0) return;
    ++acks_;
    const Sequence data_next = peer_initial_ + 1 + static_cast<std::uint32_t>(received_);
    const std::int64_t distance = Sequence(seen.sequence) - data_next;
    const std::int64_t position = static_cast<std::int64_t>(received_) + distance;
    ASSERT_GE(position, 0);
    for (std::size_t i = 0; i < seen.payload.size(); ++i) {
      const std::uint8_t expected = content(static_cast<std::uint64_t>(position) + i, 2);
      ASSERT_EQ(seen.payload[i], expected) << "at " << position + static_cast<std::int64_t>(i);
    }
    if ((seen.flags & kFin) != 0) fin_at_ = static_cast<std::uint64_t>(position) + seen.payload.size();
    auto& end = pieces_[static_cast<std::uint64_t>(position)];
    end = std::max(end, static_cast<std::uint64_t>(position) + seen.payload.size());
    while (!pieces_.empty() && pieces_.begin()->first <= received_) {
      received_ = std::max(received_, pieces_.begin()->second);
      pieces_.erase(pieces_.begin());
    }
    // Beyond the buffer (a probe's byte) it is not kept.
    received_ = std::min(received_, read_ + knobs_.receive_buffer);
    if (fin_at_ == received_) fin_received_ = true;
  }
  void read_application() {
    const std::uint32_t before = free_window();
    read_ = std::min(received_, std::max(read_, may_read_));
    if (free_window() >= before + 2 * knobs_.mss || (before == 0 && free_window() > 0)) acks_ = std::max(acks_, 1);
  }
  void handle_timer(Instant now, std::vector<KernelSegment>& out) {
    timer_ = now + knobs_.timeout;
    if (acknowledged_ == newest_ && (window_ > 0 || !has_more())) return;
    next_ = acknowledged_;
    if (window_ == 0) out.push_back(make(kAck, acknowledged_ - 1, {}));  // Linux's probe
  }
  [[nodiscard]] bool has_more() const {
    if (!to_write_ || fin_acknowledged_) return false;
    return produced_ < *to_write_ ? next_ < produced_end() : next_ <= stream_end();
  }
  [[nodiscard]] Sequence produced_end() const {
    return initial_ + 1 + static_cast<std::uint32_t>(std::min(*to_write_, produced_));
  }
  [[nodiscard]] Sequence stream_end() const { return initial_ + 1 + static_cast<std::uint32_t>(*to_write_); }
  [[nodiscard]] Sequence receive_next() const {
    return peer_initial_ + 1 + static_cast<std::uint32_t>(received_) + (fin_received_ ? 1 : 0);
  }
  [[nodiscard]] std::uint32_t free_window() const {
    return static_cast<std::uint32_t>(read_ + knobs_.receive_buffer - received_);
  }
  std::optional<KernelSegment> next_data(Instant) {
    if (!has_more()) return std::nullopt;
    const auto room = static_cast<std::int64_t>(acknowledged_ + window_ - next_);
    const auto left = static_cast<std::int64_t>(produced_end() - next_);
    const std::size_t most = random_.below(4) == 0 ? knobs_.train_max : knobs_.mss;
    const auto size = std::min<std::int64_t>({room, left, static_cast<std::int64_t>(1 + random_.below(most))});
    if (size <= 0 && (left > 0 || room < 0)) return std::nullopt;
    Bytes payload(static_cast<std::size_t>(std::max<std::int64_t>(size, 0)));
    // Positions are below 4 GiB in these tests, so the distance from the start is the position.
    const std::uint32_t start = next_.value() - (initial_ + 1).value();
    for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = content(start + i, 1);
    const bool fin = size == left && produced_ >= *to_write_;
    const Sequence at = next_;
    next_ += static_cast<std::uint32_t>(payload.size()) + (fin ? 1 : 0);
    if (newest_ < next_) newest_ = next_;
    acks_ = 0;
    return make(static_cast<std::uint8_t>(fin ? kAck | kFin : kAck), at, std::move(payload));
  }
  KernelSegment make(std::uint8_t flags, Sequence sequence, Bytes payload) {
    const std::uint32_t field = free_window() >> knobs_.scale;
    const Sequence edge = receive_next() + (field << knobs_.scale);
    if (edge > promised_) promised_ = edge;
    return {flags, sequence.value(), receive_next().value(), static_cast<std::uint16_t>(std::min(field, 65535U)),
            std::move(payload)};
  }

  FlowTuple tuple_;
  KernelKnobs knobs_;
  SeededRandom& random_;
  bool established_ = false;
  bool reset_ = false;
  // sending
  Sequence initial_;
  Sequence next_;
  Sequence acknowledged_;
  Sequence newest_;
  Sequence edge_;
  std::uint32_t window_ = 0;
  std::uint8_t peer_scale_ = 0;
  int duplicates_ = 0;
  std::optional<std::uint64_t> to_write_;
  std::uint64_t produced_ = UINT64_MAX;
  bool fin_acknowledged_ = false;
  // receiving
  Sequence peer_initial_;
  Sequence promised_;
  std::map<std::uint64_t, std::uint64_t> pieces_;
  std::uint64_t received_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t may_read_ = UINT64_MAX;
  std::optional<std::uint64_t> fin_at_;
  bool fin_received_ = false;
  int acks_ = 0;
  Instant timer_;
};

struct WorldKnobs {
  std::uint64_t seed = 1;
  /// Of 1000 packets, each way.
  std::uint64_t lost = 0;
  std::uint64_t doubled = 0;
  /// Up to so much more than the 20 µs that every packet takes.
  Duration jitter{};
  std::uint64_t upload = 0;
  std::uint64_t download = 0;
  /// The owner grants nothing and the application reads nothing for so long, again and again.
  Duration stall{};
};

/// A kernel, an endpoint and an owner that sends content(position, 2) and checks what it gets.
class World {
 public:
  World(EndpointConfig config, FlowTuple tuple, KernelKnobs kernel_knobs, WorldKnobs knobs)
      : random(knobs.seed), endpoint(config), kernel(tuple, kernel_knobs, random), tuple_(tuple), knobs_(knobs) {
    kernel.reorders = knobs.jitter > 0ns;
    kernel.write(knobs.upload);
  }

  /// Runs until both ends are done; false when that takes more than `limit` of virtual time.
  [[nodiscard]] bool run(Duration limit) {
    const Instant end = now + limit;
    while (!is_done() && now < end && !testing::Test::HasFatalFailure()) {
      step();
      now = std::max(now, next_time());
    }
    return is_done();
  }
  [[nodiscard]] bool is_done() const { return kernel.is_done() && closed_ && endpoint.flows() == 0; }

  SeededRandom random;
  BlockPool pool{256U << 20};
  Endpoint endpoint;
  ScriptedKernel kernel;
  Instant now{1h};
  std::uint64_t received = 0;
  std::uint64_t acknowledged = 0;
  bool aborted = false;
  /// Digest of everything that crossed the wire, to compare runs.
  std::uint64_t trace = 0;

 private:
  using Wire = std::multimap<Instant, Packet>;

  void step() {
    for (; !up_.empty() && up_.begin()->first <= now; up_.erase(up_.begin())) {
      const RawPacket& packet = up_.begin()->second;
      endpoint.handle_packet(now, packet.vnet, in_block(pool, packet.bytes));
    }
    endpoint.handle_timeout(now);
    while (auto event = endpoint.poll_event()) {
      std::visit([this](auto& what) { handle(what); }, *event);
    }
    run_owner();
    while (auto packet = endpoint.poll_packet(now)) put(down_, *std::move(packet));
    for (; !down_.empty() && down_.begin()->first <= now; down_.erase(down_.begin())) {
      kernel.handle(inspect(down_.begin()->second), now);
    }
    kernel.read_until(is_stalled() ? 0 : UINT64_MAX);
    for (const KernelSegment& segment : kernel.poll(now)) put(up_, make_packet(tuple_, segment));
  }
  template <typename T>
  void put(std::multimap<Instant, T>& wire, T packet) {
    trace = trace * 1099511628211U + to_nanoseconds(now);
    if (random.below(1000) < knobs_.lost) return;
    const auto delay = [this] {
      const auto jitter = static_cast<std::uint64_t>(knobs_.jitter.count());
      return 20us + Duration{static_cast<std::int64_t>(random.below(jitter + 1))};
    };
    if (random.below(1000) < knobs_.doubled) wire.emplace(now + delay(), packet);
    wire.emplace(now + delay(), std::move(packet));
  }
  [[nodiscard]] bool is_stalled() const { return knobs_.stall > 0ns && (now - Instant{}) / knobs_.stall % 2 == 0; }
  void handle(Incoming& event) {
    flow_ = event.flow;
    endpoint.accept(now, event.flow);
  }
  void handle(Data& event) {
    for (const std::uint8_t byte : event.bytes.view()) ASSERT_EQ(byte, content(received++, 1)) << received;
    held_ += event.bytes.size();
  }
  void handle(PeerFinished&) { EXPECT_EQ(received, knobs_.upload); }
  void handle(Acknowledged& event) { acknowledged += event.bytes; }
  void handle(Aborted&) { aborted = closed_ = true; }
  void handle(FlowClosed&) { closed_ = true; }
  void run_owner() {
    if (!is_stalled()) endpoint.grant(flow_, std::exchange(held_, 0));
    while (sent_ < knobs_.download && endpoint.sendable(flow_) > 0) {
      const auto left = std::min<std::uint64_t>(knobs_.download - sent_, endpoint.sendable(flow_));
      Bytes bytes(static_cast<std::size_t>(std::min<std::uint64_t>(left, 1 + random.below(60'000))));
      for (std::uint8_t& byte : bytes) byte = content(sent_++, 2);
      endpoint.send(now, flow_, pool.copy(bytes));
    }
    if (sent_ == knobs_.download) endpoint.finish(now, flow_);
  }
  [[nodiscard]] Instant next_time() const {
    Instant next = std::max(kernel.timer(), now + 1us);
    if (!up_.empty()) next = std::min(next, up_.begin()->first);
    if (!down_.empty()) next = std::min(next, down_.begin()->first);
    if (const auto timeout = endpoint.next_timeout()) next = std::min(next, *timeout);
    if (knobs_.stall > 0ns) next = std::min(next, Instant{((now - Instant{}) / knobs_.stall + 1) * knobs_.stall});
    return next;
  }

  FlowTuple tuple_;
  WorldKnobs knobs_;
  FlowId flow_;
  std::multimap<Instant, RawPacket> up_;
  Wire down_;
  std::uint64_t sent_ = 0;
  std::size_t held_ = 0;
  bool closed_ = false;
};

}  // namespace postern::tcp::test
