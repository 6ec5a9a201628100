// /device: the person types the code, sees which device asks, and signs it in (sign_in_flow.hpp).
//
// There is no session here: each device asks for a sign-in of its own.
#include "runtime/loop/event_loop.hpp"
#include "services/server/form.hpp"
#include "services/server/pages.hpp"
#include "services/server/sign_in_flow.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {
namespace {

using runtime::HttpRequest;
using runtime::HttpServer;
using runtime::monotonic_now;
using runtime::wall_now;

/// After this a person signs in again on each device.
constexpr std::chrono::days kSignInLife{30};
constexpr std::string_view kNoSuchCode = "This code is not known, or no longer: codes are good for five minutes, once.";

class DeviceRoutes {
 public:
  explicit DeviceRoutes(WebContext& context) : context_(context), flow_(context) {}

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
    const bool signs_in = form->has("email") || form->has("ticket") || form->has("passkey");
    if (!signs_in && !form->has("answer")) return show_device(request, form->get("user_code"), answer);
    if (form->get("answer") == "deny") return deny(*form, answer);
    const DeviceGrant* grant = context_.grants.find(form->get("user_code"), monotonic_now());
    if (grant == nullptr) return answer(code_page(request, 404, kNoSuchCode));
    flow_.submit(request, *form, target_of(grant->user_code), answer);
  }

 private:
  void show_device(const HttpRequest& request, const std::string& code, const HttpServer::Responder& answer) {
    if (const auto wait = context_.enquiries.try_take(address_key(request.remote), monotonic_now())) {
      return answer(too_many(*wait, "Too many codes were tried from your address."));
    }
    const DeviceGrant* grant = context_.grants.find(code, monotonic_now());
    if (grant == nullptr) return answer(code_page(request, 404, kNoSuchCode));
    const std::string known = grant->user_code;
    answer(sign_in_page(request, 200, target_of(known), known, "", ""));
  }

  runtime::HttpResponse code_page(const HttpRequest& request, int status, std::string_view problem) {
    const auto issued = context_.csrf.issue(request);
    return with_cookie(page(status, "Sign in a device", code_form(issued.guard, problem)), issued.cookie);
  }

  SignInTarget target_of(const std::string& code) {
    SignInTarget target{.purpose = "device:" + code, .action = "/device", .fields = {{"user_code", code}}};
    target.ask = [this, code](const HttpRequest& request, int status, const std::string& email,
                              std::string_view problem) {
      return sign_in_page(request, status, target_of(code), code, email, problem);
    };
    target.done = [this, code](const HttpRequest& request, const controller::UserRecord& user) {
      return enrol(request, code, user);
    };
    return target;
  }

  runtime::HttpResponse sign_in_page(const HttpRequest& request, int status, const SignInTarget& target,
                                     const std::string& code, const std::string& email, std::string_view problem) {
    const DeviceGrant* grant = context_.grants.find(code, monotonic_now());
    if (grant == nullptr) return code_page(request, 404, kNoSuchCode);
    const auto issued = context_.csrf.issue(request);
    const std::string passkey = flow_.passkey_button(issued.guard, target);
    return with_cookie(
        page(status, "Sign in a device", device_form(issued.guard, *grant, monotonic_now(), email, problem, passkey),
             passkey.empty() ? PageScript::None : PageScript::Passkey),
        issued.cookie);
  }

  void deny(const Form& form, const HttpServer::Responder& answer) {
    context_.grants.deny(form.get("user_code"), monotonic_now());
    answer(message_page(200, "Refused",
                        "The device was not signed in. If you did not start this, somebody else did; no "
                        "harm was done."));
  }

  runtime::HttpResponse enrol(const HttpRequest& request, const std::string& code, const controller::UserRecord& user) {
    const DeviceGrant* grant = context_.grants.find(code, monotonic_now());
    if (grant == nullptr) return code_page(request, 404, kNoSuchCode);
    const controller::EnrolDevice command{user.email, grant->device_name, grant->public_key, wall_now() + kSignInLife};
    const auto enrolled =
        context_.host.execute(command, "user:" + std::to_string(user.id.value), address_key(request.remote));
    if (!enrolled) return sign_in_page(request, 409, target_of(code), code, user.email, enrolled.error().message);
    const std::string name = grant->device_name;
    context_.grants.approve(code, enrolled->id, user.email, monotonic_now());
    context_.log.info("A device was signed in", {{"device", enrolled->id}});
    return message_page(200, "Signed in", "The device " + name + " is signed in. You can close this page.");
  }

  WebContext& context_;
  SignInFlow flow_;
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
