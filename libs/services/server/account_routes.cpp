// /sign-in, /sign-out and /account: where people manage how they sign in.
//
// Each page of the account wants a session (a cookie, signin/sessions.hpp). What changes how a person signs in wants
// one that is not older than ten minutes, and ends the person's other sessions.
#include "runtime/loop/event_loop.hpp"
#include "runtime/store/password.hpp"
#include "services/server/account_pages.hpp"
#include "services/server/form.hpp"
#include "services/server/pages.hpp"
#include "services/server/sign_in_flow.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {
namespace {

using runtime::HttpRequest;
using runtime::HttpResponse;
using runtime::HttpServer;
using runtime::monotonic_now;
using runtime::wall_now;

constexpr std::string_view kAccount = "/account";
constexpr std::string_view kSignIn = "/sign-in";
constexpr std::string_view kFormTooOld = "The form was too old, or came from another site. Please try again.";
constexpr std::string_view kNotFresh = "For this change, please sign in once more.";
constexpr std::string_view kSecured =
    "From now on signing in asks for a second step. These codes are for the day when it is out of reach.";

/// To a page of our own: never to where a request wants.
HttpResponse see(std::string_view path) {
  return {.status = 303, .body = {}, .headers = {{"Location", std::string(path)}}};
}

std::string session_cookie(std::string_view value, std::string_view more = "") {
  return std::string(kSessionCookie) + '=' + std::string(value) + "; Path=/; Secure; HttpOnly; SameSite=Strict" +
         std::string(more);
}

std::string_view session_token(const HttpRequest& request) {
  return find_cookie(runtime::find_header(request.headers, "Cookie"), kSessionCookie);
}

/// A person with a session, for one request.
struct SignedIn {
  signin::Session& session;
  controller::UserRecord user{};
};

class AccountRoutes {
 public:
  explicit AccountRoutes(WebContext& context) : context_(context), flow_(context) {}

  void show_sign_in(const HttpRequest& request, const HttpServer::Responder& answer) {
    if (signed_in(request)) return answer(see(kAccount));
    answer(sign_in_page(request, 200, "", ""));
  }

  void sign_in(const HttpRequest& request, const HttpServer::Responder& answer) {
    const auto form = Form::parse(request.body);
    if (!form || !context_.csrf.check(request, *form)) return answer(sign_in_page(request, 403, "", kFormTooOld));
    flow_.submit(request, *form, target(), answer);
  }

  HttpResponse sign_out(const HttpRequest& request, const Form&, SignedIn&) {
    context_.sessions.end(session_token(request));
    return with_cookie(see(kSignIn), session_cookie("", "; Max-Age=0"));
  }

  HttpResponse show_account(const HttpRequest& request, SignedIn& person) {
    return account_page(request, 200, person, "");
  }

  HttpResponse show_app(const HttpRequest& request, SignedIn& person) {
    if (context_.factors.of(person.user.id).totp) {
      return account_page(request, 409, person, "There is an authenticator app already. Remove it first.");
    }
    if (person.session.offered_secret.empty()) {
      person.session.offered_secret =
          to_bytes(context_.random.make<std::array<std::uint8_t, signin::kTotpSecretSize>>());
    }
    return app_page(request, 200, person, "");
  }

  HttpResponse add_app(const HttpRequest& request, const Form& form, SignedIn& person) {
    signin::Factors factors = context_.factors.of(person.user.id);
    if (factors.totp || person.session.offered_secret.empty()) return see("/account/app");
    signin::Totp totp{person.session.offered_secret, -1};
    const auto step = find_totp_step(totp, form.get("code"), wall_now());
    if (!step) {
      return app_page(request, 422, person, "This is not the code of now. Is the clock of the phone right?");
    }
    totp.last_step = *step;
    factors.totp = std::move(totp);
    person.session.offered_secret.clear();
    return store_second(request, person, std::move(factors), "user.add_app");
  }

  HttpResponse remove_app(const HttpRequest& request, const Form&, SignedIn& person) {
    signin::Factors factors = context_.factors.of(person.user.id);
    factors.totp.reset();
    return store(request, person, std::move(factors), "user.remove_app");
  }

  HttpResponse renew_codes(const HttpRequest& request, const Form&, SignedIn& person) {
    signin::Factors factors = context_.factors.of(person.user.id);
    if (!factors.has_second()) return see(kAccount);
    const auto codes = renew_recovery_codes(factors, context_.random);
    if (const auto problem = commit(request, person, std::move(factors), "user.renew_recovery_codes")) {
      return account_page(request, 500, person, *problem);
    }
    return page(200, "Recovery codes", recovery_codes_body(codes, "The older codes are void now."));
  }

  HttpResponse add_passkey(const HttpRequest& request, const Form& form, SignedIn& person) {
    const auto refuse = [&](std::string_view why) { return account_page(request, 422, person, std::string(why)); };
    const auto answered = signin::parse_registration(form.get("passkey"));
    const auto challenge = answered ? signin::challenge_of(answered->client_data) : std::nullopt;
    if (!context_.party || !challenge) return refuse("The browser's answer cannot be read.");
    if (!context_.challenges.check(*challenge, creation_purpose(person), monotonic_now())) {
      return refuse("That took too long. Please try again.");
    }
    auto passkey = verify_registration(*answered, *context_.party, *challenge, signin::UserCheck::Verified);
    if (!passkey) return refuse("The passkey was refused: " + std::string(to_string(passkey.error())) + '.');
    if (!context_.challenges.use(*challenge, monotonic_now())) return refuse("This was sent already.");
    if (context_.factors.owner_of(passkey->id)) return refuse("This passkey is registered already.");
    signin::Factors factors = context_.factors.of(person.user.id);
    if (factors.passkeys.size() >= signin::kPasskeysMax) return refuse("An account has at most 16 passkeys.");
    passkey->added_at = wall_now();
    passkey->name = "Passkey " + std::to_string(next_number(factors));
    factors.passkeys.push_back(std::move(*passkey));
    return store_second(request, person, std::move(factors), "user.add_passkey");
  }

  HttpResponse remove_passkey(const HttpRequest& request, const Form& form, SignedIn& person) {
    signin::Factors factors = context_.factors.of(person.user.id);
    const auto id = from_base64url(form.get("id"));
    const std::size_t removed =
        id ? std::erase_if(factors.passkeys, [&](const signin::Passkey& each) { return each.id == *id; }) : 0;
    if (removed == 0) return see(kAccount);
    return store(request, person, std::move(factors), "user.remove_passkey");
  }

  /// Asks for the password again, and takes its time in the password threads.
  void change_password(const HttpRequest& request, const HttpServer::Responder& answer) {
    const auto form = Form::parse(request.body);
    auto person = signed_in(request);
    if (!person) return answer(see(kSignIn));
    if (!form || !context_.csrf.check(request, *form)) return answer(account_page(request, 403, *person, kFormTooOld));
    const std::string& wanted = form->get("new");
    if (wanted != form->get("again")) {
      return answer(account_page(request, 422, *person, "The two passwords differ."));
    }
    if (const std::string problem = runtime::password_problem(wanted); !problem.empty()) {
      return answer(account_page(request, 422, *person, problem));
    }
    const std::string& email = person->user.email;
    if (const auto wait = context_.sign_ins.try_password(email, request.remote, monotonic_now())) {
      return answer(too_many(*wait, "There were too many attempts."));
    }
    const bool queued = context_.passwords.verify(
        form->get("password"), person->user.password_hash,
        [this, request, wanted, answer](bool right) { hash_password(request, wanted, right, answer); });
    if (!queued) answer(too_many(kBusyRetry, "The server is busy with other sign-ins."));
  }

  std::optional<SignedIn> signed_in(const HttpRequest& request) {
    signin::Session* session = context_.sessions.use(session_token(request), monotonic_now());
    auto user = session == nullptr ? std::nullopt : context_.host.controller().find_user(session->user);
    if (!user || user->state != controller::UserState::Active) return std::nullopt;
    return SignedIn{*session, std::move(*user)};
  }

  HttpResponse account_page(const HttpRequest& request, int status, SignedIn& person, std::string_view problem) {
    const auto issued = context_.csrf.issue(request);
    const signin::Factors& factors = context_.factors.of(person.user.id);
    AccountView view{person.user, factors, "", std::string(problem)};
    if (context_.party) {
      const Digest challenge = context_.challenges.issue(creation_purpose(person), monotonic_now());
      view.passkey_options =
          passkey_creation_options(*context_.party, challenge, context_.network_name, person.user, factors);
    }
    return with_cookie(page(status, "Your account", account_body(issued.guard, view), PageScript::Passkey),
                       issued.cookie);
  }

  HttpResponse not_fresh(const HttpRequest& request) {
    context_.sessions.end(session_token(request));
    return sign_in_page(request, 403, "", kNotFresh);
  }

 private:
  static std::string creation_purpose(const SignedIn& person) {
    return "create " + std::to_string(person.user.id.value);
  }

  static std::size_t next_number(const signin::Factors& factors) {
    std::size_t number = factors.passkeys.size() + 1;
    const auto taken = [&] {
      return std::ranges::any_of(factors.passkeys, [&](const signin::Passkey& each) {
        return each.name == "Passkey " + std::to_string(number);
      });
    };
    while (taken()) ++number;
    return number;
  }

  SignInTarget target() {
    SignInTarget target{.purpose = "account", .action = std::string(kSignIn)};
    target.ask = [this](const HttpRequest& request, int status, const std::string& email, std::string_view problem) {
      return sign_in_page(request, status, email, problem);
    };
    // A new session each time: what the browser sent before is worth nothing any more.
    target.done = [this](const HttpRequest& request, const controller::UserRecord& user) {
      context_.sessions.end(session_token(request));
      return with_cookie(see(kAccount), session_cookie(context_.sessions.start(user.id, monotonic_now())));
    };
    return target;
  }

  HttpResponse sign_in_page(const HttpRequest& request, int status, const std::string& email,
                            std::string_view problem) {
    const auto issued = context_.csrf.issue(request);
    const std::string passkey = flow_.passkey_button(issued.guard, target());
    return with_cookie(page(status, "Sign in", sign_in_body(issued.guard, email, problem, passkey),
                            passkey.empty() ? PageScript::None : PageScript::Passkey),
                       issued.cookie);
  }

  HttpResponse app_page(const HttpRequest& request, int status, SignedIn& person, std::string_view problem) {
    const auto issued = context_.csrf.issue(request);
    return with_cookie(page(status, "Authenticator app",
                            app_body(issued.guard, person.session.offered_secret, "Postern " + context_.network_name,
                                     person.user.email, problem)),
                       issued.cookie);
  }

  /// Why not, in a sentence.
  std::optional<std::string> commit(const HttpRequest& request, SignedIn& person, signin::Factors factors,
                                    std::string action) {
    if (!factors.has_second()) factors.recovery_codes.clear();
    const FactorChange change{"user:" + std::to_string(person.user.id.value), address_key(request.remote),
                              std::move(action)};
    const auto stored = context_.factors.put(person.user.id, std::move(factors), change);
    if (!stored) return stored.error().message;
    context_.sessions.end_all(person.user.id, session_token(request));
    return std::nullopt;
  }

  HttpResponse store(const HttpRequest& request, SignedIn& person, signin::Factors factors, std::string action) {
    if (const auto problem = commit(request, person, std::move(factors), std::move(action))) {
      return account_page(request, 500, person, *problem);
    }
    return see(kAccount);
  }

  /// With the first second factor come recovery codes.
  HttpResponse store_second(const HttpRequest& request, SignedIn& person, signin::Factors factors, std::string action) {
    if (!factors.recovery_codes.empty()) return store(request, person, std::move(factors), std::move(action));
    const auto codes = renew_recovery_codes(factors, context_.random);
    if (const auto problem = commit(request, person, std::move(factors), std::move(action))) {
      return account_page(request, 500, person, *problem);
    }
    return page(200, "Recovery codes", recovery_codes_body(codes, kSecured));
  }

  void hash_password(const HttpRequest& request, const std::string& wanted, bool right,
                     const HttpServer::Responder& answer) {
    auto person = signed_in(request);
    if (!person) return answer(see(kSignIn));
    if (!right) return answer(account_page(request, 403, *person, "The password of now is wrong."));
    context_.sign_ins.password_right(person->user.email, request.remote);
    const bool queued = context_.passwords.hash(
        wanted, [this, request, answer](const std::string& hash) { answer(set_password(request, hash)); });
    if (!queued) answer(too_many(kBusyRetry, "The server is busy with other sign-ins."));
  }

  HttpResponse set_password(const HttpRequest& request, const std::string& hash) {
    auto person = signed_in(request);
    if (!person) return see(kSignIn);
    const auto set =
        context_.host.execute(controller::SetPassword{person->user.email, hash},
                              "user:" + std::to_string(person->user.id.value), address_key(request.remote));
    if (!set) return account_page(request, 500, *person, set.error().message);
    context_.sessions.end_all(person->user.id, session_token(request));
    return message_page(200, "Password changed", "The new password counts from now on; other browsers are signed out.");
  }

  WebContext& context_;
  SignInFlow flow_;
};

using Routes = std::shared_ptr<AccountRoutes>;
using Show = HttpResponse (AccountRoutes::*)(const HttpRequest&, SignedIn&);
using Change = HttpResponse (AccountRoutes::*)(const HttpRequest&, const Form&, SignedIn&);
enum class Wants : std::uint8_t { Session, FreshSession };

void add_page(HttpServer& server, const Routes& routes, const char* path, Show show, Wants wants) {
  server.route("GET", path, [=](const HttpRequest& request, const HttpServer::Responder& answer) {
    auto person = routes->signed_in(request);
    if (!person) return answer(see(kSignIn));
    if (wants == Wants::FreshSession && !signin::Sessions::is_fresh(person->session, monotonic_now())) {
      return answer(routes->not_fresh(request));
    }
    answer(((*routes).*show)(request, *person));
  });
}

void add_change(HttpServer& server, WebContext& context, const Routes& routes, const char* path, Change change,
                Wants wants) {
  server.route("POST", path, [=, &context](const HttpRequest& request, const HttpServer::Responder& answer) {
    auto person = routes->signed_in(request);
    if (!person) return answer(see(kSignIn));
    const auto form = Form::parse(request.body);
    if (!form || !context.csrf.check(request, *form)) {
      return answer(routes->account_page(request, 403, *person, kFormTooOld));
    }
    if (wants == Wants::FreshSession && !signin::Sessions::is_fresh(person->session, monotonic_now())) {
      return answer(routes->not_fresh(request));
    }
    answer(((*routes).*change)(request, *form, *person));
  });
}

}  // namespace

void add_account_routes(HttpServer& server, WebContext& context) {
  const auto routes = std::make_shared<AccountRoutes>(context);
  using R = AccountRoutes;
  server.route("GET", std::string(kSignIn), [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->show_sign_in(request, answer);
  });
  server.route("POST", std::string(kSignIn), [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->sign_in(request, answer);
  });
  server.route("POST", "/account/password", [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->change_password(request, answer);
  });
  add_page(server, routes, "/account", &R::show_account, Wants::Session);
  add_page(server, routes, "/account/app", &R::show_app, Wants::FreshSession);
  add_change(server, context, routes, "/sign-out", &R::sign_out, Wants::Session);
  add_change(server, context, routes, "/account/app", &R::add_app, Wants::FreshSession);
  add_change(server, context, routes, "/account/app/remove", &R::remove_app, Wants::FreshSession);
  add_change(server, context, routes, "/account/codes", &R::renew_codes, Wants::FreshSession);
  add_change(server, context, routes, "/account/passkeys", &R::add_passkey, Wants::FreshSession);
  add_change(server, context, routes, "/account/passkeys/remove", &R::remove_passkey, Wants::FreshSession);
}

}  // namespace postern::server
