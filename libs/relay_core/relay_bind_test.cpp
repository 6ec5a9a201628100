#include "relay_core/relay_fixture.hpp"

namespace postern::relay_core {
namespace {

using test::Agent;

class RelayBind : public test::RelayFixture {};

TEST_F(RelayBind, AsksForANonceThenBindsTheSourceAddress) {
  Agent agent = client("192.0.2.1:1000");
  send(agent.address, unauthenticated_bind());
  EXPECT_EQ(answer_code(), 401);
  EXPECT_EQ(bind(agent), 0);
  const auto answer = wire::StunView::parse(output.trains()[0].bytes);
  EXPECT_EQ(output.trains()[0].to, agent.address);
  EXPECT_EQ(answer->mapped_address(), agent.address);
  EXPECT_EQ(answer->find_u32(wire::StunAttribute::Lifetime), 600U);
  EXPECT_TRUE(answer->has_integrity(agent.ticket.mac_key, identity::hmac_sha256));
  EXPECT_TRUE(is_bound(agent));
}

TEST_F(RelayBind, WorksOverIpv6) {
  Agent agent = client("[2001:db8::1]:1000");
  EXPECT_EQ(bind(agent), 0);
  EXPECT_EQ(wire::StunView::parse(output.trains()[0].bytes)->mapped_address(), agent.address);
}

TEST_F(RelayBind, NoAnswerIsLargerThanItsRequestAndSmallRequestsGetNone) {
  Agent agent = client("[2001:db8::1]:1000");
  const Bytes nonce = nonce_for(agent.address);
  EXPECT_LE(output.trains()[0].bytes.size(), wire::kBindRequestSizeMin);
  for (const int size : {20, 64, 124}) {
    EXPECT_TRUE(send(agent.address, unauthenticated_bind(static_cast<std::size_t>(size))).empty());
  }
  Bytes buffer(256);
  wire::StunBuilder builder(buffer, wire::StunType::BindRequest, {});
  builder.add(wire::StunAttribute::Nonce, nonce);
  EXPECT_TRUE(send(agent.address, builder.finish()).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::BindTooSmall), 4U);
  const Bytes request = bind_request(agent, nonce);
  EXPECT_LE(send(agent.address, request).at(0).bytes.size(), wire::kBindRequestSizeMin);
}

TEST_F(RelayBind, ANonceHoldsInItsSlotAndTheNextFromItsAddressOnly) {
  Agent agent = client("192.0.2.1:1000");
  wall = from_unix_ms(1'780'000'020'000);  // the start of a slot
  const Bytes nonce = nonce_for(agent.address);
  agent.address.port = 1001;
  ++agent.sequence;
  send(agent.address, bind_request(agent, nonce));
  EXPECT_EQ(answer_code(), 438);
  agent.address.port = 1000;
  advance(std::chrono::milliseconds(59'999));
  send(agent.address, bind_request(agent, nonce));
  EXPECT_EQ(answer_code(), 0);
  advance(std::chrono::milliseconds(1));
  ++agent.sequence;
  send(agent.address, bind_request(agent, nonce));
  EXPECT_EQ(answer_code(), 438);
  const Bytes fresh = to_bytes(*wire::StunView::parse(output.trains()[0].bytes)->find(wire::StunAttribute::Nonce));
  send(agent.address, bind_request(agent, fresh));
  EXPECT_EQ(answer_code(), 0);
}

TEST_F(RelayBind, ACapturedBindCannotBeReplayedFromElsewhere) {
  Agent agent = client("192.0.2.1:1000");
  const Bytes request = bind_request(agent, nonce_for(agent.address));
  send(agent.address, request);
  EXPECT_EQ(answer_code(), 0);
  const SocketAddress thief = *SocketAddress::parse("203.0.113.9:99");
  send(thief, request);
  EXPECT_EQ(answer_code(), 438);
  // Also not with a nonce of his own: the MAC covers it.
  Bytes forged = request;
  const Bytes nonce = nonce_for(thief);
  std::copy(nonce.begin(), nonce.end(), forged.begin() + 24);
  EXPECT_TRUE(send(thief, forged).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::BindBadMac), 1U);
  Agent peer = connector("198.51.100.1:443");
  bind(peer);
  EXPECT_EQ(send(peer.address, short_packet(agent)).at(0).to, agent.address);
}

TEST_F(RelayBind, TheSameRequestAgainGetsTheSameAnswerAnOlderNumberIsRefused) {
  Agent agent = client("192.0.2.1:1000");
  const Bytes nonce = nonce_for(agent.address);
  const Bytes request = bind_request(agent, nonce);
  const Bytes first = to_bytes(send(agent.address, request).at(0).bytes);
  EXPECT_EQ(to_bytes(send(agent.address, request).at(0).bytes), first);
  EXPECT_EQ(relay.stats().bind(BindOutcome::Repeated), 1U);
  send(agent.address, bind_request(agent, nonce));  // the same number in another transaction
  EXPECT_EQ(answer_code(), 403);
  --agent.sequence;
  send(agent.address, bind_request(agent, nonce));
  EXPECT_EQ(answer_code(), 403);
  EXPECT_TRUE(
      wire::StunView::parse(output.trains()[0].bytes)->has_integrity(agent.ticket.mac_key, identity::hmac_sha256));
  EXPECT_EQ(relay.stats().bind(BindOutcome::Replayed), 2U);
}

TEST_F(RelayBind, ANewBindFromAnotherAddressMovesTheRoute) {
  Agent agent = client("192.0.2.1:1000");
  Agent peer = connector("198.51.100.1:443");
  bind(agent);
  bind(peer);
  const SocketAddress before = agent.address;
  agent.address = *SocketAddress::parse("203.0.113.5:2000");
  EXPECT_EQ(bind(agent), 0);
  EXPECT_EQ(send(peer.address, short_packet(agent)).at(0).to, agent.address);
  EXPECT_TRUE(send(before, short_packet(peer)).empty());
  EXPECT_EQ(send(agent.address, short_packet(peer)).size(), 1U);
  EXPECT_EQ(relay.binding_count(), 2U);
}

TEST_F(RelayBind, AnAddressBelongsToTheLastRouteThatBoundFromIt) {
  Agent old_process = client("192.0.2.1:1000");
  Agent new_process = client("192.0.2.1:1000");
  bind(old_process);
  EXPECT_EQ(bind(new_process), 0);
  EXPECT_FALSE(is_bound(old_process));
  EXPECT_TRUE(is_bound(new_process));
  EXPECT_EQ(relay.binding_count(), 1U);
}

TEST_F(RelayBind, BadTicketsAreRefused) {
  Agent agent = client("192.0.2.1:1000");
  agent.token[20] ^= 1;
  EXPECT_EQ(bind(agent), 403);
  EXPECT_EQ(relay.stats().bind(BindOutcome::BadToken), 1U);
  agent.token = identity::seal_ticket(agent.ticket, identity::SealKey{9}, test::kRelayName, random);
  EXPECT_EQ(bind(agent), 403);
  agent.token = identity::seal_ticket(agent.ticket, test::kTokenKey, "relay-2", random);
  EXPECT_EQ(bind(agent), 403);
  agent.token.clear();
  Bytes buffer(512);
  wire::StunBuilder builder(buffer, wire::StunType::BindRequest, {});
  builder.add(wire::StunAttribute::Nonce, nonce_for(agent.address));
  builder.pad_to(128);
  send(agent.address, builder.finish());
  EXPECT_EQ(answer_code(), 403);
  EXPECT_EQ(relay.binding_count(), 0U);
}

TEST_F(RelayBind, AnOutdatedTicketIsRefusedWithAMac) {
  Agent agent = client("192.0.2.1:1000");
  agent.ticket.lifetime_s = 10;
  seal(agent);
  EXPECT_EQ(bind(agent), 0);
  EXPECT_EQ(wire::StunView::parse(output.trains()[0].bytes)->find_u32(wire::StunAttribute::Lifetime), 10U);
  advance(std::chrono::seconds(10));
  EXPECT_EQ(bind(agent), 403);
  EXPECT_TRUE(
      wire::StunView::parse(output.trains()[0].bytes)->has_integrity(agent.ticket.mac_key, identity::hmac_sha256));
  EXPECT_FALSE(is_bound(agent));
}

TEST_F(RelayBind, EveryFlippedBitAndEveryTruncationOfABindIsRefused) {
  Agent agent = client("192.0.2.1:1000");
  const Bytes good = bind_request(agent, nonce_for(agent.address));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1U << (bit % 8)));
    send(agent.address, bad);
    ASSERT_NE(answer_code(), 0) << bit;
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    send(agent.address, ByteView(good).first(size));
    ASSERT_NE(answer_code(), 0) << size;
  }
  EXPECT_EQ(relay.binding_count(), 0U);
  send(agent.address, good);
  EXPECT_EQ(answer_code(), 0);
}

TEST_F(RelayBind, AttributesBehindTheMacAreRefused) {
  Agent agent = client("192.0.2.1:1000");
  Bytes request = bind_request(agent, nonce_for(agent.address));
  request.insert(request.end(), {0x00, 0x26, 0x00, 0x00});
  store_u16(request.data() + 2, static_cast<std::uint16_t>(request.size() - 20));
  EXPECT_TRUE(send(agent.address, request).empty());
  EXPECT_EQ(relay.stats().dropped(RelayDrop::BindBadMac), 1U);
}

TEST_F(RelayBind, ABindingEndsWithItsLifetimeAndIsSweptLater) {
  Agent agent = client("192.0.2.1:1000");
  EXPECT_FALSE(relay.next_timeout());
  bind(agent);
  advance(std::chrono::milliseconds(599'999));
  EXPECT_TRUE(is_bound(agent));
  advance(std::chrono::milliseconds(1));
  EXPECT_FALSE(is_bound(agent));
  EXPECT_EQ(relay.binding_count(), 1U);
  ASSERT_TRUE(relay.next_timeout());
  relay.handle_timeout(now, wall);
  EXPECT_EQ(relay.binding_count(), 0U);
  EXPECT_FALSE(relay.next_timeout());
  EXPECT_EQ(bind(agent), 0);
}

TEST_F(RelayBind, ARevokedRouteIsUnboundAndStaysRefusedUntilItsTicketsHaveEnded) {
  Agent agent = client("192.0.2.1:1000");
  bind(agent);
  relay.revoke(agent.ticket.route, wall);
  EXPECT_FALSE(is_bound(agent));
  EXPECT_EQ(bind(agent), 403);
  EXPECT_EQ(relay.stats().bind(BindOutcome::Revoked), 1U);
  advance(std::chrono::seconds(14'399));
  relay.handle_timeout(now, wall);
  EXPECT_EQ(bind(agent), 403);
  advance(RevokedRoutes::kRemembered);
  relay.handle_timeout(now, wall);
  EXPECT_FALSE(relay.next_timeout());
}

TEST_F(RelayBind, AnotherRelayDoesNotTakeTheNonceOfThisOne) {
  Agent agent = client("192.0.2.1:1000");
  const Bytes nonce = nonce_for(agent.address);
  Relay restarted({.name = std::string(test::kRelayName), .token_key = test::kTokenKey}, random);
  EXPECT_NE(restarted.epoch(), relay.epoch());
  output.clear();
  restarted.handle_train(now, wall, agent.address, bind_request(agent, nonce), 0, output);
  EXPECT_EQ(answer_code(), 438);
}

struct SmallRelay : test::RelayFixture {
  SmallRelay() : RelayFixture(2) {}
};

TEST_F(SmallRelay, AtItsBoundRefusesNewRoutesAndKeepsTheOldOnes) {
  Agent first = client("192.0.2.1:1000");
  Agent second = client("192.0.2.2:1000");
  Agent third = client("192.0.2.3:1000");
  EXPECT_EQ(bind(first), 0);
  EXPECT_EQ(bind(second), 0);
  EXPECT_EQ(bind(third), 486);
  EXPECT_TRUE(
      wire::StunView::parse(output.trains()[0].bytes)->has_integrity(third.ticket.mac_key, identity::hmac_sha256));
  EXPECT_EQ(bind(first), 0);
  // What has expired makes room without waiting for the sweep.
  advance(std::chrono::seconds(600));
  EXPECT_EQ(bind(third), 0);
}

TEST_F(RelayBind, PlainBindingIsAnsweredTwentyTimesASecondForAPrefix) {
  Bytes buffer(64);
  const auto ask = [&](const char* from) {
    wire::StunBuilder builder(buffer, wire::StunType::BindingRequest, random.make<wire::TransactionId>());
    return send(*SocketAddress::parse(from), builder.finish()).size();
  };
  std::size_t answered = 0;
  for (int i = 0; i < 30; ++i) answered += ask(i % 2 == 0 ? "192.0.2.1:1" : "192.0.2.200:2");
  EXPECT_EQ(answered, 20U);
  EXPECT_EQ(relay.stats().dropped(RelayDrop::BindingRateLimited), 10U);
  EXPECT_EQ(ask("[2001:db8::1]:5"), 1U);
  const auto answer = wire::StunView::parse(output.trains()[0].bytes);
  EXPECT_EQ(answer->type(), wire::StunType::BindingSuccess);
  EXPECT_EQ(answer->mapped_address()->to_string(), "[2001:db8::1]:5");
  EXPECT_EQ(answer->size(), 44U);
  advance(std::chrono::milliseconds(50));
  EXPECT_EQ(ask("192.0.2.1:1") + ask("192.0.2.1:1"), 1U);
}

TEST_F(RelayBind, OtherStunMessagesAreDropped) {
  Bytes buffer(64);
  for (const auto type : {wire::StunType::BindSuccess, wire::StunType::BindError, wire::StunType::BindIndication,
                          wire::StunType::BindingSuccess, wire::StunType{0x0003}}) {
    wire::StunBuilder builder(buffer, type, {});
    EXPECT_TRUE(send(*SocketAddress::parse("192.0.2.1:1"), builder.finish()).empty());
  }
  EXPECT_EQ(relay.stats().dropped(RelayDrop::StunUnwanted), 5U);
}

TEST_F(RelayBind, AnswersBeyondTheScratchAreDroppedAndCounted) {
  Agent agent = client("192.0.2.1:1000");
  Bytes many;
  for (int i = 0; i < 200; ++i) {
    const Bytes request = unauthenticated_bind();
    many.insert(many.end(), request.begin(), request.end());
  }
  const std::size_t answers = send(agent.address, many, 128).size();
  EXPECT_GE(answers, 64U);
  EXPECT_EQ(answers + relay.stats().dropped(RelayDrop::AnswerSpaceFull), 200U);
}

}  // namespace
}  // namespace postern::relay_core
