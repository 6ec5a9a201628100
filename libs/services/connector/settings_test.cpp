#include "services/connector/settings.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/link_address.hpp"
#include "runtime/os/files.hpp"
#include "services/connector/flow_log.hpp"
#include "services/connector/health.hpp"

namespace postern::connector {
namespace {

using config::ExitCode;

TEST(Reference, IsWrittenDownAsItIs) {
  const auto file = std::filesystem::path(__FILE__).parent_path() / "../../../docs/reference/postern-connector.md";
  const std::string page = config::reference_page(program("0"));
  if (std::getenv("POSTERN_WRITE_DOCS") != nullptr) std::ofstream(file) << page;
  std::stringstream written;
  written << std::ifstream(file).rdbuf();
  EXPECT_EQ(written.str(), page) << file << " is made from the option table: POSTERN_WRITE_DOCS=1 writes it";
}

class SettingsTest : public testing::Test {
 protected:
  SettingsTest() {
    SeededRandom random(1);
    identity::AccessToken token;
    token.network = "home";
    token.network_id = 1;
    token.connector_id = 5;
    token.remote_network_id = 3;
    token.url = "https://vpn.example.org:8443";
    token.ca = to_base64url(Digest{});
    token.jti = "x";
    token.issued_at = 1;
    token.expires_at = 3601;
    access_ = identity::sign_access_token(token, identity::PrivateKey::generate(random));
    refresh_ = identity::make_refresh_token(random);
    variables_ = {{"POSTERN_ACCESS_TOKEN", access_}, {"POSTERN_REFRESH_TOKEN", refresh_}};
  }
  std::expected<ConnectorSettings, Failure> make() {
    const config::Program all = program("0");
    const auto values = config::parse(all.commands.front(),
                                      {{}, variables_, [](const std::string&) {
                                         return std::expected<std::optional<std::string>, std::string>(std::nullopt);
                                       }});
    if (!values) return std::unexpected(Failure{ExitCode::Usage, values.error().message});
    return make_settings(*values);
  }
  ExitCode code_with(const std::string& name, const std::string& value) {
    variables_[name] = value;
    const auto settings = make();
    return settings ? ExitCode::Ok : settings.error().code;
  }
  std::string access_;
  std::string refresh_;
  config::Variables variables_;
};

TEST_F(SettingsTest, ThePairOfTokensAloneFindsTheServer) {
  const auto settings = make();
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ("vpn.example.org", settings->server.host);
  EXPECT_EQ(8443, settings->server.port);
  EXPECT_TRUE(settings->trust.root_pin);
  EXPECT_EQ("home", settings->token.network);
}

TEST_F(SettingsTest, TheOtherSpellingOfTheVariablesWorksToo) {
  variables_ = {{"TWINGATE_ACCESS_TOKEN", access_},  {"TWINGATE_REFRESH_TOKEN", refresh_ + "\n"},
                {"TWINGATE_NETWORK", "home"},        {"TWINGATE_LOG_LEVEL", "7"},
                {"TWINGATE_LOG_ANALYTICS", "v2"},    {"TWINGATE_DNS", "10.0.0.1,10.0.0.2"},
                {"TWINGATE_LABEL_HOSTNAME", "attic"}};
  const auto settings = make();
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(runtime::LogLevel::Debug, settings->log.level);
  EXPECT_EQ(AnalyticsFormat::V2, settings->analytics);
  EXPECT_EQ(2U, settings->dns.size());
  EXPECT_EQ("attic", settings->labels.at("hostname"));
}

TEST_F(SettingsTest, TheNetworkMayBeANameAHostOrAUrlAndMustAgree) {
  for (const char* good : {"home", "HOME", "home.example.org", "https://home.example.org", "https://home.example.org/",
                           "vpn.example.org", "https://vpn.example.org:8443"}) {
    EXPECT_EQ(ExitCode::Ok, code_with("POSTERN_NETWORK", good)) << good;
  }
  for (const char* bad : {"office", "office.home.org", "https://office.example.org", "homestead", "https://"}) {
    EXPECT_EQ(ExitCode::WrongNetwork, code_with("POSTERN_NETWORK", bad)) << bad;
    EXPECT_NE(std::string::npos, make().error().message.find(bad));
  }
}

TEST_F(SettingsTest, TheUrlWinsOverTheToken) {
  variables_["POSTERN_URL"] = "https://[2001:db8::1]:444/";
  const auto settings = make();
  ASSERT_TRUE(settings);
  EXPECT_EQ("2001:db8::1", settings->server.host);
  EXPECT_EQ(444, settings->server.port);
  for (const char* bad : {"http://a", "a.example.org", "https://", "https://a:0", "https://a:70000", "https://a/b",
                          "https://a b", "https://[::1", "https://[x]"}) {
    EXPECT_EQ(ExitCode::Usage, code_with("POSTERN_URL", bad)) << bad;
  }
}

TEST_F(SettingsTest, BadTokensAreToldFromMissingOnes) {
  EXPECT_EQ(ExitCode::BadToken, code_with("POSTERN_ACCESS_TOKEN", "a.b.c"));
  EXPECT_EQ(ExitCode::BadToken, code_with("POSTERN_ACCESS_TOKEN", std::string(70'000, 'x')));
  variables_["POSTERN_ACCESS_TOKEN"] = access_;
  EXPECT_EQ(ExitCode::BadToken, code_with("POSTERN_REFRESH_TOKEN", "ptr1_short"));
  EXPECT_EQ(std::string::npos, make().error().message.find("ptr1_short")) << "a secret is never printed";
  variables_.erase("POSTERN_REFRESH_TOKEN");
  EXPECT_EQ(ExitCode::Usage, make().error().code);
  EXPECT_NE(std::string::npos, make().error().message.find("POSTERN_REFRESH_TOKEN"));
}

TEST_F(SettingsTest, TokensAreUnderstoodWithWhatCopyingLeavesAroundThem) {
  for (const char* around : {"\"*\"", "'*'", "  *\n", "*\r\n", " \" * \"\t"}) {
    for (const auto& [name, token] :
         {std::pair("POSTERN_ACCESS_TOKEN", access_), std::pair("POSTERN_REFRESH_TOKEN", refresh_)}) {
      std::string value = around;
      value.replace(value.find('*'), 1, token);
      EXPECT_EQ(ExitCode::Ok, code_with(name, value)) << around;
    }
  }
  EXPECT_EQ(ExitCode::Ok, code_with("POSTERN_NETWORK", "\"home\"\n"));
}

TEST_F(SettingsTest, TokensThatWereTornApartSaySo) {
  std::string torn = access_;
  torn.insert(40, "\n");
  EXPECT_EQ(ExitCode::BadToken, code_with("POSTERN_ACCESS_TOKEN", torn));
  EXPECT_NE(std::string::npos, make().error().message.find("one line"));
  for (const std::string& bad : {"\"" + access_, access_ + "'", "\"\"" + access_ + "\"\""}) {
    EXPECT_EQ(ExitCode::BadToken, code_with("POSTERN_ACCESS_TOKEN", bad));
  }
  EXPECT_EQ(ExitCode::Usage, code_with("POSTERN_ACCESS_TOKEN", "\" \"")) << "nothing is a missing token";
}

TEST_F(SettingsTest, TokensMayStandInFiles) {
  const std::string path = testing::TempDir() + "/postern-token-" + std::to_string(getpid());
  ASSERT_TRUE(runtime::write_file_atomic(path, as_bytes(access_ + "\n"), 0600));
  EXPECT_EQ(ExitCode::Usage, code_with("POSTERN_ACCESS_TOKEN_FILE", path)) << "both are given";
  variables_.erase("POSTERN_ACCESS_TOKEN");
  EXPECT_EQ(ExitCode::Ok, code_with("POSTERN_ACCESS_TOKEN_FILE", path));
  unlink(path.c_str());
  EXPECT_EQ(ExitCode::Usage, make().error().code);
  EXPECT_NE(std::string::npos, make().error().message.find(path));
}

TEST(HealthHttp, OnlyKnownPagesAndMethodsAreAnswered) {
  const LocalHttp::Handler handler = [](std::string_view path) -> std::optional<LocalPage> {
    if (path != "/healthcheck") return std::nullopt;
    return LocalPage{503, "no relay\n"};
  };
  const auto answer = [&](std::string_view request) { return answer_http(request, handler); };
  const std::string good = answer("GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(good.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_TRUE(good.ends_with("\r\n\r\nno relay\n"));
  EXPECT_TRUE(answer("GET /healthcheck?x=1 HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 503"));
  const std::string head = answer("HEAD /healthcheck HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_NE(std::string::npos, head.find("Content-Length: 9\r\n"));
  EXPECT_TRUE(answer("GET /etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(answer("POST /healthcheck HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
  for (const char* bad : {"\r\n\r\n", "GET\r\n\r\n", "GET /x\r\n\r\n", "GET  /x HTTP/1.1\r\n\r\n",
                          "GET x HTTP/1.1\r\n\r\n", "GET /x HTTP/2\r\n\r\n"}) {
    EXPECT_TRUE(answer(bad).starts_with("HTTP/1.1 400")) << bad;
  }
}

/// Runs the loop beside a blocking question.
Health ask_beside(runtime::EventLoop& loop, const std::string& path, std::uint16_t port) {
  Health result;
  std::atomic<bool> done = false;
  std::thread asker([&] {
    result = ask_health(path, port);
    done = true;
  });
  while (!done) loop.run_turn(std::chrono::milliseconds(10));
  asker.join();
  return result;
}

TEST(HealthCommand, AsksTheSocketAndWithoutOneThePort) {
  runtime::EventLoop loop;
  Health now{false, "no relay"};
  const std::string path = testing::TempDir() + "/postern-health-" + std::to_string(getpid()) + ".sock";
  LocalHttp http(loop, [&](std::string_view page) -> std::optional<LocalPage> {
    if (page != "/healthcheck") return std::nullopt;
    return now.ok ? LocalPage{200, "OK"} : LocalPage{503, now.reason + "\n"};
  });
  ASSERT_FALSE(http.listen(*SocketAddress::parse("127.0.0.1:0")));
  const std::uint16_t port = http.addresses().front().port;
  EXPECT_TRUE(http.listen(*SocketAddress::parse("127.0.0.1:" + std::to_string(port)))) << "taken, and said";
  EXPECT_EQ("no relay", ask_beside(loop, path, port).reason);
  {
    HealthSocket socket(loop, [&] { return now; });
    ASSERT_FALSE(socket.listen(path));
    EXPECT_EQ("no relay", ask_beside(loop, path, 0).reason);
    now.ok = true;
    EXPECT_TRUE(ask_beside(loop, path, 0).ok);
    HealthSocket second(loop, [&] { return now; });
    EXPECT_TRUE(second.listen(path)) << "it belongs to a running connector";
  }
  EXPECT_TRUE(ask_beside(loop, path, port).ok);
  EXPECT_FALSE(ask_health(path, 0).ok);
}

FlowReport report_of_gitea() {
  FlowReport report;
  report.kind = FlowReport::Kind::Closed;
  report.flow = FlowId(12);
  auto lease = std::make_shared<identity::Lease>();
  lease->user_id = 7;
  lease->email = "ann@example.org";
  lease->device_id = 70;
  lease->issued_at = 1'700'000'000;
  report.lease = lease;
  report.target = {model::ResourceId(3), *model::DnsName::parse("gitea.home"), 3000};
  report.connected = *SocketAddress::parse("10.0.0.5:3000");
  report.bytes_from_target = 100;
  report.bytes_to_target = 20;
  report.at = from_unix_ms(1'700'000'060'500);
  report.duration = std::chrono::milliseconds(1500);
  return report;
}

policy::ResourceTable table_with_gitea() {
  policy::ResourceTable table;
  table.upsert({model::ResourceId(3),
                "Gitea",
                model::RemoteNetworkId(4),
                *model::ResourceAddress::parse("*.home"),
                {},
                {},
                {},
                true});
  return table;
}

TEST(FlowLog, AnalyticsLinesHaveTheFieldsThatShippersRead) {
  FlowReport report = report_of_gitea();
  const policy::ResourceTable table = table_with_gitea();
  report.connect_time = std::chrono::microseconds(1250);
  report.first_byte_time = std::chrono::milliseconds(8);
  report.round_trip = std::chrono::milliseconds(30);
  report.stalls[static_cast<std::size_t>(session::StallCause::SlowReader)] = std::chrono::milliseconds(700);
  const SocketAddress relay = *SocketAddress::parse("203.0.113.1:443");
  const SocketAddress other = *SocketAddress::parse("203.0.113.2:443");
  report.path = {session::kRelayLabel, relay};
  AnalyticsContext context{"abcd", {}, {{"relay-0", link_address(4), other, true}, {"relay-1", relay, relay}}};
  context.identity.connector = model::ConnectorId(5);
  context.identity.connector_name = "attic";
  const std::string line = to_analytics_line(report, table, context);
  for (const char* part :
       {R"(ANALYTICS {)", R"("event_type":"closed_connection")", R"("timestamp":1700000060500)", R"("id":"abcd-12")",
        R"("user":{"email":"ann@example.org","id":"7"})", R"("device":{"id":"70"})", R"("resource_ip":"10.0.0.5")",
        R"("resource":{"address":"*.home","applied_rule":"*.home","id":"3"})", R"("rx":20)", R"("tx":100)",
        R"("duration":1500)", R"("tunnel_path":"relayed")", R"("tunnel_proto":"quic/udp")", R"("cbct_freshness":60)",
        R"("relays":[{"ip":"203.0.113.1","name":"relay-1","port":443}])", R"("connect_ms":1.25)", R"("rtt_ms":30.0)",
        R"("first_byte_ms":8.0)",
        R"("stalls":{"our_window_ms":0,"path_ms":0,"slow_reader_ms":700,"slow_server_ms":0})"}) {
    EXPECT_NE(std::string::npos, line.find(part)) << part << "\n" << line;
  }
  const auto record = to_flow_record(report);
  ASSERT_TRUE(record);
  EXPECT_EQ("10.0.0.5:3000", record->target());
  EXPECT_EQ(1'700'000'059'000, record->started_at_ms());
  report.kind = FlowReport::Kind::Opened;
  EXPECT_FALSE(to_flow_record(report));
  report.kind = FlowReport::Kind::Refused;
  report.connected = {};
  report.refusal = wire::REFUSAL_TIMED_OUT;
  report.detail = "Connection timed out";
  const std::string failed = to_analytics_line(report, table, context);
  for (const char* part : {R"("event_type":"failed_to_connect")", R"("resource_port":3000)",
                           R"("error_message":"REFUSAL_TIMED_OUT: Connection timed out")"}) {
    EXPECT_NE(std::string::npos, failed.find(part)) << part << "\n" << failed;
  }
  EXPECT_EQ(std::string::npos, failed.find("resource_ip"));
  report.refusal = wire::REFUSAL_NOT_IN_LEASE;
  EXPECT_NE(std::string::npos, to_analytics_line(report, table, context).find("denied_access"));
}

TEST(FlowLog, AnalyticsLinesSayWhichWayThisSessionWent) {
  FlowReport report = report_of_gitea();
  const policy::ResourceTable table = table_with_gitea();
  const SocketAddress relay = *SocketAddress::parse("203.0.113.1:443");
  const SocketAddress other = *SocketAddress::parse("203.0.113.2:443");
  const AnalyticsContext context{"abcd", {}, {{"relay-0", link_address(4), other, true}, {"relay-1", relay, relay}}};
  report.path = {session::kRelayLabel, relay};
  EXPECT_EQ(std::string::npos, to_analytics_line(report, table, context).find("client_ip"))
      << "nobody knows it behind a relay";
  report.path = {session::kRelayLabel, link_address(4)};
  const std::string over_tls = to_analytics_line(report, table, context);
  EXPECT_NE(std::string::npos, over_tls.find(R"("tunnel_proto":"quic/tls")")) << over_tls;
  EXPECT_NE(std::string::npos, over_tls.find(R"("relays":[{"ip":"203.0.113.2","name":"relay-0","port":443}])"));
  report.path = {session::kDirectLabel, *SocketAddress::parse("198.51.100.7:4711")};
  const std::string direct = to_analytics_line(report, table, context);
  for (const char* part : {R"("client_ip":"198.51.100.7")", R"("tunnel_proto":"quic/udp")", R"("tunnel_path":"direct")",
                           R"("relays":[])"}) {
    EXPECT_NE(std::string::npos, direct.find(part)) << part << "\n" << direct;
  }
  report.path = {};
  EXPECT_EQ(std::string::npos, to_analytics_line(report, table, context).find("tunnel_")) << "it is not known";
}

}  // namespace
}  // namespace postern::connector
