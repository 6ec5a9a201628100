#include "client_core/route_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.hpp"

namespace postern::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

IpPrefix prefix(const char* text) {
  return *IpPrefix::parse(text);
}

std::vector<std::string> texts(const RoutePlan& plan) {
  std::vector<std::string> out;
  for (const auto& route : plan.routes) out.push_back(route.to_string());
  return out;
}

TEST(RoutePlan, RoutesWhatIsWantedWhenNothingIsInTheWay) {
  const auto plan = plan_routes({{prefix("100.96.0.0/12"), prefix("192.168.1.0/24"), prefix("fd00:1::/64")}, {}});
  EXPECT_THAT(texts(plan), ElementsAre("100.96.0.0/12", "192.168.1.0/24", "fd00:1::/64"));
}

TEST(RoutePlan, SplitsAPrefixAroundTheGateway) {
  const auto plan = plan_routes({{prefix("192.168.1.0/30")}, {prefix("192.168.1.1")}});
  EXPECT_THAT(texts(plan), ElementsAre("192.168.1.0/32", "192.168.1.2/31"));
}

TEST(RoutePlan, ANetworkOfTheHostWinsOverTheSameOrAWiderRangeEvenWhenThatIsSplit) {
  const RouteRequest same{{prefix("192.168.1.0/24")}, {prefix("192.168.1.1")}, {prefix("192.168.1.0/24")}};
  EXPECT_THAT(texts(plan_routes(same)), IsEmpty());
  const RouteRequest wider{{prefix("192.168.0.0/23")}, {prefix("192.168.1.1")}, {prefix("192.168.1.0/24")}};
  EXPECT_THAT(texts(plan_routes(wider)), ElementsAre("192.168.0.0/24"));
  EXPECT_EQ(route_of(wider, plan_routes(wider), *IpAddress::parse("192.168.1.9")).fate, RouteFate::Local);
  EXPECT_EQ(route_of(wider, plan_routes(wider), *IpAddress::parse("192.168.0.9")).fate, RouteFate::Routed);
}

TEST(RoutePlan, ANarrowerResourceWinsOverTheHostsNetworkAlsoBesideAWiderOne) {
  const RouteRequest request{
      {prefix("192.168.0.0/16"), prefix("192.168.1.20"), prefix("10.0.0.0/8"), prefix("10.1.0.0/16")},
      {},
      {prefix("192.168.1.0/24")}};
  const auto plan = plan_routes(request);
  EXPECT_EQ(route_of(request, plan, *IpAddress::parse("192.168.1.20")).fate, RouteFate::Routed);
  EXPECT_EQ(route_of(request, plan, *IpAddress::parse("192.168.1.21")).fate, RouteFate::Local);
  EXPECT_EQ(route_of(request, plan, *IpAddress::parse("192.168.2.1")).prefix.length(), 23U);
  EXPECT_FALSE(plan.routes.contains(prefix("10.1.0.0/16"))) << "covered, and no local network is in the way";
}

TEST(RoutePlan, LeavesOutAnAddressThatIsProtectedItself) {
  EXPECT_THAT(texts(plan_routes({{prefix("203.0.113.10")}, {prefix("203.0.113.10")}})), IsEmpty());
}

TEST(RoutePlan, LeavesOutWhatAWiderRouteCovers) {
  const auto plan = plan_routes({{prefix("10.1.2.3"), prefix("10.0.0.0/8"), prefix("10.1.0.0/16")}, {}});
  EXPECT_THAT(texts(plan), ElementsAre("10.0.0.0/8"));
}

TEST(RoutePlan, NeverRoutesLoopbackMulticastOrLinkLocalRanges) {
  const auto plan = plan_routes({{prefix("0.0.0.0/0"), prefix("::/0")}, {}});
  for (const char* text : {"127.0.0.1", "224.0.0.1", "169.254.7.7", "255.255.255.255", "::1", "fe80::1", "ff02::1"}) {
    const auto address = *IpAddress::parse(text);
    for (const auto& route : plan.routes) EXPECT_FALSE(route.contains(address)) << route.to_string() << " " << text;
  }
}

TEST(RoutePlan, RoutesALinkLocalAddressThatIsNamedLiterally) {
  EXPECT_THAT(texts(plan_routes({{prefix("169.254.169.254")}, {}})), ElementsAre("169.254.169.254/32"));
}

TEST(RoutePlan, SkipsAndReportsWhatGoesOverTheBound) {
  RouteRequest request;
  for (std::uint32_t i = 0; i < kRoutesMax + 5; ++i) {
    request.wanted.push_back(*IpPrefix::make(IpAddress::v4(0x0a000000U + i), 32));
  }
  const auto plan = plan_routes(request);
  EXPECT_EQ(plan.routes.size(), kRoutesMax);
  EXPECT_EQ(plan.skipped.size(), 5U);
}

TEST(RoutePlan, CoversExactlyTheWantedAddressesWithoutTheHoles) {
  SeededRandom random(7);
  for (int round = 0; round < 200; ++round) {
    const auto base =
        IpPrefix::containing(IpAddress::v4(0x0a000000U + static_cast<std::uint32_t>(random.below(1 << 24))), 24);
    std::vector<IpPrefix> holes;
    for (std::uint64_t i = 0; i < 1 + random.below(4); ++i) {
      holes.push_back(*IpPrefix::make(
          IpAddress::v4(base.address().to_v4_host_order() + static_cast<std::uint32_t>(random.below(256))), 32));
    }
    const auto plan = plan_routes({{base}, holes});
    for (std::uint32_t i = 0; i < 256; ++i) {
      const auto address = IpAddress::v4(base.address().to_v4_host_order() + i);
      int covering = 0;
      for (const auto& route : plan.routes) covering += route.contains(address) ? 1 : 0;
      const bool is_hole = std::ranges::any_of(holes, [&](const IpPrefix& hole) { return hole.contains(address); });
      EXPECT_EQ(covering, is_hole ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace postern::client
