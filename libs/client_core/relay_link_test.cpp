#include "client_core/relay_link.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "identity/keys.hpp"

namespace postern::client {
namespace {

using namespace std::chrono_literals;

wire::RelayInfo relay(const std::string& name, const std::vector<std::string>& addresses) {
  wire::RelayInfo info;
  info.set_name(name);
  for (const std::string& address : addresses) info.add_addresses(address);
  info.set_epoch(1);
  info.set_access_token("ticket for " + name);
  info.set_mac_key(std::string(32, 'k'));
  return info;
}

/// No relay ever answers here.
struct RelayLinkTest : ::testing::Test {
  SeededRandom random{1};
  RelayLink link{&identity::hmac_sha256, random};
  Instant now{100s};

  void wait(Duration time) {
    const Instant end = now + time;
    while (link.next_timeout() && *link.next_timeout() <= end) {
      now = std::max(now, *link.next_timeout());
      link.handle_timeout(now);
      while (link.poll_transmit()) continue;
      static_cast<void>(link.poll_changes(now));
    }
    now = end;
  }
  [[nodiscard]] std::string at() const { return link.address() ? link.address()->to_string() : "nowhere"; }
};

TEST_F(RelayLinkTest, ARelayThatAnswersAtNoAddressIsLeftForTheNextAndComesRoundAgain) {
  link.handle_relays(now, {}, {relay("a", {"192.0.2.1:443", "192.0.2.2:443"}), relay("b", {"192.0.2.3:443"})});
  EXPECT_EQ(at(), "192.0.2.1:443");
  wait(1100ms);
  EXPECT_EQ(at(), "192.0.2.2:443");
  wait(1s);
  EXPECT_EQ(link.name(), "b");
  EXPECT_EQ(at(), "192.0.2.3:443");
  wait(1s);
  EXPECT_EQ(at(), "192.0.2.1:443");
  wait(4s);
  EXPECT_EQ(at(), "192.0.2.1:443") << "the second round goes slower";
  wait(1s);
  EXPECT_EQ(at(), "192.0.2.2:443");
  EXPECT_EQ(link.addresses().size(), 3U) << "none of them may be routed into the TUN";
}

TEST_F(RelayLinkTest, TheOnlyRelayIsNeverGivenUp) {
  link.handle_relays(now, {}, {relay("a", {"192.0.2.1:443"})});
  wait(60s);
  EXPECT_EQ(at(), "192.0.2.1:443");
}

TEST_F(RelayLinkTest, ARelayThatIsTakenAwayIsLeftAtOnce) {
  link.handle_relays(now, {}, {relay("a", {"192.0.2.1:443"}), relay("b", {"192.0.2.3:443"})});
  link.handle_relay_down(now, "b");
  EXPECT_EQ(link.name(), "a");
  link.handle_relay_up(now, {}, relay("c", {"192.0.2.4:443"}));
  link.handle_relay_down(now, link.name());
  EXPECT_EQ(link.addresses().size(), 1U);
  link.handle_relay_down(now, link.name());
  EXPECT_EQ(at(), "nowhere");
  EXPECT_TRUE(link.addresses().empty());
  link.handle_relay_up(now, {}, relay("d", {"192.0.2.5:443"}));
  EXPECT_EQ(at(), "192.0.2.5:443");
}

TEST_F(RelayLinkTest, RelaysWithoutTicketOrAddressAreNotUsed) {
  wire::RelayInfo bare = relay("a", {"192.0.2.1:443"});
  bare.clear_mac_key();
  link.handle_relays(now, {}, {bare, relay("b", {"not an address"})});
  EXPECT_EQ(at(), "nowhere");
  link.handle_relays(now, {}, {bare, relay("b", {"192.0.2.3:443"})});
  EXPECT_EQ(link.name(), "b");
}

TEST_F(RelayLinkTest, MoreRelaysThanANetworkHasAreLeftOut) {
  std::vector<wire::RelayInfo> many;
  for (int i = 0; i < 20; ++i)
    many.push_back(relay("r" + std::to_string(i), {"192.0.2.1:" + std::to_string(1000 + i)}));
  link.handle_relays(now, {}, many);
  EXPECT_EQ(link.addresses().size(), 8U);
}

}  // namespace
}  // namespace postern::client
