// The TCP endpoint against a kernel whose every segment the input writes: three connections (IPv4 twice, IPv6), any
// flags, numbers near the right ones, any windows, losses by not answering, times; and an owner that accepts, refuses,
// sends, finishes, aborts and grants in any order.
//
// Holds: what is delivered is what was sent at that position, in order and once; never more than the receive window is
// held; what the endpoint sends is right in every checksum and carries the owner's bytes at their positions; the kernel
// acknowledges no more than was sent; each flow begins once and ends once; no more flows than allowed; after the owner
// has aborted everything and time has passed nothing is left, no flow, no timer, no block of the pool.
#include <map>

#include "fuzz.hpp"
#include "gtest_checks.hpp"
#include "tcp/receive_side.hpp"
#include "tcp/scripted_kernel_test_util.hpp"

namespace {

using namespace postern;
using namespace postern::tcp;
using fuzz::Choices;
using test::content;
using test::KernelSegment;
using test::Seen;

constexpr std::uint32_t kWindow = 64 * 1024;
constexpr std::size_t kFlowsMax = 2;

/// What the kernel's side of one connection knows.
struct Side {
  FlowTuple tuple;
  std::uint32_t initial = 0;
  std::uint32_t next = 0;  ///< the next number, if the script were honest
  std::uint32_t endpoint_initial = 0;
  std::uint32_t endpoint_next = 0;  ///< highest number seen from the endpoint, plus its length
  std::optional<FlowId> flow;
};

struct Known {
  std::size_t side = 0;
  std::uint32_t initial = 0;  ///< of the SYN that made it
  bool ended = false;
  bool accepted = false;
  bool finished = false;
  std::uint64_t delivered = 0;
  std::uint64_t held = 0;
  std::uint64_t sent = 0;
  std::uint64_t acknowledged = 0;
};

class World {
 public:
  World() : endpoint_({.mtu = 1500, .flows_max = kFlowsMax, .receive_window = kWindow, .send_buffer_max = kWindow}) {
    sides_[0].tuple = test::tuple_v4(40000);
    sides_[1].tuple = test::tuple_v4(40001);
    sides_[2].tuple = test::tuple_v6();
  }

  void step(Choices& choices) {
    Side& side = sides_[choices.below(sides_.size())];
    switch (choices.below(12)) {
      case 0:
        return raw(choices);
      case 1:
        return syn(side, choices);
      case 2:
      case 3:
      case 4:
        return segment(side, choices);
      case 5:
        return decide(side, choices);
      case 6:
        return send(side, choices.u16() % 20'000);
      case 7:
        return end(side, choices.u8());
      case 8:
        return grant(side, choices.u16());
      case 9:
        return pass(std::chrono::milliseconds(choices.u16()));
      case 10:
        return pass_to_timer();
      default:
        return read_output(choices.u8());
    }
  }
  void finish() {
    for (const auto& [flow, known] : flows_) {
      if (!known.ended) endpoint_.abort(now_, flow);
    }
    for (auto& [flow, known] : flows_) known.ended = true;
    read_output(255);
    for (unsigned i = 0; endpoint_.next_timeout(); ++i) {
      FUZZ_CHECK(i < 1000);
      pass_to_timer();
      read_output(255);
    }
    // Those that were aborted before their handshake was done have waited for it until now.
    FUZZ_CHECK(endpoint_.flows() == 0);
    last_data_ = {};
    // The pool itself keeps one block open for small copies.
    FUZZ_CHECK(pool_.bytes_in_use() <= BlockPool::kSmallSize);
  }

 private:
  void raw(Choices& choices) {
    const ByteView vnet = choices.take(wire::VnetHeader::kSize);
    Bytes packet = to_bytes(choices.block());
    if (packet.size() > BlockPool::kLargeSize) packet.resize(BlockPool::kLargeSize);
    Bytes header(wire::VnetHeader::kSize, 0);
    std::copy(vnet.begin(), vnet.end(), header.begin());
    is_raw_ = true;
    give(header, packet);
  }
  void give(ByteView vnet, ByteView packet) {
    endpoint_.handle_packet(now_, vnet, test::in_block(pool_, packet));
    collect();
  }
  void syn(Side& side, Choices& choices) {
    const std::uint8_t how = choices.u8();
    KernelSegment segment;
    segment.flags = test::kSyn;
    side.initial = (how & 1) != 0 ? 0xffff'f000U + choices.u8() : side.initial + (how >> 6);
    side.next = side.initial + 1;
    segment.sequence = side.initial;
    if ((how & 2) != 0) segment.scale = choices.u8();
    if ((how & 4) != 0) segment.mss = choices.u16();
    segment.sack_permitted = (how & 8) != 0;
    segment.timestamps = (how & 16) != 0;
    segment.window = 64240;
    give(side, segment);
  }
  void segment(Side& side, Choices& choices) {
    const std::uint8_t how = choices.u8();
    KernelSegment segment;
    segment.flags = (how & 1) != 0 ? choices.u8() : test::kAck;
    segment.sequence = side.next;
    if ((how & 2) != 0) segment.sequence += static_cast<std::uint32_t>(static_cast<std::int16_t>(choices.u16()));
    segment.acknowledgment = side.endpoint_next;
    if ((how & 4) != 0) segment.acknowledgment -= choices.u16();
    if ((how & 8) != 0) segment.acknowledgment += choices.u8();
    if ((how & 16) != 0) segment.window = choices.u16();
    if ((how & 32) != 0) segment.payload.resize(choices.u16() % 40'000);
    if ((how & 64) != 0) segment.urgent = 1;
    // (by sequence number, because a second SYN may or may not have begun a new connection)
    for (std::size_t i = 0; i < segment.payload.size(); ++i) {
      segment.payload[i] = content(static_cast<std::uint32_t>(segment.sequence + i), 1);
    }
    const std::uint32_t end = segment.sequence + static_cast<std::uint32_t>(segment.payload.size()) +
                              ((segment.flags & test::kFin) != 0 ? 1 : 0);
    if (static_cast<std::int32_t>(end - side.next) > 0) side.next = end;
    give(side, segment, (how & 128) != 0 ? test::Checksum::Complete : test::Checksum::Partial);
  }
  void give(Side& side, const KernelSegment& segment, test::Checksum checksum = test::Checksum::Partial) {
    const auto packet = test::make_packet(side.tuple, segment, checksum);
    give(packet.vnet, packet.bytes);
  }
  [[nodiscard]] Known* known_of(const Side& side) {
    if (!side.flow) return nullptr;
    Known& known = flows_.at(*side.flow);
    return known.ended ? nullptr : &known;
  }
  void decide(Side& side, Choices& choices) {
    Known* known = known_of(side);
    const std::uint8_t how = choices.u8();
    if (known == nullptr || (known->accepted && how < 250)) return;
    if (how % 4 != 0) {
      endpoint_.accept(now_, *side.flow);
      known->accepted = true;
    } else {
      endpoint_.refuse(now_, *side.flow, static_cast<Refusal>(how / 4 % 5));
      // Orders for a flow that is no longer held are ignored.
      known->ended = !endpoint_.stats(*side.flow).has_value();
    }
  }
  void send(Side& side, std::size_t size) {
    Known* known = known_of(side);
    if (known == nullptr) return;
    size = std::min(size, endpoint_.sendable(*side.flow));
    FUZZ_CHECK(size == 0 || (known->accepted && !known->finished));
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = content(static_cast<std::uint32_t>(known->sent++), 2);
    for (std::size_t at = 0; at < size; at += 4096) {
      endpoint_.send(now_, *side.flow, pool_.copy(ByteView(bytes).subspan(at, std::min<std::size_t>(4096, size - at))));
    }
  }
  void end(Side& side, std::uint8_t how) {
    Known* known = known_of(side);
    if (known == nullptr) return;
    if (how % 4 != 0) {
      known->finished = known->accepted;
      return endpoint_.finish(now_, *side.flow);
    }
    endpoint_.abort(now_, *side.flow);
    known->ended = true;
  }
  void grant(Side& side, std::size_t size) {
    Known* known = known_of(side);
    if (known == nullptr) return;
    size = std::min<std::size_t>(size, known->held);
    known->held -= size;
    endpoint_.grant(*side.flow, size);
  }
  void pass(Duration time) {
    now_ += time;
    endpoint_.handle_timeout(now_);
    collect();
  }
  void pass_to_timer() {
    if (const auto at = endpoint_.next_timeout()) now_ = std::max(now_ + std::chrono::microseconds(1), *at);
    endpoint_.handle_timeout(now_);
    collect();
  }
  void collect() {
    while (auto event = endpoint_.poll_event()) {
      std::visit([this](auto& what) { handle(what); }, *event);
    }
    FUZZ_CHECK(endpoint_.flows() <= kFlowsMax);
  }
  void handle(Incoming& event) {
    FUZZ_CHECK(!flows_.contains(event.flow));
    Known& known = flows_[event.flow];
    for (std::size_t i = 0; i < sides_.size(); ++i) {
      if (sides_[i].tuple != event.tuple) continue;
      known.side = i;
      known.initial = sides_[i].initial;
      sides_[i].flow = event.flow;
      return;
    }
    FUZZ_CHECK(is_raw_);  // another tuple can only come from a packet of the input
    endpoint_.refuse(now_, event.flow, Refusal::Reset);
    known.ended = true;
  }
  void handle(Data& event) {
    Known& known = flows_.at(event.flow);
    if (known.ended) return;
    if (!is_raw_) {
      for (const std::uint8_t byte : event.bytes.view()) {
        FUZZ_CHECK(byte == content(static_cast<std::uint32_t>(known.initial + 1 + known.delivered++), 1));
      }
    }
    known.held += event.bytes.size();
    FUZZ_CHECK(known.held <= kWindow + ReceiveSide::kEdgeLoan);
    last_data_ = std::move(event.bytes);
  }
  void handle(PeerFinished& event) { FUZZ_CHECK(flows_.contains(event.flow)); }
  void handle(Acknowledged& event) {
    Known& known = flows_.at(event.flow);
    known.acknowledged += event.bytes;
    FUZZ_CHECK(known.acknowledged <= known.sent);
  }
  void handle(Aborted& event) { ended(event.flow); }
  void handle(FlowClosed& event) { ended(event.flow); }
  void ended(FlowId flow) {
    Known& known = flows_.at(flow);
    FUZZ_CHECK(!known.ended && !endpoint_.stats(flow));
    known.ended = true;
  }

  void read_output(std::size_t most) {
    for (std::size_t i = 0; i < most; ++i) {
      const auto packet = endpoint_.poll_packet(now_);
      if (!packet) return;
      const Seen seen = test::inspect(*packet);
      if (seen.protocol == 6) check(seen);
    }
    // Nothing keeps sending without an answer.
    FUZZ_CHECK(most < 255 || !endpoint_.poll_packet(now_));
  }
  void check(const Seen& seen) {
    const auto ip = wire::IpView::parse(seen.packet);
    const auto tcp = wire::TcpView::parse(ip->payload);
    for (Side& side : sides_) {
      if (side.tuple.local != SocketAddress{ip->destination, tcp->destination_port} ||
          side.tuple.remote != SocketAddress{ip->source, tcp->source_port}) {
        continue;
      }
      if ((seen.flags & test::kRst) != 0) return;
      if ((seen.flags & test::kSyn) != 0) side.endpoint_initial = side.endpoint_next = seen.sequence;
      const std::uint32_t start = seen.sequence - (side.endpoint_initial + 1);
      for (std::size_t i = 0; i < seen.payload.size(); ++i) {
        FUZZ_CHECK(seen.payload[i] == content(static_cast<std::uint32_t>(start + i), 2));
      }
      const std::uint32_t end = seen.sequence + static_cast<std::uint32_t>(seen.payload.size()) +
                                ((seen.flags & (test::kSyn | test::kFin)) != 0 ? 1 : 0);
      if (static_cast<std::int32_t>(end - side.endpoint_next) > 0) side.endpoint_next = end;
      return;
    }
    FUZZ_CHECK(is_raw_);
  }

  BlockPool pool_{64U << 20};
  Endpoint endpoint_;
  Instant now_{std::chrono::hours(1)};
  std::array<Side, 3> sides_;
  std::map<FlowId, Known> flows_;
  Slice last_data_;
  bool is_raw_ = false;  ///< a packet of the input itself was given: contents are not ours to check any more
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  // (side, operation, arguments…): SYN with MSS and scale, accept, read the SYN-ACK, ACK.
  const Bytes open = {0, 1, 6, 7, 5, 180, 0, 5, 1, 0, 11, 9, 0, 2, 16, 4, 0};
  Script echo;
  echo.raw(open).raw(Bytes{0, 2, 48, 4, 0, 0, 100, 0, 8, 0, 100, 0, 6, 1, 0, 0, 11, 9, 0, 2, 0, 0, 11, 9});
  Script closing;
  closing.raw(open).raw(Bytes{0, 2, 1, 17, 0, 7, 1, 0, 11, 9, 0, 2, 0, 0, 9, 8, 0});
  Script loss;
  loss.raw(open).raw(Bytes{0, 6, 20, 0, 0, 11, 9, 0, 10, 0, 11, 9, 0, 10, 0, 11, 9, 0, 2, 16, 0, 0, 0, 10, 0, 11, 9});
  Script v6;
  v6.raw(Bytes{2, 1, 6, 7, 5, 160, 2, 5, 1, 2, 11, 9, 2, 2, 34, 0, 100, 0, 50, 2, 2, 34, 0xff, 0x9c, 0, 100, 2, 7, 0});
  Script refused;
  refused.raw(Bytes{0, 1, 0, 0, 5, 4, 0, 11, 9, 1, 1, 0, 1, 5, 0, 1, 11, 9});
  return {echo.bytes(), closing.bytes(), loss.bytes(), v6.bytes(), refused.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  postern::fuzz::expectations_abort();
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 200 && !choices.empty(); ++i) world.step(choices);
  world.finish();
  return 0;
}
