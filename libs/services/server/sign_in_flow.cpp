#include "services/server/sign_in_flow.hpp"

#include <algorithm>

#include "runtime/loop/event_loop.hpp"
#include "runtime/store/password.hpp"

namespace postern::server {
namespace {

using runtime::HttpRequest;
using runtime::HttpResponse;
using runtime::HttpServer;
using runtime::monotonic_now;
using runtime::wall_now;

constexpr std::string_view kWrong = "E-mail or password is wrong.";
constexpr std::string_view kWrongCode = "This code is wrong, or was used already.";
constexpr std::string_view kTooLate = "That took too long, or there were too many wrong codes. Please start again.";
constexpr std::string_view kUnknownPasskey = "This passkey is not known here.";

std::string folded(std::string_view email) {
  std::string text(email);
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

std::string sentence_of(signin::PasskeyError error) {
  return "The passkey was refused: " + std::string(to_string(error)) + '.';
}

std::string alone_purpose(const SignInTarget& target) {
  return "alone " + target.purpose;
}

std::string second_purpose(const std::string& ticket) {
  return "second " + ticket;
}

}  // namespace

void SignInFlow::submit(const HttpRequest& request, const Form& form, const SignInTarget& target,
                        const HttpServer::Responder& answer) {
  if (form.has("ticket")) return answer(second(request, form, target));
  if (form.has("passkey")) return answer(passkey_alone(request, form, target));
  password(request, form, target, answer);
}

std::string SignInFlow::passkey_button(const FormGuard& guard, const SignInTarget& target) {
  if (!context_.party) return {};
  const Digest challenge = context_.challenges.issue(alone_purpose(target), monotonic_now());
  HiddenFields fields = target.fields;
  fields.emplace_back("csrf", guard.token);
  return passkey_form(target.action, fields, passkey_sign_in_options(*context_.party, challenge),
                      "Sign in with a passkey");
}

void SignInFlow::password(const HttpRequest& request, const Form& form, const SignInTarget& target,
                          const HttpServer::Responder& answer) {
  const std::string email = folded(form.get("email"));
  if (const auto wait = context_.sign_ins.try_password(email, request.remote, monotonic_now())) {
    return answer(too_many(*wait, "There were too many attempts to sign in."));
  }
  const auto user = context_.host.controller().find_user(email);
  const bool may = user && user->state == controller::UserState::Active;
  const bool queued = context_.passwords.verify(
      form.get("password"), may ? user->password_hash : "",
      [this, request, email, target, answer](bool right) { answer(after_password(request, email, right, target)); });
  if (!queued) answer(too_many(kBusyRetry, "The server is busy with other sign-ins."));
}

HttpResponse SignInFlow::after_password(const HttpRequest& request, const std::string& email, bool right,
                                        const SignInTarget& target) {
  const auto user = context_.host.controller().find_user(email);  // it may have changed meanwhile
  if (!right || !user || user->state != controller::UserState::Active) {
    context_.log.debug("A sign-in was refused", {{"account", email}, {"address", request.remote}});
    return target.ask(request, 403, email, kWrong);
  }
  const auto ticket = context_.sign_ins.password_proven({user->id, email}, request.remote, target.purpose,
                                                        context_.factors.has_second(user->id), monotonic_now());
  if (!ticket) return target.done(request, *user);
  return second_page(request, 200, *ticket, user->id, target, "");
}

HttpResponse SignInFlow::second(const HttpRequest& request, const Form& form, const SignInTarget& target) {
  const std::string ticket = form.get("ticket");
  const signin::Pending* found = context_.sign_ins.find(ticket, target.purpose, monotonic_now());
  const auto user = found == nullptr ? std::nullopt : active_user(found->person.user);
  if (!user) return target.ask(request, 403, "", kTooLate);
  if (const auto wait = context_.sign_ins.try_second(found->person.account, request.remote, monotonic_now())) {
    return too_many(*wait, "There were too many wrong codes.");
  }
  std::optional<std::string> problem;
  if (form.has("passkey")) {
    const auto proven =
        prove_passkey(form.get("passkey"), {second_purpose(ticket), signin::UserCheck::Present, user->id});
    if (!proven) problem = proven.error();
  } else {
    problem = prove_code(request, user->id, form.get("code"));
  }
  if (!problem) {
    context_.sign_ins.second_proven(ticket, request.remote);
    return target.done(request, *user);
  }
  context_.log.debug("A second factor was refused", {{"account", user->email}, {"address", request.remote}});
  context_.sign_ins.second_refused(ticket);
  if (context_.sign_ins.find(ticket, target.purpose, monotonic_now()) == nullptr) {
    return target.ask(request, 403, "", kTooLate);
  }
  return second_page(request, 403, ticket, user->id, target, *problem);
}

HttpResponse SignInFlow::second_page(const HttpRequest& request, int status, const std::string& ticket,
                                     model::UserId user, const SignInTarget& target, std::string_view problem) {
  const auto issued = context_.csrf.issue(request);
  const signin::Factors& factors = context_.factors.of(user);
  HiddenFields fields = target.fields;
  fields.emplace_back("csrf", issued.guard.token);
  fields.emplace_back("ticket", ticket);
  std::string passkey;
  if (context_.party && !factors.passkeys.empty()) {
    const Digest challenge = context_.challenges.issue(second_purpose(ticket), monotonic_now());
    passkey = passkey_form(target.action, fields, passkey_second_options(*context_.party, challenge, factors),
                           "Use a passkey");
  }
  return with_cookie(page(status, "One more step", second_factor_body(target.action, fields, factors, problem, passkey),
                          PageScript::Passkey),
                     issued.cookie);
}

HttpResponse SignInFlow::passkey_alone(const HttpRequest& request, const Form& form, const SignInTarget& target) {
  if (const auto wait = context_.enquiries.try_take(address_key(request.remote), monotonic_now())) {
    return too_many(*wait, "There were too many attempts from your address.");
  }
  const auto proven =
      prove_passkey(form.get("passkey"), {alone_purpose(target), signin::UserCheck::Verified, std::nullopt});
  const auto user = proven ? active_user(*proven) : std::nullopt;
  if (!user) return target.ask(request, 403, "", proven ? std::string(kUnknownPasskey) : proven.error());
  return target.done(request, *user);
}

std::optional<std::string> SignInFlow::prove_code(const HttpRequest& request, model::UserId user,
                                                  std::string_view code) {
  signin::Factors factors = context_.factors.of(user);
  const auto kind = use_code(factors, code, wall_now());
  if (!kind) return std::string(kWrongCode);
  std::optional<FactorChange> change;
  if (*kind == signin::CodeKind::Recovery) {
    change = FactorChange{"user:" + std::to_string(user.value), address_key(request.remote), "user.use_recovery_code"};
  }
  // Used up before it lets anybody in.
  const auto stored = context_.factors.put(user, std::move(factors), change);
  if (!stored) return "The code could not be stored as used: " + stored.error().message;
  return std::nullopt;
}

std::expected<model::UserId, std::string> SignInFlow::prove_passkey(std::string_view text,
                                                                    const PasskeyWanted& wanted) {
  const auto refuse = [](std::string_view why) { return std::unexpected(std::string(why)); };
  if (!context_.party) return refuse("There are no passkeys on this server.");
  const auto answer = signin::parse_assertion(text);
  const auto challenge = answer ? signin::challenge_of(answer->client_data) : std::nullopt;
  if (!challenge) return refuse("The browser's answer cannot be read. A passkey needs its script to run.");
  if (!context_.challenges.check(*challenge, wanted.purpose, monotonic_now())) return refuse(kTooLate);
  const auto owner = context_.factors.owner_of(answer->credential_id);
  if (!owner || (wanted.user && *wanted.user != *owner)) return refuse(kUnknownPasskey);
  // WebAuthn §7.2 step 6: without a user that is known already the handle must name one.
  const bool named = std::ranges::equal(answer->user_handle, user_handle(*owner));
  if (!named && (!wanted.user || !answer->user_handle.empty())) return refuse(kUnknownPasskey);
  signin::Factors factors = context_.factors.of(*owner);
  signin::Passkey& passkey = *factors.find_passkey(answer->credential_id);
  const auto verified = verify_assertion(*answer, *context_.party, *challenge, wanted.check, passkey);
  if (!verified) {
    if (verified.error() == signin::PasskeyError::CounterWentBack) {
      context_.log.warn("A passkey's counter went back: it may have been copied", {{"user", owner->value}});
    }
    return refuse(sentence_of(verified.error()));
  }
  if (!context_.challenges.use(*challenge, monotonic_now())) return refuse(kTooLate);
  passkey.used_at = wall_now();
  const auto stored = context_.factors.put(*owner, std::move(factors), std::nullopt);
  if (!stored) return refuse(stored.error().message);
  return *owner;
}

std::optional<controller::UserRecord> SignInFlow::active_user(model::UserId id) const {
  auto user = context_.host.controller().find_user(id);
  if (user && user->state != controller::UserState::Active) user.reset();
  return user;
}

}  // namespace postern::server
