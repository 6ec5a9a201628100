#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "services/server/admin_verbs.hpp"
#include "services/server/server_options.hpp"
#include "services/server/table.hpp"
#include "services/server/web_fixture.hpp"

namespace postern::server {
namespace {

using config::ExitCode;
using nlohmann::json;
using ::testing::HasSubstr;

class AdminTest : public WebFixture {
 protected:
  json done(const AdminRequest& request) {
    const AdminResult result = admin(request);
    EXPECT_TRUE(result) << request.command << ": " << result.error().message;
    return result ? json::parse(result->data) : json();
  }
  ExitCode refused(const AdminRequest& request) {
    const AdminResult result = admin(request);
    return result ? ExitCode::Ok : result.error().code;
  }
};

TEST_F(AdminTest, BuildsAModelAndShowsIt) {
  done({.command = "user add", .arguments = {"u@example.org"}, .options = {{"password", {"long enough"}}}});
  done({.command = "group add", .arguments = {"family"}});
  done({.command = "group add-user", .arguments = {"family", "u@example.org"}});
  done({.command = "remote-network add", .arguments = {"lan"}});
  done({.command = "connector add", .arguments = {"attic"}, .options = {{"remote-network", {"lan"}}}});
  done({.command = "resource add",
        .arguments = {"web"},
        .options = {{"remote-network", {"lan"}},
                    {"address", {"nginx.home.lan"}},
                    {"alias", {"web.internal"}},
                    {"tcp", {"80,443"}}}});
  done({.command = "access grant", .arguments = {"web"}, .options = {{"group", {"family"}}}});

  EXPECT_EQ(done({.command = "user list"})["users"].size(), 2U);
  EXPECT_EQ(done({.command = "group list"})["groups"].back()["members"][0], "u@example.org");
  const json resource = done({.command = "resource list"})["resources"][0];
  EXPECT_EQ(resource["address"], "nginx.home.lan");
  EXPECT_EQ(resource["aliases"][0], "web.internal");
  EXPECT_EQ(resource["tcp"], "80,443");
  EXPECT_EQ(done({.command = "access list"})["access"][0]["group"], "family");
  EXPECT_EQ(done({.command = "connector list"})["connectors"][0]["state"], "no tokens");
  done({.command = "resource update", .arguments = {"web"}, .options = {{"tcp", {"8080"}}, {"no-alias", {"true"}}}});
  EXPECT_EQ(done({.command = "resource list"})["resources"][0]["aliases"].size(), 0U);
  done({.command = "access revoke", .arguments = {"web"}, .options = {{"group", {"family"}}}});
  EXPECT_EQ(done({.command = "access list"})["access"].size(), 0U);
  const json audit = done({.command = "audit list", .options = {{"count", {"3"}}}})["audit"];
  EXPECT_EQ(audit.size(), 3U);
  EXPECT_EQ(audit[0]["actor"], "admin:local");
}

TEST_F(AdminTest, GivesTokensWithEverythingThatAConnectorNeeds) {
  done({.command = "remote-network add", .arguments = {"lan"}});
  done({.command = "connector add", .arguments = {"attic"}, .options = {{"remote-network", {"lan"}}}});
  const json tokens = done({.command = "connector tokens", .arguments = {"attic"}});
  EXPECT_EQ(tokens["network"], "home");
  EXPECT_EQ(tokens["url"], "https://127.0.0.1");
  EXPECT_TRUE(identity::is_refresh_token_shaped(tokens["refresh_token"].get<std::string>()));
  const auto claims = identity::read_access_token_unverified(tokens["access_token"].get<std::string>());
  ASSERT_TRUE(claims);
  EXPECT_EQ(claims->ca, to_base64url(root_digest(state_)));
}

TEST_F(AdminTest, SaysWithItsExitCodeWhatWasWrong) {
  EXPECT_EQ(refused({.command = "connector tokens", .arguments = {"nobody"}}), ExitCode::NotFound);
  EXPECT_EQ(refused({.command = "spaceship launch"}), ExitCode::Usage);
  EXPECT_EQ(refused({.command = "access grant", .arguments = {"web"}}), ExitCode::Usage);
  EXPECT_EQ(refused({.command = "access list", .arguments = {"nothing"}}), ExitCode::NotFound);
  EXPECT_EQ(refused({.command = "user add", .arguments = {"u@example.org"}, .options = {{"password", {"short"}}}}),
            ExitCode::Usage);
  EXPECT_EQ(refused({.command = "user set-password", .arguments = {"nobody@example.org"}}), ExitCode::NotFound);
  done({.command = "group add", .arguments = {"family"}});
  EXPECT_EQ(refused({.command = "group add", .arguments = {"family"}}), ExitCode::Conflict);
  EXPECT_EQ(refused({.command = "user delete", .arguments = {"admin@example.org"}}), ExitCode::Conflict);
}

TEST(AdminExchange, RefusesWhatIsNotARequest) {
  for (const char* line : {"", "[]", "{}", "{\"command\": 1}", "{\"command\":\"x\",\"arguments\":[1]}",
                           "{\"command\":\"x\",\"options\":{\"a\":\"b\"}}"}) {
    EXPECT_FALSE(decode_request(line)) << line;
  }
  EXPECT_EQ(decode_request(encode(AdminRequest{.command = "x", .options = {{"a", {"b"}}}}))->option("a"), "b");
}

TEST_F(AdminTest, KnowsEveryVerbOfTheTable) {
  const auto answer = [this](const std::string& verb) {
    const AdminResult result = admin({.command = verb});
    return result ? std::string("done") : result.error().message;
  };
  ASSERT_THAT(answer("spaceship launch"), testing::StartsWith("there is no command"));
  for (const config::Command& command : admin_program().commands) {
    EXPECT_THAT(answer(command.name), testing::Not(testing::StartsWith("there is no command"))) << command.name;
  }
}

TEST(Table, AlignsColumns) {
  EXPECT_EQ(table({{"A", "B"}, {"größe", "x"}, {"y", ""}}, "none"), "A      B\ngröße  x\ny\n");
  EXPECT_EQ(table({{"A"}}, "none"), "none\n");
}

/// Compares with a file of the repository; POSTERN_WRITE_DOCS=1 writes it instead.
void expect_documented(const std::string& name, const std::string& page) {
  const auto file = std::filesystem::path(__FILE__).parent_path() / "../../../docs/reference" / name;
  if (std::getenv("POSTERN_WRITE_DOCS") != nullptr) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << page;
  }
  std::stringstream written;
  written << std::ifstream(file).rdbuf();
  EXPECT_EQ(written.str(), page) << file << " is made from the option tables: POSTERN_WRITE_DOCS=1 writes it";
}

TEST(Reference, IsWrittenDownAsItIs) {
  expect_documented("postern-server.md", config::reference_page(server_program()));
  expect_documented("postern-server-admin.md", config::reference_page(admin_program()));
}

}  // namespace
}  // namespace postern::server
