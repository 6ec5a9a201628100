// Tests only: a kernel whose every segment is written by hand, and an owner that only records what it is told.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tcp/packet_test_util.hpp"

namespace postern::tcp::test {

using namespace std::chrono_literals;

class RawPeer {
 public:
  static constexpr std::uint32_t kInitial = 1000;

  explicit RawPeer(EndpointConfig config = {}, FlowTuple flow_tuple = tuple_v4())
      : endpoint(config), tuple(flow_tuple) {}

  /// Hands a segment to the endpoint; `sequence` and `acknowledgment` are filled from the connection's when zero.
  void give(KernelSegment segment, Checksum checksum = Checksum::Partial) {
    const RawPacket packet = make_packet(tuple, segment, checksum);
    endpoint.handle_packet(now, packet.vnet, in_block(pool, packet.bytes));
    collect();
  }
  /// The next packet, inspected; nothing when there is none.
  std::optional<Seen> take() {
    const auto packet = endpoint.poll_packet(now);
    if (!packet) return std::nullopt;
    return inspect(*packet);
  }
  /// The same where one must come.
  Seen next() {
    auto seen = take();
    EXPECT_TRUE(seen.has_value()) << "nothing was sent";
    return seen ? *std::move(seen) : Seen{};
  }
  /// Everything that wants to leave now.
  std::vector<Seen> take_all() {
    std::vector<Seen> all;
    while (auto seen = take()) all.push_back(*std::move(seen));
    return all;
  }
  void pass(Duration time) {
    now += time;
    endpoint.handle_timeout(now);
    collect();
  }
  /// Events since the last call, in short: "incoming", "data:hello", "finished", "acked:5", "aborted", "closed".
  std::vector<std::string> events() { return std::exchange(events_, {}); }

  void give_syn(std::uint32_t sequence = kInitial, std::optional<std::uint8_t> scale = 7, std::uint16_t mss = 1460) {
    give({kSyn, sequence, 0, 64240, {}, mss, scale, true, true, 0});
  }
  /// Handshake; afterwards `seq` and `ack` are the kernel's next numbers.
  void open(std::uint16_t window = 1000, std::optional<std::uint8_t> scale = 7, std::uint16_t mss = 1460) {
    give_syn(kInitial, scale, mss);
    ASSERT_EQ(events(), std::vector<std::string>{"incoming"});
    endpoint.accept(now, flow);
    const auto syn_ack = take();
    ASSERT_TRUE(syn_ack.has_value());
    ASSERT_EQ(syn_ack->flags, kSyn | kAck);
    seq = kInitial + 1;
    ack = syn_ack->sequence + 1;
    give({kAck, seq, ack, window});
    ASSERT_FALSE(take().has_value());
    ASSERT_TRUE(events().empty());
  }
  void give_data(std::string_view text, std::uint16_t window = 1000, std::uint8_t flags = kAck | kPsh) {
    give({flags, seq, ack, window, to_bytes(as_bytes(text))});
    seq += static_cast<std::uint32_t>(text.size());
  }
  void give_fin(std::uint16_t window = 1000) {
    give({kFin | kAck, seq, ack, window});
    seq += 1;
  }
  void give_ack(std::uint16_t window = 1000) { give({kAck, seq, ack, window}); }
  /// In slices of up to 64 KiB, each in a block of its own.
  void send(std::string_view text) {
    for (; !text.empty(); text.remove_prefix(std::min<std::size_t>(text.size(), 65536))) {
      endpoint.send(now, flow, in_block(pool, as_bytes(text.substr(0, 65536))));
    }
  }
  [[nodiscard]] std::uint64_t drops(DropReason reason) const {
    return endpoint.drops()[static_cast<std::size_t>(reason)];
  }

  BlockPool pool{1U << 30};
  Endpoint endpoint;
  FlowTuple tuple;
  Instant now{1h};
  FlowId flow;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  Slice last_data;

 private:
  void collect() {
    while (auto event = endpoint.poll_event()) {
      std::visit([this](auto& what) { record(what); }, *event);
    }
  }
  void record(Incoming& event) {
    flow = event.flow;
    EXPECT_EQ(event.tuple, tuple);
    events_.push_back("incoming");
  }
  void record(Data& event) {
    events_.push_back("data:" + std::string(as_text(event.bytes.view())));
    last_data = event.bytes;
  }
  void record(PeerFinished&) { events_.push_back("finished"); }
  void record(Acknowledged& event) { events_.push_back("acked:" + std::to_string(event.bytes)); }
  void record(Aborted&) { events_.push_back("aborted"); }
  void record(FlowClosed&) { events_.push_back("closed"); }

  std::vector<std::string> events_;
};

}  // namespace postern::tcp::test
