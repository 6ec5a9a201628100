// /setup: a one-time link with which a person sets a first password.
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

constexpr std::string_view kGone = "This link was used already, or is older than a day. Ask for a new one.";

class SetupRoutes {
 public:
  explicit SetupRoutes(WebContext& context) : context_(context) {}

  void show(const HttpRequest& request, const HttpServer::Responder& answer) {
    const auto query = Form::parse(request.query());
    answer(form_page(request, 200, query ? query->get("token") : "", ""));
  }

  void submit(const HttpRequest& request, const HttpServer::Responder& answer) {
    const auto form = Form::parse(request.body);
    if (!form) return answer(message_page(400, "Bad request", "The form cannot be read."));
    const std::string token = form->get("token");
    if (!context_.csrf.check(request, *form)) {
      return answer(form_page(request, 403, token, "The form was too old, or came from another site. Try again."));
    }
    if (const auto wait = context_.enquiries.try_take(address_key(request.remote), monotonic_now())) {
      return answer(too_many(*wait, "There were too many attempts."));
    }
    const std::string& password = form->get("password");
    if (password != form->get("again")) return answer(form_page(request, 422, token, "The two passwords differ."));
    if (const std::string problem = runtime::password_problem(password); !problem.empty()) {
      return answer(form_page(request, 422, token, problem));
    }
    if (!context_.setup_links.find(token, wall_now())) return answer(message_page(404, "Link is gone", kGone));
    const bool queued =
        context_.passwords.hash(password, [this, token, answer, remote = request.remote](const std::string& hash) {
          finish(token, hash, remote, answer);
        });
    if (!queued) answer(too_many(std::chrono::seconds(5), "The server is busy."));
  }

 private:
  std::optional<controller::UserRecord> user_of(const std::string& token) const {
    const auto id = context_.setup_links.find(token, wall_now());
    return id ? context_.host.controller().find_user(*id) : std::nullopt;
  }

  runtime::HttpResponse form_page(const HttpRequest& request, int status, const std::string& token,
                                  std::string_view problem) {
    const auto user = user_of(token);
    if (!user) return message_page(404, "Link is gone", kGone);
    const auto issued = context_.csrf.issue(request);
    return with_cookie(page(status, "Choose a password", setup_form(issued.guard, token, user->email, problem)),
                       issued.cookie);
  }

  void finish(const std::string& token, const std::string& hash, const std::string& remote,
              const HttpServer::Responder& answer) {
    const auto user = user_of(token);  // a second answer may have been faster
    if (!user) return answer(message_page(404, "Link is gone", kGone));
    const std::string actor = "user:" + std::to_string(user->id.value);
    const auto set = context_.host.execute(controller::SetPassword{user->email, hash}, actor, address_key(remote));
    if (!set) return answer(message_page(500, "Not stored", set.error().message));
    context_.sessions.end_all(user->id);
    context_.setup_links.remove(user->id);
    controller::ChangeSet used;
    used.changes.emplace_back(controller::Remove{controller::SecretRecord{SetupLinks::record_name(user->id), {}}});
    if (!context_.host.commit(used)) context_.log.warn("A used setup link could not be removed; it ends within a day");
    answer(message_page(200, "Password set", "You can now sign in as " + user->email + '.'));
  }

  WebContext& context_;
};

}  // namespace

void add_setup_routes(HttpServer& server, WebContext& context) {
  const auto routes = std::make_shared<SetupRoutes>(context);
  server.route("GET", "/setup", [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->show(request, answer);
  });
  server.route("POST", "/setup", [routes](const HttpRequest& request, const HttpServer::Responder& answer) {
    routes->submit(request, answer);
  });
}

}  // namespace postern::server
