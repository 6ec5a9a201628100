#include "connector_core/relay_bindings.hpp"

#include <gtest/gtest.h>

#include "identity/keys.hpp"
#include "wire/stun.hpp"

namespace postern::connector {
namespace {

using namespace std::chrono_literals;

const std::string kMacKey(32, 'k');

wire::RelayInfo info(const std::string& name, const std::string& address) {
  wire::RelayInfo relay;
  relay.set_name(name);
  relay.add_addresses(address);
  relay.set_epoch(1);
  relay.set_access_token("ticket for " + name);
  relay.set_mac_key(kMacKey);
  return relay;
}

/// Relays that answer every Bind at once, but those in `silent`.
struct RelayBindingsTest : ::testing::Test {
  SeededRandom random{1};
  Instant now{100s};
  std::vector<SocketAddress> silent;
  std::vector<SocketAddress> proven;
  std::vector<std::pair<SocketAddress, Bytes>> sent;
  RelayBindings bindings{
      random,
      {.send = [this](const SocketAddress& to, ByteView bytes) { sent.emplace_back(to, to_bytes(bytes)); },
       .changed = [] {},
       .proven = [this](const SocketAddress& relay) { proven.push_back(relay); },

       .ticket_refused = [] {},
       .note = [](const RelayNote&) {}}};

  void welcome(const std::vector<wire::RelayInfo>& relays) {
    google::protobuf::RepeatedPtrField<wire::RelayInfo> list;
    for (const wire::RelayInfo& relay : relays) *list.Add() = relay;
    bindings.replace(now, list);
    answer_all();
  }
  void answer_all() {
    while (!sent.empty()) {
      const auto [relay, request] = sent.front();
      sent.erase(sent.begin());
      if (std::ranges::find(silent, relay) == silent.end()) answer(relay, request);
    }
  }
  void answer(const SocketAddress& relay, ByteView request) {
    const auto stun = wire::StunView::parse(request);
    ASSERT_TRUE(stun);
    Bytes buffer(512);
    if (!stun->find(wire::StunAttribute::Nonce)) {
      wire::StunBuilder builder(buffer, wire::StunType::BindError, stun->transaction());
      builder.add_error(401, "nonce");
      builder.add(wire::StunAttribute::Nonce, Bytes(wire::kBindNonceSize, 7));
      bindings.handle_datagram(now, relay, builder.finish());
      return;
    }
    wire::StunBuilder builder(buffer, wire::StunType::BindSuccess, stun->transaction());
    builder.add_mapped_address({IpAddress::v4(203, 0, 113, 30), 4711});
    builder.add_u32(wire::StunAttribute::Lifetime, 600);
    bindings.handle_datagram(now, relay, builder.finish_with_integrity(as_bytes(kMacKey), &identity::hmac_sha256));
  }
  void wait(Duration time) {
    const Instant end = now + time;
    while (bindings.next_timeout() && *bindings.next_timeout() <= end) {
      now = std::max(now, *bindings.next_timeout());
      bindings.handle_timeout(now);
      answer_all();
    }
    now = end;
  }
  [[nodiscard]] std::vector<std::string> bound() const { return bindings.bound_names(now); }
};

using Names = std::vector<std::string>;

TEST_F(RelayBindingsTest, BindsAtEveryRelayThatItIsTold) {
  welcome({info("a", "192.0.2.1:443"), info("b", "192.0.2.2:443")});
  EXPECT_EQ(bound(), (Names{"a", "b"}));
  EXPECT_TRUE(bindings.is_relay(*SocketAddress::parse("192.0.2.2:443")));
}

// A controller that has just started has not heard of its relays yet.
TEST_F(RelayBindingsTest, KeepsAWorkingRelayForAMinuteThatAWelcomeDoesNotName) {
  welcome({info("a", "192.0.2.1:443")});
  welcome({info("b", "192.0.2.2:443")});
  wait(RelayBindings::kUnlistedTime - 1s);
  EXPECT_EQ(bound(), (Names{"a", "b"}));
  proven.clear();
  wait(1s);
  EXPECT_EQ(bound(), Names{"b"});
  EXPECT_EQ(proven, std::vector{*SocketAddress::parse("192.0.2.2:443")}) << "sessions must take the other way";
}

TEST_F(RelayBindingsTest, AnUnlistedRelayThatComesBackStays) {
  welcome({info("a", "192.0.2.1:443")});
  welcome({info("b", "192.0.2.2:443")});
  bindings.update(now, info("a", "192.0.2.1:443"));
  wait(2 * RelayBindings::kUnlistedTime);
  EXPECT_EQ(bound(), (Names{"a", "b"}));
}

TEST_F(RelayBindingsTest, AnUnlistedRelayThatNeverAnsweredIsDroppedAtOnce) {
  silent = {*SocketAddress::parse("192.0.2.1:443")};
  welcome({info("a", "192.0.2.1:443")});
  EXPECT_EQ(bound(), Names{});
  welcome({info("b", "192.0.2.2:443")});
  EXPECT_FALSE(bindings.is_relay(silent.front()));
}

TEST_F(RelayBindingsTest, ARelayThatOnlyALinkReachesTellsNoAddressUntilUdpIsAnsweredAgain) {
  const SocketAddress udp = *SocketAddress::parse("192.0.2.1:443");
  silent = {udp};
  wire::RelayInfo relay = info("a", "192.0.2.1:443");
  relay.set_tls(true);
  welcome({relay});
  EXPECT_TRUE(bindings.wanted_links().empty()) << "UDP has its time first";
  wait(2s);
  ASSERT_EQ(bindings.wanted_links().size(), 1U);
  const SocketAddress link = bindings.wanted_links().front().link;
  EXPECT_FALSE(bindings.is_relay(link)) << "it is not open yet";
  bindings.handle_link_open(now, link);
  answer_all();
  ASSERT_EQ(bound(), Names{"a"});
  EXPECT_TRUE(bindings.is_relay(link) && bindings.is_in_use(link));
  EXPECT_EQ(proven.back(), link);
  EXPECT_EQ(bindings.bound(now).front().udp_address, udp);
  EXPECT_TRUE(bindings.bound(now).front().over_link);
  EXPECT_TRUE(bindings.mapped(now).empty()) << "what the relay sees is the link: no candidate";

  silent.clear();
  wait(wire::RelayBinding::kProbeFirst + wire::RelayBinding::kProbeAnswerMax);
  EXPECT_EQ(proven.back(), udp);
  EXPECT_FALSE(bindings.bound(now).front().over_link);
  EXPECT_EQ(bindings.mapped(now), std::vector{*SocketAddress::parse("203.0.113.30:4711")});
}

TEST_F(RelayBindingsTest, ALinkThatEndsLeavesTheRelayToUdpOrToTheNextLink) {
  silent = {*SocketAddress::parse("192.0.2.1:443")};
  wire::RelayInfo relay = info("a", "192.0.2.1:443");
  relay.set_tls(true);
  welcome({relay});
  wait(2s);
  const auto first = bindings.wanted_links().front();
  bindings.handle_link_open(now, first.link);
  answer_all();
  ASSERT_EQ(bound(), Names{"a"});
  bindings.handle_link_closed(now, first.link, "the connection broke");
  answer_all();
  EXPECT_EQ(bound(), Names{});
  EXPECT_FALSE(bindings.is_relay(first.link)) << "what still comes from there is nobody's";
  wait(2s);
  ASSERT_EQ(bindings.wanted_links().size(), 1U);
  EXPECT_NE(bindings.wanted_links().front().attempt, first.attempt);
}

}  // namespace
}  // namespace postern::connector
