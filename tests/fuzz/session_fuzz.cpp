// Two session endpoints, client and connector, and a network that the input runs: handshakes with right and wrong
// knocks, datagrams lost, doubled, damaged, late or from strangers, streams that are written, finished, reset, read and
// not read, time that passes.
//
// Holds: what a stream gives is a beginning of what was written to it; each session ends with exactly one Closed and is
// silent afterwards; a stranger's datagram never starts a session and is counted; the number of half-open and of open
// sessions stays within its limits; after both sides have closed and time has passed, no block of the pools is held.
#include <gnutls/gnutls.h>

#include <ctime>
#include <map>

#include "fuzz.hpp"
#include "session/pair_test_util.hpp"

namespace {

using namespace postern;
using namespace postern::session;
using namespace std::chrono_literals;
using fuzz::Choices;
using test::Host;

/// The byte at a position of a stream's direction.
std::uint8_t content(std::uint64_t position, std::int64_t stream, bool from_client) {
  return static_cast<std::uint8_t>((position * 131) ^ (position >> 9) ^ static_cast<std::uint64_t>(stream) ^
                                   (from_client ? 0x55U : 0U));
}

std::time_t fixed_time(std::time_t* to) {
  constexpr std::time_t kNow = 1'700'000'000;
  if (to != nullptr) *to = kNow;
  return kNow;
}

/// Made once: keys cost more than everything else here.
struct Keys {
  Keys() { gnutls_global_set_time_function(fixed_time); }
  Credentials client = test::make_credentials();
  Credentials connector = test::make_credentials();
};
const Keys& keys() {
  static const Keys made;
  return made;
}

struct Side {
  Side(EndpointConfig config, std::uint64_t seed, const KnockVerifier* knocks)
      : pool(32U << 20), random(seed), endpoint(std::move(config), pool, random, knocks) {}

  BlockPool pool;
  SeededRandom random;
  Endpoint endpoint;
  std::map<SessionId, bool> sessions;  ///< known; true when Closed has come
  std::map<std::pair<SessionId, StreamId>, std::uint64_t> written;
  std::map<std::pair<SessionId, StreamId>, std::uint64_t> received;
  std::vector<std::pair<SessionId, StreamId>> streams;
};

class World {
 public:
  World()
      : client_(config(Role::Client, keys().client, test::Pair::kClientRoute), 1, nullptr),
        connector_(config(Role::Connector, keys().connector, test::Pair::kConnectorRoute), 2, &knocks_),
        buffer_(pool_.acquire(BlockClass::Large)),
        device_(*credentials_digest(keys().client)),
        peer_(*credentials_digest(keys().connector)) {}

  void step(Choices& choices) {
    const std::uint8_t what = choices.u8();
    Side& side = (what & 0x80) != 0 ? connector_ : client_;
    switch ((what & 0x7f) % 14) {
      case 0:
        return connect(choices.u8());
      case 1:
        return deliver(choices.u8());
      case 2:
        return damage(choices);
      case 3:
        return stranger(side, choices);
      case 4:
        return open_stream(side);
      case 5:
        return write(side, choices);
      case 6:
        return end(side, choices);
      case 7:
        return read(side, choices);
      case 8:
        return pass(std::chrono::milliseconds(choices.u16()));
      case 9:
        return pass(std::chrono::seconds(choices.u8()));
      case 10:
        if (choices.u8() < 200) return;
        for (const auto& [session, closed] : side.sessions) side.endpoint.close(now_, session, choices.u8(), "fuzz");
        return flush();
      case 11:
        for (const auto& [session, closed] : side.sessions) side.endpoint.ping(now_, session);
        return flush();
      default:
        // Both sides talk undisturbed for a while.
        for (int i = 0; i < 6; ++i) {
          deliver(0);
          pass(1ms);
        }
    }
  }
  void finish() {
    for (Side* side : {&client_, &connector_}) {
      for (const auto& [session, closed] : side->sessions) side->endpoint.close(now_, session, 0, "end");
    }
    for (int i = 0; i < 2000 && (client_.endpoint.next_timeout() || connector_.endpoint.next_timeout()); ++i)
      pass_to_timer();
    FUZZ_CHECK(!client_.endpoint.next_timeout() && !connector_.endpoint.next_timeout());
    for (Side* side : {&client_, &connector_}) {
      for (const auto& [session, closed] : side->sessions) FUZZ_CHECK(closed && !side->endpoint.stats(session));
      FUZZ_CHECK(side->pool.bytes_in_use() <= BlockPool::kSmallSize);
    }
  }

 private:
  struct Datagram {
    Side* to;
    Bytes bytes;
  };

  static EndpointConfig config(Role role, const Credentials& credentials, RouteId route) {
    EndpointConfig config = test::Pair::config(role, credentials, route, {}, PacketCipher::Portable);
    config.limits.sessions_max = 3;
    config.limits.sessions_per_device_max = 2;
    config.limits.handshakes_per_device_per_second_max = 3;
    config.limits.half_open_max = 2;
    config.limits.streams_per_session_max = 6;
    config.limits.stream_window = 128U << 10;
    config.limits.first_stream_window = 16U << 10;
    config.limits.session_budget = 256U << 10;
    config.limits.process_budget = 512U << 10;
    config.limits.stream_unsent_max = 64U << 10;
    return config;
  }
  void connect(std::uint8_t how) {
    Bytes knock = test::make_knock((how & 1) != 0 ? Digest{} : device_, (how & 2) != 0 ? now_ : Instant::max());
    if ((how & 4) != 0) knock[how % knock.size()] ^= 1;
    if ((how & 8) != 0) knock.clear();
    const Digest pin = (how & 16) != 0 ? Digest{1} : peer_;
    const auto session = client_.endpoint.connect(
        now_, {{0, *SocketAddress::parse("192.0.2.1:443")}, test::Pair::kConnectorRoute, pin, knock});
    if (session) client_.sessions.emplace(*session, false);
    flush();
  }
  /// Hands over waiting datagrams; `how` says what becomes of them: lost, doubled, the other way round.
  void deliver(std::uint8_t how) {
    std::deque<Datagram> due = std::exchange(wire_, {});
    if ((how & 1) != 0) std::ranges::reverse(due);
    for (std::size_t i = 0; i < due.size(); ++i) {
      if ((how & 2) != 0 && i % 3 == how / 64U % 3) continue;
      const int copies = (how & 4) != 0 ? 2 : 1;
      for (int copy = 0; copy < copies; ++copy) give(*due[i].to, due[i].bytes, kSource);
    }
    flush();
  }
  void give(Side& to, Bytes bytes, const SocketAddress& from) {
    to.endpoint.handle_train(now_, {{0, from}, bytes, std::max<std::size_t>(bytes.size(), 1), 0});
  }
  void damage(Choices& choices) {
    if (wire_.empty()) return;
    Datagram& datagram = wire_[choices.below(wire_.size())];
    const std::uint8_t how = choices.u8();
    if (how == 0) datagram.bytes.resize(choices.u16() % (datagram.bytes.size() + 1));
    if (!datagram.bytes.empty()) datagram.bytes[choices.u16() % datagram.bytes.size()] ^= how;
  }
  void stranger(Side& side, Choices& choices) {
    const std::size_t sessions = side.sessions.size();
    Bytes bytes = to_bytes(choices.block());
    const std::size_t stride = choices.u16();
    side.endpoint.handle_train(now_, {{choices.u8(), kStranger}, bytes, stride, choices.u8()});
    settle(side);
    FUZZ_CHECK(side.sessions.size() == sessions);
    flush();
  }
  void open_stream(Side& side) {
    for (const auto& [session, closed] : side.sessions) {
      if (const auto stream = side.endpoint.open_stream(session)) side.streams.emplace_back(session, *stream);
    }
    flush();
  }
  void write(Side& side, Choices& choices) {
    if (side.streams.empty()) return;
    const auto key = side.streams[choices.below(side.streams.size())];
    const std::size_t size = std::min<std::size_t>(choices.u16(), side.endpoint.writable(key.first, key.second));
    if (size == 0) return;
    Bytes bytes(size);
    const std::uint64_t start = side.written[key];
    for (std::size_t i = 0; i < size; ++i) bytes[i] = content(start + i, key.second.value, &side == &client_);
    for (std::size_t at = 0; at < size; at += 4000) {
      const ByteView part = ByteView(bytes).subspan(at, std::min<std::size_t>(4000, size - at));
      if (!side.endpoint.write(key.first, key.second, side.pool.copy(part))) break;
      side.written[key] += part.size();
    }
    flush();
  }
  void end(Side& side, Choices& choices) {
    if (side.streams.empty()) return;
    const auto [session, stream] = side.streams[choices.below(side.streams.size())];
    if (choices.flag()) {
      (void)side.endpoint.finish(session, stream);
    } else {
      side.endpoint.reset(session, stream, choices.u8());
    }
    flush();
  }
  void read(Side& side, Choices& choices) {
    if (side.streams.empty()) return;
    const auto key = side.streams[choices.below(side.streams.size())];
    const bool consumes = choices.flag();
    for (Slice slice = side.endpoint.read(key.first, key.second); !slice.empty();
         slice = side.endpoint.read(key.first, key.second)) {
      std::uint64_t& position = side.received[key];
      for (const std::uint8_t byte : slice.view()) {
        FUZZ_CHECK(byte == content(position++, key.second.value, &side != &client_));
      }
      if (consumes) side.endpoint.consume(key.first, key.second, slice.size());
    }
    flush();
  }
  void pass(Duration time) {
    now_ += time;
    for (Side* side : {&client_, &connector_}) {
      const auto due = side->endpoint.next_timeout();
      if (due && *due <= now_) side->endpoint.handle_timeout(now_);
    }
    flush();
  }
  void pass_to_timer() {
    Instant next = now_ + 10s;
    for (Side* side : {&client_, &connector_}) {
      if (const auto due = side->endpoint.next_timeout()) next = std::min(next, *due);
    }
    wire_.clear();
    pass(std::max(Duration(1us), next - now_));
  }
  void settle(Side& side) {
    while (const auto event = side.endpoint.poll_event()) {
      const SessionId session = std::visit([](const auto& some) { return some.session; }, *event);
      if (std::holds_alternative<Established>(*event)) side.sessions.emplace(session, false);
      if (std::holds_alternative<Closed>(*event)) {
        FUZZ_CHECK(!std::exchange(side.sessions[session], true));
        continue;
      }
      FUZZ_CHECK(side.sessions.contains(session) && !side.sessions[session]);
      if (const auto* opened = std::get_if<StreamOpened>(&*event)) side.streams.emplace_back(session, opened->stream);
      FUZZ_CHECK(side.streams.size() < 10'000);
    }
  }
  void flush() {
    settle(client_);
    settle(connector_);
    for (Side* side : {&client_, &connector_}) {
      for (int i = 0; i < 200; ++i) {
        const auto transmit = side->endpoint.poll_transmit(now_, buffer_.bytes());
        if (!transmit) break;
        FUZZ_CHECK(i < 199 && transmit->stride > 0 && !transmit->bytes.empty());
        for (std::size_t at = 0; at < transmit->bytes.size(); at += transmit->stride) {
          const ByteView one = transmit->bytes.subspan(at, std::min(transmit->stride, transmit->bytes.size() - at));
          if (wire_.size() < 200) wire_.push_back({side == &client_ ? &connector_ : &client_, to_bytes(one)});
        }
      }
      settle(*side);
    }
  }

  const SocketAddress kSource{IpAddress::v4(192, 0, 2, 1), 443};
  const SocketAddress kStranger{IpAddress::v4(198, 51, 100, 7), 999};
  test::TestKnocks knocks_;
  Side client_;
  Side connector_;
  BlockPool pool_{1U << 20};
  Buffer buffer_;
  Digest device_;
  Digest peer_;
  Instant now_{1000s};
  std::deque<Datagram> wire_;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const Bytes up = {0, 0, 12, 12, 12};
  Script talk;
  talk.raw(up).raw(
      Bytes{4, 4, 5, 0, 0, 100, 12, 0x87, 0, 1, 0x85, 0, 8, 0, 12, 7, 0, 1, 6, 0, 1, 12, 0x86, 0, 1, 12, 12});
  Script hard;
  hard.raw(up).raw(Bytes{4,  4,    5, 1, 0x40, 0, 1, 2, 2,  0, 7, 0, 3, 1,  5, 8,  1, 0,
                         12, 0x87, 1, 0, 6,    1, 0, 9, 12, 5, 0, 9, 9, 12, 9, 30, 12});
  Script wrong;
  wrong.raw(
      Bytes{0, 8, 12, 0, 2, 12, 0, 16, 12, 12, 0, 4, 12, 9, 6, 12, 10, 255, 1, 12, 0, 0, 0, 0, 0, 0, 12, 12, 9, 40});
  Script raw;
  raw.raw(up)
      .u8(0x83)
      .block(Bytes(60, 0x41))
      .u16(20)
      .u8(0)
      .u8(0)
      .u8(0x83)
      .block(Bytes(1200, 0xc3))
      .u16(1200)
      .u8(0)
      .u8(0);
  return {talk.bytes(), hard.bytes(), wrong.bytes(), raw.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 150 && !choices.empty(); ++i) world.step(choices);
  world.finish();
  return 0;
}
