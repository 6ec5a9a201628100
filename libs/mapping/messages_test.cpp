// What routers say: HTTP, XML, SSDP, SOAP and NAT-PMP, from routers that are well and from hosts that are not.
#include <gtest/gtest.h>

#include "mapping/igd.hpp"
#include "mapping/nat_pmp.hpp"
#include "mapping/xml.hpp"

namespace postern::mapping {
namespace {

HttpReply reply_of(std::string_view text, std::size_t step = 4096) {
  HttpReply reply;
  for (std::size_t at = 0; at < text.size(); at += step) (void)reply.add(as_bytes(text.substr(at, step)));
  return reply;
}

TEST(HttpTarget, IsALiteralAddressOfHttpAndNothingElse) {
  EXPECT_EQ(parse_target("http://192.168.1.1:5000/rootDesc.xml"),
            (HttpTarget{*SocketAddress::parse("192.168.1.1:5000"), "/rootDesc.xml"}));
  EXPECT_EQ(parse_target("HTTP://192.168.1.1"), (HttpTarget{*SocketAddress::parse("192.168.1.1:80"), "/"}));
  for (const char* bad : {"https://192.168.1.1/", "http://router.lan/x", "http://192.168.1.1:0/", "http://[::1]/",
                          "http://192.168.1.1:70000/", "http://a@192.168.1.1/", "http://192.168.1.1/a b",
                          "http://192.168.1.1/a\r\nX: y", "file:///etc/passwd", "http://", ""}) {
    EXPECT_FALSE(parse_target(bad)) << bad;
  }
  EXPECT_FALSE(parse_target("http://192.168.1.1/" + std::string(kUrlMax, 'a')));
}

TEST(HttpTarget, AReferenceIsResolvedAgainstTheDocument) {
  const HttpTarget base = *parse_target("http://192.168.1.1:5000/igd/root.xml");
  EXPECT_EQ(resolve(base, "/ctl")->path, "/ctl");
  EXPECT_EQ(resolve(base, "ctl")->path, "/igd/ctl");
  EXPECT_EQ(resolve(base, "http://192.168.1.1:80/c")->host.port, 80);
  EXPECT_FALSE(resolve(base, "//10.0.0.1/c"));
  EXPECT_FALSE(resolve(base, "/a b"));
  EXPECT_FALSE(resolve(base, ""));
}

TEST(HttpReply, EndsByLengthByChunksOrWithTheConnection) {
  for (const std::size_t step : {std::size_t{1}, std::size_t{4096}}) {
    HttpReply reply = reply_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", step);
    EXPECT_EQ(reply.state(), HttpReply::State::Complete);
    EXPECT_EQ(reply.body(), "hello");
    reply = reply_of("HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", step);
    EXPECT_EQ(reply.state(), HttpReply::State::Complete);
    EXPECT_EQ(reply.status(), 500U);
    EXPECT_EQ(reply.body(), "hello");
    reply = reply_of("HTTP/1.0 200 OK\r\n\r\nhello", step);
    EXPECT_EQ(reply.state(), HttpReply::State::Incomplete);
    EXPECT_EQ(reply.end(), HttpReply::State::Complete);
  }
  HttpReply cut = reply_of("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
  EXPECT_EQ(cut.end(), HttpReply::State::Bad);
}

TEST(HttpReply, WhatIsMalformedOrTooLargeIsRefusedAtOnce) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  for (const std::string& bad :
       {std::string("SSH-2.0-x\r\n\r\n"), std::string("HTTP/1.1 2\r\n\r\n"), std::string("HTTP/1.1\r\n\r\n"),
        head + "Content-Length: 999999\r\n\r\n", head + "Content-Length: -1\r\n\r\n",
        head + "Transfer-Encoding: gzip\r\n\r\n", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + "Transfer-Encoding: chunked\r\n\r\nfffff\r\n", head + std::string(HttpReply::kHeadMax, 'a'),
        head + "\r\n" + std::string(HttpReply::kBodyMax + 1, 'a')}) {
    EXPECT_EQ(reply_of(bad).state(), HttpReply::State::Bad) << bad.substr(0, 60);
  }
}

TEST(Xml, FindsElementsWhateverTheirPrefixIs) {
  const std::string text = "<?xml version='1.0'?><!-- <a>no</a> --><s:b x='1'><a> one &amp; two </a><a/></s:b>";
  EXPECT_EQ(element_text(text, "a"), "one & two");
  EXPECT_EQ(elements(text, "a", 9).size(), 2U);
  EXPECT_EQ(elements(text, "a", 1).size(), 1U);
  EXPECT_EQ(elements(text, "b", 9).size(), 1U);
  EXPECT_FALSE(element_text(text, "c"));
  for (const char* bad : {"<a>", "<a", "<", "<!--", "</a>", "<a><b></a", "text"}) EXPECT_FALSE(element_text(bad, "a"));
}

constexpr std::string_view kDescription = R"(<?xml version="1.0"?>
<root><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
<controlURL>/l3</controlURL></service>
</serviceList><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType>
<controlURL>/ppp</controlURL></service>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
<controlURL>EVIL/ip</controlURL></service>
</serviceList></device></deviceList></device></root>)";

std::string description(std::string_view where) {
  std::string text(kDescription);
  return text.replace(text.find("EVIL"), 4, where);
}

TEST(Igd, TheBestServiceComesFirst) {
  const HttpTarget from = *parse_target("http://192.168.1.1:5000/root.xml");
  std::uint64_t foreign = 0;
  const auto services = find_services(description(""), from, foreign);
  ASSERT_EQ(services.size(), 2U);
  EXPECT_EQ(services[0].type, "urn:schemas-upnp-org:service:WANIPConnection:1");
  EXPECT_EQ(services[0].control, (HttpTarget{from.host, "/ip"}));
  EXPECT_EQ(services[1].control.path, "/ppp");
  EXPECT_FALSE(has_add_any(services[0]));
  EXPECT_EQ(foreign, 0U);
}

TEST(Igd, AControlUrlOnAnotherHostIsLeftOutAndCounted) {
  const HttpTarget from = *parse_target("http://192.168.1.1:5000/root.xml");
  for (const char* elsewhere :
       {"http://192.168.1.2:80", "http://169.254.169.254", "http://127.0.0.1", "http://evil.lan"}) {
    std::uint64_t foreign = 0;
    const auto services = find_services(description(elsewhere), from, foreign);
    ASSERT_EQ(services.size(), 1U) << elsewhere;
    EXPECT_EQ(services[0].control.path, "/ppp");
    EXPECT_EQ(foreign, 1U);
  }
  std::uint64_t foreign = 0;
  std::string with_base = description("");
  with_base.insert(with_base.find("<device>"), "<URLBase>http://10.9.9.9:80/</URLBase>");
  EXPECT_EQ(find_services(with_base, from, foreign).at(0).control.host, from.host);
}

TEST(Igd, AnswersAreReadWithTheirErrors) {
  const auto answer = [](std::string_view body, unsigned status = 200) {
    return reply_of("HTTP/1.1 " + std::to_string(status) + " x\r\nContent-Length: " + std::to_string(body.size()) +
                    "\r\n\r\n" + std::string(body));
  };
  const HttpReply good = answer(
      "<s:Envelope><s:Body><u:R><NewExternalIPAddress>198.51.100.4</NewExternalIPAddress>"
      "<NewReservedPort>4000</NewReservedPort></u:R></s:Body></s:Envelope>");
  ASSERT_TRUE(read_answer(good));
  EXPECT_EQ(parse_external_address(*read_answer(good)), IpAddress::parse("198.51.100.4"));
  EXPECT_EQ(parse_reserved_port(*read_answer(good)), 4000);
  const HttpReply refused = answer("<s:Body><s:Fault><errorCode>725</errorCode></s:Fault></s:Body>", 500);
  EXPECT_EQ(read_answer(refused).error(), IgdError::OnlyPermanentLeases);
  EXPECT_EQ(read_answer(answer("", 302)).error(), IgdError::Nonsense);
  EXPECT_EQ(read_answer(answer("<errorCode>99999999</errorCode>", 500)).error(), IgdError::Nonsense);
  EXPECT_FALSE(parse_external_address("<NewExternalIPAddress>example.org</NewExternalIPAddress>"));
  EXPECT_FALSE(parse_reserved_port("<NewReservedPort>0</NewReservedPort>"));
  EXPECT_FALSE(parse_reserved_port("<NewReservedPort>65536</NewReservedPort>"));
}

TEST(Igd, SearchesAreAnsweredWithAPlace) {
  const auto parse = [](std::string_view text) { return parse_ssdp_answer(as_bytes(text)); };
  EXPECT_EQ(parse("HTTP/1.1 200 OK\r\nST: x\r\nLoCaTiOn:  http://192.168.1.1/d \r\n\r\n"), "http://192.168.1.1/d");
  EXPECT_FALSE(parse("HTTP/1.1 404 no\r\nLOCATION: http://192.168.1.1/d\r\n\r\n"));
  EXPECT_FALSE(parse("HTTP/1.1 200 OK\r\nST: x\r\n\r\n"));
  EXPECT_FALSE(parse("HTTP/1.1 200 OK\r\nLOCATION:\r\n\r\n"));
  EXPECT_FALSE(parse("NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/d\r\n\r\n"));
  EXPECT_FALSE(parse(""));
}

TEST(NatPmp, OnlyWholeAnswersCount) {
  const Bytes address{0, 128, 0, 0, 0, 0, 1, 0, 203, 0, 113, 9};
  const auto told = parse_pmp_answer(address);
  ASSERT_TRUE(told);
  EXPECT_FALSE(told->is_map);
  EXPECT_EQ(told->epoch_s, 256U);
  EXPECT_EQ(told->address, *IpAddress::parse("203.0.113.9"));
  const Bytes map{0, 129, 0, 0, 0, 0, 0, 9, 0x10, 0, 0x20, 0, 0, 0, 2, 88};
  const auto mapped = parse_pmp_answer(map);
  ASSERT_TRUE(mapped && mapped->is_map);
  EXPECT_EQ(mapped->map.internal_port, 0x1000);
  EXPECT_EQ(mapped->map.external_port, 0x2000);
  EXPECT_EQ(mapped->map.lifetime_s, 600U);
  for (std::size_t size = 0; size < map.size(); ++size)
    EXPECT_FALSE(parse_pmp_answer(ByteView(map).first(size))) << size;
  EXPECT_EQ(parse_pmp_answer(Bytes{0, 129, 0, 2, 0, 0, 0, 9})->result, 2);
  EXPECT_FALSE(parse_pmp_answer(Bytes{2, 129, 0, 0, 0, 0, 0, 9, 0x10, 0, 0x20, 0, 0, 0, 2, 88}));
  EXPECT_FALSE(parse_pmp_answer(Bytes{0, 0, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9}));
}

}  // namespace
}  // namespace postern::mapping
