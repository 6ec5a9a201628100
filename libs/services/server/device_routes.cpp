// /device: the person types the code, sees which device asks, and signs it in with e-mail and password.
//
// An unknown e-mail, a disabled account, one without a password and a wrong password give the same answer after the
// same work. There is no session: each sign-in asks for the password.
#include "runtime/loop/event_loop.hpp"
#include "runtime/store/password.hpp"
#include "services/server/form.hpp"
#include "services/server/pages.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {
namespace {

using runtime::HttpRequest;
using runtime::HttpServer;
using runtime::monotonic_now;
using runtime::wall_now;

/// After this a person signs in again on each device.
constexpr std::chrono::days kSignInLife{30};
constexpr std::chrono::seconds kBusyRetry{5};
constexpr std::string_view kNoSuchCode = "This code is not known, or no longer: codes are good for five minutes, once.";
constexpr std::string_view kWrong = "E-mail or password is wrong.";

std::string folded(std::string_view email) {
  std::string text(email);
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

class DeviceRoutes {
 public:
  explicit DeviceRoutes(WebContext& context) : context_(context) {}

  void show(const HttpRequest& request, const HttpServer::Responder& answer) {
    const auto query = Form::parse(request.query());
    const std::string code = query ? query->get("user_code") : "";
    if (code.empty()) return answer(code_page(request, 200, ""));
    show_device(request, code, answer);
  }

  void submit(const HttpRequest& request, const HttpServer::Responder& answer) {
    const auto form = Form::parse(request.body);
    if (!form) return answer(message_page(400, "Bad request", "The form cannot be read."));
    if (!context_.csrf.check(request, *form)) {
      return answer(code_page(request, 403, "The form was too old, or came from another site. Please start again."));
    }
    if (!form->has("email") && !form->has("answer")) return show_device(request, form->get("user_code"), answer);
    if (form->get("answer") == "deny") return deny(*form, answer);
    sign_in(request, *form, answer);
  }

 private:
  void show_device(const HttpRequest& request, const std::string& code, const HttpServer::Responder& answer) {
    if (const auto wait = context_.enquiries.try_take(address_key(request.remote), monotonic_now())) {
      return answer(too_many(*wait, "Too many codes were tried from your address."));
    }
    if (context_.grants.find(code, monotonic_now()) == nullptr) return answer(code_page(request, 404, kNoSuchCode));
    answer(sign_in_page(request, 200, code, "", ""));
  }

  runtime::HttpResponse code_page(const HttpRequest& request, int status, std::string_view problem) {
    const auto issued = context_.csrf.issue(request);
    return with_cookie(page(status, "Sign in a device", code_form(issued.guard, problem)), issued.cookie);
  }

  runtime::HttpResponse sign_in_page(const HttpRequest& request, int status, const std::string& code,
                                     const std::string& email, std::string_view problem) {
    const DeviceGrant* grant = context_.grants.find(code, monotonic_now());
    if (grant == nullptr) return code_page(request, 404, kNoSuchCode);
    const auto issued = context_.csrf.issue(request);
    return with_cookie(
        page(status, "Sign in a device", sign_in_form(issued.guard, *grant, monotonic_now(), email, problem)),
        issued.cookie);
  }

  void deny(const Form& form, const HttpServer::Responder& answer) {
    context_.grants.deny(form.get("user_code"), monotonic_now());
    answer(message_page(200, "Refused",
                        "The device was not signed in. If you did not start this, somebody else did; no "
                        "harm was done."));
  }

  void sign_in(const HttpRequest& request, const Form& form, const HttpServer::Responder& answer) {
    const std::string email = folded(form.get("email"));
    const std::string code = form.get("user_code");
    if (context_.grants.find(code, monotonic_now()) == nullptr) return answer(code_page(request, 404, kNoSuchCode));
    if (const auto wait = context_.limits.try_take(email, request.remote, monotonic_now())) {
      return answer(too_many(*wait, "There were too many attempts to sign in."));
    }
    const auto user = context_.host.controller().find_user(email);
    const bool may = user && user->state == controller::UserState::Active;
    const bool queued = context_.passwords.verify(
        form.get("password"), may ? user->password_hash : "",
        [this, request, email, code, answer](bool right) { finish(request, email, code, right, answer); });
    if (!queued) answer(too_many(kBusyRetry, "The server is busy with other sign-ins."));
  }

  void finish(const HttpRequest& request, const std::string& email, const std::string& code, bool right,
              const HttpServer::Responder& answer) {
    const auto user = context_.host.controller().find_user(email);  // it may have changed meanwhile
    if (!right || !user || user->state != controller::UserState::Active) {
      context_.log.debug("A sign-in was refused", {{"account", email}, {"address", request.remote}});
      return answer(sign_in_page(request, 403, code, email, kWrong));
    }
    context_.limits.succeeded(email, request.remote);
    const DeviceGrant* grant = context_.grants.find(code, monotonic_now());
    if (grant == nullptr) return answer(code_page(request, 404, kNoSuchCode));
    const controller::EnrolDevice command{user->email, grant->device_name, grant->public_key, wall_now() + kSignInLife};
    const auto enrolled =
        context_.host.execute(command, "user:" + std::to_string(user->id.value), address_key(request.remote));
    if (!enrolled) return answer(sign_in_page(request, 409, code, email, enrolled.error().message));
    const std::string name = grant->device_name;
    context_.grants.approve(code, enrolled->id, user->email, monotonic_now());
    context_.log.info("A device was signed in", {{"device", enrolled->id}});
    answer(message_page(200, "Signed in", "The device " + name + " is signed in. You can close this page."));
  }

  WebContext& context_;
};

}  // namespace

void add_device_routes(HttpServer& server, WebContext& context) {
  const auto routes = std::make_shared<DeviceRoutes>(context);
  server.route("GET", "/device", [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->show(request, answer);
  });
  server.route("POST", "/device", [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->submit(request, answer);
  });
}

}  // namespace postern::server
