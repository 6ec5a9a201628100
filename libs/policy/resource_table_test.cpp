#include "policy/resource_table.hpp"

#include "base/random.hpp"

namespace postern::policy {
namespace {

using model::DnsName;
using model::ResourceAddress;
using model::ResourceId;

DnsName name(std::string_view text) {
  return DnsName::parse(text).value();
}
IpAddress ip(std::string_view text) {
  return IpAddress::parse(text).value();
}

model::Resource resource(std::uint64_t id, std::string_view address, std::string_view ports = "",
                         std::vector<std::string_view> aliases = {}) {
  model::Resource result;
  result.id = ResourceId(id);
  result.address = ResourceAddress::parse(address).value();
  result.tcp = model::ProtocolRule::parse(ports).value();
  for (const auto alias : aliases) result.aliases.push_back(name(alias));
  return result;
}

ResourceTable table(std::vector<model::Resource> resources) {
  ResourceTable result;
  for (auto& each : resources) result.upsert(std::move(each));
  return result;
}

std::uint64_t id_of(const model::Resource* found) {
  return found == nullptr ? 0 : found->id.value;
}

TEST(ResourceTable, TheLiteralNameWinsOverPatternsAndTheFullerPatternOverTheEmptier) {
  const auto t = table({resource(1, "*"), resource(2, "*.lan"), resource(3, "db*.lan"), resource(4, "db1.lan")});
  EXPECT_EQ(id_of(t.match(name("db1.lan"))), 4U);
  EXPECT_EQ(id_of(t.match(name("db2.lan"))), 3U);
  EXPECT_EQ(id_of(t.match(name("nas.lan"))), 2U);
  EXPECT_EQ(id_of(t.match(name("example.org"))), 1U);
}

TEST(ResourceTable, TheLongestPrefixWins) {
  const auto t = table({resource(1, "0.0.0.0/0"), resource(2, "10.0.0.0/8"), resource(3, "10.1.0.0/16"),
                        resource(4, "10.1.2.3"), resource(5, "fd00::/8")});
  EXPECT_EQ(id_of(t.match(ip("10.1.2.3"))), 4U);
  EXPECT_EQ(id_of(t.match(ip("10.1.2.4"))), 3U);
  EXPECT_EQ(id_of(t.match(ip("10.2.0.1"))), 2U);
  EXPECT_EQ(id_of(t.match(ip("192.0.2.1"))), 1U);
  EXPECT_EQ(id_of(t.match(ip("fd00::1"))), 5U);
  EXPECT_EQ(id_of(t.match(ip("2001:db8::1"))), 0U);
}

TEST(ResourceTable, TiesGoToTheLowerId) {
  const auto t = table({resource(9, "a.lan"), resource(4, "a.lan"), resource(7, "10.0.0.0/8"),
                        resource(5, "10.0.0.0/8"), resource(3, "a*.org"), resource(2, "*a.org")});
  EXPECT_EQ(id_of(t.match(name("a.lan"))), 4U);
  EXPECT_EQ(id_of(t.match(ip("10.0.0.1"))), 5U);
  EXPECT_EQ(id_of(t.match(name("a.org"))), 2U);
}

TEST(ResourceTable, ListsEverythingThatMatchesWithTheWinnerFirst) {
  const auto t =
      table({resource(1, "*.lan", "", {"web.lan"}), resource(2, "web.lan"), resource(3, "*"), resource(4, "w*.lan"),
             resource(5, "10.0.0.0/8"), resource(6, "10.0.0.1"), resource(7, "10.0.0.0/8")});
  const auto ids = [](const std::vector<const model::Resource*>& all) {
    std::vector<std::uint64_t> out;
    for (const auto* r : all) out.push_back(r->id.value);
    return out;
  };
  EXPECT_EQ(ids(t.matches(name("web.lan"))), (std::vector<std::uint64_t>{1, 2, 4, 3}));
  EXPECT_EQ(ids(t.matches(name("nas.lan"))), (std::vector<std::uint64_t>{1, 3}));
  EXPECT_EQ(ids(t.matches(ip("10.0.0.1"))), (std::vector<std::uint64_t>{6, 5, 7}));
  EXPECT_TRUE(t.matches(ip("11.0.0.1")).empty());
}

TEST(ResourceTable, AnAliasIsALiteralNameOfItsResource) {
  const auto t = table({resource(1, "*.lan"), resource(2, "192.168.1.20", "80", {"web.lan"})});
  EXPECT_EQ(id_of(t.match(name("web.lan"))), 2U);
  EXPECT_EQ(t.check_tcp(ResourceId(2), name("web.lan"), 80).value()->id.value, 2U);
  EXPECT_EQ(t.check_tcp(ResourceId(1), name("web.lan"), 80).error(), TableRefusal::Shadowed);
}

TEST(ResourceTable, ForgetsEverythingOfAResourceThatIsRemovedOrReplaced) {
  auto t = table({resource(1, "a.lan", "", {"b.lan"}), resource(2, "10.0.0.0/8"), resource(3, "*.org")});
  t.upsert(resource(1, "c.lan"));
  EXPECT_EQ(t.match(name("a.lan")), nullptr);
  EXPECT_EQ(t.match(name("b.lan")), nullptr);
  EXPECT_EQ(id_of(t.match(name("c.lan"))), 1U);
  t.remove(ResourceId(2));
  t.remove(ResourceId(3));
  t.remove(ResourceId(77));
  EXPECT_EQ(t.match(ip("10.0.0.1")), nullptr);
  EXPECT_EQ(t.match(name("x.org")), nullptr);
  t.clear();
  EXPECT_TRUE(t.all().empty());
  EXPECT_EQ(t.match(name("c.lan")), nullptr);
}

TEST(ResourceTable, RefusalsComeInTheOrderOfTheProtocol) {
  const auto t = table(
      {resource(1, "*.lan", "443"), resource(2, "db.lan"), resource(3, "10.0.0.0/8", "443"), resource(4, "10.0.0.5")});
  EXPECT_EQ(t.check_tcp(ResourceId(9), name("db.lan"), 80).error(), TableRefusal::UnknownResource);
  EXPECT_EQ(t.check_tcp(ResourceId(1), name("db.org"), 80).error(), TableRefusal::AddressNotInResource);
  EXPECT_EQ(t.check_tcp(ResourceId(1), name("db.lan"), 80).error(), TableRefusal::PortNotAllowed);
  EXPECT_EQ(t.check_tcp(ResourceId(1), name("db.lan"), 443).error(), TableRefusal::Shadowed);
  EXPECT_TRUE(t.check_tcp(ResourceId(1), name("nas.lan"), 443));
  EXPECT_EQ(t.check_tcp(ResourceId(9), ip("10.0.0.5"), 80).error(), TableRefusal::UnknownResource);
  EXPECT_EQ(t.check_tcp(ResourceId(3), ip("11.0.0.5"), 80).error(), TableRefusal::AddressNotInResource);
  EXPECT_EQ(t.check_tcp(ResourceId(3), ip("10.0.0.5"), 80).error(), TableRefusal::PortNotAllowed);
  EXPECT_EQ(t.check_tcp(ResourceId(3), ip("10.0.0.5"), 443).error(), TableRefusal::Shadowed);
  EXPECT_TRUE(t.check_tcp(ResourceId(3), ip("10.0.0.6"), 443));
}

TEST(ResourceTable, OnlyLiteralEntriesCastAShadow) {
  const auto t =
      table({resource(1, "10.0.0.0/8"), resource(2, "10.1.0.0/16"), resource(3, "*.lan"), resource(4, "db*.lan")});
  EXPECT_TRUE(t.check_tcp(ResourceId(1), ip("10.1.0.1"), 80));
  EXPECT_TRUE(t.check_tcp(ResourceId(3), name("db1.lan"), 80));
}

TEST(ResourceTable, TwoLiteralEntriesOfOneAddressDoNotShadowEachOther) {
  const auto t = table(
      {resource(1, "10.0.0.1", "80"), resource(2, "10.0.0.1", "443"), resource(3, "a.lan"), resource(4, "a.lan")});
  EXPECT_TRUE(t.check_tcp(ResourceId(2), ip("10.0.0.1"), 443));
  EXPECT_TRUE(t.check_tcp(ResourceId(4), name("a.lan"), 443));
}

TEST(ResourceTable, AnAddressDoesNotMatchANameResourceNorANameAnAddressResource) {
  const auto t = table({resource(1, "*"), resource(2, "0.0.0.0/0")});
  EXPECT_EQ(t.check_tcp(ResourceId(1), ip("10.0.0.1"), 80).error(), TableRefusal::AddressNotInResource);
  EXPECT_EQ(t.check_tcp(ResourceId(2), name("a.lan"), 80).error(), TableRefusal::AddressNotInResource);
}

TEST(ResourceTable, NamesLiterallyOnlyWhatASingleAddressNames) {
  const auto t = table({resource(1, "127.0.0.0/8"), resource(2, "169.254.169.254"), resource(3, "::1")});
  EXPECT_FALSE(t.names_literally(ip("127.0.0.1")));
  EXPECT_TRUE(t.names_literally(ip("169.254.169.254")));
  EXPECT_TRUE(t.names_literally(ip("::1")));
  EXPECT_FALSE(t.names_literally(ip("::ffff:169.254.169.254")));
}

TEST(ResourceTable, IndexAgreesWithLookingAtEveryEntry) {
  SeededRandom random(7);
  ResourceTable t;
  std::map<ResourceId, model::Resource> plain;
  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t id = 1 + random.below(60);
    if (random.below(3) == 0) {
      t.remove(ResourceId(id));
      plain.erase(ResourceId(id));
    } else {
      const unsigned length = static_cast<unsigned>(24 + random.below(9));
      const auto host = IpAddress::v4(0x0a000000U + static_cast<std::uint32_t>(random.below(1024)));
      const auto made = resource(id, IpPrefix::containing(host, length).to_string());
      t.upsert(made);
      plain[ResourceId(id)] = made;
    }
    const auto asked = IpAddress::v4(0x0a000000U + static_cast<std::uint32_t>(random.below(1024)));
    const model::Resource* best = nullptr;
    for (const auto& [key, each] : plain) {
      if (!each.address.matches(asked)) continue;
      if (best == nullptr || each.address.more_specific_than(best->address)) best = &each;
    }
    ASSERT_EQ(id_of(t.match(asked)), id_of(best)) << step;
  }
}

TEST(ForbiddenKind, NamesEveryKindOfAddressThatIsNoTarget) {
  const std::vector<std::pair<const char*, ForbiddenKind>> cases = {{"0.0.0.0", ForbiddenKind::Unspecified},
                                                                    {"::", ForbiddenKind::Unspecified},
                                                                    {"127.0.0.1", ForbiddenKind::Loopback},
                                                                    {"127.0.1.1", ForbiddenKind::Loopback},
                                                                    {"::1", ForbiddenKind::Loopback},
                                                                    {"169.254.1.1", ForbiddenKind::LinkLocal},
                                                                    {"fe80::1", ForbiddenKind::LinkLocal},
                                                                    {"224.0.0.251", ForbiddenKind::Multicast},
                                                                    {"ff02::1", ForbiddenKind::Multicast},
                                                                    {"255.255.255.255", ForbiddenKind::Broadcast},
                                                                    {"169.254.169.254", ForbiddenKind::Metadata},
                                                                    {"fd00:ec2::254", ForbiddenKind::Metadata},
                                                                    {"::ffff:127.0.0.1", ForbiddenKind::Loopback},
                                                                    {"64:ff9b::7f00:1", ForbiddenKind::Loopback},
                                                                    {"2002:7f00:1::1", ForbiddenKind::Loopback},
                                                                    {"::ffff:169.254.169.254", ForbiddenKind::Metadata},
                                                                    {"64:ff9b::a9fe:a9fe", ForbiddenKind::Metadata},
                                                                    {"2002:a9fe:a9fe::", ForbiddenKind::Metadata}};
  for (const auto& [address, kind] : cases) {
    ASSERT_TRUE(forbidden_kind(ip(address))) << address;
    EXPECT_EQ(*forbidden_kind(ip(address)), kind) << address << " " << to_string(kind);
  }
}

TEST(ResourceTable, AmongEquallySpecificOnesTheHigherPriorityWinsThenTheLowerId) {
  auto preferred = [](std::uint64_t id, std::string_view address, std::uint32_t priority) {
    auto made = resource(id, address);
    made.priority = priority;
    return made;
  };
  auto t = table({preferred(1, "10.0.0.0/8", 0), preferred(2, "10.0.0.0/8", 7), preferred(3, "10.0.0.0/8", 7),
                  preferred(4, "10.1.0.0/16", 0), preferred(5, "*.lan", 0), preferred(6, "*.lan", 1),
                  preferred(7, "db.lan", 0), preferred(8, "db.lan", 1)});
  EXPECT_EQ(id_of(t.match(ip("10.2.0.1"))), 2U);
  EXPECT_EQ(id_of(t.match(ip("10.1.0.1"))), 4U) << "priority says nothing between ranges of different length";
  EXPECT_EQ(id_of(t.match(name("web.lan"))), 6U);
  EXPECT_EQ(id_of(t.match(name("db.lan"))), 8U);
  t.upsert(preferred(2, "10.0.0.0/8", 0));
  EXPECT_EQ(id_of(t.match(ip("10.2.0.1"))), 3U);
  t.remove(ResourceId(3));
  EXPECT_EQ(id_of(t.match(ip("10.2.0.1"))), 1U);
}

TEST(ForbiddenKind, LeavesOrdinaryAddressesAlone) {
  for (const char* address : {"10.0.0.1", "192.168.1.255", "8.8.8.8", "fd00::1", "2001:db8::1", "64:ff9b::a00:1",
                              "2002:a00:1::1", "::ffff:10.0.0.1", "128.0.0.1", "223.255.255.255"}) {
    EXPECT_FALSE(forbidden_kind(ip(address))) << address;
  }
}

}  // namespace
}  // namespace postern::policy
