#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/server/device_grants.hpp"
#include "services/server/form.hpp"
#include "services/server/public_address.hpp"
#include "services/server/relay_addresses.hpp"
#include "services/server/setup_links.hpp"
#include "services/server/web_fixture.hpp"

namespace postern::server {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{Duration{1'000'000'000}};
const WallTime kWall = from_unix_ms(1'700'000'000'000);

class DeviceGrantsTest : public ::testing::Test {
 protected:
  std::optional<StartedGrant> start(const std::string& from = "192.0.2.1", Instant now = kStart) {
    return grants_.start({1, 2}, "laptop", from + ":1", from, now, random_);
  }
  PollOutcome poll(const StartedGrant& grant, Instant now) {
    const DeviceGrant* ignored = nullptr;
    return grants_.poll(grant.device_code, now, ignored);
  }
  SeededRandom random_{1};
  DeviceGrants grants_;
};

TEST_F(DeviceGrantsTest, AreGoodForFiveMinutes) {
  const auto grant = *start();
  EXPECT_NE(grants_.find(grant.user_code, kStart + 299s), nullptr);
  EXPECT_EQ(grants_.find(grant.user_code, kStart + 300s), nullptr);
  EXPECT_EQ(poll(grant, kStart + 299s), PollOutcome::Pending);
  EXPECT_EQ(poll(grant, kStart + 300s), PollOutcome::Expired);
  EXPECT_FALSE(grants_.approve(grant.user_code, 1, "a@x", kStart + 300s));
  EXPECT_TRUE(start("192.0.2.1", kStart + 301s));
  EXPECT_EQ(grants_.size(), 1U) << "the old one is gone";
}

TEST_F(DeviceGrantsTest, SlowDownADeviceThatAsksTooOften) {
  const auto grant = *start();
  EXPECT_EQ(poll(grant, kStart + 2s), PollOutcome::Pending);
  EXPECT_EQ(poll(grant, kStart + 4s), PollOutcome::Pending);
  EXPECT_EQ(poll(grant, kStart + 5s), PollOutcome::SlowDown);
  EXPECT_EQ(poll(grant, kStart + 8s), PollOutcome::SlowDown);
  EXPECT_EQ(poll(grant, kStart + 30s), PollOutcome::Pending);
}

TEST_F(DeviceGrantsTest, AnswerOnceTheyAreDecided) {
  const auto yes = *start();
  const auto no = *start();
  EXPECT_TRUE(grants_.approve(yes.user_code, 7, "a@x", kStart));
  EXPECT_FALSE(grants_.deny(yes.user_code, kStart));
  EXPECT_TRUE(grants_.deny(no.user_code, kStart));
  const DeviceGrant* grant = nullptr;
  EXPECT_EQ(grants_.poll(yes.device_code, kStart, grant), PollOutcome::Approved);
  EXPECT_EQ(grant->device_id, 7U);
  EXPECT_EQ(poll(no, kStart), PollOutcome::Denied);
}

TEST_F(DeviceGrantsTest, AreBoundedForEachAddressAndInAll) {
  for (std::size_t i = 0; i < DeviceGrants::kGrantsPerAddressMax; ++i) EXPECT_TRUE(start());
  EXPECT_FALSE(start());
  for (std::size_t i = grants_.size(); i < DeviceGrants::kGrantsMax; ++i) EXPECT_TRUE(start(std::to_string(i)));
  EXPECT_FALSE(start("another"));
}

TEST(Form, DecodesAndRefuses) {
  const auto form = Form::parse("a=1+2&b=%C3%A9&a=second&c");
  ASSERT_TRUE(form);
  EXPECT_EQ(form->get("a"), "1 2");
  EXPECT_EQ(form->get("b"), "é");
  EXPECT_TRUE(form->has("c"));
  EXPECT_EQ(form->get("d"), "");
  EXPECT_FALSE(Form::parse("a=%4"));
  EXPECT_FALSE(Form::parse("a=%zz"));
  std::string many;
  for (int i = 0; i < 65; ++i) many += "f" + std::to_string(i) + "=1&";
  EXPECT_FALSE(Form::parse(many));
  EXPECT_EQ(find_cookie("x=1; name=value; y=2", "name"), "value");
  EXPECT_EQ(find_cookie("xname=1", "name"), "");
  EXPECT_EQ(escape_html("<a href='\"&"), "&lt;a href=&#39;&quot;&amp;");
}

TEST(PublicAddress, ReadsAddressesNamesAndUrls) {
  EXPECT_EQ(PublicAddress::parse_ip("203.0.113.10")->url(), "https://203.0.113.10");
  EXPECT_EQ(PublicAddress::parse_ip("203.0.113.10:8443")->url(), "https://203.0.113.10:8443");
  EXPECT_EQ(PublicAddress::parse_ip("2001:db8::1")->url(), "https://[2001:db8::1]");
  EXPECT_EQ(PublicAddress::parse_ip("[2001:db8::1]:8443")->authority(), "[2001:db8::1]:8443");
  EXPECT_EQ(PublicAddress::parse_name("Postern.Example.org:8443")->url(), "https://postern.example.org:8443");
  EXPECT_EQ(PublicAddress::parse_url("https://[2001:db8::1]:8443")->port, 8443);
  for (const char* bad : {"", "x", "1.2.3.4:0", "1.2.3.4:x", "[::1"}) EXPECT_FALSE(PublicAddress::parse_ip(bad)) << bad;
  for (const char* bad : {"", "1.2.3.4", "a b", "x:0", "x:99999"}) EXPECT_FALSE(PublicAddress::parse_name(bad)) << bad;
}

TEST(RelayAddresses, AreWhatIsGivenOrTheAddressOfTheUrl) {
  const auto shown = [](const std::vector<PublicAddress>& given, const char* url) {
    const auto addresses = known_relay_addresses(given, url);
    return addresses.empty() ? std::string() : addresses.front().to_string();
  };
  EXPECT_EQ(shown({}, "https://203.0.113.10"), "203.0.113.10:443");
  EXPECT_EQ(shown({{.host = "198.51.100.1", .port = 8443}}, "https://203.0.113.10"), "198.51.100.1:8443");
  EXPECT_EQ(shown({}, "https://[2001:db8::1]:8443"), "[2001:db8::1]:8443");
  EXPECT_EQ(shown({}, "https://postern.example.org"), "") << "a name has to be looked up";
}

TEST(AddressWatch, TellsTheAddressOfAName) {
  runtime::IoLoop loop;
  std::vector<SocketAddress> told;
  AddressWatch watch(loop, {.host = "localhost", .port = 8443}, [&](std::vector<SocketAddress> found) {
    told = std::move(found);
    loop.stop();
  });
  loop.run();
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.front().port, 8443);
}

TEST(SetupLinks, AreGoodForADayAndForTheNewestOnly) {
  SeededRandom random(3);
  SetupLinks links;
  const NewSetupLink first = make_setup_link(model::UserId(5), kWall, random);
  const NewSetupLink second = make_setup_link(model::UserId(5), kWall, random);
  const auto token = [](const NewSetupLink& link) { return link.target.substr(link.target.find('=') + 1); };
  links.add(first.record);
  EXPECT_EQ(links.find(token(first), kWall + 23h), model::UserId(5));
  EXPECT_FALSE(links.find(token(first), kWall + 24h));
  links.add(second.record);
  EXPECT_FALSE(links.find(token(first), kWall));
  EXPECT_TRUE(links.find(token(second), kWall));
  links.add(Bytes(10, 1));
  links.remove(model::UserId(5));
  EXPECT_FALSE(links.find(token(second), kWall));
}

class StateTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  SeededRandom random_{11};
};

TEST_F(StateTest, IsFoundedOnce) {
  const InitRequest request = init_request_in(folder_.path());
  const auto made = init_state(request, kWall, random_);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->enrolment_url, "https://127.0.0.1/#ca=" + made->ca_digest);
  EXPECT_FALSE(made->setup_link);
  const auto again = init_state(request, kWall, random_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, config::ExitCode::Conflict);
  const auto opened = open_state(request.folder, kWall, random_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(to_base64url(root_digest(*opened)), made->ca_digest);
  EXPECT_EQ(open_state(request.folder, kWall, random_).error().code, config::ExitCode::AlreadyRunning);
}

TEST_F(StateTest, RenewsItsCertificateInTimeAndKeepsItsPin) {
  const InitRequest request = init_request_in(folder_.path());
  const auto made = init_state(request, kWall, random_);
  ASSERT_TRUE(made);
  const auto certificate_at = [&](WallTime now) {
    return open_state(request.folder, now, random_)->leaf.certificate_pem;
  };
  const std::string first = certificate_at(kWall);
  EXPECT_EQ(certificate_at(kWall + std::chrono::days(300)), first);
  const std::string second = certificate_at(kWall + std::chrono::days(370));
  EXPECT_NE(second, first);
  EXPECT_EQ(certificate_at(kWall + std::chrono::days(371)), second);
  EXPECT_EQ(to_base64url(root_digest(*open_state(request.folder, kWall, random_))), made->ca_digest);
}

TEST_F(StateTest, MakesALinkWhenNoPasswordIsGiven) {
  InitRequest request = init_request_in(folder_.path());
  request.admin_password = std::nullopt;
  const auto made = init_state(request, kWall, random_);
  ASSERT_TRUE(made);
  EXPECT_TRUE(made->setup_link->starts_with("https://127.0.0.1/setup?token="));
}

TEST_F(StateTest, RefusesBadInput) {
  InitRequest request = init_request_in(folder_.path());
  request.slug = "Not A Slug";
  EXPECT_EQ(init_state(request, kWall, random_).error().code, config::ExitCode::Usage);
  request = init_request_in(folder_.path());
  request.admin_password = "short";
  EXPECT_EQ(init_state(request, kWall, random_).error().code, config::ExitCode::Usage);
  request = init_request_in(folder_.path());
  request.admin_email = "nobody";
  EXPECT_EQ(init_state(request, kWall, random_).error().code, config::ExitCode::Usage);
  EXPECT_TRUE(init_state(init_request_in(folder_.path()), kWall, random_)) << "what failed left nothing in the way";
  const auto nothing = open_state(folder_.path() / "nothing-here", kWall, random_);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, config::ExitCode::StateUnusable);
  EXPECT_NE(nothing.error().message.find("nothing-here"), std::string::npos);
}

}  // namespace
}  // namespace postern::server
