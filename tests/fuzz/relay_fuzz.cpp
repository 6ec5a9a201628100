// The relay core: four agents of two networks with real tickets, and whatever the input sends in their names or in
// nobody's: raw datagrams, binds that are right, stale, replayed or damaged, packets alone and in trains.
//
// Holds: every packet of a train is answered, forwarded or counted as dropped, and no byte more; forwarded bytes are
// the input's own and go only from a bound source to the other role of its network; no answer is larger than what it
// answers (or than 44 bytes); no more bindings than allowed; a revoked route is never bound again with its ticket.
#include <algorithm>
#include <numeric>

#include "fuzz.hpp"
#include "identity/keys.hpp"
#include "relay_core/relay.hpp"
#include "wire/quic_header.hpp"

namespace {

using namespace postern;
using namespace postern::relay_core;
using fuzz::Choices;

constexpr identity::SealKey kTokenKey = {7, 7, 7};
constexpr std::size_t kAgents = 4;

struct Agent {
  identity::RelayTicket ticket;
  Bytes token;
  SocketAddress address;
  std::uint64_t sequence = 1;
  Bytes nonce = Bytes(wire::kBindNonceSize, 0);
  bool revoked = false;
};

class World {
 public:
  World() : relay_({.name = "relay-1", .token_key = kTokenKey, .bindings_max = 3}, random_) {
    for (std::size_t i = 0; i < kAgents; ++i) {
      Agent& agent = agents_[i];
      agent.ticket.network_id = i == 3 ? 2 : 1;
      agent.ticket.route.bytes = {static_cast<std::uint8_t>(i + 1), 2, 3, 4, 5, 6, 7};
      agent.ticket.mac_key.fill(static_cast<std::uint8_t>(i));
      agent.ticket.role = i == 0 ? identity::RelayRole::Client : identity::RelayRole::Connector;
      if (i == 2) agent.ticket.role = identity::RelayRole::Client;
      agent.ticket.not_before = to_unix_seconds(wall_) - 10;
      agent.ticket.lifetime_s = 300;
      agent.ticket.rate_bytes_per_s = i == 2 ? 10'000 : 0;
      agent.token = identity::seal_ticket(agent.ticket, kTokenKey, "relay-1", random_);
      agent.address = {IpAddress::v4(192, 0, 2, static_cast<std::uint8_t>(i)), 4000};
    }
  }

  void step(Choices& choices) {
    switch (choices.below(9)) {
      case 0: {
        const SocketAddress from = agents_[choices.below(kAgents)].address;
        const std::size_t stride = choices.u16();
        return send(from, to_bytes(choices.block()), stride);
      }
      case 1: {
        Agent& agent = agents_[choices.below(kAgents)];
        return send(agent.address, unauthenticated(choices.u8()), 0);
      }
      case 2:
        return bind(agents_[choices.below(kAgents)], choices.u8());
      case 3:
      case 4: {
        const Agent& from = agents_[choices.below(kAgents)];
        return send(from.address, packet(choices), 0);
      }
      case 5:
        return send_train(choices);
      case 6:
        return pass(std::chrono::milliseconds(choices.u16() * 8));
      case 7: {
        Agent& agent = agents_[choices.below(kAgents)];
        if (choices.u8() != 1) return;
        agent.revoked = true;
        return relay_.revoke(agent.ticket.route, wall_);
      }
      default: {
        // An agent moves, maybe to where another one is.
        Agent& agent = agents_[choices.below(kAgents)];
        agent.address = {IpAddress::v4(192, 0, 2, static_cast<std::uint8_t>(choices.below(6))), 4000};
      }
    }
  }

 private:
  void pass(Duration time) {
    now_ += time;
    wall_ += std::chrono::duration_cast<std::chrono::milliseconds>(time);
    if (const auto due = relay_.next_timeout(); due && *due <= now_) {
      relay_.handle_timeout(now_, wall_);
      FUZZ_CHECK(!relay_.next_timeout() || *relay_.next_timeout() > now_);
    }
  }
  Bytes unauthenticated(std::size_t size) {
    Bytes buffer(512);
    wire::StunBuilder builder(buffer, size % 3 == 0 ? wire::StunType::BindingRequest : wire::StunType::BindRequest,
                              random_.make<wire::TransactionId>());
    builder.pad_to(size);
    return to_bytes(builder.finish());
  }
  void bind(Agent& agent, std::uint8_t how) {
    Bytes buffer(512);
    wire::StunBuilder builder(buffer, wire::StunType::BindRequest,
                              (how & 1) != 0 ? wire::TransactionId{} : random_.make<wire::TransactionId>());
    builder.add(wire::StunAttribute::Nonce, agent.nonce);
    if ((how & 2) == 0) builder.add(wire::StunAttribute::AccessToken, agent.token);
    if ((how & 4) == 0) ++agent.sequence;
    if ((how & 8) == 0) builder.add_u64(wire::StunAttribute::BindSeq, agent.sequence);
    if ((how & 16) != 0) builder.pad_to(200);
    Bytes request = to_bytes(builder.finish_with_integrity(agent.ticket.mac_key, identity::hmac_sha256));
    if ((how & 0xe0) == 0xe0) request[request.size() - 1] ^= 1;
    send(agent.address, std::move(request), 0);
    FUZZ_CHECK(!agent.revoked || !relay_.is_bound(agent.ticket.route, now_));
    // The nonce of the answer is the next one.
    for (const OutgoingTrain& train : output_.trains()) {
      const auto answer = wire::StunView::parse(train.bytes);
      const auto nonce = answer ? answer->find(wire::StunAttribute::Nonce) : std::nullopt;
      if (nonce) agent.nonce = to_bytes(*nonce);
    }
  }
  Bytes packet(Choices& choices) {
    const std::uint8_t how = choices.u8();
    const RouteId route = agents_[choices.below(kAgents)].ticket.route;
    const bool is_long = (how & 1) != 0;
    Bytes bytes(20 + choices.u8(), 0xee);
    bytes[0] = is_long ? 0xc1 : 0x41;
    if (is_long) {
      store_u32(bytes.data() + 1, (how & 2) != 0 ? 2 : 1);
      bytes[5] = (how & 4) != 0 ? 8 : 16;
    }
    if (bytes.size() < 24) return bytes;
    std::ranges::copy(route.bytes, bytes.begin() + (is_long ? 7 : 2));
    if ((how & 8) != 0) bytes[3] ^= 1;
    return bytes;
  }
  void send_train(Choices& choices) {
    const SocketAddress from = agents_[choices.below(kAgents)].address;
    const std::size_t stride = 20 + choices.u8();
    Bytes bytes;
    for (std::size_t i = choices.below(16) + 1; i > 0; --i) {
      Bytes one = choices.below(16) == 7 ? unauthenticated(stride) : packet(choices);
      one.resize(stride, 0xaa);
      bytes.insert(bytes.end(), one.begin(), one.end());
    }
    bytes.resize(bytes.size() - std::min<std::size_t>(choices.u8() % stride, bytes.size()));
    send(from, std::move(bytes), stride);
  }
  [[nodiscard]] std::uint64_t accounted() const {
    const RelayStats& stats = relay_.stats();
    return stats.forwarded_packets + std::accumulate(stats.drops.begin(), stats.drops.end(), std::uint64_t{0});
  }
  void send(const SocketAddress& from, Bytes bytes, std::size_t stride) {
    const std::uint64_t before = accounted();
    const std::uint64_t bytes_before = relay_.stats().forwarded_bytes;
    const std::uint64_t hints_before = relay_.stats().unbound_hints;
    const std::uint64_t full_before = relay_.stats().dropped(RelayDrop::AnswerSpaceFull);
    output_.clear();
    relay_.handle_train(now_, wall_, from, bytes, stride, output_);
    FUZZ_CHECK(relay_.binding_count() <= 3);
    std::uint64_t forwarded = 0;
    std::size_t answers = 0;
    for (const OutgoingTrain& train : output_.trains()) {
      FUZZ_CHECK(!train.bytes.empty() && train.stride > 0 && train.stride <= train.bytes.size());
      const bool is_own = train.bytes.data() >= bytes.data() && train.bytes.data() < bytes.data() + bytes.size();
      if (is_own) {
        forwarded += train.bytes.size();
        FUZZ_CHECK(train.bytes.data() + train.bytes.size() <= bytes.data() + bytes.size());
        FUZZ_CHECK(wire::classify_datagram(train.bytes) == wire::DatagramClass::Quic);
      } else {
        ++answers;
        FUZZ_CHECK(train.to == from);
        FUZZ_CHECK(train.bytes.size() <= std::max<std::size_t>(44, bytes.size()));
      }
    }
    FUZZ_CHECK(relay_.stats().forwarded_bytes - bytes_before == forwarded);
    const std::size_t packets = count_packets(bytes.size(), stride);
    // A hint goes with a drop; every other answer is the whole fate of its packet.
    const std::uint64_t hints = relay_.stats().unbound_hints - hints_before;
    const bool had_space = relay_.stats().dropped(RelayDrop::AnswerSpaceFull) == full_before;
    FUZZ_CHECK(!had_space || accounted() - before + answers - hints == packets);
    check_receivers(from);
  }
  static std::size_t count_packets(std::size_t size, std::size_t stride) {
    if (size == 0) return 0;
    if (stride == 0 || stride > size) stride = size;
    return (size + stride - 1) / stride;
  }
  void check_receivers(const SocketAddress& from) {
    for (const OutgoingTrain& train : output_.trains()) {
      if (train.to == from) continue;
      // Somebody who was bound there at some time: no address is ever made up.
      FUZZ_CHECK(train.to.port == 4000 && train.to.ip.bytes()[3] < 6);
    }
  }

  SeededRandom random_{1};
  Instant now_ = from_nanoseconds(1'000'000'000'000);
  WallTime wall_ = from_unix_ms(1'780'000'000'000);
  Relay relay_;
  RelayOutput output_;
  std::array<Agent, kAgents> agents_;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  // Nonce, bind, for client and connector; a packet each way; a train; a replay; time; a revocation.
  const Bytes both = {2, 0, 0, 2, 0, 0, 2, 1, 0, 2, 1, 0};
  Script all;
  all.raw(both).raw(Bytes{3, 0, 0, 1, 100, 3, 1, 1, 0, 100});
  Script trains;
  trains.raw(both).raw(Bytes{5, 0, 80, 3, 0, 0, 1, 50, 0, 0, 1, 50, 7, 0, 1, 1, 50, 0, 8, 1, 50, 0, 10});
  Script ends;
  ends.raw(both).raw(
      Bytes{2, 0, 4, 2, 0, 5, 6, 0x40, 0, 3, 0, 0, 1, 100, 7, 0, 1, 2, 0, 0, 8, 1, 0, 2, 1, 0, 6, 0xff, 0xff});
  Script raw;
  raw.u8(0).u8(1).u16(0).block(*from_hex("000100002112a442000102030405060708090a0b"));
  return {all.bytes(), trains.bytes(), ends.bytes(), raw.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 300 && !choices.empty(); ++i) world.step(choices);
  return 0;
}
