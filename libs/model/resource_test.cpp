#include "model/resource.hpp"

namespace postern::model {
namespace {

DnsName name(std::string_view text) {
  return DnsName::parse(text).value();
}
DnsPattern pattern(std::string_view text) {
  return DnsPattern::parse(text).value();
}
ResourceAddress address(std::string_view text) {
  return ResourceAddress::parse(text).value();
}
IpAddress ip(std::string_view text) {
  return IpAddress::parse(text).value();
}

TEST(DnsName, FoldsCaseAndDropsOneTrailingDot) {
  EXPECT_EQ(name("NGINX.Home.Lab.").text(), "nginx.home.lab");
  EXPECT_EQ(name("nas").text(), "nas");
  EXPECT_EQ(name("_ldap._tcp.a-b.c").text(), "_ldap._tcp.a-b.c");
  EXPECT_EQ(name("A.b"), name("a.B."));
}

TEST(DnsName, RefusesWhatIsNotAName) {
  for (const char* bad : {"", ".", "..", ".a", "a..b", "a.b..", "a b", "a/b", "a:b", "ä.de", "*.a", "a?", "a\tb"}) {
    EXPECT_FALSE(DnsName::parse(bad)) << bad;
  }
  EXPECT_FALSE(DnsName::parse(std::string_view("a\0b", 3)));
}

TEST(DnsName, BoundsLabelsAndTheWhole) {
  const std::string label(63, 'a');
  EXPECT_TRUE(DnsName::parse(label));
  EXPECT_FALSE(DnsName::parse(label + "a"));
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  ASSERT_EQ(longest.size(), 253U);
  EXPECT_TRUE(DnsName::parse(longest));
  EXPECT_TRUE(DnsName::parse(longest + "."));
  EXPECT_FALSE(DnsName::parse(longest + "b"));
}

TEST(DnsPattern, NeedsAWildcard) {
  EXPECT_FALSE(DnsPattern::parse("a.b"));
  EXPECT_TRUE(DnsPattern::parse("*.B."));
  EXPECT_EQ(pattern("*.B.").text(), "*.b");
  for (const char* bad : {"", ".*", "*..a", "* .a", "*/a"}) EXPECT_FALSE(DnsPattern::parse(bad)) << bad;
}

TEST(DnsPattern, StarIsAnyNumberOfCharactersAndDotsToo) {
  EXPECT_TRUE(pattern("*.corp.int").matches(name("a.corp.int")));
  EXPECT_TRUE(pattern("*.corp.int").matches(name("a.b.corp.int")));
  EXPECT_FALSE(pattern("*.corp.int").matches(name("corp.int")));
  EXPECT_FALSE(pattern("*.corp.int").matches(name("a.corp.int.evil")));
  EXPECT_FALSE(pattern("*.corp.int").matches(name("xcorp.int")));
  EXPECT_TRUE(pattern("db*.lan").matches(name("db.lan")));
  EXPECT_TRUE(pattern("db*.lan").matches(name("db12.lan")));
  EXPECT_TRUE(pattern("a*b*c").matches(name("abbbxbc")));
  EXPECT_FALSE(pattern("a*b*c").matches(name("abbbxbd")));
  EXPECT_TRUE(pattern("*").matches(name("anything.at.all")));
  EXPECT_TRUE(pattern("**a").matches(name("a")));
}

TEST(DnsPattern, QuestionMarkIsExactlyOneCharacter) {
  EXPECT_TRUE(pattern("db?.lan").matches(name("db1.lan")));
  EXPECT_FALSE(pattern("db?.lan").matches(name("db.lan")));
  EXPECT_FALSE(pattern("db?.lan").matches(name("db12.lan")));
  EXPECT_FALSE(pattern("db?").matches(name("db")));
}

TEST(DnsPattern, MatchingAHostilePatternStaysCheap) {
  std::string text;
  for (int i = 0; i < 31; ++i) text.append("*a");
  text.append("b");
  std::string subject(250, 'a');
  for (const std::size_t dot : {60U, 120U, 180U, 240U}) subject[dot] = '.';
  EXPECT_FALSE(pattern(text).matches(name(subject)));
}

TEST(ResourceAddress, KnowsNamesPatternsAndPrefixes) {
  EXPECT_TRUE(std::holds_alternative<DnsName>(address("nginx.home.lab").value()));
  EXPECT_TRUE(std::holds_alternative<DnsName>(address("nas").value()));
  EXPECT_TRUE(std::holds_alternative<DnsPattern>(address("*.home.lab").value()));
  EXPECT_TRUE(std::holds_alternative<IpPrefix>(address("192.168.1.0/24").value()));
  EXPECT_TRUE(std::holds_alternative<IpPrefix>(address("fd00::5").value()));
}

TEST(ResourceAddress, WritesItsCanonicalForm) {
  EXPECT_EQ(address("192.168.1.20/32").text(), "192.168.1.20");
  EXPECT_EQ(address("10.0.0.0/8").text(), "10.0.0.0/8");
  EXPECT_EQ(address("FD00:0::5").text(), "fd00::5");
  EXPECT_EQ(address("Nginx.Home.").text(), "nginx.home");
  EXPECT_EQ(address("*.Home").text(), "*.home");
}

TEST(ResourceAddress, SaysWhyItRefuses) {
  EXPECT_EQ(ResourceAddress::parse("").error(), ResourceAddress::Error::Empty);
  for (const char* bits : {"192.168.1.1/24", "fd00::1/64", "1.0.0.0/0"}) {
    EXPECT_EQ(ResourceAddress::parse(bits).error(), ResourceAddress::Error::HostBitsSet) << bits;
  }
  for (const char* bad : {"300.1.1.1", "1.2.3", "12", "10.0.0.*", "192.168.1.?", "10.0.0.0/33", "10.0.0.0/", "a/24",
                          "https://a", "a:80", "a b", " a", "fd00::1%eth0"}) {
    const auto parsed = ResourceAddress::parse(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error(), ResourceAddress::Error::InvalidIpOrFqdn) << bad;
  }
}

TEST(ResourceAddress, MatchesNamesByNameAndAddressesByPrefixOnly) {
  EXPECT_TRUE(address("nas.lan").matches(name("nas.lan")));
  EXPECT_FALSE(address("nas.lan").matches(name("x.nas.lan")));
  EXPECT_TRUE(address("*.lan").matches(name("nas.lan")));
  EXPECT_FALSE(address("*").matches(ip("10.0.0.1")));
  EXPECT_TRUE(address("10.0.0.0/8").matches(ip("10.255.0.1")));
  EXPECT_FALSE(address("10.0.0.0/8").matches(ip("11.0.0.1")));
  EXPECT_FALSE(address("0.0.0.0/0").matches(ip("::1")));
}

TEST(ResourceAddress, OrdersBySpecificity) {
  const std::vector<std::pair<const char*, const char*>> better_first = {
      {"10.0.0.1", "10.0.0.0/24"}, {"10.0.0.0/24", "10.0.0.0/8"}, {"fd00::1", "fd00::/64"},
      {"a.lan", "*.lan"},          {"db*.lan", "*.lan"},          {"db?.lan", "*"}};
  for (const auto& [better, worse] : better_first) {
    EXPECT_TRUE(address(better).more_specific_than(address(worse))) << better << " " << worse;
    EXPECT_FALSE(address(worse).more_specific_than(address(better))) << better << " " << worse;
  }
  EXPECT_FALSE(address("a.lan").more_specific_than(address("b.lan")));
  EXPECT_FALSE(address("10.0.0.1").more_specific_than(address("fd00::/64")));
  EXPECT_FALSE(address("10.0.0.1").more_specific_than(address("*.lan")));
}

TEST(ResourceAddress, LiteralIsANameOrASingleAddress) {
  for (const char* text : {"a.lan", "10.0.0.1", "fd00::1"}) EXPECT_TRUE(address(text).is_literal()) << text;
  for (const char* text : {"*.lan", "10.0.0.0/31", "::/0"}) EXPECT_FALSE(address(text).is_literal()) << text;
}

TEST(ProtocolRule, AllowsEverythingWhenNothingIsSaid) {
  for (const char* all : {"", "*", "  "}) {
    ASSERT_TRUE(ProtocolRule::parse(all)) << all;
    EXPECT_EQ(ProtocolRule::parse(all)->policy, PortPolicy::AllowAll);
    EXPECT_TRUE(ProtocolRule::parse(all)->allows(1));
  }
}

TEST(ProtocolRule, SortsAndJoinsRanges) {
  EXPECT_EQ(ProtocolRule::parse("443, 80,8000-9000,8500-9001,9002")->text(), "80,443,8000-9002");
  EXPECT_EQ(ProtocolRule::parse("80,81,82")->text(), "80-82");
  EXPECT_EQ(ProtocolRule::parse("65535,1-65534")->text(), "1-65535");
}

TEST(ProtocolRule, AllowsExactlyItsPorts) {
  const auto rule = *ProtocolRule::parse("22,8000-9000");
  for (const int port : {22, 8000, 8500, 9000}) EXPECT_TRUE(rule.allows(static_cast<std::uint16_t>(port))) << port;
  for (const int port : {0, 21, 23, 7999, 9001, 65535})
    EXPECT_FALSE(rule.allows(static_cast<std::uint16_t>(port))) << port;
  EXPECT_FALSE(ProtocolRule::parse("none")->allows(80));
}

TEST(ProtocolRule, RefusesWhatIsNotAListOfPorts) {
  for (const char* bad :
       {"0", "65536", "80,", ",80", "80,,443", "90-80", "80-", "-80", "a", "80;443", "8 0", "+80", "1-2-3"}) {
    EXPECT_FALSE(ProtocolRule::parse(bad)) << bad;
  }
}

TEST(ProtocolRule, ReadsBackWhatItWrites) {
  for (const char* text : {"*", "none", "22", "22,80-90,443"}) {
    const auto rule = *ProtocolRule::parse(text);
    EXPECT_EQ(rule.text(), text);
    EXPECT_EQ(*ProtocolRule::parse(rule.text()), rule);
  }
}

}  // namespace
}  // namespace postern::model
