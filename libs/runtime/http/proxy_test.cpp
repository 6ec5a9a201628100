#include "runtime/http/proxy.hpp"

#include <gtest/gtest.h>

namespace postern::runtime {
namespace {

HttpProxy proxy(std::string_view url) {
  const auto rules = ProxyRules::parse(url, "");
  EXPECT_TRUE(rules.has_value()) << url;
  return rules ? rules->proxy() : HttpProxy{};
}

TEST(Proxy, IsReadFromItsUrlAsCurlDoes) {
  EXPECT_EQ(proxy("http://proxy.example.org:3128").name(), "proxy.example.org:3128");
  EXPECT_EQ(proxy("http://Proxy.Example.org:3128/").name(), "proxy.example.org:3128");
  EXPECT_EQ(proxy("192.0.2.1:8080").name(), "192.0.2.1:8080");
  EXPECT_EQ(proxy("http://proxy").name(), "proxy:1080");
  EXPECT_EQ(proxy("http://[2001:db8::1]:8080").name(), "[2001:db8::1]:8080");
  EXPECT_EQ(proxy("http://proxy").authorization, "");
}

TEST(Proxy, NameAndPasswordBecomeBasicAuthorization) {
  EXPECT_EQ(proxy("http://Aladdin:open%20sesame@proxy:80").authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  EXPECT_EQ(proxy("http://a:p%40ss@proxy:80").authorization, "Basic YTpwQHNz");
  EXPECT_EQ(proxy("http://a:p@ss@proxy:80").name(), "proxy:80");
  EXPECT_EQ(proxy("http://only-a-name@proxy:80").authorization, "Basic b25seS1hLW5hbWU6");
}

TEST(Proxy, WhatCannotBeUsedIsRefusedWithoutSayingThePassword) {
  for (const char* url : {"https://u:secret@proxy:1", "socks5://u:secret@proxy", "http://", "http://u:secret@",
                          "http://u:secret@proxy:0", "http://u:secret@proxy:99999", "http://u:secret@proxy:80x",
                          "http://u:secret@[::1", "http://u:secret@pro xy", "http://u:secret@pro\r\nxy"}) {
    const auto rules = ProxyRules::parse(url, "");
    ASSERT_FALSE(rules) << url;
    EXPECT_EQ(rules.error().find("secret"), std::string::npos);
  }
}

TEST(Proxy, ExceptionsAreNamesWithWhatIsBelowThemAddressesAndPrefixes) {
  const auto rules = *ProxyRules::parse("http://p:1", "example.org, .corp 10.0.0.0/8,192.0.2.7,[2001:db8::1]");
  for (const char* direct :
       {"example.org", "a.example.org", "EXAMPLE.org.", "host.corp", "corp", "10.1.2.3", "192.0.2.7", "2001:db8::1"}) {
    EXPECT_EQ(rules.proxy_for(direct), nullptr) << direct;
  }
  for (const char* proxied : {"notexample.org", "example.org.evil", "11.0.0.1", "192.0.2.70", "2001:db8::2"}) {
    EXPECT_NE(rules.proxy_for(proxied), nullptr) << proxied;
  }
  EXPECT_EQ(ProxyRules::parse("http://p:1", "*")->proxy_for("anything"), nullptr);
}

}  // namespace
}  // namespace postern::runtime
