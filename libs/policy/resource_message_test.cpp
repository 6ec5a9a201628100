#include "policy/resource_message.hpp"

#include <gtest/gtest.h>

namespace postern::policy {
namespace {

wire::Resource valid() {
  wire::Resource message;
  message.set_id(7);
  message.set_name("web");
  message.set_remote_network_id(3);
  message.set_address("*.home.lan");
  message.add_aliases("web.internal");
  message.mutable_tcp()->set_policy(wire::PORT_POLICY_RESTRICTED);
  auto* range = message.mutable_tcp()->add_ports();
  range->set_first(80);
  range->set_last(90);
  message.mutable_udp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
  message.set_allow_icmp(true);
  return message;
}

TEST(ResourceMessage, ComesBackAsItWasSent) {
  const auto resource = from_message(valid());
  ASSERT_TRUE(resource);
  EXPECT_EQ(to_message(*resource).SerializeAsString(), valid().SerializeAsString());
  EXPECT_TRUE(resource->tcp.allows(85));
  EXPECT_FALSE(resource->tcp.allows(91));
}

TEST(ResourceMessage, RoutingAndPriorityComeBackAndOnlyOneNameOrAddressMayBypass) {
  auto message = valid();
  message.set_priority(9);
  EXPECT_EQ(from_message(message)->priority, 9U);
  message.set_routing(wire::ROUTING_BYPASS);
  EXPECT_FALSE(from_message(message)) << "a pattern";
  message.set_address("web.home.lan");
  EXPECT_FALSE(from_message(message)) << "with an alias";
  message.clear_aliases();
  ASSERT_TRUE(from_message(message));
  EXPECT_TRUE(from_message(message)->is_bypass());
  EXPECT_EQ(to_message(*from_message(message)).routing(), wire::ROUTING_BYPASS);
  message.set_address("10.0.0.0/31");
  EXPECT_FALSE(from_message(message)) << "a range";
  message.set_address("10.0.0.1");
  EXPECT_TRUE(from_message(message));
  message.set_routing(static_cast<wire::Routing>(5));
  EXPECT_FALSE(from_message(message)) << "of a later version: neither routed nor passed by";
}

TEST(ResourceMessage, APolicyOfALaterVersionAllowsNothing) {
  auto message = valid();
  message.mutable_tcp()->set_policy(static_cast<wire::PortPolicy>(99));
  const auto resource = from_message(message);
  ASSERT_TRUE(resource);
  EXPECT_FALSE(resource->tcp.allows(80));
}

TEST(ResourceMessage, RefusesWhatIsMalformed) {
  const auto refuses = [](auto change) {
    auto message = valid();
    change(message);
    return !from_message(message).has_value();
  };
  EXPECT_TRUE(refuses([](auto& m) { m.set_id(0); }));
  EXPECT_TRUE(refuses([](auto& m) { m.set_address("10.0.0.0/99"); }));
  EXPECT_TRUE(refuses([](auto& m) { m.add_aliases("-not a name-"); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tcp()->mutable_ports(0)->set_first(0); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tcp()->mutable_ports(0)->set_last(79); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_udp()->add_ports()->set_last(70'000); }));
}

}  // namespace
}  // namespace postern::policy
