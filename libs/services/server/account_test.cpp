// How people sign in at the pages: password, authenticator app, recovery codes, passkeys, and the account's page.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "services/server/account_pages.hpp"
#include "services/server/form.hpp"
#include "services/server/web_fixture.hpp"
#include "signin/authenticator_test_util.hpp"

namespace postern::server {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

using Fields = std::vector<std::pair<std::string, std::string>>;

/// What stands between `head` and the next `end` in `text`.
std::string between(const std::string& text, const std::string& head, const std::string& end) {
  const std::size_t at = text.find(head);
  if (at == std::string::npos) return {};
  const std::size_t start = at + head.size();
  return text.substr(start, text.find(end, start) - start);
}

std::string field_of(const std::string& body, const std::string& name) {
  return between(body, "name=\"" + name + "\" value=\"", "\"");
}

std::string unescaped(std::string text) {
  for (std::size_t at = 0; (at = text.find("&quot;", at)) != std::string::npos;) text.replace(at, 6, "\"");
  return text;
}

Bytes from_base32(const std::string& text) {
  Bytes bytes;
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const char c : text) {
    if (c == ' ') continue;
    bits = (bits << 5) | static_cast<std::uint32_t>(c >= 'A' ? c - 'A' : c - '2' + 26);
    held += 5;
    if (held < 8) continue;
    held -= 8;
    bytes.push_back(static_cast<std::uint8_t>(bits >> held));
  }
  return bytes;
}

/// A browser: its cookies, and the page that it shows.
struct Visitor {
  std::map<std::string, std::string> cookies{};
  std::string body{};
  int status = 0;

  [[nodiscard]] runtime::HttpHeaders headers() const {
    std::string all;
    for (const auto& [name, value] : cookies) all += (all.empty() ? "" : "; ") + name + '=' + value;
    return {{"Cookie", all}};
  }
  [[nodiscard]] json passkey_options() const { return json::parse(unescaped(between(body, "data-options=\"", "\""))); }
};

class AccountTest : public WebFixture {
 protected:
  AccountTest() : WebFixture(ControllerHost::kConnectionsMax, "https://postern.test") {}

  void visit(Visitor& visitor, const std::string& target) { absorb(visitor, get(target, visitor.headers())); }
  /// With the hidden fields of the page that is shown.
  void submit(Visitor& visitor, const std::string& target, const Fields& fields) {
    std::string text = "csrf=" + percent_encode(field_of(visitor.body, "csrf"));
    for (const char* name : {"ticket", "user_code"}) {
      const std::string value = field_of(visitor.body, name);
      if (!value.empty()) text += '&' + std::string(name) + '=' + percent_encode(value);
    }
    for (const auto& [name, value] : fields) text += '&' + name + '=' + percent_encode(value);
    absorb(visitor, post(target, text, visitor.headers()));
  }
  void sign_in(Visitor& visitor, std::string_view password = kAdminPassword) {
    visit(visitor, "/sign-in");
    submit(visitor, "/sign-in", {{"email", "admin@example.org"}, {"password", std::string(password)}});
  }
  Visitor signed_in() {
    Visitor visitor;
    sign_in(visitor);
    EXPECT_THAT(visitor.body, HasSubstr("Signed in as")) << visitor.body;
    return visitor;
  }
  /// Sets an authenticator app up; gives the recovery codes.
  std::vector<std::string> add_app(Visitor& visitor) {
    visit(visitor, "/account/app");
    EXPECT_THAT(visitor.body, HasSubstr("<svg "));
    secret_ = from_base32(between(visitor.body, "<code>", "</code>"));
    EXPECT_EQ(secret_.size(), 20U);
    submit(visitor, "/account/app", {{"code", code(0)}});
    std::vector<std::string> codes;
    std::string rest = visitor.body;
    while (rest.contains("<li><code>")) {
      codes.push_back(between(rest, "<li><code>", "</code>"));
      rest = rest.substr(rest.find("<li><code>") + 1);
    }
    EXPECT_EQ(codes.size(), 10U) << visitor.body;
    return codes;
  }
  std::string code(std::int64_t off) const {
    return signin::totp_code(secret_, signin::totp_step(runtime::wall_now()) + off);
  }
  std::uint64_t admin_id() {
    return server_.ask([this] { return host_.controller().find_user("admin@example.org")->id.value; });
  }
  std::vector<std::string> audited() {
    return server_.ask([this] {
      std::vector<std::string> actions;
      const auto entries = state_.store.audit(state_.network.id, 100);
      for (const auto& each : entries.value()) actions.push_back(each.entry.action);
      return actions;
    });
  }
  signin::Authenticator add_passkey(Visitor& visitor) {
    signin::Authenticator device{.key = identity::PrivateKey::generate(random_)};
    const json options = visitor.passkey_options();
    EXPECT_EQ(options["rp"]["id"], "postern.test");
    EXPECT_EQ(options["attestation"], "none");
    const auto challenge = *from_base64url(options["challenge"].get<std::string>());
    submit(visitor, "/account/passkeys", {{"passkey", form_text(device.create(challenge))}});
    device.counter = 2;
    return device;
  }
  static std::string answer_to(const Visitor& visitor, const signin::Authenticator& device, const Bytes& handle) {
    const auto challenge = *from_base64url(visitor.passkey_options()["challenge"].get<std::string>());
    return form_text(device.get(challenge, handle));
  }

  Bytes secret_;

 private:
  void absorb(Visitor& visitor, const runtime::HttpResponse& answer) {
    std::string location;
    for (const auto& [name, value] : answer.headers) {
      if (name == "Location") location = value;
      if (name != "Set-Cookie") continue;
      const std::size_t equals = value.find('=');
      visitor.cookies[value.substr(0, equals)] = value.substr(equals + 1, value.find(';') - equals - 1);
    }
    visitor.body = answer.body;
    visitor.status = answer.status;
    if (answer.status == 303) visit(visitor, location);
  }
};

TEST_F(AccountTest, APasswordAloneSignsInWhereNothingElseIsSetUp) {
  Visitor visitor = signed_in();
  EXPECT_THAT(visitor.body, HasSubstr("admin@example.org"));
  EXPECT_THAT(visitor.body, Not(HasSubstr("Recovery codes")));
  submit(visitor, "/sign-out", {});
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("<h1>Sign in</h1>"));
}

TEST_F(AccountTest, AnAppIsAskedForOnceItIsSetUpAndItsCodesAreGoodOnce) {
  Visitor visitor = signed_in();
  add_app(visitor);
  Visitor other;
  sign_in(other, "a wrong password");
  EXPECT_EQ(other.status, 403);
  EXPECT_THAT(other.body, HasSubstr("E-mail or password is wrong."));
  sign_in(other);
  EXPECT_EQ(other.status, 200);
  EXPECT_THAT(other.body, HasSubstr("authenticator app shows"));
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("10 are left")) << "this browser stays signed in";

  const std::string next = code(1);
  submit(other, "/sign-in", {{"code", "000000"}});
  EXPECT_EQ(other.status, 403);
  submit(other, "/sign-in", {{"code", next}});
  EXPECT_THAT(other.body, HasSubstr("Signed in as"));
  Visitor replay;
  sign_in(replay);
  submit(replay, "/sign-in", {{"code", next}});
  EXPECT_EQ(replay.status, 403);
  EXPECT_THAT(replay.body, HasSubstr("used already"));
}

TEST_F(AccountTest, AUsedCodeStaysUsedBehindARestart) {
  Visitor visitor = signed_in();
  add_app(visitor);
  const std::int64_t last = server_.ask([this] {
    FactorStore after{host_, state_.master, random_};
    const auto records = state_.store.load(state_.network.id);
    after.load(records.value(), log_);
    const auto user = host_.controller().find_user("admin@example.org");
    EXPECT_TRUE(after.has_second(user->id));
    return after.of(user->id).totp->last_step;
  });
  EXPECT_NEAR(static_cast<double>(last), static_cast<double>(signin::totp_step(runtime::wall_now())), 2);
}

TEST_F(AccountTest, SecretsAreSealedInTheStoreAndAbsentFromTheAuditLog) {
  Visitor visitor = signed_in();
  const auto codes = add_app(visitor);
  const std::string secret(as_text(secret_));
  const std::string shown = to_base64url(secret_);
  const auto records = server_.ask([this] { return state_.store.load(state_.network.id).value(); });
  for (const controller::Record& record : records) {
    const auto* sealed = std::get_if<controller::SecretRecord>(&record);
    if (sealed == nullptr) continue;
    const std::string text(as_text(sealed->sealed));
    EXPECT_FALSE(text.contains(secret) || text.contains(shown));
  }
  const auto entries = server_.ask([this] { return state_.store.audit(state_.network.id, 100).value(); });
  for (const auto& each : entries) {
    EXPECT_THAT(each.entry.after, Not(HasSubstr(shown)));
    for (const std::string& code : codes) EXPECT_THAT(each.entry.after, Not(HasSubstr(code)));
  }
}

TEST_F(AccountTest, ASecretThatDoesNotOpenLocksTheAccountUntilItIsReset) {
  const model::UserId admin_user(admin_id());
  server_.ask([this, admin_user] {
    const std::vector<controller::Record> damaged = {
        controller::SecretRecord{controller::factors_secret(admin_user), Bytes(40)}};
    factors_.load(damaged, log_);
    return 0;
  });
  Visitor visitor;
  sign_in(visitor);
  submit(visitor, "/sign-in", {{"code", "000000"}});
  EXPECT_EQ(visitor.status, 403);
  ASSERT_TRUE(admin({.command = "user reset-mfa", .arguments = {"admin@example.org"}}));
  signed_in();
}

TEST_F(AccountTest, ARecoveryCodeLetsInOnce) {
  Visitor visitor = signed_in();
  const auto codes = add_app(visitor);
  Visitor other;
  sign_in(other);
  submit(other, "/sign-in", {{"code", codes[0]}});
  EXPECT_THAT(other.body, HasSubstr("9 are left"));
  EXPECT_THAT(audited(), ::testing::Contains("user.use_recovery_code"));
  Visitor again;
  sign_in(again);
  submit(again, "/sign-in", {{"code", codes[0]}});
  EXPECT_EQ(again.status, 403);
  submit(other, "/account/codes", {});
  EXPECT_THAT(other.body, HasSubstr("older codes are void"));
  submit(again, "/sign-in", {{"code", codes[1]}});
  EXPECT_EQ(again.status, 403);
}

TEST_F(AccountTest, GuessesAreBounded) {
  Visitor visitor = signed_in();
  add_app(visitor);
  Visitor thief;
  sign_in(thief);
  const std::string ticket = field_of(thief.body, "ticket");
  for (int i = 0; i < 4; ++i) {
    submit(thief, "/sign-in", {{"code", "000000"}});
    EXPECT_EQ(thief.status, 403);
    EXPECT_EQ(field_of(thief.body, "ticket"), ticket);
  }
  submit(thief, "/sign-in", {{"code", "000000"}});
  EXPECT_EQ(thief.status, 403);
  EXPECT_EQ(field_of(thief.body, "ticket"), "") << "the fifth ends it";
  sign_in(thief);
  submit(thief, "/sign-in", {{"code", code(1)}});
  EXPECT_EQ(thief.status, 429) << "a new ticket brings no new guesses";
}

TEST_F(AccountTest, ATicketIsForOnePurpose) {
  Visitor visitor = signed_in();
  add_app(visitor);
  Visitor other;
  sign_in(other);
  const std::string ticket = field_of(other.body, "ticket");
  const std::string csrf = field_of(other.body, "csrf");
  const std::string body = "csrf=" + csrf + "&user_code=BCDF-GHJK&ticket=" + ticket + "&code=" + code(1);
  EXPECT_EQ(post("/device", body, other.headers()).status, 404);
}

TEST_F(AccountTest, RemovingTheAppEndsTheQuestionAndTheRecoveryCodes) {
  Visitor visitor = signed_in();
  add_app(visitor);
  visit(visitor, "/account");
  submit(visitor, "/account/app/remove", {});
  EXPECT_THAT(visitor.body, HasSubstr("Set up an authenticator app"));
  signed_in();
  EXPECT_TRUE(
      server_.ask([this] { return factors_.of(host_.controller().find_user("admin@example.org")->id).empty(); }));
  EXPECT_THAT(audited(), ::testing::IsSupersetOf({"user.add_app", "user.remove_app"}));
}

TEST_F(AccountTest, AnAdminTakesLostFactorsAwayAndSessionsWithThem) {
  Visitor visitor = signed_in();
  add_app(visitor);
  const auto listed = admin({.command = "user list"});
  EXPECT_TRUE(json::parse(listed->data)["users"][0]["has_second_factor"]);
  const auto done = admin({.command = "user reset-mfa", .arguments = {"admin@example.org"}});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(json::parse(done->data)["had_second_factor"]);
  EXPECT_FALSE(admin({.command = "user reset-mfa", .arguments = {"nobody@example.org"}}));
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("<h1>Sign in</h1>"));
  signed_in();
  EXPECT_THAT(audited(), ::testing::Contains("user.reset_mfa"));
}

TEST_F(AccountTest, ASessionThatTheBrowserBroughtAlongIsWorthNothing) {
  Visitor victim;
  victim.cookies["__Host-postern-session"] = "planted";
  sign_in(victim);
  EXPECT_NE(victim.cookies["__Host-postern-session"], "planted");
  Visitor thief;
  thief.cookies["__Host-postern-session"] = "planted";
  visit(thief, "/account");
  EXPECT_THAT(thief.body, HasSubstr("<h1>Sign in</h1>"));
  const std::string before = victim.cookies["__Host-postern-session"];
  victim.cookies.erase("__Host-postern-session");
  sign_in(victim);
  EXPECT_NE(victim.cookies["__Host-postern-session"], before);
}

TEST_F(AccountTest, EveryChangeWantsASessionAndAFormOfThisBrowser) {
  Visitor visitor = signed_in();
  for (const char* path : {"/account/app", "/account/app/remove", "/account/codes", "/account/passkeys",
                           "/account/passkeys/remove", "/account/password", "/sign-out"}) {
    EXPECT_EQ(post(path, "csrf=x", visitor.headers()).status, 403) << path;
    const auto stranger = post(path, "");
    EXPECT_EQ(stranger.status, 303) << path;
    EXPECT_EQ(runtime::find_header(stranger.headers, "Location"), "/sign-in");
  }
  EXPECT_EQ(post("/sign-in", "email=admin@example.org&password=x").status, 403);
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("Signed in as"));
}

TEST_F(AccountTest, AnOldSessionSignsInAgainBeforeItChangesAnything) {
  Visitor visitor = signed_in();
  const std::string token = visitor.cookies["__Host-postern-session"];
  server_.ask([&] {
    sessions_.use(token, runtime::monotonic_now())->started -= 11min;
    return 0;
  });
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("Signed in as"));
  visit(visitor, "/account/app");
  EXPECT_EQ(visitor.status, 403);
  EXPECT_THAT(visitor.body, HasSubstr("please sign in once more"));
}

TEST_F(AccountTest, APasswordIsChangedWithTheOldOne) {
  Visitor visitor = signed_in();
  Visitor elsewhere = signed_in();
  const auto change = [&](const std::string& now, const std::string& wanted, const std::string& again) {
    visit(visitor, "/account");
    submit(visitor, "/account/password", {{"password", now}, {"new", wanted}, {"again", again}});
    return visitor.status;
  };
  EXPECT_EQ(change(std::string(kAdminPassword), "a new password", "another"), 422);
  EXPECT_EQ(change(std::string(kAdminPassword), "short", "short"), 422);
  EXPECT_EQ(change("a wrong password", "a new password", "a new password"), 403);
  EXPECT_EQ(change(std::string(kAdminPassword), "a new password", "a new password"), 200);
  visit(elsewhere, "/account");
  EXPECT_THAT(elsewhere.body, HasSubstr("<h1>Sign in</h1>"));
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("Signed in as"));
  sign_in(elsewhere);
  EXPECT_EQ(elsewhere.status, 403);
  sign_in(elsewhere, "a new password");
  EXPECT_EQ(elsewhere.status, 200);
}

TEST_F(AccountTest, ADisabledPersonIsSignedOut) {
  ASSERT_TRUE(admin({.command = "user add",
                     .arguments = {"b@example.org"},
                     .options = {{"admin", {"true"}}, {"password", {"long enough"}}}}));
  Visitor visitor = signed_in();
  ASSERT_TRUE(admin({.command = "user disable", .arguments = {"admin@example.org"}}));
  visit(visitor, "/account");
  EXPECT_THAT(visitor.body, HasSubstr("<h1>Sign in</h1>"));
}

TEST_F(AccountTest, ADeletedPersonLeavesNoSecret) {
  ASSERT_TRUE(admin({.command = "user add",
                     .arguments = {"b@example.org"},
                     .options = {{"admin", {"true"}}, {"password", {"long enough"}}}}));
  Visitor visitor = signed_in();
  add_app(visitor);
  const std::string name = controller::factors_secret(model::UserId(admin_id()));
  const auto stored = [&] {
    const auto records = server_.ask([this] { return state_.store.load(state_.network.id).value(); });
    return std::ranges::any_of(records, [&](const controller::Record& record) {
      const auto* secret = std::get_if<controller::SecretRecord>(&record);
      return secret != nullptr && secret->name == name;
    });
  };
  EXPECT_TRUE(stored());
  ASSERT_TRUE(admin({.command = "user delete", .arguments = {"admin@example.org"}}));
  EXPECT_FALSE(stored());
}

TEST_F(AccountTest, APasskeyAloneSignsIn) {
  Visitor visitor = signed_in();
  signin::Authenticator device = add_passkey(visitor);
  EXPECT_THAT(visitor.body, HasSubstr("Recovery codes"));
  const Bytes handle = user_handle(model::UserId(admin_id()));

  Visitor other;
  visit(other, "/sign-in");
  EXPECT_EQ(other.passkey_options()["userVerification"], "required");
  const std::string answer = answer_to(other, device, handle);
  submit(other, "/sign-in", {{"passkey", answer}});
  EXPECT_THAT(other.body, HasSubstr("Signed in as"));
  EXPECT_THAT(other.body, HasSubstr("last used"));

  Visitor replay;
  visit(replay, "/sign-in");
  submit(replay, "/sign-in", {{"passkey", answer}});
  EXPECT_EQ(replay.status, 403) << "a challenge is good once";
  submit(replay, "/sign-in", {{"passkey", answer_to(replay, device, handle)}});
  EXPECT_EQ(replay.status, 403) << "the counter has not moved";
  device.counter = 3;
  submit(replay, "/sign-in", {{"passkey", answer_to(replay, device, {})}});
  EXPECT_EQ(replay.status, 403) << "nobody is named";
  submit(replay, "/sign-in", {{"passkey", answer_to(replay, device, Bytes(8))}});
  EXPECT_EQ(replay.status, 403) << "somebody else is named";
  device.flags = 0x01;
  submit(replay, "/sign-in", {{"passkey", answer_to(replay, device, handle)}});
  EXPECT_EQ(replay.status, 403) << "nobody was verified";
  submit(replay, "/sign-in", {{"passkey", ""}});
  EXPECT_EQ(replay.status, 403);
}

TEST_F(AccountTest, APasskeyIsTheSecondStepBehindThePassword) {
  Visitor visitor = signed_in();
  signin::Authenticator device = add_passkey(visitor);
  device.flags = 0x01;  // touched: the password says who
  Visitor other;
  sign_in(other);
  EXPECT_THAT(other.body, HasSubstr("Use your passkey"));
  EXPECT_EQ(other.passkey_options()["allowCredentials"][0]["id"], to_base64url(device.id));
  submit(other, "/sign-in", {{"passkey", answer_to(other, device, {})}});
  EXPECT_THAT(other.body, HasSubstr("Signed in as"));
}

TEST_F(AccountTest, APasskeyIsRegisteredOnceForOnePerson) {
  ASSERT_TRUE(
      admin({.command = "user add", .arguments = {"b@example.org"}, .options = {{"password", {"long enough"}}}}));
  Visitor visitor = signed_in();
  const signin::Authenticator device = add_passkey(visitor);
  visit(visitor, "/account");
  EXPECT_EQ(visitor.passkey_options()["excludeCredentials"].size(), 1U);
  const auto challenge = *from_base64url(visitor.passkey_options()["challenge"].get<std::string>());
  Visitor other;
  visit(other, "/sign-in");
  submit(other, "/sign-in", {{"email", "b@example.org"}, {"password", "long enough"}});
  submit(other, "/account/passkeys", {{"passkey", form_text(device.create(challenge))}});
  EXPECT_EQ(other.status, 422) << "a challenge that was given to somebody else";
  const auto own = *from_base64url(other.passkey_options()["challenge"].get<std::string>());
  submit(other, "/account/passkeys", {{"passkey", form_text(device.create(own))}});
  EXPECT_EQ(other.status, 422);
  EXPECT_THAT(other.body, HasSubstr("registered already"));
  visit(visitor, "/account");
  submit(visitor, "/account/passkeys/remove", {{"id", to_base64url(device.id)}});
  EXPECT_THAT(visitor.body, Not(HasSubstr("Passkey 1")));
  signed_in();
}

class AddressAccountTest : public WebFixture {};

TEST_F(AddressAccountTest, OffersNoPasskeysWhereTheServerHasNoName) {
  const auto page = get("/sign-in");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, Not(HasSubstr("passkey")));
  EXPECT_THAT(std::string(runtime::find_header(page.headers, "Content-Security-Policy")), Not(HasSubstr("script-src")));
  EXPECT_EQ(get("/passkey.js").status, 200);
}

}  // namespace
}  // namespace postern::server
