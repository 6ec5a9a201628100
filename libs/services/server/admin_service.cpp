#include "services/server/admin_service.hpp"

#include <nlohmann/json.hpp>

#include "runtime/loop/event_loop.hpp"
#include "runtime/store/master_key.hpp"
#include "runtime/store/password.hpp"
#include "services/server/admin_commands.hpp"
#include "services/server/admin_exchange.hpp"
#include "services/server/admin_queries.hpp"

namespace postern::server {
namespace {

using config::ExitCode;
using nlohmann::json;
using runtime::wall_now;

constexpr std::string_view kActor = "admin:local";
constexpr std::string_view kOrigin = "admin socket";

bool reads_password(const AdminRequest& request) {
  return request.command == "user add" || request.command == "user set-password";
}

AdminResult refused(ExitCode code, std::string message) {
  return std::unexpected(ServerError{code, std::move(message)});
}

}  // namespace

class AdminService::Impl {
 public:
  explicit Impl(AdminContext context) : context_(std::move(context)) {}

  void handle(const std::string& line, const Responder& answer) {
    auto request = decode_request(line);
    if (!request) return answer(encode(AdminResult(std::unexpected(request.error()))));
    if (request->command == "status") return status(*request, answer);
    if (const auto found = answer_query(context_, *request, std::nullopt)) return answer(encode(*found));
    if (request->command == "user reset-mfa") return answer(encode(reset_mfa(*request)));
    if (!reads_password(*request)) return answer(encode(change(*request, "")));
    if (request->has("password")) return with_password(std::move(*request), answer);
    answer(encode(with_setup_link(*request)));
  }

 private:
  void status(const AdminRequest& request, const Responder& answer) {
    const auto finish = [this, request, answer](const std::optional<RelaySnapshot>& relay) {
      answer(encode(*answer_query(context_, request, relay)));
    };
    if (context_.relay == nullptr) return finish(std::nullopt);
    context_.relay->query(finish);
  }

  void with_password(AdminRequest request, const Responder& answer) {
    const std::string password = request.option("password");
    if (const std::string problem = runtime::password_problem(password); !problem.empty()) {
      return answer(encode(refused(ExitCode::Usage, problem)));
    }
    const bool queued = context_.passwords.hash(
        password, [this, request, answer](const std::string& hash) { answer(encode(change(request, hash))); });
    if (!queued)
      answer(encode(refused(ExitCode::Failure, "the server is busy with sign-ins; try again in some seconds")));
  }

  AdminResult change(const AdminRequest& request, const std::string& password_hash) {
    const auto command = to_command(request, password_hash);
    if (!command) return refused(ExitCode::Usage, "there is no command \"" + request.command + '"');
    if (!*command) return std::unexpected(command->error());
    const auto done = context_.host.execute(**command, kActor, kOrigin);
    if (!done) return std::unexpected(done.error());
    if (request.command == "user set-password") context_.sessions.end_all(model::UserId(done->id));
    if (done->tokens) return tokens_reply(request, *done->tokens);
    if (done->relay_token) return relay_token_reply(request, *done->relay_token);
    std::string text = outcome_sentence(request) + '\n';
    for (const std::string& note : done->notes) text += note + '\n';
    return AdminReply{.data = json{{"id", std::to_string(done->id)}, {"notes", done->notes}}.dump(),
                      .text = std::move(text)};
  }

  /// For a person who has lost phone and codes: the password alone signs in again.
  AdminResult reset_mfa(const AdminRequest& request) {
    const auto user = context_.host.controller().find_user(request.argument(0));
    if (!user) return refused(ExitCode::NotFound, "there is no user \"" + request.argument(0) + '"');
    const bool had = context_.factors.has_second(user->id);
    const FactorChange change{std::string(kActor), std::string(kOrigin), "user.reset_mfa"};
    if (auto done = context_.factors.reset(user->id, change); !done) return std::unexpected(done.error());
    context_.sessions.end_all(user->id);
    const std::string id = std::to_string(user->id.value);
    const std::string text = had ? "Authenticator app, passkeys and recovery codes of " + user->email +
                                       " are gone: the password alone signs in until new ones are set up.\n"
                                 : user->email + " had no second factor.\n";
    return AdminReply{.data = json{{"id", id}, {"had_second_factor", had}}.dump(), .text = text};
  }

  AdminReply tokens_reply(const AdminRequest& request, const controller::ConnectorTokens& tokens) const {
    const std::string& network = context_.host.controller().network().slug;
    const json data{{"connector", request.argument(0)},
                    {"network", network},
                    {"url", context_.url},
                    {"access_token", tokens.access_token},
                    {"refresh_token", tokens.refresh_token}};
    return {.data = data.dump(),
            .text = "# Tokens of the connector " + request.argument(0) +
                    ". They are shown once; what runs with older ones is cut off.\nPOSTERN_NETWORK=" + network +
                    "\nPOSTERN_ACCESS_TOKEN=" + tokens.access_token +
                    "\nPOSTERN_REFRESH_TOKEN=" + tokens.refresh_token + '\n'};
  }

  AdminReply relay_token_reply(const AdminRequest& request, const std::string& token) const {
    const json data{{"relay", request.argument(0)}, {"controller", context_.enrolment_url}, {"relay_token", token}};
    return {.data = data.dump(),
            .text = "# The relay " + request.argument(0) +
                    ": start postern-server serve with this. The token is shown once and enrols one relay.\n"
                    "POSTERN_ROLES=relay\nPOSTERN_CONTROLLER=" +
                    context_.enrolment_url + "\nPOSTERN_RELAY_TOKEN=" + token + '\n'};
  }

  /// A user without a password gets a link where it is set.
  AdminResult with_setup_link(const AdminRequest& request) {
    std::optional<model::UserId> user;
    if (request.command == "user add") {
      const auto added = context_.host.execute(**to_command(request, ""), kActor, kOrigin);
      if (!added) return std::unexpected(added.error());
      user = model::UserId(added->id);
    } else if (const auto found = context_.host.controller().find_user(request.argument(0))) {
      user = found->id;
    }
    if (!user) return refused(ExitCode::NotFound, "there is no user \"" + request.argument(0) + '"');
    const NewSetupLink link = make_setup_link(*user, wall_now(), context_.random);
    controller::ChangeSet changes;
    changes.changes.emplace_back(controller::Upsert{runtime::seal_secret(
        context_.master, context_.host.network(), link.record_name, link.record, context_.random)});
    if (auto stored = context_.host.commit(changes); !stored) return std::unexpected(stored.error());
    context_.setup_links.add(link.record);
    const std::string url = context_.url + link.target;
    const std::string what = request.command == "user add" ? "The user " + request.argument(0) + " was added. " : "";
    return AdminReply{.data = json{{"id", std::to_string(user->value)}, {"setup_link", url}}.dump(),
                      .text = what + "The password is set here, once, within 24 hours:\n" + url + '\n'};
  }

  AdminContext context_;
};

AdminService::AdminService(AdminContext context) : impl_(std::make_unique<Impl>(std::move(context))) {}
AdminService::~AdminService() = default;
void AdminService::handle(const std::string& line, const Responder& answer) {
  impl_->handle(line, answer);
}

}  // namespace postern::server
