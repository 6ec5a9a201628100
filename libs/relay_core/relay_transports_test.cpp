// An agent that may have UDP, a link, or both, and the real relay.
#include "base/link_address.hpp"
#include "relay_core/relay_fixture.hpp"
#include "wire/relay_binding.hpp"

namespace postern::relay_core {
namespace {

using namespace std::chrono_literals;
using test::Agent;
using wire::RelayBinding;

const SocketAddress kRelay = *SocketAddress::parse("198.51.100.1:443");
const SocketAddress kLink = link_address(7);  // what the agent calls it; the relay has a name of its own for it

struct RelayTransports : test::RelayFixture {
  void SetUp() override {
    agent = client("192.0.2.1:1000");
    wire::BindTicket ticket;
    ticket.access_token = agent.token;
    ticket.mac_key = agent.ticket.mac_key;
    const Duration offset = wall.time_since_epoch() - now.time_since_epoch();
    binding.emplace(wire::BindClientConfig{kRelay, ticket, identity::hmac_sha256, offset}, kLink, random, now);
  }

  /// Everything that the agent wants sent, with the relay's answers.
  void exchange() {
    while (const auto outgoing = binding->poll_transmit()) {
      const bool is_link = is_link_address(outgoing->to);
      if (!is_link) sent_udp += 1;
      if (is_link ? !open_attempt : !udp_works) continue;
      const Bytes datagram = to_bytes(outgoing->datagram);
      const SocketAddress source = is_link ? link_address(1000 + *open_attempt) : agent.address;
      Bytes answer;
      for (const auto& train : send(source, datagram)) answer = to_bytes(train.bytes);
      if (!answer.empty() && (is_link || udp_answers)) {
        binding->handle_datagram(now, is_link ? kLink : kRelay, answer);
      }
    }
    while (const auto event = binding->poll_event()) {
      if (std::holds_alternative<wire::BindingLost>(*event)) ++lost;
      if (std::holds_alternative<wire::BindingProven>(*event)) ++proven;
    }
  }

  void follow_link() {
    const auto wanted = binding->wanted_link();
    if (open_attempt && (!wanted || wanted->attempt != *open_attempt)) close_link();
    if (!wanted || open_attempt == wanted->attempt || asked == wanted->attempt) return;
    asked = wanted->attempt;
    ++attempts;
    if (!link_works) return binding->handle_link_closed(now, "refused");
    open_attempt = wanted->attempt;
    binding->handle_link_open(now);
  }

  void close_link() {
    relay.close_source(link_address(1000 + *open_attempt));
    open_attempt.reset();
  }

  void step() {
    binding->handle_timeout(now);
    exchange();
    follow_link();
    exchange();
  }
  void wait(Duration time) {
    for (const Instant end = now + time; now < end; advance(50ms)) step();
    step();
  }
  [[nodiscard]] bool over_link() const { return binding->is_over_link() && binding->is_bound(now); }
  [[nodiscard]] bool over_udp() const { return !binding->is_over_link() && binding->is_bound(now); }
  /// Where the relay would send a packet of this agent.
  [[nodiscard]] bool relay_agrees() {
    const SocketAddress source = over_link() && open_attempt ? link_address(1000 + *open_attempt) : agent.address;
    return relay.is_bound_source(source, now) && relay.binding_count() == 1;
  }

  Agent agent;
  std::optional<RelayBinding> binding;
  bool udp_works = true;
  bool udp_answers = true;
  bool link_works = true;
  std::optional<std::uint64_t> open_attempt;
  std::uint64_t asked = 0;
  int attempts = 0;
  int sent_udp = 0;
  int lost = 0;
  int proven = 0;
};

TEST_F(RelayTransports, WhereUdpIsAnsweredNoLinkIsEverOpened) {
  wait(10min);
  EXPECT_TRUE(over_udp());
  EXPECT_EQ(attempts, 0);
}

TEST_F(RelayTransports, WhereUdpIsNotAnsweredTheLinkIsBoundAfterASecond) {
  udp_works = false;
  wait(900ms);
  EXPECT_EQ(attempts, 0);
  wait(300ms);
  EXPECT_TRUE(over_link());
  EXPECT_TRUE(relay_agrees());
  wait(10min);
  EXPECT_TRUE(over_link()) << "refreshed over the link";
  EXPECT_EQ(attempts, 1);
}

TEST_F(RelayTransports, RequestsThatArriveWithoutTheirAnswersDoNotTakeTheBindingFromTheLink) {
  udp_answers = false;
  wait(2s);
  EXPECT_TRUE(over_link());
  for (int i = 0; i < 600; ++i) {
    wait(1s);
    ASSERT_TRUE(over_link() && relay_agrees()) << i;
  }
}

TEST_F(RelayTransports, UdpThatWorksAgainIsFoundAndTakenWithoutAGap) {
  udp_works = false;
  wait(3s);
  ASSERT_TRUE(over_link());
  udp_works = true;
  for (int i = 0; i < 200 && !over_udp(); ++i) {
    wait(50ms);
    ASSERT_TRUE(binding->is_bound(now));
  }
  EXPECT_TRUE(over_udp() && relay_agrees());
  EXPECT_EQ(lost, 0);
  EXPECT_TRUE(binding->wanted_link()) << "late packets may come, and UDP may fail again";
  wait(RelayBinding::kLinger + 1s);
  EXPECT_FALSE(binding->wanted_link());
  EXPECT_TRUE(relay_agrees());
}

TEST_F(RelayTransports, UdpIsLookedForMoreAndMoreRarely) {
  udp_works = false;
  wait(3s);
  ASSERT_TRUE(over_link());
  sent_udp = 0;
  wait(60s);
  EXPECT_LE(sent_udp, 5);
  sent_udp = 0;
  wait(30min);
  EXPECT_GE(sent_udp, 5);
  EXPECT_LE(sent_udp, 10);
}

TEST_F(RelayTransports, UdpThatIsBlockedWhilePacketsFlowIsLeftWithinFourSeconds) {
  wait(30s);
  ASSERT_TRUE(over_udp());
  udp_works = false;
  const Instant blocked = now;
  while (!over_link() && now - blocked < 10s) {
    binding->note_sent(now);
    wait(100ms);
  }
  EXPECT_LE(now - blocked, 4s);
  EXPECT_TRUE(relay_agrees());
}

TEST_F(RelayTransports, WhoHasFlowsAndOnlyListensLeavesUdpThatIsBlockedWithinTenSeconds) {
  wait(30s);
  binding->set_busy(true);
  wait(1min);
  ASSERT_TRUE(over_udp());
  ASSERT_EQ(attempts, 0);
  udp_works = false;
  const Instant blocked = now;
  while (!over_link() && now - blocked < 30s) wait(100ms);
  EXPECT_LE(now - blocked, 10s);
}

TEST_F(RelayTransports, ADoubtThatUdpDispelsOpensNoLink) {
  wait(30s);
  for (int i = 0; i < 60; ++i) {
    binding->note_sent(now);  // nobody but the relay answers
    wait(1s);
  }
  EXPECT_TRUE(over_udp());
  EXPECT_EQ(attempts, 0);
}

TEST_F(RelayTransports, ALinkThatEndsIsOpenedAgainAtOnceAndThenMoreAndMoreRarely) {
  udp_works = false;
  wait(2s);
  ASSERT_TRUE(over_link());
  close_link();
  binding->handle_link_closed(now, "the connection broke");
  wait(1s);
  EXPECT_TRUE(over_link() && relay_agrees());
  EXPECT_EQ(lost, 1);
  link_works = false;
  close_link();
  binding->handle_link_closed(now, "the connection broke");
  attempts = 0;
  wait(5min);
  EXPECT_GE(attempts, 10);
  EXPECT_LE(attempts, 60);
  EXPECT_EQ(binding->link_failure(), "refused");
  EXPECT_FALSE(binding->is_bound(now));
  udp_works = true;
  wait(5s);
  EXPECT_TRUE(over_udp() && relay_agrees());
}

TEST_F(RelayTransports, ALinkThatCarriesNothingAnyMoreIsOpenedAnew) {
  udp_works = false;
  wait(2s);
  ASSERT_TRUE(over_link());
  const std::uint64_t first = *open_attempt;
  relay.close_source(link_address(1000 + first));
  open_attempt = std::nullopt;  // a dead TCP connection: nobody says so
  const Instant died = now;
  while (!(open_attempt && over_link()) && now - died < 30s) {
    binding->note_sent(now);
    wait(100ms);
  }
  EXPECT_LE(now - died, 10s);
  EXPECT_TRUE(over_link());
  EXPECT_NE(*open_attempt, first);
}

TEST_F(RelayTransports, UdpThatKeepsFailingIsTakenLessAndLessOften) {
  int moves = 0;
  for (int i = 0; i < 1800; ++i) {
    // It answers small packets and dies as soon as it is used.
    udp_works = !over_udp();
    const bool was_link = over_link();
    if (over_udp()) binding->note_sent(now);
    wait(1s);
    if (was_link && over_udp()) ++moves;
  }
  EXPECT_LE(moves, 12);
}

TEST_F(RelayTransports, WithoutALinkOnlyUdpIsTried) {
  const Duration offset = wall.time_since_epoch() - now.time_since_epoch();
  binding.emplace(wire::BindClientConfig{kRelay, {agent.token, agent.ticket.mac_key}, identity::hmac_sha256, offset},
                  std::nullopt, random, now);
  udp_works = false;
  wait(1min);
  EXPECT_FALSE(binding->wanted_link());
  udp_works = true;
  wait(5s);
  EXPECT_TRUE(over_udp());
}

TEST_F(RelayTransports, WhatLinkAndUdpHaveToDoIsNeverInThePast) {
  udp_works = false;
  for (int i = 0; i < 2000; ++i) {
    now = std::max(now + 1ms, binding->next_timeout());
    wall = from_unix_ms(1'780'000'000'000) +
           std::chrono::duration_cast<std::chrono::milliseconds>(now - from_nanoseconds(1'000'000'000'000));
    step();
    ASSERT_GT(binding->next_timeout(), now) << i;
  }
}

}  // namespace
}  // namespace postern::relay_core
