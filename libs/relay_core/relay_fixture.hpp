// A relay with its controller's key, agents with tickets, and a clock: what the tests of this library share.
#pragma once

#include <gtest/gtest.h>

#include "identity/keys.hpp"
#include "relay_core/relay.hpp"

namespace postern::relay_core::test {

inline constexpr identity::SealKey kTokenKey = {7, 7, 7};
inline constexpr std::string_view kRelayName = "relay-1";

struct Agent {
  identity::RelayTicket ticket;
  Bytes token;
  SocketAddress address;
  std::uint64_t sequence = 0;
};

struct RelayFixture : ::testing::Test {
  explicit RelayFixture(std::size_t bindings_max = 100'000)
      : relay({.name = std::string(kRelayName), .token_key = kTokenKey, .bindings_max = bindings_max}, random) {}

  Agent make_agent(identity::RelayRole role, std::uint64_t network, const char* address) {
    Agent agent;
    agent.ticket.network_id = network;
    random.fill(agent.ticket.route.bytes);
    random.fill(agent.ticket.mac_key);
    agent.ticket.role = role;
    agent.ticket.not_before = to_unix_seconds(wall);
    agent.ticket.lifetime_s = 14'400;
    agent.address = *SocketAddress::parse(address);
    agent.sequence = static_cast<std::uint64_t>(to_unix_ms(wall));
    seal(agent);
    return agent;
  }
  Agent client(const char* address, std::uint64_t network = 1) {
    return make_agent(identity::RelayRole::Client, network, address);
  }
  Agent connector(const char* address, std::uint64_t network = 1) {
    return make_agent(identity::RelayRole::Connector, network, address);
  }
  void seal(Agent& agent) { agent.token = identity::seal_ticket(agent.ticket, kTokenKey, kRelayName, random); }

  const std::vector<OutgoingTrain>& send(const SocketAddress& from, ByteView bytes, std::size_t stride = 0) {
    output.clear();
    relay.handle_train(now, wall, from, bytes, stride, output);
    return output.trains();
  }
  void advance(Duration by) {
    now += by;
    wall += std::chrono::duration_cast<std::chrono::milliseconds>(by);
  }

  Bytes unauthenticated_bind(std::size_t size = wire::kBindRequestSizeMin) {
    Bytes buffer(512);
    wire::StunBuilder builder(buffer, wire::StunType::BindRequest, random.make<wire::TransactionId>());
    builder.pad_to(size);
    return to_bytes(builder.finish());
  }
  Bytes nonce_for(const SocketAddress& from) {
    const auto& trains = send(from, unauthenticated_bind());
    EXPECT_EQ(trains.size(), 1U);
    return to_bytes(*wire::StunView::parse(trains.at(0).bytes)->find(wire::StunAttribute::Nonce));
  }
  Bytes bind_request(const Agent& agent, ByteView nonce) {
    Bytes buffer(512);
    wire::StunBuilder builder(buffer, wire::StunType::BindRequest, random.make<wire::TransactionId>());
    builder.add(wire::StunAttribute::Nonce, nonce);
    builder.add(wire::StunAttribute::AccessToken, agent.token);
    builder.add_u64(wire::StunAttribute::BindSeq, agent.sequence);
    return to_bytes(builder.finish_with_integrity(agent.ticket.mac_key, identity::hmac_sha256));
  }
  /// The code of the one error answer of the last send(), 0 for a success, -1 for silence.
  int answer_code() const {
    if (output.trains().empty()) return -1;
    const auto answer = wire::StunView::parse(output.trains().at(0).bytes);
    if (answer->type() == wire::StunType::BindSuccess) return 0;
    return answer->error_code().value_or(999);
  }
  int bind(Agent& agent) {
    const Bytes nonce = nonce_for(agent.address);
    ++agent.sequence;
    send(agent.address, bind_request(agent, nonce));
    return answer_code();
  }
  bool is_bound(const Agent& agent) { return relay.is_bound(agent.ticket.route, now); }

  static Bytes short_packet(const Agent& to, std::size_t size = 1200) {
    Bytes packet(size, 0xee);
    packet[0] = 0x41;
    std::copy(to.ticket.route.bytes.begin(), to.ticket.route.bytes.end(), packet.begin() + 2);
    return packet;
  }
  static Bytes long_packet(const Agent& to, std::size_t size = 1200) {
    Bytes packet(size, 0xee);
    packet[0] = 0xc1;
    store_u32(packet.data() + 1, 1);
    packet[5] = 16;
    std::copy(to.ticket.route.bytes.begin(), to.ticket.route.bytes.end(), packet.begin() + 7);
    return packet;
  }
  static Bytes train(std::initializer_list<Bytes> packets) {
    Bytes bytes;
    for (const Bytes& packet : packets) bytes.insert(bytes.end(), packet.begin(), packet.end());
    return bytes;
  }

  SeededRandom random{1};
  Instant now = from_nanoseconds(1'000'000'000'000);
  WallTime wall = from_unix_ms(1'780'000'000'000);
  Relay relay;
  RelayOutput output;
};

}  // namespace postern::relay_core::test
