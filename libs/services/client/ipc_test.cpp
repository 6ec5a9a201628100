#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/random.hpp"
#include "services/client/cli.hpp"
#include "services/client/cli_text.hpp"
#include "services/client/ipc_protocol.hpp"
#include "services/client/ipc_server.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/server_url.hpp"
#include "services/client/state_store.hpp"

namespace postern::client {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

ClientStatus example() {
  ClientStatus status;
  status.state = ClientState::Online;
  status.network = "home";
  status.network_name = "Home";
  status.account = "user@example.org";
  status.device = "laptop";
  status.relay = RelayStatus{"relay-1", "203.0.113.10:443", true, 12ms};
  status.dns.manager = "systemd-resolved";
  status.dns.state = "installed";
  status.dns.routes_by_domain = true;
  status.resources = {{1, "web", "nginx.home.lan", {"web.internal"}, "home", "80,443", "53", false, true},
                      {2, "lan", "192.168.1.0/24", {}, "home", "all", "all", true, false}};
  status.sessions = {{"attic", 3, "home", "ready", "relay", "203.0.113.10:443", 15ms, 2, 100, 200, 0, "", "udp"}};
  status.drops = {{"flow_no_resource", 4}};
  return status;
}

nlohmann::json as_json(const ClientStatus& status) {
  return nlohmann::json::parse(build_status(status, Last::Yes))["status"];
}

// --- text
// --------------------------------------------------------------------------------------------------------------

TEST(CliText, ShowsNetworkAccountResourcesSessionsAndPaths) {
  EXPECT_EQ(status_text(as_json(example())),
            "Connected to home\n"
            "Account: user@example.org on laptop\n"
            "Relay: 203.0.113.10:443, bound, 12.0 ms\n"
            "DNS: by systemd-resolved, names of resources only\n"
            "Resources:\n"
            "  RESOURCE  ADDRESS         ALIAS         TCP PORTS  UDP PORTS  PING  REMOTE NETWORK  STATE\n"
            "  web       nginx.home.lan  web.internal  80,443     53         no    home            reachable\n"
            "  lan       192.168.1.0/24                all        all        yes   home            no connector\n"
            "Sessions:\n"
            "  attic  ready  relay/udp 203.0.113.10:443  15.0 ms  2 flows\n"
            "Dropped or refused:\n"
            "  flow_no_resource 4\n");
}

TEST(CliText, SaysWhyNamesOfResourcesAreNotFound) {
  ClientStatus status = example();
  status.dns.state = "failed";
  status.dns.problem = "writing /etc/resolv.conf failed: Read-only file system";
  EXPECT_THAT(status_text(as_json(status)),
              HasSubstr("\nDNS: failed: writing /etc/resolv.conf failed: Read-only file system\n"));
}

TEST(CliText, SaysWhyItIsNotConnected) {
  ClientStatus status;
  status.reason = "nobody is signed in";
  EXPECT_EQ(status_text(as_json(status)), "Offline: nobody is signed in\n");
  status.state = ClientState::Connecting;
  status.network = "home";
  status.reason = "the relay has not answered";
  EXPECT_THAT(status_text(as_json(status)), StartsWith("Connecting to home: the relay"));
}

TEST(CliText, ControlCharactersOfAHostileNetworkDoNotReachTheTerminal) {
  ClientStatus status = example();
  status.resources[0].name = "evil\x1b[2J\n";
  EXPECT_THAT(resources_text(as_json(status)), HasSubstr("evil?[2J?"));
}

// --- protocol
// ----------------------------------------------------------------------------------------------------------

TEST(IpcProtocol, EveryRequestComesBackAsItWasBuilt) {
  for (const RequestKind& kind : kRequestKinds) {
    const auto parsed = parse_request(build_request({kind.type, true, "https://x", "ab"}));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->type, kind.type);
    EXPECT_TRUE(parsed->watch);
    EXPECT_EQ(parsed->url, "https://x");
    EXPECT_EQ(parsed->fingerprint, "ab");
  }
}

TEST(IpcProtocol, RefusesOtherVersionsUnknownTypesAndGarbage) {
  EXPECT_THAT(parse_request(R"({"v":2,"type":"status"})").error(), HasSubstr("version 1"));
  for (const char* bad : {"", "[]", "null", "{", R"({"v":1})", R"({"v":1,"type":7})", R"({"v":1,"type":"reboot"})",
                          R"({"v":"1","type":"status"})"}) {
    EXPECT_FALSE(parse_request(bad)) << bad;
  }
}

TEST(IpcProtocol, SurvivesSeededGarbage) {
  SeededRandom random(4);
  const std::string good = build_request({RequestType::Login, false, "https://server/#ca=x", ""});
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (std::uint64_t flips = random.below(8); flips > 0; --flips) {
      text[random.below(text.size())] = static_cast<char>(random.next());
    }
    (void)parse_request(text.substr(0, random.below(text.size() + 1)));
  }
}

// --- server URL
// ----------------------------------------------------------------------------------------------------------

TEST(ServerUrl, TakesEnrolmentUrlsHostsAndFingerprints) {
  const std::string pin = to_base64url(Digest{1, 2, 3});
  const auto url = parse_server_target("https://203.0.113.10:8443/#ca=" + pin, "");
  ASSERT_TRUE(url) << url.error();
  EXPECT_EQ(url->server.host, "203.0.113.10");
  EXPECT_EQ(url->server.port, 8443);
  EXPECT_EQ(url->trust.root_pin, (Digest{1, 2, 3}));
  const auto host = parse_server_target("postern.example.org", "");
  ASSERT_TRUE(host);
  EXPECT_EQ(host->server.port, 443);
  EXPECT_FALSE(host->trust.root_pin);
  EXPECT_EQ(parse_server_target("https://[2001:db8::1]/", to_hex(Digest{9}))->trust.root_pin, Digest{9});
  EXPECT_EQ(parse_server_target("https://[2001:db8::1]:444/", "")->server.host, "2001:db8::1");
}

TEST(ServerUrl, TakesWhatCopyingLeavesAroundAUrlAndRefusesWhatIsInsideIt) {
  const std::string pin = to_base64url(Digest{1});
  const std::string url = "https://host/#ca=" + pin;
  for (const std::string& around : {"\"" + url + "\"", "'" + url + "'", " " + url + "\r\n", "\" " + url + " \"\n"}) {
    const auto target = parse_server_target(around, "\n" + to_hex(Digest{1}) + " ");
    ASSERT_TRUE(target) << around << ": " << target.error();
    EXPECT_EQ(target->trust.root_pin, Digest{1});
    EXPECT_EQ(target->server.host, "host");
  }
  for (const std::string& bad : {"\"" + url, "https://ho\nst/#ca=" + pin, "https://host/#ca=" + pin.substr(1) + "\"",
                                 std::string("https://ho\"st/"), std::string("\"\"")}) {
    EXPECT_FALSE(parse_server_target(bad, "")) << bad;
  }
}

TEST(ServerUrl, RefusesWhatCannotBeTrustedOrUnderstood) {
  const std::string pin = to_base64url(Digest{1});
  for (const char* bad : {"", "http://host", "https://", "https://host:0", "https://host:99999", "ho st",
                          "https://host/#ca=short", "ftp://x"}) {
    EXPECT_FALSE(parse_server_target(bad, "")) << bad;
  }
  EXPECT_FALSE(parse_server_target("host", "xyz"));
  EXPECT_FALSE(parse_server_target("https://host/#ca=" + pin, to_hex(Digest{2})));
}

// --- socket and command line
// ------------------------------------------------------------------------------------------------

class IpcTest : public testing::Test {
 protected:
  IpcTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "postern-ipc-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    server_.emplace(
        loop_, [this](IpcConnection from, std::string_view line) { handle(from, line); }, [](IpcConnection) {});
  }
  ~IpcTest() override {
    if (thread_.joinable()) {
      loop_.stop();
      thread_.join();
    }
    server_.reset();
    std::filesystem::remove_all(root_);
  }
  void run() {
    ASSERT_TRUE(server_->listen(path()));
    thread_ = std::thread([this] { loop_.run(); });
  }
  void handle(IpcConnection from, std::string_view line) {
    const auto request = parse_request(line);
    if (!request) return server_->send(from, build_error({config::ExitCode::Usage, request.error()}));
    if (request->type == RequestType::Connect) {
      return server_->send(from, build_error({config::ExitCode::SignInNeeded, "nobody is signed in"}));
    }
    if (request->type == RequestType::Login) {
      server_->send(from, build_invitation({"https://s/device", "https://s/device?user_code=X", "BCDF-GHJK", 300}));
      SignIn done;
      done.account = "user@example.org";
      done.network = "home";
      return server_->send(from, build_signed_in(done));
    }
    server_->send(from, build_status(example(), Last::Yes));
  }
  [[nodiscard]] std::string path() const { return (root_ / "s.sock").string(); }
  int cli(std::vector<std::string> words, std::string socket = "") {
    words.insert(words.begin(), {"--socket", socket.empty() ? path() : socket});
    std::ostringstream out;
    std::ostringstream error;
    const int status = run_cli("1.2.3", std::move(words), {{}, out, error});
    out_ = out.str();
    error_ = error.str();
    return status;
  }
  [[nodiscard]] int raw() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path().c_str());
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  std::filesystem::path root_;
  runtime::EventLoop loop_;
  std::optional<IpcServer> server_;
  std::thread thread_;
  std::string out_;
  std::string error_;
};

TEST_F(IpcTest, StatusComesInThreeForms) {
  run();
  EXPECT_EQ(cli({"status"}), 0);
  EXPECT_THAT(out_, StartsWith("Connected to home\n"));
  EXPECT_EQ(cli({"status", "--short"}), 0);
  EXPECT_EQ(out_, "online\n");
  EXPECT_EQ(cli({"status", "--json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["sessions"][0]["path"], "relay");
  EXPECT_EQ(cli({"resources"}), 0);
  EXPECT_THAT(out_, HasSubstr("nginx.home.lan"));
}

TEST_F(IpcTest, WithoutADaemonEveryCommandSaysSoInOneLine) {
  for (const char* word : {"status", "resources", "connect", "disconnect", "logout"}) {
    EXPECT_EQ(cli({word}, "/nonexistent/s.sock"), config::to_status(config::ExitCode::NotRunning)) << word;
    EXPECT_EQ(std::ranges::count(error_, '\n'), 1) << error_;
  }
  EXPECT_EQ(cli({"status", "--short"}, "/nonexistent/s.sock"), config::to_status(config::ExitCode::NotRunning));
  EXPECT_EQ(out_, "not-running\n");
}

TEST_F(IpcTest, ErrorsOfTheDaemonBecomeExitCodes) {
  run();
  EXPECT_EQ(cli({"connect"}), config::to_status(config::ExitCode::SignInNeeded));
  EXPECT_EQ(error_, "postern: nobody is signed in\n");
  EXPECT_EQ(cli({"fly"}), config::to_status(config::ExitCode::Usage));
}

TEST_F(IpcTest, LoginPrintsThePageAndTheCodeAndThenWhoIsSignedIn) {
  run();
  EXPECT_EQ(cli({"login", "https://s/", "--no-browser"}), 0);
  EXPECT_THAT(out_, StartsWith("Open https://s/device\nand enter the code BCDF-GHJK\n"));
  EXPECT_THAT(out_, HasSubstr("Signed in to home as user@example.org\n"));
}

TEST_F(IpcTest, GarbageAndEndlessLinesCostTheConnectionAndNothingElse) {
  run();
  SeededRandom random(6);
  for (int round = 0; round < 40; ++round) {
    const int fd = raw();
    Bytes noise(1 + random.below(200'000));
    random.fill(noise);
    if (round % 2 == 0) std::ranges::replace(noise, '\n', ' ');
    (void)!::send(fd, noise.data(), noise.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  EXPECT_EQ(cli({"status", "--short"}), 0);
}

TEST_F(IpcTest, ASecondServerOnTheSameSocketIsRefused) {
  run();
  IpcServer second(
      loop_, [](IpcConnection, std::string_view) {}, [](IpcConnection) {});
  const auto refused = second.listen(path());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, config::ExitCode::AlreadyRunning);
}

TEST_F(IpcTest, ASocketFileThatNobodyListensOnIsReplaced) {
  const int stale = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path().c_str());
  ASSERT_EQ(::bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(stale);
  run();
  EXPECT_EQ(cli({"status", "--short"}), 0);
}

TEST_F(IpcTest, EverybodyMayConnect) {
  run();
  EXPECT_EQ(std::filesystem::status(path()).permissions(), std::filesystem::perms(0666));
}

// --- state
// ---------------------------------------------------------------------------------------------------------------

TEST_F(IpcTest, StateComesBackAsItWasSaved) {
  const StateStore store((root_ / "state").string());
  ASSERT_TRUE(store.prepare());
  EXPECT_FALSE(*store.load_sign_in());
  SignIn sign_in;
  sign_in.server = {"postern.example.org", 8443, {"203.0.113.10"}};
  sign_in.trust.root_pin = Digest{5};
  sign_in.network = "home";
  sign_in.account = "user@example.org";
  sign_in.paused = true;
  ASSERT_TRUE(store.save_sign_in(sign_in));
  const auto loaded = store.load_sign_in();
  ASSERT_TRUE(loaded && *loaded);
  EXPECT_EQ((*loaded)->server.fixed_addresses, sign_in.server.fixed_addresses);
  EXPECT_EQ((*loaded)->trust.root_pin, Digest{5});
  EXPECT_TRUE((*loaded)->paused);

  SeededRandom random(1);
  ASSERT_TRUE(store.save_key(identity::PrivateKey::generate(random)));
  EXPECT_EQ(std::filesystem::status(root_ / "state/device.key").permissions(), std::filesystem::perms(0600));
  EXPECT_TRUE(*store.load_key());
  std::filesystem::permissions(root_ / "state/device.key", std::filesystem::perms(0644));
  EXPECT_FALSE(store.load_key());
}

TEST_F(IpcTest, AStateOfANewerVersionIsRefusedAndLeftAlone) {
  const StateStore store((root_ / "state").string());
  ASSERT_TRUE(store.prepare());
  const auto file = root_ / "state/sign-in.json";
  std::ofstream(file) << R"({"version": 2, "host": "h", "port": 443})";
  const auto loaded = store.load_sign_in();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, config::ExitCode::StateUnusable);
  EXPECT_THAT(loaded.error().text, HasSubstr("newer version"));
  EXPECT_TRUE(std::filesystem::exists(file));
  std::ofstream(file) << "{";
  EXPECT_THAT(store.load_sign_in().error().text, HasSubstr("damaged"));
}

TEST_F(IpcTest, AnEnrolmentThatCannotBeSavedWholeLeavesTheOneOfBefore) {
  const StateStore store((root_ / "state").string());
  ASSERT_TRUE(store.prepare());
  SeededRandom random(1);
  const auto old_key = identity::PrivateKey::generate(random);
  SignIn sign_in;
  sign_in.server = {"old.example.org", 443, {}};
  ASSERT_TRUE(store.save_enrolment(sign_in, old_key));
  // A folder in the file's place: the rename onto it fails, whoever we are.
  std::filesystem::remove(root_ / "state/sign-in.json");
  std::filesystem::create_directories(root_ / "state/sign-in.json/x");
  const auto saved = store.save_enrolment(sign_in, identity::PrivateKey::generate(random));
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, config::ExitCode::StateUnusable);
  EXPECT_THAT(saved.error().text, HasSubstr("unchanged"));
  EXPECT_EQ((*store.load_key())->public_key().digest(), old_key.public_key().digest());
  EXPECT_FALSE(std::filesystem::exists(root_ / "state/device.key.before"));
}

TEST_F(IpcTest, AddressesOfNamesComeBackWithTheirAge) {
  const StateStore store((root_ / "state").string());
  ASSERT_TRUE(store.prepare());
  const resolver::VirtualNetwork network{*IpPrefix::parse("100.96.0.0/12"), *IpPrefix::parse("fd00:1::/64")};
  const Instant now{100h};
  store.save_names(now, from_unix_ms(1'000'000'000), {network, {{*model::DnsName::parse("a.b"), 99, now - 1h}}});
  const Instant later{5h};
  const auto loaded = store.load_names(later, from_unix_ms(1'000'000'000) + 1h);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->network, network);
  ASSERT_EQ(loaded->names.size(), 1U);
  EXPECT_EQ(loaded->names[0].used, later - 2h);
}

}  // namespace
}  // namespace postern::client
