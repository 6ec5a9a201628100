#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/http/control_client.hpp"
#include "services/server/form.hpp"
#include "services/server/web_fixture.hpp"

namespace postern::server {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

std::string form(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string text;
  for (const auto& [name, value] : fields) text += (text.empty() ? "" : "&") + name + '=' + percent_encode(value);
  return text;
}

class SignInTest : public WebFixture {
 protected:
  json start_sign_in(const std::string& name = "laptop") {
    const identity::PublicKey& key = device_.public_key();
    const std::string message = "postern-device-v1" + std::string(as_text(key.spki())) + name;
    const auto answer =
        post("/oauth/device_authorization", form({{"client_id", "postern"},
                                                  {"device_key", to_base64url(key.spki())},
                                                  {"device_name", name},
                                                  {"signature", to_base64url(device_.sign(as_bytes(message)))}}));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return json::parse(answer.body);
  }
  runtime::HttpResponse poll(const json& started) {
    return post("/oauth/token", form({{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                                      {"device_code", started["device_code"]},
                                      {"client_id", "postern"}}));
  }
  runtime::HttpResponse sign_in(const json& started, const std::string& email, std::string_view password) {
    const Browser browser(get("/device?user_code=" + started["user_code"].get<std::string>()));
    return post("/device",
                form({{"csrf", browser.csrf},
                      {"user_code", started["user_code"]},
                      {"email", email},
                      {"password", std::string(password)},
                      {"answer", "allow"}}),
                browser.headers());
  }

  identity::PrivateKey device_ = identity::PrivateKey::generate(random_);
};

TEST_F(SignInTest, EnrolsTheDeviceOfAPersonWhoKnowsThePassword) {
  const json started = start_sign_in("<laptop>");
  EXPECT_EQ(started["expires_in"], 300);
  EXPECT_EQ(started["verification_uri"], "https://127.0.0.1/device");
  EXPECT_EQ(json::parse(poll(started).body)["error"], "authorization_pending");

  const auto page = get("/device?user_code=" + started["user_code"].get<std::string>());
  EXPECT_THAT(page.body, HasSubstr("&lt;laptop&gt;"));
  EXPECT_THAT(page.body, HasSubstr("127.0.0.1"));
  const auto done = sign_in(started, "Admin@Example.org", kAdminPassword);
  EXPECT_EQ(done.status, 200);
  EXPECT_THAT(done.body, HasSubstr("is signed in"));

  const auto token = poll(started);
  EXPECT_EQ(token.status, 200);
  const json answer = json::parse(token.body);
  EXPECT_EQ(answer["account"], "admin@example.org");
  EXPECT_EQ(answer["network"], "home");
  const auto devices = server_.ask([this] { return host_.controller().devices(); });
  ASSERT_EQ(devices.size(), 1U);
  EXPECT_EQ(answer["device_id"], std::to_string(devices[0].id.value));
  EXPECT_EQ(sign_in(started, "admin@example.org", kAdminPassword).status, 404) << "a code is good once";
}

TEST_F(SignInTest, TakesTheCodeThatAPersonTypes) {
  const json started = start_sign_in();
  const Browser browser(get("/device"));
  std::string typed = started["user_code"];
  std::ranges::transform(typed, typed.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto page = post("/device", form({{"csrf", browser.csrf}, {"user_code", ' ' + typed}}), browser.headers());
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, HasSubstr("laptop"));
  EXPECT_EQ(get("/device?user_code=BBBB-BBBB").status, 404);
}

TEST_F(SignInTest, AnswersAWrongPasswordAndAnUnknownUserAlike) {
  const json started = start_sign_in();
  const auto wrong = sign_in(started, "admin@example.org", "wrong password");
  const auto unknown = sign_in(started, "nobody@example.org", "wrong password");
  EXPECT_EQ(wrong.status, 403);
  EXPECT_EQ(unknown.status, 403);
  EXPECT_THAT(wrong.body, HasSubstr("E-mail or password is wrong."));
  EXPECT_THAT(unknown.body, HasSubstr("E-mail or password is wrong."));
  EXPECT_EQ(json::parse(poll(started).body)["error"], "authorization_pending");
}

TEST_F(SignInTest, RefusesADisabledUser) {
  ASSERT_TRUE(
      admin({.command = "user add", .arguments = {"u@example.org"}, .options = {{"password", {"long enough"}}}}));
  ASSERT_TRUE(admin({.command = "user disable", .arguments = {"u@example.org"}}));
  EXPECT_EQ(sign_in(start_sign_in(), "u@example.org", "long enough").status, 403);
}

TEST_F(SignInTest, RefusesAFormThatItDidNotGiveToThisBrowser) {
  const json started = start_sign_in();
  const auto fields = [&](const std::string& csrf) {
    return form({{"csrf", csrf},
                 {"user_code", started["user_code"]},
                 {"email", "admin@example.org"},
                 {"password", std::string(kAdminPassword)},
                 {"answer", "allow"}});
  };
  const Browser browser(get("/device"));
  const Browser other(get("/device"));
  EXPECT_EQ(post("/device", fields(browser.csrf)).status, 403);                   // no cookie
  EXPECT_EQ(post("/device", fields(""), browser.headers()).status, 403);          // no token
  EXPECT_EQ(post("/device", fields(other.csrf), browser.headers()).status, 403);  // of another browser
  EXPECT_EQ(post("/device", fields(browser.csrf), browser.headers()).status, 200);
}

TEST_F(SignInTest, LimitsAttempts) {
  const json started = start_sign_in();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(sign_in(started, "admin@example.org", "wrong password").status, 403);
  const auto limited = sign_in(started, "admin@example.org", kAdminPassword);
  EXPECT_EQ(limited.status, 429);
  EXPECT_FALSE(runtime::find_header(limited.headers, "Retry-After").empty());
}

TEST_F(SignInTest, TellsTheDeviceThatThePersonRefused) {
  const json started = start_sign_in();
  const Browser browser(get("/device"));
  post("/device", form({{"csrf", browser.csrf}, {"user_code", started["user_code"]}, {"answer", "deny"}}),
       browser.headers());
  EXPECT_EQ(json::parse(poll(started).body)["error"], "access_denied");
}

TEST_F(SignInTest, StartsOnlyForAKeyThatIsProven) {
  const std::string key = to_base64url(device_.public_key().spki());
  const std::string forged = to_base64url(device_.sign(as_bytes(std::string("something else"))));
  const auto start = [&](const std::string& name, const std::string& signature) {
    return post("/oauth/device_authorization",
                form({{"client_id", "postern"}, {"device_key", key}, {"device_name", name}, {"signature", signature}}))
        .status;
  };
  EXPECT_EQ(start("laptop", forged), 400);
  EXPECT_EQ(start("", forged), 400);
  EXPECT_EQ(start("two\nlines", forged), 400);
  EXPECT_EQ(post("/oauth/device_authorization", "%zz").status, 400);
  EXPECT_EQ(post("/oauth/token", "client_id=postern&grant_type=password").status, 400);
}

TEST_F(SignInTest, SignsOutADeviceThatProvesItsKey) {
  const json started = start_sign_in();
  ASSERT_EQ(sign_in(started, "admin@example.org", kAdminPassword).status, 200);
  const std::string nonce = json::parse(get("/oauth/nonce").body)["nonce"];
  const auto revoke = [&](const std::string& message) {
    return post("/oauth/revoke", form({{"device_key", to_base64url(device_.public_key().spki())},
                                       {"nonce", nonce},
                                       {"signature", to_base64url(device_.sign(as_bytes(message)))}}))
        .status;
  };
  EXPECT_EQ(revoke("postern-logout-v1"), 400);
  EXPECT_EQ(server_.ask([this] { return host_.controller().devices().size(); }), 1U);
  EXPECT_EQ(revoke("postern-logout-v1" + nonce), 200);
  EXPECT_EQ(server_.ask([this] { return host_.controller().devices().size(); }), 0U);
}

class PagesTest : public WebFixture {};

TEST_F(PagesTest, SetAPasswordWithALinkOnce) {
  const auto added = admin({.command = "user add", .arguments = {"new@example.org"}});
  ASSERT_TRUE(added) << added.error().message;
  const std::string link = json::parse(added->data)["setup_link"];
  const std::string target = link.substr(std::string("https://127.0.0.1").size());
  const std::string token = target.substr(target.find('=') + 1);
  const auto page = get(target);
  EXPECT_THAT(page.body, HasSubstr("new@example.org"));
  const Browser browser(page);
  const auto submit = [&](const std::string& password, const std::string& again) {
    return post("/setup", form({{"csrf", browser.csrf}, {"token", token}, {"password", password}, {"again", again}}),
                browser.headers());
  };
  EXPECT_EQ(submit("long enough", "another one").status, 422);
  EXPECT_EQ(submit("short", "short").status, 422);
  EXPECT_EQ(submit("long enough", "long enough").status, 200);
  EXPECT_EQ(submit("long enough", "long enough").status, 404);
  EXPECT_EQ(get(target).status, 404);
  const auto user = server_.ask([this] { return host_.controller().find_user("new@example.org"); });
  EXPECT_FALSE(user->password_hash.empty());
  const auto stored = server_.ask([this] { return *state_.store.load(state_.network.id); });
  EXPECT_FALSE(std::ranges::any_of(stored, [](const controller::Record& record) {
    const auto* secret = std::get_if<controller::SecretRecord>(&record);
    return secret != nullptr && secret->name.starts_with(kSetupRecordPrefix);
  }));
}

TEST_F(PagesTest, SayWhatThisIsAndEscapeNames) {
  const auto page = get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, HasSubstr("Home &lt;&amp;&gt;"));
  EXPECT_THAT(page.body, HasSubstr("postern login"));
  EXPECT_THAT(page.body, Not(HasSubstr("<script")));
  EXPECT_THAT(std::string(runtime::find_header(page.headers, "Content-Security-Policy")),
              HasSubstr("default-src 'none'"));
  EXPECT_EQ(get("/style.css").status, 200);
}

TEST_F(PagesTest, TellHealthAndKeys) {
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/readyz").status, 200);
  const json keys = json::parse(get("/api/v1/jwk/ec").body)["keys"];
  ASSERT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys[0]["kid"], identity::key_id(state_.signing.public_key()));
  EXPECT_EQ(from_base64url(keys[0]["x"].get<std::string>())->size(), 32U);
}

class ControlRouteTest : public WebFixture {
 protected:
  using WebFixture::WebFixture;

  /// Of a new connector.
  std::string refresh_token() {
    EXPECT_TRUE(admin({.command = "remote-network add", .arguments = {"lan"}}));
    EXPECT_TRUE(admin({.command = "connector add", .arguments = {"attic"}, .options = {{"remote-network", {"lan"}}}}));
    return json::parse(admin({.command = "connector tokens", .arguments = {"attic"}})->data)["refresh_token"];
  }
  runtime::ControlEvent next() {
    for (int turn = 0; turn < 2000 && events_.empty(); ++turn) loop_.run_turn(20ms);
    if (events_.empty()) throw std::runtime_error("no event came");
    runtime::ControlEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  runtime::ControlConfig connector(const std::string& refresh_token) {
    return {.server = server_.address(),
            .trust = {.root_pin = ca_.pin()},
            .role = wire::AGENT_ROLE_CONNECTOR,
            .key = identity::PrivateKey::generate(random_),
            .expected_network = "home",
            .refresh_token = refresh_token};
  }

  runtime::EventLoop loop_;
  std::deque<runtime::ControlEvent> events_;
};

TEST_F(ControlRouteTest, LetsAConnectorInAndCutsItOffWithItsTokens) {
  ASSERT_TRUE(admin({.command = "remote-network add", .arguments = {"lan"}}));
  ASSERT_TRUE(admin({.command = "connector add", .arguments = {"attic"}, .options = {{"remote-network", {"lan"}}}}));
  const AdminRequest new_tokens{.command = "connector tokens", .arguments = {"attic"}};
  const json tokens = json::parse(admin(new_tokens)->data);
  runtime::ControlClient client(connector(tokens["refresh_token"]), loop_,
                                [this](runtime::ControlEvent event) { events_.push_back(std::move(event)); });
  client.start();
  EXPECT_TRUE(std::holds_alternative<runtime::ControlUp>(next()));
  EXPECT_EQ(std::get<wire::ControllerMessage>(next()).welcome().network(), "home");
  EXPECT_TRUE(std::get<wire::ControllerMessage>(next()).connector_update().full());
  EXPECT_THAT(admin({.command = "connector list"})->text, HasSubstr("online"));
  EXPECT_THAT(admin({.command = "status"})->text, HasSubstr("attic"));

  ASSERT_TRUE(admin(new_tokens));
  for (;;) {
    const runtime::ControlEvent event = next();
    const auto* down = std::get_if<runtime::ControlDown>(&event);
    if (down == nullptr) continue;
    EXPECT_EQ(down->code, 410U);
    EXPECT_TRUE(down->final);
    break;
  }
  client.stop();
}

class FullControlRouteTest : public ControlRouteTest {
 protected:
  FullControlRouteTest() : ControlRouteTest(2) {}

  std::string upgrade() {
    return talk(server_, ca_,
                "GET /control/v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                "HTTP/1.1 101");
  }
  std::size_t connections() {
    return server_.ask([this] { return host_.connections(); });
  }
};

TEST_F(FullControlRouteTest, AtTheBoundANewConnectionIsToldToComeBackLaterAndOldOnesGoOn) {
  EXPECT_EQ(20'000U, ControllerHost::kConnectionsMax);
  const std::string token = refresh_token();
  const auto ignored = [](const runtime::ControlEvent&) {};
  runtime::ControlClient one(connector(token), loop_, ignored);
  runtime::ControlClient two(connector(token), loop_, ignored);
  one.start();
  two.start();
  const auto online = [this] { return admin({.command = "connector list"})->text.contains("2 of 2"); };
  for (int turn = 0; turn < 500 && !online(); ++turn) loop_.run_turn(20ms);
  ASSERT_TRUE(online()) << admin({.command = "connector list"})->text;
  EXPECT_THAT(upgrade(), AllOf(HasSubstr("503"), HasSubstr("Retry-After")));
  EXPECT_EQ(1U, server_.ask([this] { return host_.counters().refused_busy; }));
  EXPECT_EQ(2U, connections());
  EXPECT_TRUE(online());
  one.stop();
  while (connections() == 2) std::this_thread::yield();
  EXPECT_THAT(upgrade(), HasSubstr("101"));
  two.stop();
}

TEST_F(ControlRouteTest, RefusesAWrongToken) {
  runtime::ControlClient client(connector("ptr1_" + std::string(43, 'A')), loop_,
                                [this](runtime::ControlEvent event) { events_.push_back(std::move(event)); });
  client.start();
  const auto down = std::get<runtime::ControlDown>(next());
  EXPECT_EQ(down.failure, runtime::ControlFailure::Denied);
  EXPECT_EQ(down.code, 410U);
  client.stop();
}

}  // namespace
}  // namespace postern::server
