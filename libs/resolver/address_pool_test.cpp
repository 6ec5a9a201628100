#include "resolver/address_pool.hpp"

#include <gtest/gtest.h>

#include <set>

namespace postern::resolver {
namespace {

using std::chrono::hours;

model::DnsName name(std::string_view text) {
  return *model::DnsName::parse(text);
}

VirtualNetwork network(const char* v4 = "100.96.0.0/12") {
  return {*IpPrefix::parse(v4), *IpPrefix::parse("fd12:3456:789a:1::/64")};
}

TEST(VirtualNetwork, TakesTheSharedAddressSpaceWhenNothingIsThere) {
  SeededRandom random(1);
  const auto chosen = choose_virtual_network({}, std::nullopt, random);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->v4.to_string(), "100.96.0.0/12");
  EXPECT_EQ(chosen->v6.length(), 64U);
  EXPECT_EQ(chosen->v6.address().bytes()[0], 0xfd);
  EXPECT_EQ(chosen->device(IpFamily::V4).to_string(), "100.96.0.1");
  EXPECT_TRUE(chosen->is_resolver(*IpAddress::parse("100.96.0.2")));
}

TEST(VirtualNetwork, MovesAwayFromWhatTheHostHasAndIgnoresTheDefaultRoute) {
  SeededRandom random(1);
  const std::vector<IpPrefix> carrier = {*IpPrefix::parse("0.0.0.0/0"), *IpPrefix::parse("100.64.0.0/10")};
  EXPECT_EQ(choose_virtual_network(carrier, std::nullopt, random)->v4.to_string(), "198.18.0.0/15");
  const std::vector<IpPrefix> one = {*IpPrefix::parse("100.100.7.9")};
  EXPECT_EQ(choose_virtual_network(one, network(), random)->v4.to_string(), "100.80.0.0/12");
  EXPECT_EQ(choose_virtual_network(one, network(), random)->v6, network().v6);
}

TEST(VirtualNetwork, KeepsThePreviousChoiceWhileItIsFree) {
  SeededRandom random(1);
  const auto previous = network("10.80.0.0/12");
  EXPECT_EQ(choose_virtual_network({}, previous, random), previous);
}

TEST(VirtualNetwork, SaysSoWhenEveryRangeIsTaken) {
  SeededRandom random(1);
  const std::vector<IpPrefix> all = {*IpPrefix::parse("0.0.0.0/1"), *IpPrefix::parse("128.0.0.0/1")};
  EXPECT_FALSE(choose_virtual_network(all, std::nullopt, random));
}

TEST(VirtualNetwork, NumbersAndAddressesAreEachOthersReverse) {
  const auto net = network();
  for (const auto family : {IpFamily::V4, IpFamily::V6}) {
    for (const std::uint32_t number : {1U, 255U, 256U, 70'000U}) {
      EXPECT_EQ(net.number_of(net.at(family, number)), number);
    }
  }
  EXPECT_FALSE(net.number_of(*IpAddress::parse("100.112.0.1")));
  EXPECT_FALSE(net.number_of(*IpAddress::parse("fd12:3456:789a:1:1::5")));
}

TEST(AddressPool, GivesANameTheSameNumberAndFindsItBack) {
  AddressPool pool(network());
  const auto number = pool.assign(Instant{}, name("nginx.home.lan"));
  ASSERT_TRUE(number);
  EXPECT_EQ(pool.assign(Instant{} + hours(100), name("NGINX.home.lan.")), number);
  const auto* back = pool.name_of(Instant{}, pool.network().at(IpFamily::V6, *number));
  ASSERT_NE(back, nullptr);
  EXPECT_EQ(back->text(), "nginx.home.lan");
  EXPECT_EQ(pool.name_of(Instant{}, *IpAddress::parse("100.96.0.1")), nullptr);
}

TEST(AddressPool, GivesDifferentNamesDifferentNumbers) {
  AddressPool pool(network("198.18.0.0/24"), {.names_max = 1000});
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 127; ++i) {
    const auto number = pool.assign(Instant{}, name("h" + std::to_string(i)));
    ASSERT_TRUE(number);
    EXPECT_TRUE(seen.insert(*number).second);
    EXPECT_GE(*number, VirtualNetwork::kFirstName);
    EXPECT_LT(*number, 255U);
  }
}

TEST(AddressPool, AtTheBoundNeverGivesANumberToAnotherNameWithinADay) {
  AddressPool pool(network(), {.names_max = 2});
  const Instant start{};
  ASSERT_TRUE(pool.assign(start, name("a")));
  const auto second = pool.assign(start, name("b"));
  EXPECT_FALSE(pool.assign(start + hours(23), name("c")));
  // A flow to `b` counts as use: only `a` may be forgotten after a day.
  ASSERT_NE(pool.name_of(start + hours(23), pool.network().at(IpFamily::V4, *second)), nullptr);
  ASSERT_TRUE(pool.assign(start + hours(25), name("c")));
  EXPECT_EQ(pool.assign(start + hours(25), name("b")), second);
  EXPECT_FALSE(pool.assign(start + hours(26), name("a")));
}

TEST(AddressPool, RemembersOverARestart) {
  AddressPool first(network());
  const auto a = first.assign(Instant{}, name("a"));
  const auto b = first.assign(Instant{}, name("b"));
  AddressPool second(network());
  second.restore(first.names());
  EXPECT_EQ(second.assign(Instant{}, name("b")), b);
  EXPECT_EQ(second.assign(Instant{}, name("a")), a);
  EXPECT_EQ(second.generation(), 0U);
}

TEST(AddressPool, KeepsNumbersWhenItMoves) {
  AddressPool pool(network());
  const auto number = pool.assign(Instant{}, name("a"));
  pool.move_to(network("10.80.0.0/12"));
  EXPECT_EQ(pool.assign(Instant{}, name("a")), number);
  EXPECT_EQ(pool.name_of(Instant{}, *IpAddress::parse("100.96.0.99")), nullptr);
}

}  // namespace
}  // namespace postern::resolver
