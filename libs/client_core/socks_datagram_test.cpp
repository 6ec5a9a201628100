#include "client_core/socks_datagram.hpp"

#include <gtest/gtest.h>

namespace postern::client {
namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}
auto parse(const std::string& text) {
  return parse_socks_datagram(as_bytes(text));
}

TEST(SocksDatagram, NamesWhereItGoesAndCarriesTheRest) {
  const std::string question = bytes({0, 0, 0, 1, 192, 168, 1, 7, 0, 53}) + "question";
  const auto v4 = parse(question);
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->to.text(), "192.168.1.7:53/udp");
  EXPECT_EQ(as_text(v4->payload), "question");
  const auto right = parse(bytes({0, 0, 0, 3, 12}) + "DNS.Home.Lan" + bytes({0, 53}));
  ASSERT_TRUE(right);
  EXPECT_EQ(right->to.text(), "dns.home.lan:53/udp");
  EXPECT_TRUE(right->payload.empty());
  const auto v6 = parse(bytes({0, 0, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0}) + "x");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->to.text(), "[2001:db8::7]:256/udp");
}

TEST(SocksDatagram, TellsFragmentsFromNonsense) {
  EXPECT_EQ(parse(bytes({0, 0, 1, 1, 10, 0, 0, 1, 0, 53})).error(), SocksDatagramError::Fragment);
  EXPECT_EQ(parse(bytes({0, 0, 128, 1, 10, 0, 0, 1, 0, 53})).error(), SocksDatagramError::Fragment);
  for (const std::string& text :
       {std::string(), bytes({0, 0, 0}), bytes({0, 0, 0, 1, 10, 0, 0, 1, 0}), bytes({0, 0, 0, 2, 10, 0, 0, 1, 0, 53}),
        bytes({0, 1, 0, 1, 10, 0, 0, 1, 0, 53}), bytes({0, 0, 0, 1, 10, 0, 0, 1, 0, 0}), bytes({0, 0, 0, 3, 0, 0, 53}),
        bytes({0, 0, 0, 3, 3}) + "a b" + bytes({0, 53}), bytes({0, 0, 0, 3, 14}) + "dns.home.lan" + bytes({0, 53})}) {
    const auto parsed = parse(text);
    ASSERT_FALSE(parsed) << to_hex(as_bytes(text));
    EXPECT_EQ(parsed.error(), SocksDatagramError::Malformed);
  }
}

TEST(SocksDatagram, TheHeaderOfAnAnswerSaysWhatTheQuestionSaid) {
  for (const std::string& text :
       {bytes({0, 0, 0, 1, 192, 168, 1, 7, 0, 53}), bytes({0, 0, 0, 3, 12}) + "dns.home.lan" + bytes({1, 2}),
        bytes({0, 0, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0})}) {
    EXPECT_EQ(build_socks_header(parse(text)->to), text);
  }
}

}  // namespace
}  // namespace postern::client
