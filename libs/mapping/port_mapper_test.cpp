// The mapper against routers of every temper, in virtual time.
#include "mapping/port_mapper.hpp"

#include <gtest/gtest.h>

namespace postern::mapping {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const IpAddress kRouter = *IpAddress::parse("192.168.1.1");
const IpAddress kLocal = *IpAddress::parse("192.168.1.10");
const SocketAddress kPmp{kRouter, kNatPmpPort};
const SocketAddress kSsdp{kRouter, 1900};

/// A home router: knows NAT-PMP, UPnP or neither.
struct Router {
  bool has_pmp = false;
  bool has_upnp = false;
  bool is_v2 = false;
  bool only_permanent = false;
  std::string outside = "203.0.113.30";
  std::uint16_t pmp_result = 0;
  std::uint32_t lifetime_s = 600;
  unsigned conflicts = 0;  ///< so many ports are taken
  std::string control = "/ctl";
  std::string location = "http://192.168.1.1:5000/root.xml";
  Instant booted;

  std::map<std::uint16_t, std::uint16_t> mappings;  ///< outside → inside
  unsigned map_requests = 0;
  std::string last_lease;
};

class PortMapperTest : public testing::Test {
 protected:
  void start() { mapper_.set_place(now_, Place{kRouter, kLocal, 4000}); }

  void run_for(Duration duration) {
    const Instant end = now_ + duration;
    while (true) {
      exchange();
      const auto next = mapper_.next_timeout();
      if (!next || *next > end) break;
      now_ = std::max(now_, *next);
      mapper_.handle_timeout(now_);
    }
    now_ = end;
  }

  void exchange() {
    for (bool is_busy = true; is_busy;) {
      is_busy = false;
      while (const auto sent = mapper_.poll_datagram()) {
        answer(*sent);
        is_busy = true;
      }
      if (!mapper_.exchange() || is_dead_) continue;
      const auto asked = *mapper_.exchange();
      mapper_.handle_bytes(now_, as_bytes(serve(asked)));
      is_busy = !mapper_.exchange() || mapper_.exchange()->number != asked.number;
    }
  }

  void answer(const PortMapper::Outgoing& sent) {
    ++sent_;
    if (is_dead_) return;
    if (sent.to == ssdp_group()) {
      if (!router_.has_upnp) return;
      const std::string text = "HTTP/1.1 200 OK\r\nLOCATION: " + router_.location + "\r\n\r\n";
      return mapper_.handle_datagram(now_, kSsdp, as_bytes(text));
    }
    EXPECT_EQ(sent.to, kPmp);
    if (!router_.has_pmp) return;
    ByteReader reader(sent.datagram);
    (void)reader.u8();
    const bool is_map = reader.u8() == 1;
    std::array<std::uint8_t, 16> bytes{};
    ByteWriter writer(bytes);
    writer.u8(0);
    writer.u8(is_map ? 129 : 128);
    writer.u16(router_.pmp_result);
    writer.u32(static_cast<std::uint32_t>((now_ - router_.booted) / seconds(1)));
    if (!is_map) {
      writer.view(IpAddress::parse(router_.outside)->bytes());
      return mapper_.handle_datagram(now_, kPmp, writer.written());
    }
    (void)reader.u16();
    const std::uint16_t inside = reader.u16();
    const std::uint16_t outside = reader.u16();
    const std::uint32_t lifetime_s = reader.u32();
    if (lifetime_s == 0) router_.mappings.clear();
    if (lifetime_s != 0) router_.mappings[outside] = inside;
    ++router_.map_requests;
    writer.u16(inside);
    writer.u16(lifetime_s == 0 ? 0 : outside);
    writer.u32(lifetime_s == 0 ? 0 : router_.lifetime_s);
    mapper_.handle_datagram(now_, kPmp, writer.written());
  }

  static std::string http(unsigned status, const std::string& body) {
    return "HTTP/1.1 " + std::to_string(status) + " x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  }
  static std::string error(unsigned code) {
    return http(500, "<s:Body><errorCode>" + std::to_string(code) + "</errorCode></s:Body>");
  }
  static std::string between(const std::string& text, const std::string& name) {
    const auto at = text.find("<" + name + ">") + name.size() + 2;
    return text.substr(at, text.find("</" + name + ">") - at);
  }

  std::string serve(const PortMapper::Exchange& asked) {
    EXPECT_EQ(asked.to.ip, kRouter);
    const std::string& request = asked.request;
    if (request.starts_with("GET")) {
      return http(200, "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:" +
                           std::string(router_.is_v2 ? "2" : "1") + "</serviceType><controlURL>" + router_.control +
                           "</controlURL></service>");
    }
    if (request.find("#GetExternalIPAddress") != std::string::npos) {
      return http(200, "<Body><NewExternalIPAddress>" + router_.outside + "</NewExternalIPAddress></Body>");
    }
    const auto outside = static_cast<std::uint16_t>(std::stoi(between(request, "NewExternalPort")));
    if (request.find("#DeletePortMapping") != std::string::npos) {
      router_.mappings.erase(outside);
      return http(200, "<Body><r/></Body>");
    }
    ++router_.map_requests;
    router_.last_lease = between(request, "NewLeaseDuration");
    EXPECT_EQ(between(request, "NewInternalClient"), "192.168.1.10");
    EXPECT_EQ(between(request, "NewInternalPort"), "4000");
    EXPECT_EQ(between(request, "NewProtocol"), "UDP");
    if (router_.only_permanent && router_.last_lease != "0") return error(725);
    if (router_.conflicts > 0) {
      --router_.conflicts;
      return error(718);
    }
    const bool is_any = request.find("#AddAnyPortMapping") != std::string::npos;
    const std::uint16_t given = is_any ? 7777 : outside;
    router_.mappings[given] = 4000;
    return http(200, "<Body><NewReservedPort>" + std::to_string(given) + "</NewReservedPort></Body>");
  }

  [[nodiscard]] std::uint64_t drops(MappingDrop drop) const { return mapper_.drops()[static_cast<std::size_t>(drop)]; }

  Instant now_{std::chrono::hours(1)};
  SeededRandom random_{7};
  PortMapper mapper_{random_};
  Router router_;
  bool is_dead_ = false;  ///< the router answers nothing
  unsigned sent_ = 0;
};

TEST_F(PortMapperTest, NatPmpMapsThePortAndKeepsItAliveAndDeletesIt) {
  router_.has_pmp = router_.has_upnp = true;
  start();
  run_for(seconds(1));
  EXPECT_EQ(mapper_.outside(), SocketAddress::parse("203.0.113.30:4000"));
  EXPECT_EQ(mapper_.method(), Method::NatPmp);
  EXPECT_EQ(router_.map_requests, 1U);
  run_for(minutes(60));
  EXPECT_TRUE(mapper_.outside());
  EXPECT_NEAR(router_.map_requests, 12, 3) << "half of the lease";
  mapper_.release(now_);
  EXPECT_FALSE(mapper_.outside());
  run_for(seconds(1));
  EXPECT_TRUE(mapper_.is_released());
  EXPECT_TRUE(router_.mappings.empty());
}

TEST_F(PortMapperTest, UpnpIsAskedWhereNatPmpIsSilentOrRefuses) {
  for (const bool refuses : {false, true}) {
    router_ = {};
    router_.has_upnp = true;
    router_.has_pmp = refuses;
    router_.pmp_result = 2;
    mapper_.set_place(now_, std::nullopt);
    start();
    run_for(seconds(10));
    EXPECT_EQ(mapper_.outside(), SocketAddress::parse("203.0.113.30:4000"));
    EXPECT_EQ(mapper_.method(), Method::Upnp);
    EXPECT_EQ(router_.last_lease, "600");
  }
  run_for(minutes(20));
  EXPECT_GE(router_.map_requests, 4U);
  mapper_.release(now_);
  run_for(seconds(1));
  EXPECT_TRUE(mapper_.is_released());
  EXPECT_TRUE(router_.mappings.empty());
}

TEST_F(PortMapperTest, ARouterThatHasStartedAgainIsAskedAgainWithinAMinute) {
  router_.has_pmp = true;
  start();
  run_for(minutes(2));
  router_.mappings.clear();
  router_.booted = now_;
  run_for(minutes(1));
  EXPECT_EQ(router_.mappings.size(), 1U);
}

TEST_F(PortMapperTest, AHintRenewsAMappingAtOnceButNotMoreOftenThanEveryTenSeconds) {
  router_.has_upnp = true;
  start();
  run_for(minutes(1));
  router_.mappings.clear();
  mapper_.refresh(now_);
  run_for(seconds(1));
  EXPECT_EQ(router_.mappings.size(), 1U);
  const unsigned before = router_.map_requests;
  for (int i = 0; i < 50; ++i) {
    mapper_.refresh(now_);
    run_for(milliseconds(200));
  }
  EXPECT_LE(router_.map_requests, before + 2);
}

TEST_F(PortMapperTest, AnIgdOfVersionTwoChoosesThePort) {
  router_.has_upnp = router_.is_v2 = true;
  start();
  run_for(seconds(10));
  EXPECT_EQ(mapper_.outside(), SocketAddress::parse("203.0.113.30:7777"));
}

TEST_F(PortMapperTest, APermanentLeaseIsTakenWhereThereIsNoOtherAndDeletedAtTheEnd) {
  router_.has_upnp = router_.only_permanent = true;
  start();
  run_for(seconds(10));
  EXPECT_TRUE(mapper_.outside());
  EXPECT_EQ(router_.last_lease, "0");
  run_for(minutes(30));
  EXPECT_TRUE(mapper_.outside());
  mapper_.release(now_);
  run_for(seconds(1));
  EXPECT_TRUE(router_.mappings.empty());
}

TEST_F(PortMapperTest, APortThatIsTakenIsReplacedByAnotherAFewTimes) {
  router_.has_upnp = true;
  router_.conflicts = 2;
  start();
  run_for(seconds(10));
  ASSERT_TRUE(mapper_.outside());
  EXPECT_GE(mapper_.outside()->port, 20'000);
  router_.conflicts = 100;
  mapper_.set_place(now_, std::nullopt);
  router_.map_requests = 0;
  start();
  run_for(seconds(30));
  EXPECT_FALSE(mapper_.outside());
  EXPECT_EQ(mapper_.trouble(), Trouble::Refused);
  EXPECT_LE(router_.map_requests, 5U);
}

TEST_F(PortMapperTest, AnOutsideThatIsNotPublicIsNotOffered) {
  for (const char* outside : {"100.64.3.4", "10.0.0.2", "192.168.0.9", "127.0.0.1", "0.0.0.0", "224.0.0.1"}) {
    for (const bool is_pmp : {true, false}) {
      router_ = {};
      router_.has_pmp = is_pmp;
      router_.has_upnp = !is_pmp;
      router_.outside = outside;
      mapper_.set_place(now_, std::nullopt);
      start();
      run_for(seconds(20));
      EXPECT_FALSE(mapper_.outside()) << outside;
      EXPECT_EQ(mapper_.trouble(), Trouble::NoPublicAddress);
      EXPECT_EQ(router_.map_requests, 0U) << "what is of no use is not asked for";
    }
  }
}

TEST_F(PortMapperTest, ARouterThatAnswersNothingIsAskedLessAndLessOften) {
  start();
  run_for(seconds(30));
  EXPECT_EQ(mapper_.trouble(), Trouble::NoAnswer);
  run_for(std::chrono::hours(24));
  EXPECT_LE(sent_, 30U * 8U);
}

TEST_F(PortMapperTest, AMappingEndsWhenTheRouterIsSilentForItsLife) {
  router_.has_pmp = true;
  start();
  run_for(seconds(1));
  is_dead_ = true;
  run_for(minutes(9));
  EXPECT_TRUE(mapper_.outside());
  run_for(minutes(2));
  EXPECT_FALSE(mapper_.outside());
  EXPECT_EQ(mapper_.trouble(), Trouble::NoAnswer);
}

TEST_F(PortMapperTest, NothingIsAskedWithoutARouterOrWithAPublicAddress) {
  mapper_.set_place(now_, std::nullopt);
  EXPECT_EQ(mapper_.trouble(), Trouble::NoRouter);
  mapper_.set_place(now_, Place{kRouter, *IpAddress::parse("198.51.100.7"), 4000});
  EXPECT_EQ(mapper_.trouble(), Trouble::NotNeeded);
  run_for(minutes(5));
  EXPECT_EQ(sent_, 0U);
}

TEST_F(PortMapperTest, OnlyTheRouterIsHeard) {
  start();
  run_for(milliseconds(10));
  const Bytes answer{0, 128, 0, 0, 0, 0, 1, 0, 203, 0, 113, 9};
  mapper_.handle_datagram(now_, *SocketAddress::parse("192.168.1.66:5351"), answer);
  EXPECT_EQ(drops(MappingDrop::ForeignSource), 1U);
  mapper_.handle_datagram(now_, kPmp, Bytes{0, 129, 0, 0});
  mapper_.handle_datagram(now_, kPmp, Bytes{0, 129, 0, 0, 0, 0, 0, 9, 15, 160, 15, 160, 0, 0, 2, 88});
  EXPECT_EQ(drops(MappingDrop::Malformed), 2U) << "no mapping was asked for";
  run_for(seconds(30));
  EXPECT_FALSE(mapper_.outside());
}

TEST_F(PortMapperTest, ADescriptionOrControlUrlElsewhereIsNotFollowed) {
  router_.has_upnp = true;
  router_.location = "http://192.168.1.66:80/root.xml";
  start();
  run_for(seconds(30));
  EXPECT_GE(drops(MappingDrop::ForeignUrl), 1U);
  EXPECT_EQ(mapper_.trouble(), Trouble::NoAnswer);
  mapper_.set_place(now_, std::nullopt);
  router_.location = "http://192.168.1.1:5000/root.xml";
  router_.control = "http://169.254.169.254/latest";
  start();
  run_for(seconds(30));  // serve() checks where requests go
  EXPECT_FALSE(mapper_.outside());
  EXPECT_EQ(mapper_.trouble(), Trouble::BadAnswer);
}

TEST_F(PortMapperTest, AnEndlessASlowAndABrokenAnswerEndTheExchange) {
  router_.has_upnp = true;
  const std::vector<std::string> answers{
      "HTTP/1.1 200 OK\r\n\r\n" + std::string(300'000, 'x'), "garbage\r\n\r\n",
      "HTTP/1.1 302 x\r\nLocation: http://192.168.1.66/\r\nContent-Length: 0\r\n\r\n", ""};
  for (const std::string& text : answers) {
    mapper_.set_place(now_, std::nullopt);
    start();
    is_dead_ = true;
    run_for(seconds(4));
    mapper_.handle_datagram(now_, kSsdp, as_bytes("HTTP/1.1 200 OK\r\nLOCATION: " + router_.location + "\r\n\r\n"));
    ASSERT_TRUE(mapper_.exchange());
    mapper_.handle_bytes(now_, as_bytes(text));
    run_for(seconds(5));
    EXPECT_FALSE(mapper_.exchange()) << text.substr(0, 20);
    EXPECT_NE(mapper_.trouble(), Trouble::None);
  }
  EXPECT_EQ(drops(MappingDrop::BadReply), 3U);
}

TEST_F(PortMapperTest, ARequestWhoseAnswerIsAwaitedAtTheEndIsUndoneToo) {
  router_.has_pmp = true;
  start();
  answer(*mapper_.poll_datagram());  // the address is known, the mapping asked for
  mapper_.release(now_);
  const auto last = mapper_.poll_datagram();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->datagram, (Bytes{0, 1, 0, 0, 0x0f, 0xa0, 0, 0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace postern::mapping
