#include "services/client/doctor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/client/cli_doctor.hpp"

namespace postern::client {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// A connected laptop without a fault.
Observations healthy() {
  Observations seen;
  seen.daemons = {42};
  seen.state = "online";
  seen.signed_in = true;
  seen.account = "user@example.org";
  seen.network = "home";
  seen.daemon_may_administer = true;
  seen.server = "203.0.113.10";
  seen.has_pin = true;
  seen.tcp =
      Observations::Tcp{true, true, false, "", 20ms, from_unix_ms(1'700'000'000'000), from_unix_ms(1'700'000'001'000)};
  seen.udp = Observations::Udp{true, "203.0.113.10:443", 12ms, ""};
  seen.relay = Observations::Relay{"203.0.113.10:443", true};
  seen.path_mtu = 1500;
  seen.resolver = "100.96.0.2";
  seen.name_servers = {"100.96.0.2"};
  seen.resource_name = Observations::Name{"nginx.home.lan", {"100.96.1.7"}, true};
  seen.missing_routes.emplace();
  seen.routes = 3;
  seen.tun = {"", "postern0", 1500, 1500};
  seen.service = Observations::Service{true, true};
  return seen;
}

Check find(const Observations& seen, const std::string& id) {
  for (const Check& check : diagnose(seen)) {
    if (check.id == id) return check;
  }
  ADD_FAILURE() << "no check " << id;
  return {};
}

void expect(const Observations& seen, const std::string& id, CheckLevel level, const std::string& text) {
  const Check check = find(seen, id);
  EXPECT_EQ(to_string(check.level), to_string(level)) << id << ": " << check.text;
  EXPECT_THAT(check.text, HasSubstr(text));
  EXPECT_EQ(check.fix.empty(), level == CheckLevel::Ok) << id << " needs a fix exactly where it is not ok";
}

TEST(Doctor, FindsNothingWrongWithAHealthyLaptop) {
  for (const Check& check : diagnose(healthy())) {
    EXPECT_EQ(check.level, CheckLevel::Ok) << check.id << ": " << check.text;
    EXPECT_TRUE(check.fix.empty());
  }
  for (const char* id :
       {"daemon", "tun", "mtu", "sign-in", "server-udp", "server-tcp", "clock", "dns", "routes", "service"}) {
    (void)find(healthy(), id);
  }
}

TEST(Doctor, TellsADaemonThatDoesNotRunFromOneThatDoesNotAnswer) {
  auto seen = healthy();
  seen.daemon_problem = Problem{config::ExitCode::NotRunning, "posternd does not answer"};
  expect(seen, "daemon", CheckLevel::Fail, "but does not answer");
  seen.daemons.clear();
  expect(seen, "daemon", CheckLevel::Fail, "posternd does not run");
}

TEST(Doctor, CountsDaemons) {
  auto seen = healthy();
  seen.daemons = {42, 43};
  expect(seen, "daemons", CheckLevel::Fail, "42, 43");
}

TEST(Doctor, NamesWhatIsWrongWithTheWayToTheServer) {
  auto seen = healthy();
  seen.udp = Observations::Udp{false, "203.0.113.10:443", {}, "nothing came back in 3 s"};
  expect(seen, "server-udp", CheckLevel::Fail, "203.0.113.10:443/udp does not answer");
  seen = healthy();
  seen.relay->bound = false;
  expect(seen, "server-udp", CheckLevel::Fail, "has not bound this device");
  seen = healthy();
  seen.tcp = Observations::Tcp{false, false, false, "cannot reach it", {}, {}, {}};
  expect(seen, "server-tcp", CheckLevel::Fail, "cannot reach it");
  seen.tcp = Observations::Tcp{true, false, false, "another key", {}, {}, {}};
  expect(seen, "server-tcp", CheckLevel::Fail, "another key");
  EXPECT_THAT(find(seen, "server-tcp").fix, HasSubstr("enrolment URL"));
  seen.has_pin = false;
  EXPECT_THAT(find(seen, "server-tcp").fix, HasSubstr("clock"));
}

TEST(Doctor, SaysHowFarAndWhichWayTheClockIsOff) {
  auto seen = healthy();
  seen.tcp->local_time = *seen.tcp->server_time + 59s;
  expect(seen, "clock", CheckLevel::Ok, "agrees");
  seen.tcp->local_time = *seen.tcp->server_time + 10min;
  expect(seen, "clock", CheckLevel::Warn, "10 minutes ahead of");
  seen.tcp->local_time = *seen.tcp->server_time - 24h * 730;
  expect(seen, "clock", CheckLevel::Warn, "730 days behind");
}

TEST(Doctor, AClockByWhichTheServersCertificateIsNotValidIsAnErrorWithItsFix) {
  auto seen = healthy();
  seen.has_pin = false;
  seen.tcp = Observations::Tcp{true, false, true, "certificate is not yet valid", {}, {}, from_unix_ms(0)};
  expect(seen, "clock", CheckLevel::Fail, "1970-01-01 00:00 UTC");
  EXPECT_THAT(find(seen, "clock").fix, HasSubstr("timedatectl"));
}

TEST(Doctor, NamesWhoAnswersForResourcesInsteadOfPostern) {
  auto seen = healthy();
  seen.name_servers = {"192.168.77.1"};
  seen.resource_name = Observations::Name{"nginx.home.lan", {}, false};
  expect(seen, "dns", CheckLevel::Fail, "nginx.home.lan does not resolve");
  seen.resource_name->addresses = {"192.0.2.1"};
  expect(seen, "dns", CheckLevel::Fail, "resolves to 192.0.2.1");
  EXPECT_THAT(find(seen, "dns").text, HasSubstr("192.168.77.1"));
}

TEST(Doctor, NamesMissingRoutesDevicesAndRights) {
  auto seen = healthy();
  seen.missing_routes = {"100.96.0.0/12"};
  expect(seen, "routes", CheckLevel::Fail, "1 of 3 routes are missing: 100.96.0.0/12");
  seen = healthy();
  seen.tun.device_failure = "/dev/net/tun cannot be opened: No such file or directory";
  expect(seen, "tun", CheckLevel::Fail, "No such file");
  seen = healthy();
  seen.tun.mtu.reset();
  expect(seen, "tun", CheckLevel::Fail, "postern0 is missing");
  seen = healthy();
  seen.daemon_may_administer = false;
  expect(seen, "tun", CheckLevel::Fail, "CAP_NET_ADMIN");
  seen = healthy();
  seen.tun.mtu = 1400;
  expect(seen, "mtu", CheckLevel::Warn, "1400");
  seen.path_mtu = 576;
  expect(seen, "mtu", CheckLevel::Fail, "576");
}

TEST(Doctor, NamesWhatIsMissingForTheNextBoot) {
  auto seen = healthy();
  seen.service = Observations::Service{false, false};
  expect(seen, "service", CheckLevel::Warn, "no systemd unit");
  seen.service = Observations::Service{true, false};
  expect(seen, "service", CheckLevel::Warn, "not enabled");
}

TEST(Doctor, IsOfUseWithoutDaemonAndWithoutSignIn) {
  Observations seen;
  seen.daemon_problem = Problem{config::ExitCode::NotRunning, "x"};
  expect(seen, "daemon", CheckLevel::Fail, "does not run");
  expect(seen, "tun", CheckLevel::Ok, "can be opened");
  expect(seen, "server", CheckLevel::Warn, "not known");
  seen.daemon_problem.reset();
  seen.state = "offline";
  expect(seen, "sign-in", CheckLevel::Fail, "nobody is signed in");
}

TEST(Doctor, GivesEachCheckOneLineAlsoWhenTheServerSendsControlCharacters) {
  auto seen = healthy();
  seen.network = "evil\x1b[2J\nok";
  const std::string text = checks_text(diagnose(seen));
  EXPECT_EQ(std::ranges::count(text, '\n'), static_cast<std::ptrdiff_t>(diagnose(seen).size()));
  EXPECT_THAT(text, HasSubstr("evil?[2J?ok"));
}

}  // namespace
}  // namespace postern::client
