#include <gmock/gmock.h>

#include "client_core/client_test_util.hpp"

namespace postern::client::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

IpPrefix prefix(const char* text) {
  return *IpPrefix::parse(text);
}
IpAddress ip(const char* text) {
  return *IpAddress::parse(text);
}

class Explaining : public testing::Test {
 protected:
  Explanation explain(const std::string& text) {
    const auto destination = parse_destination(text);
    EXPECT_TRUE(destination) << text;
    return world.client->explain(world.now, *destination, host);
  }
  std::string word(const std::string& text) { return std::string(verdict_word(explain(text))); }
  /// What a real connection gets to see; nothing when it is opened.
  std::optional<FlowRefusal> really(const IpAddress& address, std::uint16_t port) {
    std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)> before = refusals();
    App& app = world.connect(address, port);
    (void)world.run_until([&] { return app.connected || refusals() != before; }, 15s);
    if (app.connected) return std::nullopt;
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (refusals()[i] > before[i]) return static_cast<FlowRefusal>(i);
    }
    ADD_FAILURE() << "neither opened nor refused";
    return std::nullopt;
  }
  std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)> refusals() {
    std::array<std::uint64_t, static_cast<std::size_t>(FlowRefusal::kCount)> counts{};
    const auto drops = world.client->status(world.now).drops;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const auto found = drops.find("flow_" + std::string(to_string(static_cast<FlowRefusal>(i))));
      if (found != drops.end()) counts[i] = found->second;
    }
    return counts;
  }

  World world;
  HostFacts host;
};

TEST_F(Explaining, ANameThatIsAllowedNamesResourceNetworkConnectorAndRelay) {
  world.add_connector();
  world.bring_up();
  const auto said = explain("nginx.home.lan:80");
  EXPECT_TRUE(said.is_reached()) << said.reason;
  ASSERT_TRUE(said.resource);
  EXPECT_EQ(said.resource->name, "r1");
  EXPECT_EQ(said.resource->remote_network, "home");
  EXPECT_EQ(said.resource->tcp_ports, "80");
  ASSERT_EQ(said.instances.size(), 1U);
  EXPECT_EQ(said.instances[0].connector, "attic");
  EXPECT_TRUE(said.instances[0].chosen);
  EXPECT_EQ(said.instances[0].state, "no session");
  ASSERT_TRUE(said.relay);
  EXPECT_TRUE(said.relay->bound);
  EXPECT_EQ(said.lease_expires_at, from_unix_ms(1'700'000'000'000 + 3'600'000));
}

TEST_F(Explaining, AskingChangesNothing) {
  world.add_connector();
  world.bring_up();
  (void)explain("nginx.home.lan:80");
  EXPECT_TRUE(world.client->status(world.now).sessions.empty());
  EXPECT_EQ(world.client->addresses().size(), 0U);
}

TEST_F(Explaining, AVirtualAddressIsExplainedByTheNameItStandsFor) {
  world.add_connector();
  world.bring_up();
  const IpAddress address = world.resolve("nginx.home.lan");
  const auto said = explain(address.to_string() + ":80");
  EXPECT_TRUE(said.is_reached());
  EXPECT_EQ(said.name, "nginx.home.lan");
  EXPECT_THAT(explain("nginx.home.lan").virtual_addresses, testing::Contains(address));
  EXPECT_EQ(word("100.97.1.1:80"), "unknown_name");
  EXPECT_EQ(word("100.96.0.2:53"), "resolver");
}

TEST_F(Explaining, SaysTheSameAsAConnectionGetsToSee) {
  world.add_connector();
  world.bring_up();
  const IpAddress name = world.resolve("nginx.home.lan");
  struct Case {
    std::string text;
    IpAddress address;
    std::uint16_t port;
  };
  for (const Case& entry :
       {Case{"nginx.home.lan:80", name, 80}, Case{"nginx.home.lan:22", name, 22},
        Case{"192.168.1.7:80", ip("192.168.1.7"), 80}, Case{"192.168.1.7:81", ip("192.168.1.7"), 81},
        Case{"100.97.1.1:80", ip("100.97.1.1"), 80}}) {
    const auto said = explain(entry.text);
    EXPECT_EQ(said.refusal, really(entry.address, entry.port)) << entry.text;
    EXPECT_EQ(said.is_reached(), !said.refusal) << entry.text;
  }
}

TEST_F(Explaining, APortThatIsNotAllowedNamesThoseThatAre) {
  world.add_connector();
  world.bring_up();
  const auto said = explain("nginx.home.lan 22");
  EXPECT_EQ(verdict_word(said), "port_not_allowed");
  EXPECT_THAT(said.reason, HasSubstr("only: 80"));
  EXPECT_TRUE(explain("nginx.home.lan").is_reached()) << "without a port none is judged";
}

TEST_F(Explaining, WhatNoResourceCoversIsNotPosternsBusiness) {
  world.add_connector();
  world.bring_up();
  EXPECT_EQ(word("example.com:443"), "no_resource");
  EXPECT_EQ(word("8.8.8.8"), "no_resource");
  EXPECT_EQ(word("[2001:db8::1]:443"), "no_resource");
  EXPECT_EQ(word("postern.example.org:443"), "own_server");
}

TEST_F(Explaining, LessSpecificResourcesAndOtherNetworksAreShownAsLosers) {
  world.add_connector();
  world.bring_up();
  wire::ControllerMessage more;
  auto& update = *more.mutable_client_update();
  update.set_from_version(1);
  update.set_version(2);
  World::add_resource(update, 3, "*.home.lan", 443);
  World::add_resource(update, 4, "nginx.home.lan", 443);
  update.mutable_resources(1)->set_remote_network_id(8);
  World::add_resource(update, 5, "192.168.0.0/16", 443);
  world.control(more);
  const auto by_name = explain("nginx.home.lan:80");
  ASSERT_EQ(by_name.others.size(), 2U);
  EXPECT_EQ(by_name.resource->id, 1U);
  EXPECT_EQ(by_name.others[0].id, 4U);
  EXPECT_THAT(by_name.others[0].why_not, HasSubstr("another remote network"));
  EXPECT_EQ(by_name.others[0].remote_network, "#8");
  EXPECT_EQ(by_name.others[1].id, 3U);
  EXPECT_EQ(by_name.others[1].why_not, "less specific");
  const auto by_address = explain("192.168.1.9:80");
  EXPECT_EQ(by_address.resource->id, 2U);
  ASSERT_EQ(by_address.others.size(), 1U);
  EXPECT_EQ(by_address.others[0].id, 5U);
}

TEST_F(Explaining, WithoutAConnectorItSaysSoAndThatAConnectionWouldWaitWhileTheNewsAreYoung) {
  world.bring_up();
  EXPECT_EQ(explain("nginx.home.lan:80").verdict, ExplainVerdict::Held);
  world.run_for(Client::kSettleTime + 1s);
  const auto said = explain("nginx.home.lan:80");
  EXPECT_EQ(said.verdict, ExplainVerdict::Refused);
  EXPECT_EQ(verdict_word(said), "no_instance");
  EXPECT_THAT(said.reason, HasSubstr("no connector of the remote network \"home\" is online"));
  EXPECT_EQ(really(world.resolve("nginx.home.lan"), 80), FlowRefusal::NoInstance);
}

TEST_F(Explaining, AConnectorThatDoesNotAnswerIsNamedWithTheTimeOfTheNextAttempt) {
  world.add_connector().is_dead = true;
  world.bring_up();
  world.run_for(Client::kSettleTime + 1s);
  EXPECT_TRUE(really(world.resolve("nginx.home.lan"), 80));
  const auto said = explain("nginx.home.lan:80");
  EXPECT_EQ(verdict_word(said), "no_instance");
  ASSERT_EQ(said.instances.size(), 1U);
  EXPECT_THAT(said.instances[0].why, HasSubstr("the next is in"));
}

TEST_F(Explaining, OfSeveralInstancesTheOneThatAFlowTakesIsMarked) {
  for (int i = 0; i < 3; ++i) world.add_connector();
  world.bring_up();
  const auto said = explain("nginx.home.lan:80");
  ASSERT_EQ(said.instances.size(), 3U);
  EXPECT_TRUE(said.instances[0].chosen);
  EXPECT_FALSE(said.instances[1].chosen);
  EXPECT_EQ(really(world.resolve("nginx.home.lan"), 80), std::nullopt);
  const auto after = explain("nginx.home.lan:80");
  EXPECT_EQ(after.instances[0].id, said.instances[0].id);
  EXPECT_EQ(after.instances[0].state, "ready");
  EXPECT_EQ(after.instances[0].path, "relay");
  EXPECT_TRUE(after.instances[0].round_trip);
}

TEST_F(Explaining, AnExpiredLeaseAndAnAbsentControllerAreSaid) {
  world.add_connector();
  world.bring_up();
  world.client->handle_control_down(world.now, "connection refused");
  world.run_for(3700s);
  const auto said = explain("nginx.home.lan:80");
  EXPECT_EQ(verdict_word(said), "no_lease");
  EXPECT_THAT(said.reason, HasSubstr("has expired"));
  ASSERT_FALSE(said.notes.empty());
  EXPECT_THAT(said.notes[0], HasSubstr("the controller has been away for 61 min: connection refused"));
}

TEST_F(Explaining, WithoutABoundRelayNothingNewIsReached) {
  world.relay_answers = false;
  world.add_connector();
  world.client->handle_control_up(world.now);
  world.control(world.welcome());
  world.control(world.full_update());
  world.run_for(Client::kSettleTime + 1s);
  const auto said = explain("nginx.home.lan:80");
  EXPECT_EQ(verdict_word(said), "no_relay");
  EXPECT_THAT(said.reason, HasSubstr(kRelay.to_string()));
}

TEST_F(Explaining, WhatTheHostNeedsItselfIsNeverRoutedAndSaid) {
  world.add_connector();
  world.bring_up();
  host.protected_addresses = {{ip("192.168.1.1"), Protection::Gateway}, {ip("192.168.1.53"), Protection::DnsServer}};
  EXPECT_EQ(word("192.168.1.1:80"), "protected");
  EXPECT_THAT(explain("192.168.1.53:80").reason, HasSubstr("a DNS server that this computer uses"));
  EXPECT_EQ(word("192.168.1.2:80"), "reached");
  EXPECT_THAT(world.client->route_notes(host),
              ElementsAre(HasSubstr("covers 192.168.1.1, a gateway of this computer"),
                          HasSubstr("covers 192.168.1.53, a DNS server that this computer uses")));
  const auto plan = plan_routes(world.client->route_request(host));
  EXPECT_TRUE(std::ranges::none_of(plan.routes, [](const auto& route) { return route.contains(ip("192.168.1.1")); }));
}

TEST_F(Explaining, ANetworkThatTheHostIsInWinsOverAResourceOfTheSameOrAWiderRange) {
  world.add_connector();
  world.bring_up();
  host.local_networks = {prefix("192.168.1.0/24"), prefix("127.0.0.0/8")};
  const auto said = explain("192.168.1.7:80");
  EXPECT_EQ(verdict_word(said), "local_network");
  EXPECT_THAT(said.reason, HasSubstr("192.168.1.0/24"));
  EXPECT_THAT(world.client->route_notes(host), ElementsAre(HasSubstr("is also the network that this computer is in")));
  host.local_networks = {prefix("192.168.1.0/28")};
  EXPECT_EQ(word("192.168.1.7:80"), "local_network");
  EXPECT_EQ(word("192.168.1.70:80"), "reached");
  host.local_networks = {prefix("192.168.0.0/16")};
  const auto wider = explain("192.168.1.7:80");
  EXPECT_TRUE(wider.is_reached());
  EXPECT_THAT(wider.notes, ElementsAre(HasSubstr("a local device with this address is not reached")));
  host.local_networks = {prefix("10.0.0.0/8")};
  EXPECT_THAT(world.client->route_notes(host), IsEmpty());
}

TEST_F(Explaining, LoopbackIsNeverRoutedEvenWhenAResourceCoversEverything) {
  world.add_connector();
  world.bring_up();
  wire::ControllerMessage more;
  auto& update = *more.mutable_client_update();
  update.set_from_version(1);
  update.set_version(2);
  World::add_resource(update, 3, "0.0.0.0/0", 80);
  world.control(more);
  EXPECT_EQ(word("127.0.0.1:80"), "never_routed");
  EXPECT_EQ(word("9.9.9.9:80"), "reached");
}

// --- HOST[:PORT] ----------------------------------------------------------------------------------------------------

TEST(DestinationText, TakesNamesAddressesBracketsBlanksAndUrls) {
  const auto text = [](const char* given) { return parse_destination(given).value().text(); };
  EXPECT_EQ(text("NGINX.home.lan."), "nginx.home.lan");
  EXPECT_EQ(text("nas:445"), "nas:445");
  EXPECT_EQ(text("nas 445"), "nas:445");
  EXPECT_EQ(text(" 192.168.1.1:80 \n"), "192.168.1.1:80");
  EXPECT_EQ(text("[fd00::1]:22"), "[fd00::1]:22");
  EXPECT_EQ(text("[fd00::1] 22"), "[fd00::1]:22");
  EXPECT_EQ(text("[fd00::1]"), "fd00::1");
  EXPECT_EQ(text("fd00::1"), "fd00::1");
  EXPECT_EQ(text("fd00::1 22"), "[fd00::1]:22");
  EXPECT_EQ(text("https://nas.lan/a?b"), "nas.lan:443");
  EXPECT_EQ(text("http://nas.lan:8080/"), "nas.lan:8080");
}

TEST(DestinationText, RefusesWhatIsNeitherInOneSentence) {
  for (const char* bad : {"", " ", ":80", "nas:", "nas:0", "nas:70000", "nas:http", "nas 80 81", "[nas]:80", "[fd00::1",
                          "a b", "300.1.2.3:80", "*.lan", "10.0.0.0/8", "ftp://nas"}) {
    const auto parsed = parse_destination(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_THAT(parsed.error(), HasSubstr("use HOST")) << bad;
  }
}

}  // namespace
}  // namespace postern::client::test
