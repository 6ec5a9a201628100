#include "base/ip.hpp"

namespace postern {
namespace {

TEST(Ip, ParsesAndPrintsBothFamilies) {
  EXPECT_EQ(IpAddress::parse("192.0.2.1")->to_string(), "192.0.2.1");
  EXPECT_EQ(IpAddress::parse("2001:DB8:0::1")->to_string(), "2001:db8::1");
  for (const char* bad : {"", "1.2.3", "1.2.3.4 ", "::1%lo", "300.1.1.1"}) EXPECT_FALSE(IpAddress::parse(bad)) << bad;
}

TEST(Ip, PrefixRefusesHostBitsAndBadLengths) {
  EXPECT_TRUE(IpPrefix::parse("192.168.1.0/24"));
  for (const char* bad : {"192.168.1.1/24", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129"}) {
    EXPECT_FALSE(IpPrefix::parse(bad)) << bad;
  }
}

TEST(Ip, PrefixContainsAndOverlapsWithinOneFamilyOnly) {
  const auto prefix = *IpPrefix::parse("192.168.0.0/23");
  EXPECT_TRUE(prefix.contains(*IpAddress::parse("192.168.1.255")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("192.168.2.0")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("::1")));
  EXPECT_TRUE(prefix.overlaps(*IpPrefix::parse("0.0.0.0/0")));
  EXPECT_FALSE(prefix.overlaps(*IpPrefix::parse("::/0")));
}

TEST(Ip, SocketAddressNeedsBracketsExactlyForV6) {
  EXPECT_EQ(SocketAddress::parse("[::1]:443")->to_string(), "[::1]:443");
  EXPECT_EQ(SocketAddress::parse("127.0.0.1:1")->port, 1);
  for (const char* bad : {"::1:443", "[127.0.0.1]:1", "127.0.0.1:65536", "127.0.0.1", ":1"}) {
    EXPECT_FALSE(SocketAddress::parse(bad)) << bad;
  }
}

}  // namespace
}  // namespace postern
